"""Dataset 1: the published specimens and magnifications, the same from a seed, and no scene in two parts."""

import numpy as np
import pytest

from afdaemon.models.training import labelled_folder as folder
from afdaemon.sim.datasets.dataset1 import (
    PUBLISHED_MAGNIFICATIONS,
    SPECIMENS,
    UNSEEN_MAGNIFICATIONS,
    Dataset1,
    Part,
    part_of,
)
from afdaemon.sim.specimens.catalogue import TRAINED, UNSEEN

SMALL = Dataset1(scenes_per_specimen=6, frames_per_scene=2, width_px=128, height_px=96)


def test_it_is_30_000_frames_of_three_specimens() -> None:
    usual = Dataset1()
    assert usual.scenes_per_specimen * usual.frames_per_scene == 10_000
    assert (usual.width_px, usual.height_px) == (640, 480)
    assert set(PUBLISHED_MAGNIFICATIONS) < set(TRAINED)
    assert set(SPECIMENS) - set(PUBLISHED_MAGNIFICATIONS) == set(UNSEEN)


@pytest.mark.parametrize("specimen", PUBLISHED_MAGNIFICATIONS)
def test_scenes_fall_into_parts_of_70_15_15(specimen: str) -> None:
    usual = Dataset1()
    parts = [usual.scenes(part, specimen) for part in Part]
    shares = [len(numbers) / usual.scenes_per_specimen for numbers in parts]
    assert shares == pytest.approx([0.70, 0.15, 0.15], abs=0.03)
    assert sorted(number for part in parts for number in part) == list(
        range(usual.scenes_per_specimen)
    )


@pytest.mark.parametrize("specimen", UNSEEN)
def test_unseen_specimens_are_for_testing_alone(specimen: str) -> None:
    assert SMALL.scenes(Part.TRAIN, specimen) == SMALL.scenes(Part.VALIDATE, specimen) == []
    assert len(SMALL.scenes(Part.TEST, specimen)) == 6


def test_a_part_does_not_depend_on_the_seed_and_is_what_a_folder_makes_of_the_name() -> None:
    for number in range(200):
        name = f"tin_balls/tin_balls-{number:04}"
        assert part_of("tin_balls", number) == folder.part_of(name)


def test_the_same_seed_and_number_give_the_same_frames_in_any_order() -> None:
    first = SMALL.frames("tin_balls", 3)
    SMALL.frames("tem_grid", 0)
    again = SMALL.frames("tin_balls", 3)
    assert first.scene == "tin_balls-0003"
    assert first.pixels.tobytes() == again.pixels.tobytes()
    assert np.array_equal(first.blur_px, again.blur_px)
    others = [SMALL.frames("tin_balls", 4), Dataset1(seed=2, width_px=128).frames("tin_balls", 3)]
    assert first.pixels.tobytes() not in [other.pixels.tobytes() for other in others]


@pytest.mark.parametrize("specimen", SPECIMENS)
def test_magnifications_are_the_published_ones(specimen: str) -> None:
    low, high = PUBLISHED_MAGNIFICATIONS.get(specimen, UNSEEN_MAGNIFICATIONS)
    frames = SMALL.frames(specimen, 1)
    assert frames.pixels.shape == (2, 96, 128)
    assert low <= frames.magnification[0] == frames.magnification[1] <= high


def test_a_part_gives_its_scenes_specimen_by_specimen() -> None:
    scenes = [frames.scene for frames in SMALL.part(Part.TEST, "tin_balls", "woven_fabric")]
    wanted = [
        f"{name}-{number:04}"
        for name in ("tin_balls", "woven_fabric")
        for number in SMALL.scenes(Part.TEST, name)
    ]
    assert scenes == wanted
    assert len(wanted) >= 6
