"""`afdaemon train classical`, on a few small scenes."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from afdaemon.cli.daemon import app
from afdaemon.models.scorers.classical import CLASSICAL
from afdaemon.models.scorers.linear_map import read_maps
from afdaemon.sim.datasets import dataset1


def test_maps_are_fitted_and_written_with_what_they_came_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset1, "PUBLISHED_MAGNIFICATIONS", {"tin_balls": (800.0, 900.0)})
    out = tmp_path / "maps.json"
    ran = CliRunner().invoke(app, ["train", "classical", "--scenes", "4", "--out", str(out)])
    assert ran.exit_code == 0, ran.output
    maps = read_maps(CLASSICAL, out)
    assert maps["Absolute gradient"].slope > 0.0
    card = json.loads(out.read_text())
    scenes = dataset1.Dataset1(scenes_per_specimen=4).scenes(dataset1.Part.TRAIN, "tin_balls")
    assert card["training"]["frames"] == 4 * len(scenes)
    assert card["training"]["seed"] == 1
    assert set(card["metrics"]["rmse"]) == set(CLASSICAL)
    assert str(out) in ran.output.replace("\n", "")
