"""Frames without the noise of a beam are told from scanned ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from afdaemon.models.frames.noise_floor import lacks_noise

SHAPE = (120, 160)


def print_of(dark: float = 20.0, light: float = 250.0) -> NDArray[np.float64]:
    """Bars of two greys: edges everywhere, nothing between them."""
    y, x = np.indices(SHAPE)
    return np.where((x // 9 + y // 14) % 2 == 0, dark, light)


def frame(levels: NDArray[np.float64], sigma: float = 0.0, seed: int = 0) -> NDArray[np.uint8]:
    noise = sigma * np.random.default_rng(seed).standard_normal(levels.shape)
    return np.asarray(np.clip(np.rint(levels + noise), 0, 255), np.uint8)


def test_print_and_quiet_photographs_lack_noise() -> None:
    assert lacks_noise(frame(print_of()))
    few_edges = np.where(np.indices(SHAPE)[1] < 80, 60.0, 200.0)
    few_edges[40:70, 30:60] = 120.0
    assert lacks_noise(frame(few_edges, sigma=1.5))


@given(sigma=st.floats(5.0, 60.0), seed=st.integers(0, 99))
def test_the_same_edges_under_a_beams_noise_do_not(sigma: float, seed: int) -> None:
    assert not lacks_noise(frame(print_of(60.0, 180.0), sigma, seed))


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_the_depth_of_the_grey_scale_does_not_matter(depth: type) -> None:
    scale = 257 if depth is np.uint16 else 1
    for levels, sigma, lacks in ((print_of(), 0.0, True), (print_of(60.0, 180.0), 8.0, False)):
        assert lacks_noise(frame(levels, sigma).astype(depth) * depth(scale)) is lacks


def test_black_holes_have_no_noise_and_tell_nothing() -> None:
    """What is black or white throughout is saturated, not silent."""
    holes = print_of(0.0, 130.0)
    scanned = np.where(holes > 0.0, frame(holes, sigma=8.0), 0).astype(np.uint8)
    assert not lacks_noise(scanned)


def test_faint_rounded_grounds_are_no_drawing() -> None:
    """A dark, averaged frame may be silent between its grey levels; without strong edges that is nothing."""
    assert not lacks_noise(frame(print_of(30.0, 34.0), sigma=0.4))


def test_a_frame_too_small_to_tell_is_not_doubted() -> None:
    assert not lacks_noise(np.zeros((8, 8), np.uint8))
