"""Specimens: what the report says of them, and what holds for any."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.energy.specimens.stacks import AU_AL_SI
from afdaemon.energy.specimens.structures import (
    Split,
    depth_voxels,
    perlin,
    random_layers,
    report_pads,
    volume_of,
)


@given(index=st.integers(0, 10_000), split=st.sampled_from(Split))
def test_layers_come_in_whole_nm_up_to_the_greatest(index: int, split: Split) -> None:
    for layer, nm in zip(AU_AL_SI.layers, random_layers(split, index, side_px=32), strict=True):
        assert nm.min() >= 0.0
        assert nm.max() in (0.0, layer.max_nm)
        assert (nm == np.round(nm)).all()


def test_layers_without_steps_take_many_values() -> None:
    nm = random_layers(Split.TRAIN, 0, quanta=None)
    assert nm.max(axis=(1, 2)) == pytest.approx([15.0, 150.0])
    assert len(np.unique(nm[1])) > 1_000


def test_no_map_is_in_two_splits_nor_in_two_layers() -> None:
    maps = [
        layer.tobytes()
        for split in Split
        for index in range(20)
        for layer in random_layers(split, index, quanta=None, side_px=16)
        if layer.any()
    ]
    assert len(set(maps)) == len(maps)


def test_a_structure_is_the_same_every_time() -> None:
    assert (random_layers(Split.TEST, 3) == random_layers(Split.TEST, 3)).all()


def test_noise_is_0_at_the_corners_of_its_cells_and_smooth_between() -> None:
    noise = perlin(np.random.default_rng(0))
    assert noise[::64, ::64] == pytest.approx(0.0)
    assert np.abs(np.diff(noise, axis=0)).max() < 0.08
    assert np.abs(noise).max() < 1.0


def test_pads_are_those_of_the_report() -> None:
    gold, aluminium = report_pads()
    assert [gold[80, 30], gold[80, 80], gold[30, 80], gold[30, 30]] == [10.0, 15.0, 5.0, 0.0]
    assert (gold > 0).sum() == 3 * 42**2
    assert (aluminium == 150.0).sum() == 42**2


def test_a_column_is_filled_from_below_with_whole_voxels() -> None:
    depth = depth_voxels(AU_AL_SI)
    assert depth == 16
    column = volume_of(np.array([10.0, 39.9]), depth)
    assert column.tolist() == [1, 2, 2, 2] + [0] * 12
    assert not volume_of(np.array([9.9, 9.9]), depth).any()
    assert volume_of(np.array([0.0, 20.0]), depth).tolist() == [2, 2] + [0] * 14


@given(au=st.floats(0.0, 15.0), al=st.floats(0.0, 150.0))
def test_each_layer_has_the_voxels_of_its_thickness(au: float, al: float) -> None:
    column = volume_of(np.array([au, al]), 16)
    for kind, nm in ((1, au), (2, al)):
        assert (column == kind).sum() in (int(nm // 10), int((nm + 1e-6) // 10))
