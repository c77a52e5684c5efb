"""Maps from measures to scores, and their file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.models.errors import TrainingError, WeightsError
from afdaemon.models.scorers.linear_map import LinearMap, fit, read_maps, write_maps

MAPS = {"Entropy": LinearMap(2.0, -3.0), "Tenengrad": LinearMap(-0.5, 8.25)}


@given(slope=st.floats(-20.0, 20.0), offset=st.floats(-9.0, 9.0))
def test_a_line_is_found_again(slope: float, offset: float) -> None:
    values = np.linspace(0.1, 0.7, 12)
    found = fit(values, slope * values + offset)
    assert (found.slope, found.offset) == pytest.approx((slope, offset), abs=1e-6)


@given(seed=st.integers(0, 999), nudge=st.sampled_from([-0.1, 0.1]))
def test_no_other_line_fits_better(seed: int, nudge: float) -> None:
    rng = np.random.default_rng(seed)
    values, scores = rng.random(30), 9.0 * rng.random(30)
    best = fit(values, scores)

    def error(slope: float, offset: float) -> float:
        return float(((slope * values + offset - scores) ** 2).sum())

    least = error(best.slope, best.offset)
    assert least < error(best.slope + nudge, best.offset)
    assert least < error(best.slope, best.offset + nudge)


def test_scores_stay_on_the_scale() -> None:
    scores = LinearMap(10.0, 0.0).scores(np.array([-1.0, 0.0, 0.5, 3.0]))
    assert scores.tolist() == [0.0, 0.0, 5.0, 9.0]


def test_values_that_are_all_the_same_map_to_the_mean() -> None:
    assert fit(np.full(4, 0.3), np.array([1.0, 2.0, 3.0, 6.0])) == LinearMap(0.0, 3.0)


@pytest.mark.parametrize(
    ("values", "scores", "words"),
    [
        ([], [], "at least one, got 0 and 0"),
        ([1.0, 2.0], [1.0], "got 2 and 1"),
        ([1.0, float("nan")], [1.0, 2.0], "not a finite number"),
        ([1.0, 2.0], [1.0, float("inf")], "not a finite number"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    values: list[float], scores: list[float], words: str
) -> None:
    with pytest.raises(TrainingError, match=words):
        fit(np.array(values), np.array(scores))


def written(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "maps.json"
    write_maps(MAPS, training={"seed": 1}, metrics={"rmse": {"Entropy": 2.0}}, path=path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return path


def test_maps_come_back_as_they_were(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert read_maps(list(MAPS), path) == MAPS
    card = json.loads(path.read_text())
    assert card["training"] == {"seed": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["maps.json"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"card_version": 9}, "is of version 9, not 1"),
        ({"preprocessing": {"sampling_width_px": 64}}, "prepared with {'sampling_width_px': 64}"),
        ({"maps": {"Entropy": {"slope": 1.0, "offset": 0.0}}}, "holds no map of Tenengrad"),
        ({"maps": []}, "holds no map of Entropy"),
        ({"maps": {"Entropy": {"slope": 1.0}}}, "holds no maps of this version"),
        ({"maps": {"Entropy": {"slope": "steep", "offset": 0.0}}}, "no maps of this version"),
        ({"maps": {"Entropy": {"slope": float("nan"), "offset": 0.0}}}, "is not finite"),
    ],
)
def test_a_file_that_cannot_be_honoured_is_refused(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(WeightsError, match=words) as refused:
        read_maps(list(MAPS), path)
    assert "reinstall the package" in refused.value.remedy


@pytest.mark.parametrize("content", ["", "[]", "{}", "{"])
def test_a_damaged_or_missing_file_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "maps.json"
    with pytest.raises(WeightsError, match="cannot be read"):
        read_maps(list(MAPS), path)
    path.write_text(content)
    with pytest.raises(WeightsError, match="holds no maps of this version"):
        read_maps(list(MAPS), path)
