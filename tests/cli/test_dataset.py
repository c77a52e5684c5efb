"""`afdaemon dataset`: what is written opens with the same labels, and check finds what was done to it since."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from afdaemon.cli.daemon import app
from afdaemon.cli.labelled_frames import open_labelled
from afdaemon.cli.runner import run_app
from afdaemon.models.errors import DatasetError
from afdaemon.sim.datasets.dataset1 import Dataset1, Part

SCENES = 1


def run(*args: str | Path) -> int:
    return run_app(app, program="afdaemon", args=["dataset", *map(str, args)])


def write(folder: Path, *more: str) -> int:
    return run("write", folder, "--fast", f"--scenes={SCENES}", "--workers=1", "--seed=3", *more)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset") / "data"
    assert write(folder, "--unseen", "--part=test") == 0
    return folder


@pytest.fixture
def copy(data: Path, tmp_path: Path) -> Path:
    """The data set again, to be spoilt."""
    folder = tmp_path / "copy"
    for path in data.rglob("*"):
        if path.is_file():
            place = folder / path.relative_to(data)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
    return folder


def test_what_is_written_opens_with_the_same_labels(data: Path) -> None:
    folder = open_labelled(data)
    made = Dataset1(seed=3, scenes_per_specimen=SCENES, width_px=320, height_px=240)
    scenes = [
        frames
        for name in ("butterfly_wing", "woven_fabric")
        for frames in made.part(Part.TEST, name)
    ]
    chosen = [pair for pair in folder.pairs if pair.name.startswith(("butterfly", "woven"))]
    assert [pair.name for pair in chosen] == [
        f"{frames.scene[:-5]}/{frames.scene}-{index:02}.jpg"
        for frames in scenes
        for index in range(len(frames.pixels))
    ]
    labels = folder[: len(folder)]
    blur_px = np.concatenate([frames.blur_px for frames in scenes])
    at = [folder.pairs.index(pair) for pair in chosen]
    assert np.allclose(labels.blur_px[at], blur_px, rtol=0.01, atol=0.03)
    assert np.allclose(labels.magnification[at[0]], scenes[0].magnification[0], atol=0.5)
    first = folder[at[0]].shot.pixels.astype(np.float64)
    assert np.abs(first - scenes[0].pixels[0]).mean() < 4.0


def test_unseen_specimens_stay_for_testing(data: Path) -> None:
    folder = open_labelled(data)
    assert {pair.part for pair in folder.pairs} == {"test"}
    with pytest.raises(DatasetError, match="belongs to the part 'train'"):
        folder.part("train")


def test_check_prints_counts_and_scores(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", data) == 0
    out = capsys.readouterr().out
    row = next(line for line in out.splitlines() if "woven_fabric" in line)
    assert [word for word in row.split() if word.isdecimal()] == ["1", "0", "0", "8", "8"]
    assert "nothing is wrong" in out


def changed_picture(folder: Path) -> None:
    path = folder / "woven_fabric" / "woven_fabric-0000-03.jpg"
    data = path.read_bytes()
    path.write_bytes(data[:5000] + b"\0" + data[5001:])


def cut_picture(folder: Path) -> None:
    path = folder / "woven_fabric" / "woven_fabric-0000-03.jpg"
    path.write_bytes(path.read_bytes()[:5000])


def no_text(folder: Path) -> None:
    (folder / "woven_fabric" / "woven_fabric-0000-03.txt").unlink()


def bad_score(folder: Path) -> None:
    path = folder / "woven_fabric" / "woven_fabric-0000-03.txt"
    lines = path.read_text().splitlines()
    kept = [line for line in lines if not line.startswith(("FOCUS_SCORE", "SCORE"))]
    path.write_text("\n".join([*kept, "SCORE=12"]))


def other_listing(folder: Path) -> None:
    with (folder / "SHA256SUMS").open("a") as file:
        file.write("0  x.jpg\n")


def not_complete(folder: Path) -> None:
    path = folder / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "complete": False}))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (changed_picture, "woven_fabric-0000-03.jpg: it was changed after it was written"),
        (cut_picture, "woven_fabric-0000-03.jpg: the JPEG is cut off"),
        (no_text, "woven_fabric-0000-03.jpg: there is no .txt of that name beside it"),
        (bad_score, "woven_fabric-0000-03.txt: SCORE is a digit from 0 to 9"),
        (other_listing, "SHA256SUMS: it is not the one that dataset.json describes"),
        (not_complete, "dataset.json: it is incomplete"),
    ],
)
def test_check_names_what_is_wrong_and_ends_with_1(
    copy: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], None], told: str
) -> None:
    spoil(copy)
    assert run("check", copy) == 1
    heard = capsys.readouterr()
    assert told in heard.err
    assert "wrong: " in heard.out


def test_a_user_s_own_frames_need_no_note(copy: Path) -> None:
    (copy / "dataset.json").unlink()
    assert run("check", copy) == 0
    assert len(open_labelled(copy)) == len(open_labelled(copy, lenient=True)) > 0


def test_lenient_counts_what_it_leaves_out(copy: Path) -> None:
    cut_picture(copy)
    whole = open_labelled(copy)
    lenient = open_labelled(copy, lenient=True)
    assert len(lenient) == len(whole) - 1
    assert [fault.file for fault in lenient.left_out] == ["woven_fabric/woven_fabric-0000-03.jpg"]


@pytest.mark.parametrize(
    ("note", "told"),
    [
        ("{", "is not JSON"),
        ("3", "is not a JSON object"),
        ('{"parts": []}', "parts must map scenes to parts"),
        ('{"parts": {"a": "exam"}}', "the part of 'a' must be one of train, validate, test"),
        ('{"parts": {"a": []}}', "the part of 'a' must be one of train, validate, test"),
    ],
)
def test_a_note_that_cannot_be_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], note: str, told: str
) -> None:
    (tmp_path / "dataset.json").write_text(note)
    assert run("check", tmp_path) == 2
    err = capsys.readouterr().err
    assert told in err
    assert err.count("\n") == 1


def test_folders_that_cannot_be_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("check", tmp_path / "absent") == 2
    assert "there is no folder" in capsys.readouterr().err
    assert run("check", tmp_path) == 1
    assert "holds no labelled frames" in capsys.readouterr().err
    (tmp_path / "own.txt").write_text("mine")
    assert write(tmp_path) == 2
    assert "holds something else. Name an empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["own.txt"]
