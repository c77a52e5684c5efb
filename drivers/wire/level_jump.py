"""Damage that a JPEG's decoder cannot notice: from some block on, the whole picture is brighter or darker. Pure.

The grey level of a block is written as the difference from the block before. One changed bit there, and all blocks
that follow, from left to right and from top to bottom, are off by the same amount. The border is a step:

    0 0 0 0 0 0 0 0
    0 0 0 0 1 1 1 1     row of blocks with the damage: a jump above it, right of the block
    1 1 1 1 1 1 1 1     the next one: the same jump above it, left of the block

A specimen, a data bar and a line scan have edges too, but not two jumps that are the same, begin where the other ends,
and are exactly one row of blocks apart.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_SURE = 6.0
"""Standard errors of both jumps. `benchmarks/damaged_jpeg.py` measures what undamaged pictures reach: 5.2."""
_ELSEWHERE = 0.5
"""Where there should be no jump there may be this share of it, and two standard errors: more is an edge."""
_LEAST_NOISE = 0.5
"""Grey levels: in a picture with less noise, rounding decides."""
_CLIP = 4.0
"""Standard deviations at which a single block's jump is cut: it is an edge of the specimen."""
_FEWEST = 4
"""Rows and columns of blocks that are needed to see anything."""


def has_level_jump(pixels: NDArray[np.uint8], block_px: tuple[int, int]) -> bool:
    """Whether the picture, uint8 (H, W), shows that damage; `block_px` is a block's height and width in pixels."""
    return jump_size(pixels, block_px) > _SURE


def jump_size(pixels: NDArray[np.uint8], block_px: tuple[int, int]) -> float:
    """The largest such pair of jumps, the weaker of both, in standard errors; 0 where there is none."""
    jumps = _jumps(pixels, *block_px)
    if min(jumps.shape) < _FEWEST:
        return 0.0
    left, right, sigma = _halves(jumps)
    return float(_pairs(left, right, sigma).max())


def _jumps(pixels: NDArray[np.uint8], height: int, width: int) -> Floats:
    """How much brighter each block begins than the one above ends, beyond the slope there; (rows - 1, columns).

    In standard deviations of the picture's own jumps, and cut.
    """
    columns = pixels.shape[1] // width
    at = np.arange(height, pixels.shape[0] - 1, height)
    near = pixels[:, : columns * width].astype(np.float32)
    step = near[at] - near[at - 1]
    slope = 0.5 * (near[at + 1] - near[at] + near[at - 1] - near[at - 2])
    jumps: Floats = (step - 0.5 * slope).reshape(len(at), columns, width).mean(axis=2)
    if jumps.size:
        jumps -= np.median(jumps)
        noise = max(1.4826 * float(np.median(np.abs(jumps))), _LEAST_NOISE)
        np.clip(jumps / noise, -_CLIP, _CLIP, out=jumps)
    return jumps


def _halves(jumps: Floats) -> tuple[Floats, Floats, Floats]:
    """Means left and right of each column at which a row may be divided, and their scatter; (rows, columns - 1)."""
    columns = jumps.shape[1]
    left_n = np.arange(1, columns, dtype=np.float32)
    right_n = columns - left_n
    sums, squares = np.cumsum(jumps, axis=1), np.cumsum(jumps * jumps, axis=1)
    left = sums[:, :-1] / left_n
    right = (sums[:, -1:] - sums[:, :-1]) / right_n
    scatter = squares[:, -1:] - left_n * left * left - right_n * right * right
    return left, right, np.sqrt(np.maximum(scatter / (columns - 2), 1.0))


def _pairs(left: Floats, right: Floats, sigma: Floats) -> Floats:
    """The weaker of a row's jump on the right and the next row's on the left, in standard errors.

    0 where they differ in sign, or where the rest of the two rows jumps as well.
    """
    columns = left.shape[1] + 1
    left_n = np.arange(1, columns, dtype=np.float32)
    right_n = columns - left_n
    above, below = (right - left)[:-1], (left - right)[1:]
    in_errors = np.sqrt(left_n * right_n / columns)
    weaker = np.minimum(np.abs(above) / sigma[:-1], np.abs(below) / sigma[1:]) * in_errors
    elsewhere = np.maximum(
        np.abs(left[:-1]) - 2.0 * sigma[:-1] / np.sqrt(left_n),
        np.abs(right[1:]) - 2.0 * sigma[1:] / np.sqrt(right_n),
    )
    is_pair = (above * below > 0.0) & (elsewhere < _ELSEWHERE * np.abs(above + below) / 2.0)
    return np.where(is_pair, weaker, 0.0).astype(np.float32)
