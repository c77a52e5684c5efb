"""Windows are pieces of the frame, mirrored and turned, and nothing else."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.models.training.augment import Augmentation

FRAME = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32)
"""Every pixel says where it is."""


@given(
    height=st.integers(1, 24),
    width=st.integers(1, 32),
    seed=st.integers(0, 99),
    flips=st.booleans(),
)
def test_a_window_is_a_piece_of_the_frame(height: int, width: int, seed: int, flips: bool) -> None:
    windows = Augmentation(height_px=height, width_px=width, flips=flips)
    window = windows.window(FRAME, np.random.default_rng(seed))
    rows, columns = np.divmod(window.astype(int), 32)
    assert window.shape == (height, width)
    assert np.all(np.abs(np.diff(rows, axis=0)) == 1)
    assert np.all(np.diff(rows, axis=1) == 0)
    assert np.all(np.abs(np.diff(columns, axis=1)) == 1)
    if not flips:
        assert np.all(np.diff(columns, axis=1) == 1)


def test_turned_and_mirrored_windows_come_in_all_eight_ways() -> None:
    windows = Augmentation(height_px=24, width_px=24, quarter_turns=True)
    square = FRAME[:, :24]
    seen = {windows.window(square, np.random.default_rng(seed)).tobytes() for seed in range(100)}
    assert len(seen) == 8


def test_the_middle_lies_in_the_middle() -> None:
    windows = Augmentation(height_px=22, width_px=28)
    assert windows.middle(FRAME)[0, 0] == FRAME[1, 2]
    assert windows.middle(FRAME).shape == (22, 28)


@given(height=st.integers(1, 40), width=st.integers(1, 40))
def test_what_fits_is_no_larger(height: int, width: int) -> None:
    windows = Augmentation(height_px=height, width_px=width)
    assert windows.fits(FRAME) == (height <= 24 and width <= 32)
