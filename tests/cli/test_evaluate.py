"""`afdaemon evaluate aenet`: what it writes, prints and refuses."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from afdaemon.cli.daemon import app
from afdaemon.cli.runner import run_app
from afdaemon.sim.specimens.catalogue import open_specimen
from afdaemon.sim.surface import Patch


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    patch = Patch(left_um=0.0, top_um=0.0, step_um=0.13, width=640, height=480)
    grey = 255.0 * open_specimen("mixture", seed=3).draw(patch).secondary
    folder = tmp_path / "pictures"
    folder.mkdir()
    cv2.imwrite(str(folder / "one.png"), np.clip(grey, 0, 255).astype(np.uint8))
    return folder


def evaluate(*words: str | Path) -> int:
    return run_app(app, program="afdaemon", args=["evaluate", "aenet", *map(str, words)])


def test_one_section_is_printed_and_written(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results"
    code = evaluate(
        "--quick", "--section=order", "--seed=4", "--micrographs", pictures, "--out", out
    )
    assert {path.name for path in out.iterdir()} == {"aenet.md", "aenet.json", "aenet_order.png"}
    numbers = json.loads((out / "aenet.json").read_text())
    met = [bar["holds"] for bar in numbers["bars"]]
    assert code == (0 if all(met) else 1)
    assert numbers["command"].startswith("afdaemon evaluate aenet --quick --seed 4 --section order")
    assert len(numbers["model"]["sha256"]) == 64
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"bars met: {sum(met)} of {len(met)}"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--section=tabel1"], "tabel1"),
        (["--micrographs=nowhere", "--quick"], "no micrographs under nowhere"),
        (["--weights=absent.safetensors", "--quick"], "absent"),
        (["--out=file/results", "--quick"], "file/results"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    words: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("no folder")
    assert evaluate(*words) == 2
    told_lines = capsys.readouterr().err.splitlines()
    assert len(told_lines) == 1
    assert told in told_lines[0]
