"""A frame with the control parameters that it was taken with, and the image that scorers judge of it."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from afdaemon.models.errors import ImageError
from afdaemon.models.frames.preprocess import (
    MIN_SIDE_PX,
    FloatImage,
    Pixels,
    reduction_factor,
    resampled,
    to_unit,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """A frame, uint8 or uint16 (H, W), and the control parameters that it was taken with.

    `brightness` and `contrast` are those of the detector (0..1, and a gain around 1), `wd_um` the commanded WD. Most
    scorers look at the pixels alone. `scanned_px` is the width of the whole frame if `pixels` are a part of it, else 0.
    """

    pixels: Pixels
    magnification: float
    brightness: float = 0.5
    contrast: float = 1.0
    wd_um: float = 20_000.0
    scanned_px: int = 0


def judged_image(shot: Shot) -> FloatImage:
    """The frame as every scorer judges it: 0..1, float32, reduced to the sampling of the training.

    Raises:
        ImageError: the frame is too small, or the magnification is not a positive number.
    """
    if not (math.isfinite(shot.magnification) and shot.magnification > 0.0):
        raise ImageError(
            f"magnification must be a positive number, got {shot.magnification}",
            remedy="give the magnification the image was taken at, e.g. 2000",
        )
    height_px, width_px = shot.pixels.shape
    image = resampled(to_unit(shot.pixels), reduction_factor(shot.scanned_px or width_px))
    if min(image.shape) < MIN_SIDE_PX:
        raise ImageError(f"a frame of {width_px} x {height_px} pixels is too small to judge")
    return image


def batches_of_one_size(sizes: Sequence[tuple[int, ...]], at_once: int) -> Iterator[list[int]]:
    """Indices of frames of one size, at most `at_once` together; each index comes once."""
    by_size: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for place, size in enumerate(sizes):
        by_size[size].append(place)
    for places in by_size.values():
        for first in range(0, len(places), at_once):
            yield places[first : first + at_once]
