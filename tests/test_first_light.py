"""First light: two processes, the shipped networks, and a press of autofocus through ZeroMQ."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from afdaemon.sim.specimens.catalogue import open_specimen
from afdaemon.sim.surface import Patch

AFDAEMON = Path(sys.executable).with_name("afdaemon")


def demo(*options: str | Path) -> tuple[int, list[dict[str, Any]]]:
    result = subprocess.run(
        [AFDAEMON, "demo", "--json", "--speed=10", *options],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.stdout, result.stderr
    return result.returncode, json.loads(result.stdout)["runs"]


@pytest.fixture(scope="module")
def micrograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of something, as a file."""
    patch = Patch(left_um=40.0, top_um=9.0, step_um=0.13, width=1100, height=800)
    path = tmp_path_factory.mktemp("picture") / "specimen.tif"
    grey = 255.0 * open_specimen("mixture", seed=3).draw(patch).secondary
    cv2.imwrite(str(path), np.clip(grey, 0, 255).astype(np.uint8))
    return path


def test_autofocus_finds_the_focus_of_drawn_specimens_and_of_a_picture(micrograph: Path) -> None:
    code, runs = demo(
        "--specimen=tin_balls", f"--specimen=image:{micrograph}", "--magnification=1000", "--seed=4"
    )
    assert code == 0
    for run in runs:
        assert run["converged"]
        assert run["reason"] == "focused"
        assert run["error_dof"] <= 1.5
        assert run["error_um"] == pytest.approx(
            abs(run["best_wd_um"] - run["true_wd_um"]), abs=0.02
        )
        assert 3 <= sum(run["readings"].values()) <= 12


def test_wide_shadows_come_into_focus_by_their_contrast(tmp_path: Path) -> None:
    """Nothing is ever sharp, no score tells anything, and the detail says what the success rests on."""
    path = tmp_path / "soft.png"
    waves = np.add.outer(np.sin(np.arange(900) / 140.0), np.cos(np.arange(1200) / 170.0))
    cv2.imwrite(str(path), (128 + 50 * waves).astype(np.uint8))
    code, runs = demo(f"--specimen=image:{path}", "--magnification=2000", "--start-offset-um=900")
    assert code == 0
    assert runs[0]["converged"]
    assert runs[0]["error_dof"] <= 1.5
    assert runs[0]["score"] < 3.0
    assert "peak of the contrast" in runs[0]["detail"]


def test_a_specimen_that_shows_nothing_ends_where_it_began(tmp_path: Path) -> None:
    """Brightness that differs by two grey levels from end to end: no success is claimed."""
    path = tmp_path / "faint.png"
    waves = np.add.outer(np.linspace(0.0, 1.0, 900), np.linspace(0.0, 1.0, 1200)) / 50.0
    cv2.imwrite(str(path), (128 + 50 * waves).astype(np.uint8))
    code, runs = demo(f"--specimen=image:{path}", "--magnification=2000", "--start-offset-um=900")
    assert code == 1
    assert not runs[0]["converged"]
    assert runs[0]["restored"]
    assert runs[0]["reason"] in ("not_found", "not_converged", "no_contrast")
    assert runs[0]["final_wd_um"] == pytest.approx(runs[0]["start_wd_um"], abs=1.0)
