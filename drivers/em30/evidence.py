"""Whether a frame of the `stream` messages is evidence of what was commanded. Pure.

ASSUMED: a frame is stamped with the instrument's own clock, and an ACK says when the move has settled.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from afdaemon.drivers.base import same_magnification
from afdaemon.drivers.errors import FrameInvalid
from afdaemon.drivers.wire.image import GreyPixels, is_repeat
from afdaemon.drivers.wire.jpeg import decode_jpeg
from afdaemon.drivers.wire.messages import WD_RESOLUTION_UM, Encoding, FrameData


class Cause(StrEnum):
    """Why a frame is dropped, as `LinkStats` counts it."""

    STALE = "stale"
    FROZEN = "frozen"
    MISMATCH = "mismatch"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Objection:
    """A frame is not evidence, or none came: the cause, and the cause in words."""

    cause: Cause
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is required of a frame. None requires nothing.

    Its exposure began at `from_us` of the instrument's clock or later, its number is above `above_number`, its grey
    values are not those of `last`.
    """

    wd_um: float | None
    magnification: float | None
    wd_tolerance_um: float
    from_us: int
    above_number: int | None
    last: GreyPixels | None


def decode(frame: FrameData, *, strict: bool = True) -> GreyPixels:
    """The grey values of `frame`, (height, width), uint8 or uint16, read-only; `strict` is that of `decode_jpeg`.

    Raises `FrameInvalid`.
    """
    shape = (frame.height_px, frame.width_px)
    if frame.encoding is Encoding.RAW:
        return _raw(frame).reshape(shape)
    image = decode_jpeg(frame.data, strict=strict)
    if image.shape != shape or frame.bits != 8:
        raise FrameInvalid(f"the JPEG has {image.shape[1]} x {image.shape[0]} pixels of 8 bit")
    return image


def _raw(frame: FrameData) -> GreyPixels:
    if frame.bits == 8:
        return np.frombuffer(frame.data, np.uint8)
    return np.frombuffer(frame.data, "<u2").astype(np.uint16, copy=False)


def objection(frame: FrameData, pixels: GreyPixels, wanted: Wanted) -> Objection | None:
    """Why `frame` is not evidence; None if it is."""
    if frame.start_us < wanted.from_us:
        early_s = 1e-6 * (wanted.from_us - frame.start_us)
        return _stale(f"its exposure began {early_s:.3f} s before the last move had settled")
    if wanted.magnification is not None and not same_magnification(
        frame.magnification, wanted.magnification
    ):
        return _mismatch(f"it was taken at magnification {frame.magnification:g}")
    if (
        wanted.wd_um is not None
        and abs(frame.wd_um - wanted.wd_um) > wanted.wd_tolerance_um + WD_RESOLUTION_UM
    ):
        return _mismatch(
            f"it was taken at {frame.wd_um:.1f} um, commanded was {wanted.wd_um:.1f} um"
        )
    if is_repeat(pixels, wanted.last):
        return Objection(cause=Cause.FROZEN, why="it is identical to the one before")
    if wanted.above_number is not None and frame.number <= wanted.above_number:
        return _stale(f"it is number {frame.number}, after number {wanted.above_number}")
    return None


def _stale(why: str) -> Objection:
    return Objection(cause=Cause.STALE, why=why)


def _mismatch(why: str) -> Objection:
    return Objection(cause=Cause.MISMATCH, why=why)
