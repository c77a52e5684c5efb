"""Grey values of the instrument's JPEGs, if they are undamaged; the size of one without decoding it.

A decoder takes as much memory as the header asks for, so the header is read first. ITU-T T.81,
annex B. A JPEG has no checksum. Most damage leaves codes that no encoder writes, too few of them or too many, and
libjpeg warns of it: such a warning is an error here. What it cannot notice, `level_jump` looks for.
"""

from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from afdaemon.drivers.base import MAX_FRAME_SIDE_PX
from afdaemon.drivers.errors import FrameInvalid, OverCap
from afdaemon.drivers.wire.level_jump import has_level_jump

JPEG_START = b"\xff\xd8"
_EOI = b"\xff\xd9"
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN = 0xDA
_BLOCK_PX = 8
_REMEDY = (
    "check the cable, the disk and the network between instrument and daemon; if every frame is refused so, set"
    " microscope.accept_odd_jpegs"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    """The picture's size, and that of the blocks in which it is written, in pixels."""

    width_px: int
    height_px: int
    block_px: tuple[int, int]


def decode_jpeg(data: bytes, *, strict: bool = True) -> NDArray[np.uint8]:
    """Grey values of a JPEG (the luma of a colour one), shape (height, width), uint8, read-only.

    Raises `FrameInvalid` for one that is damaged; unless `strict`, libjpeg's warnings don't count. The size is read
    from the header, and checked against the cap, before anything is decoded.
    """
    header = _read_header(data)
    width, height = header.width_px, header.height_px
    if max(width, height) > MAX_FRAME_SIDE_PX:
        raise OverCap(
            f"the image has {width} x {height} pixels, more than {MAX_FRAME_SIDE_PX} on a side"
        )
    try:
        decoded = simplejpeg.decode_jpeg(data, colorspace="GRAY", strict=strict)
    except ValueError as error:
        raise FrameInvalid(f"the JPEG is damaged: {error}", remedy=_REMEDY) from error
    pixels: NDArray[np.uint8] = decoded[..., 0]
    if pixels.shape != (height, width):
        raise FrameInvalid("the JPEG is damaged: it has two sizes")
    if has_level_jump(pixels, header.block_px):
        raise FrameInvalid("the JPEG is damaged: from one block on it is brighter or darker")
    pixels.flags.writeable = False
    return pixels


def jpeg_size(data: bytes) -> tuple[int, int]:
    """(width, height) in pixels of a complete JPEG.

    Raises `FrameInvalid` when it is cut off or not a JPEG.
    """
    header = _read_header(data)
    return header.width_px, header.height_px


def _read_header(data: bytes) -> _Header:
    if not data.startswith(JPEG_START):
        raise FrameInvalid("the image is not a JPEG")
    # Some writers reserve the space first: the zeros behind the end are not part of the image.
    if not data.rstrip(b"\0").endswith(_EOI):
        raise FrameInvalid("the JPEG is cut off: its end marker is missing")
    return _find_size(data)


def _find_size(data: bytes) -> _Header:
    at = len(JPEG_START)
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _STANDALONE or marker == 0xFF:
            at += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in _SIZE_MARKERS:
            return _read_size(data[at + 4 : at + 2 + length])
        if marker == _SCAN or length < 2:
            break
        at += 2 + length
    raise FrameInvalid("the JPEG's header names no image size")


def _read_size(segment: bytes) -> _Header:
    height = int.from_bytes(segment[1:3], "big")
    width = int.from_bytes(segment[3:5], "big")
    if len(segment) < 5 or not (width and height):
        raise FrameInvalid("the JPEG's header names no image size")
    return _Header(width_px=width, height_px=height, block_px=_block_px(segment))


def _block_px(segment: bytes) -> tuple[int, int]:
    """Height and width of what is coded together: 8 x 8 of a grey picture, more where colours are subsampled."""
    samplings = segment[7::3]
    if len(samplings) <= 1:
        return _BLOCK_PX, _BLOCK_PX
    tallest = max(sampling & 0x0F for sampling in samplings)
    widest = max(sampling >> 4 for sampling in samplings)
    return _BLOCK_PX * max(tallest, 1), _BLOCK_PX * max(widest, 1)
