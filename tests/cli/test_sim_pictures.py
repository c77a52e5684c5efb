"""`afdaemon sim snapshot` and `afdaemon sim gallery`, and what they say to bad input."""

import json
from pathlib import Path

import cv2
import pytest

from afdaemon.cli.daemon import app
from afdaemon.cli.runner import run_app


def run(*args: str) -> int:
    return run_app(app, program="afdaemon", args=["sim", *args])


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_snapshot_and_its_truth_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    out = tmp_path / f"one{suffix}"
    code = run(
        "snapshot", f"--out={out}", "--specimen=gold_nanoparticles", "--magnification=20000",
        "--seed=4", "--defocus-dof=-2.5", "--mode=full",
    )  # fmt: skip
    assert code == 0
    pixels = cv2.imread(str(out), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    assert pixels.shape == (480, 640)
    told = json.loads((tmp_path / "one.json").read_text())
    assert told["specimen"] == "gold_nanoparticles"
    assert (told["seed"], told["magnification"]) == (4, 20000)
    assert told["defocus_dof"] == pytest.approx(-2.5, abs=0.2)
    assert told["defocus_um"] == pytest.approx(told["defocus_dof"] * told["dof_um"])
    assert told["wd_um"] - told["focus_wd_um"] == pytest.approx(told["defocus_um"])
    assert 2.0 < told["score"] < 6.0
    assert {p.name for p in tmp_path.iterdir()} == {"one.json", out.name}
    assert str(out) in capsys.readouterr().out


def test_settings_of_the_instrument_reach_the_snapshot(tmp_path: Path) -> None:
    out = tmp_path / "one.png"
    assert run("snapshot", f"--out={out}", "--set=focus_wd_um=12345", "--set=alpha_mrad=2.5") == 0
    told = json.loads(out.with_suffix(".json").read_text())
    assert told["dof_um"] == pytest.approx(2 * 127e3 / 2000 / 320 / 2.5e-3)
    assert told["focus_wd_um"] == pytest.approx(12_345.0, abs=50.0)


def test_a_gallery_is_written(tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    code = run(
        "gallery", f"--out={out}", "--seed=1", "--specimen=tin_balls", "--specimen=empty+dust",
        "--magnification=1000", "--defocus-dof=0", "--defocus-dof=5",
    )  # fmt: skip
    assert code == 0
    sheet = cv2.imread(str(out), cv2.IMREAD_UNCHANGED)
    assert sheet is not None
    assert sheet.shape == (46 + 2 * 205, 2 * 243)
    assert out.stat().st_size < 1_000_000
    assert [p.name for p in tmp_path.iterdir()] == ["sheet.png"]


BAD = {
    "an unknown specimen": (["snapshot", "--out={}/a.png", "--specimen=tin_bals"], "'tin_bals'"),
    "an unknown layer": (["snapshot", "--out={}/a.png", "--specimen=empty+rust"], "'rust'"),
    "a magnification below": (["snapshot", "--out={}/a.png", "--magnification=19"], "19"),
    "a magnification above": (["snapshot", "--out={}/a.png", "--magnification=150001"], "150001"),
    "no number": (["snapshot", "--out={}/a.png", "--defocus-dof=nan"], "nan"),
    "too far": (["snapshot", "--out={}/a.png", "--magnification=20", "--defocus-dof=9"], "WD"),
    "a seed below": (["snapshot", "--out={}/a.png", "--seed=-1"], "-1"),
    "an odd suffix": (["snapshot", "--out={}/a.bmp"], ".bmp"),
    "no suffix": (["snapshot", "--out={}/a"], ".png"),
    "no such folder": (["snapshot", "--out={}/absent/a.png"], "absent"),
    "no such mode": (["snapshot", "--out={}/a.png", "--mode=slow"], "'slow'"),
    "no such setting": (["snapshot", "--out={}/a.png", "--set=speling=1"], "speling"),
    "no such picture": (["snapshot", "--out={}/a.png", "--specimen=image:absent.png"], "absent"),
    "gallery: a specimen": (["gallery", "--out={}/a.png", "--specimen=cheese"], "'cheese'"),
    "gallery: magnification": (["gallery", "--out={}/a.png", "--magnification=5"], "5"),
    "gallery: a seed": (["gallery", "--out={}/a.png", "--seed=-7"], "-7"),
    "gallery: a suffix": (["gallery", "--out={}/a.jpg"], ".jpg"),
    "gallery: no folder": (
        ["gallery", "--out={}/absent/a.png", "--specimen=empty", "--magnification=500"],
        "absent",
    ),
    "gallery: no number": (["gallery", "--out={}/a.png", "--defocus-dof=inf"], "inf"),
}


@pytest.mark.parametrize(("args", "told"), BAD.values(), ids=BAD)
def test_bad_input_ends_with_one_sentence_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], args: list[str], told: str
) -> None:
    assert run(*(arg.format(tmp_path) for arg in args)) == 2
    heard = capsys.readouterr()
    assert heard.out == ""
    assert heard.err.count("\n") == 1
    assert told in heard.err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_way_leaves_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.json").mkdir()
    assert run("snapshot", f"--out={tmp_path}/a.png") == 2
    assert "cannot be written" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
