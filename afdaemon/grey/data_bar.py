"""The strip of text that many microscopes put below or above the picture: found by its background, and cut off."""

import numpy as np
from numpy.typing import NDArray

from afdaemon.grey.scale import Pixels, levels, share_of_one_grey

_TOLERANCE = 2.0
"""A drawn background is of one grey; JPEG leaves a step or two. In 256 levels, as all greys here."""
_BACKGROUND_SHARE = 0.5
"""Of a row's pixels, that are as its background: a row of large text has about 0.6."""
_TEXT_ROW_COST = 2.0
"""A row without background (a frame, a line, large text) counts against as many rows with it."""
_LEAST_CONTRAST = 60.0
"""Between text and background."""
_MOST_LIKE_IT = 0.2
"""Share of the picture's rows that look like a bar's, above which nothing can be told: a blank or saturated frame."""
_LOWEST, _HIGHEST = 60, 3
"""A bar has at least a 60th of the rows, and less than a third."""


def without_data_bar(pixels: Pixels) -> Pixels:
    """The picture alone, of an image (H, W); the image itself if there is no bar below or above."""
    return pixels[picture_rows(pixels)]


def picture_rows(pixels: Pixels) -> slice:
    """Which rows of an image (H, W) are picture: all but a data bar below, or one above."""
    height = pixels.shape[0]
    grey = levels(pixels)
    flat = share_of_one_grey(grey, _TOLERANCE) > _BACKGROUND_SHARE
    end = _begin_of_bar(grey, flat)
    if end < height:
        return slice(0, end)
    return slice(height - _begin_of_bar(grey[::-1], flat[::-1]), height)


def _begin_of_bar(grey: NDArray[np.float32], flat: NDArray[np.bool_]) -> int:
    """The first row of a bar at the end; the number of rows if there is none."""
    height = len(flat)
    first = height - (height - 1) // _HIGHEST
    if first >= height:
        return height
    worth = np.where(flat, 1.0, -_TEXT_ROW_COST)[::-1].cumsum()[::-1]
    begin = first + int(np.argmax(worth[first:]))
    bar = grey[begin:]
    is_bar = (
        worth[begin] > 0.0
        and len(bar) >= max(2, height // _LOWEST)
        and float(np.ptp(bar)) > _LEAST_CONTRAST
        and float(np.mean(flat[:begin])) < _MOST_LIKE_IT
    )
    return begin if is_bar else height
