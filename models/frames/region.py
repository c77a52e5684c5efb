"""A region of a frame, judged as the whole would be."""

from dataclasses import dataclass

from afdaemon.models.frames.preprocess import Pixels, reduced_grey, reduction_factor


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A region of a frame, in shares of its width and height from the upper left corner."""

    x: float = 0.0
    y: float = 0.0
    width: float = 1.0
    height: float = 1.0


WHOLE = Region()


def cut(pixels: Pixels, region: Region) -> Pixels:
    """That region of a frame (H, W), at the sampling that the whole is judged at, so that scores can be compared."""
    if region == WHOLE:
        return pixels
    reduced = reduced_grey(pixels, reduction_factor(pixels.shape[1]))
    height, width = reduced.shape
    top, left = round(region.y * height), round(region.x * width)
    return reduced[
        top : top + round(region.height * height), left : left + round(region.width * width)
    ]
