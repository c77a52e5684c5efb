"""Grey values as everything here passes them on: what they are, and the scale that they are on."""

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
"""A picture, (H, W)."""


def full_scale(pixels: Pixels) -> int:
    """The largest grey value that a picture can have: of 8 bits, or of as many as its brightest pixel needs."""
    bits = 8 if pixels.dtype == np.uint8 else max(8, int(pixels.max()).bit_length())
    return int(2**bits) - 1


def levels(pixels: Pixels) -> NDArray[np.float32]:
    """The picture on a scale of 0 to 255, float32."""
    return np.asarray(pixels, np.float32) * np.float32(255.0 / full_scale(pixels))


def share_of_one_grey(rows: NDArray[np.float32], tolerance: float) -> NDArray[np.float64]:
    """For each row of levels (H, W), which part of it is of the row's usual grey, (H,)."""
    return _share_near(rows, _usual(rows), tolerance)


def are_of_one_grey(rows: NDArray[np.float32], tolerance: float, least: float) -> NDArray[np.bool_]:
    """Which rows of levels (H, W) are of one grey in a part of `least`, near 1, or more, (H,).

    Only those are looked at whole in which half of a sample is: few of any picture.
    """
    usual = _usual(rows)
    found = _share_near(_sample(rows), usual, tolerance) >= _WORTH_A_LOOK
    found[found] = _share_near(rows[found], usual[found], tolerance) >= least
    return found


def _usual(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.median(_sample(rows), axis=1, keepdims=True), np.float32)


def _sample(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return rows[:, :: max(1, rows.shape[1] // _SAMPLES)]


def _share_near(
    rows: NDArray[np.float32], usual: NDArray[np.float32], tolerance: float
) -> NDArray[np.float64]:
    return np.asarray(np.mean(np.abs(rows - usual) <= tolerance, axis=1))


_SAMPLES = 64
"""Pixels of a row that its usual grey is found from: the median of all takes ten times as long."""
_WORTH_A_LOOK = 0.5
"""Share of the sample. Where .98 of a row is of one grey, .5 of the sample is too, up to 1 600 pixels whatever the rest
is, and in wider pictures unless it lies just where the sample does."""
