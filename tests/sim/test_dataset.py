"""Frames with their truth: repeatable, labelled by defocus alone, and no micrograph in two parts."""

from itertools import islice
from pathlib import Path

import numpy as np

from afdaemon.sim.dataset import Recipe, held_back, scenes
from afdaemon.sim.series import focus_series, offsets_dof

RECIPE = Recipe(frames_per_scene=3, frame_px=96)


def test_the_same_seed_draws_the_same_scenes() -> None:
    first, again = (list(islice(scenes(RECIPE, [], seed=7), 3)) for _ in range(2))
    other = next(scenes(RECIPE, [], seed=8))
    for a, b in zip(first, again, strict=True):
        assert (a.pixels == b.pixels).all()
        assert (a.blur_px == b.blur_px).all()
    assert first[0].pixels.tobytes() != other.pixels.tobytes()


def test_labels_cover_focus_and_far_away() -> None:
    many = Recipe(frames_per_scene=25, frame_px=64)
    blur = np.concatenate([s.blur_px for s in islice(scenes(many, [], seed=3), 12)])
    assert (blur >= 0.0).all()
    assert (blur <= np.hypot(many.max_blur_px, 3.0)).all(), "more than disc and averaging together"
    assert (blur < 2.0).mean() > 0.1
    assert (blur > 20.0).mean() > 0.1


def test_a_quarter_of_the_micrographs_is_held_back_by_name() -> None:
    names = [Path(f"folder/{i}.png") for i in range(400)]
    share = np.mean([held_back(name) for name in names])
    assert 0.15 < share < 0.35
    assert [held_back(n) for n in names] == [held_back(Path("/elsewhere") / n) for n in names]


def test_a_focus_series_is_sharpest_in_its_middle() -> None:
    series = next(focus_series([], seed=5))
    spread = series.pixels.astype(np.float64).std(axis=(1, 2))
    middle = len(offsets_dof()) // 2
    assert series.offset_um[middle] == 0.0
    assert spread[middle - 2 : middle + 3].mean() > 1.1 * spread[[0, 1, -2, -1]].mean()
