"""A part of a frame, judged as the whole would be."""

from dataclasses import dataclass

from afdaemon.models.frames.preprocess import Pixels, reduced_grey, reduction_factor


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a frame, in shares of its width and height from the upper left corner."""

    x: float = 0.0
    y: float = 0.0
    width: float = 1.0
    height: float = 1.0


WHOLE = Part()


def cut(pixels: Pixels, part: Part) -> Pixels:
    """That part of a frame (H, W), at the sampling that the whole is judged at, so that scores compare."""
    if part == WHOLE:
        return pixels
    reduced = reduced_grey(pixels, reduction_factor(pixels.shape[1]))
    height, width = reduced.shape
    top, left = round(part.y * height), round(part.x * width)
    return reduced[top : top + round(part.height * height), left : left + round(part.width * width)]
