"""Frames whose scores cannot be trusted, recognised from their pixels."""

import cv2
import numpy as np

from afdaemon.models.frames.noise_floor import lacks_noise
from afdaemon.models.frames.preprocess import Pixels, reduce

BLANK, COVERED = "blank", "covered"
"""How doubts about frames that show nothing begin, and about those that mostly show something else."""
_LEAST_GREY_LEVELS = 10
"""With fewer, the steps between them are edges, which look sharp however blurred the frame is."""
_LEAST_SPREAD = 1.0
"""Standard deviation in steps of the grey scale: below it a frame is mostly rounding."""
_LEAST_GROUPING = 1.3
"""Variance of means over blocks of pixels, times the pixels of a block, over that of pixels: 1 for white noise."""
_MOST_SATURATED = 0.75
"""Share of saturated pixels above which a frame is doubted. Half of a grid's frame may be black holes."""
_MOST_MASKED = 0.6
"""Share of a frame that may be covered: a border of 15 % of the height on each side leaves just over a half."""
_FARTHEST = 1.0
"""Distance from the training's features above which a frame is out of distribution."""
DOUBTFUL_CONFIDENCE = 0.2
"""Highest confidence of a doubted score."""

_BLOCK_PX = 4
"""Side of the blocks whose means `grouping` compares with pixels."""
_SLOW_LINES, _SLOW_KERNEL = 24.0, (1, 193)
"""Spread of the Gaussian mean over lines, and its kernel: what lines differ by within it is not part of the picture."""
_TAIL = 0.001
"""Share of the darkest and of the brightest pixels that is ignored: specks are not part of the picture."""


def doubt_of(pixels: Pixels, saturated: float, distance: float = 0.0) -> str:
    """Why a score of this frame (uint8 or uint16, (H, W)) should not be trusted; "" if there is no reason to doubt it.

    `saturated` is its share of saturated pixels, `distance` that of its features (`models.aenet.out_of_distribution`).
    """
    levels = grey_levels(pixels)
    if levels < _LEAST_GREY_LEVELS:
        return f"{BLANK}: {levels} grey level{'s' if levels > 1 else ''} in use"
    if float(cv2.meanStdDev(pixels)[1][0, 0]) < _LEAST_SPREAD:
        return f"{BLANK}: grey values spread by less than one step"
    if saturated > _MOST_SATURATED:
        return f"saturated: {saturated:.0%} of the pixels are black or white"
    if grouping(pixels) < _LEAST_GROUPING:
        return f"{BLANK}: nothing but noise"
    if lacks_noise(pixels):
        return "too little noise for its contrast: print, a drawing or a photograph"
    if distance > _FARTHEST:
        return "unlike every frame of the training"
    return ""


def covered(masked: float) -> str:
    """Why a frame of which that share was left out should not be trusted; "" if enough of it is left."""
    if masked <= _MOST_MASKED:
        return ""
    return f"{COVERED}: {masked:.0%} of the frame is border or print"


def grey_levels(pixels: Pixels) -> int:
    """How many levels of the grey scale a frame uses, its darkest and brightest 0.1 % left out."""
    counts = np.bincount(pixels.ravel())
    up_to = counts.cumsum()
    tail = _TAIL * pixels.size
    middle = (up_to > tail) & (up_to - counts < pixels.size - tail)
    return int(np.count_nonzero(counts[middle]))


def grouping(pixels: Pixels) -> float:
    """How much neighbouring pixels have in common: 1 if they are independent, more the coarser the picture.

    A picture with a seventh of the noise's spread reaches about 1.3. Differences between whole lines do not count: a
    specimen that charges a little leaves them where there is nothing else to see.
    """
    whole = pixels.astype(np.float32)
    lines = whole.mean(axis=1, keepdims=True)
    whole -= lines - cv2.GaussianBlur(lines, _SLOW_KERNEL, sigmaX=0.0, sigmaY=_SLOW_LINES)
    means = reduce(whole, _BLOCK_PX)
    fine, coarse = (float(cv2.meanStdDev(image)[1][0, 0]) ** 2 for image in (whole, means))
    return _BLOCK_PX**2 * coarse / fine if fine > 0.0 else 0.0
