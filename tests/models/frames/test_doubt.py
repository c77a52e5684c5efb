"""How sure a score is, and which frames are doubted."""

import numpy as np
import pytest
from numpy.typing import NDArray

from afdaemon.models.frames.doubt import (
    doubt_of,
    grey_levels,
    grouping,
)

RNG = np.random.default_rng(3)
SHAPE = (120, 160)


def noisy(sigma: float, mean: float = 120.0) -> NDArray[np.uint8]:
    values = RNG.normal(mean, sigma, SHAPE)
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def something(spread: float, sigma: float) -> NDArray[np.uint8]:
    """Shades of `spread` grey levels, ten pixels wide, under noise of `sigma`."""
    y, x = np.indices(SHAPE)
    values = 120.0 + spread * 1.4 * np.sin(x / 6.0) * np.cos(y / 6.0) * np.sqrt(2.0)
    return np.asarray(np.clip(np.rint(RNG.normal(values, sigma)), 0, 255), np.uint8)


@pytest.mark.parametrize("grey", [0, 77, 255])
def test_a_flat_frame_is_blank(grey: int) -> None:
    frame = np.full(SHAPE, grey, np.uint8)
    assert doubt_of(frame, 0.0) == "blank: 1 grey level in use"
    assert doubt_of(frame.astype(np.uint16), 0.0) == "blank: 1 grey level in use"


def test_a_flat_frame_with_specks_is_blank() -> None:
    frame = np.full(SHAPE, 90, np.uint8)
    frame.flat[:15] = np.arange(100, 250, 10)
    assert doubt_of(frame, 0.0).startswith("blank")


def test_a_frame_that_is_only_rounding_is_blank() -> None:
    assert "blank" in doubt_of(noisy(0.6), 0.0)


@pytest.mark.parametrize("sigma", [2.0, 4.0, 25.0])
def test_noise_alone_is_blank_and_a_picture_in_it_is_not(sigma: float) -> None:
    assert doubt_of(noisy(sigma), 0.0) == "blank: nothing but noise"
    assert grouping(noisy(sigma)) == pytest.approx(1.0, abs=0.15)
    assert doubt_of(something(0.3 * sigma, sigma), 0.0) == ""


def test_lines_that_differ_by_a_little_charge_are_no_picture() -> None:
    sigma, charge = 10.0, 3.0
    lines = np.repeat(RNG.normal(0.0, charge, (SHAPE[0], 1)), SHAPE[1], axis=1)

    def charged(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.asarray(np.clip(np.rint(frame + lines), 0, 255), np.uint8)

    assert doubt_of(charged(noisy(sigma)), 0.0) == "blank: nothing but noise"
    assert doubt_of(charged(something(0.3 * sigma, sigma)), 0.0) == ""


def test_a_shade_from_top_to_bottom_is_a_picture() -> None:
    shade = np.linspace(-30.0, 30.0, SHAPE[0])[:, None]
    frame = np.asarray(np.clip(np.rint(noisy(4.0) + shade), 0, 255), np.uint8)
    assert doubt_of(frame, 0.0) == ""


def test_a_faint_spread_of_many_levels_is_blank() -> None:
    frame = np.full(SHAPE, 90, np.uint8)
    frame.flat[:160] = np.arange(160) % 16 + 82
    assert grey_levels(frame) > 6
    assert doubt_of(frame, 0.0) == "blank: grey values spread by less than one step"


def test_grey_levels_of_a_converted_frame_are_those_it_had() -> None:
    eight = RNG.integers(0, 4, SHAPE, dtype=np.uint8) * 60
    assert grey_levels(eight) == 4
    assert grey_levels(eight.astype(np.uint16) * 257) == 4


def test_saturated_and_strange_frames_are_doubted() -> None:
    frame = something(20.0, 5.0)
    assert doubt_of(frame, 0.76) == "saturated: 76% of the pixels are black or white"
    assert doubt_of(frame, 0.74) == ""
    assert doubt_of(frame, 0.0, distance=1.01) == "unlike every frame of the training"
    assert doubt_of(frame, 0.0, distance=0.99) == ""


def test_print_is_doubted() -> None:
    y, x = np.indices(SHAPE)
    page = np.where((x // 9 + y // 14) % 2 == 0, 20 + x // 2, 250).astype(np.uint8)
    assert doubt_of(page, 0.0).startswith("too little noise for its contrast")
