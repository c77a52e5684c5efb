"""Grey values of the instrument's JPEGs; the size of one, and whether it is complete, without decoding it.

A decoder takes as much memory as the header asks for, so the header is read first. ITU-T T.81,
annex B.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from afdaemon.drivers.base import MAX_FRAME_SIDE_PX
from afdaemon.drivers.errors import FrameInvalid, OverCap

_SOI = b"\xff\xd8"
_EOI = b"\xff\xd9"
_STANDALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN = 0xDA


def decode_jpeg(data: bytes) -> NDArray[np.uint8]:
    """Grey values of a JPEG (its first channel), shape (height, width), uint8, read-only.

    Raises `FrameInvalid`. The size is read from the header, and checked against the cap, before
    anything is decoded.
    """
    width, height = jpeg_size(data)
    if max(width, height) > MAX_FRAME_SIDE_PX:
        raise OverCap(
            f"the image has {width} x {height} pixels, more than {MAX_FRAME_SIDE_PX} on a side"
        )
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise FrameInvalid("the JPEG cannot be decoded") from error
    if decoded is None or decoded.dtype != np.uint8 or decoded.shape[:2] != (height, width):
        raise FrameInvalid("the JPEG cannot be decoded")
    first = decoded if decoded.ndim == 2 else decoded[..., 0]
    pixels = np.ascontiguousarray(first, dtype=np.uint8)
    pixels.flags.writeable = False
    return pixels


def jpeg_size(data: bytes) -> tuple[int, int]:
    """(width, height) in pixels of a complete JPEG.

    Raises `FrameInvalid` when it is cut off or not a JPEG.
    """
    if not data.startswith(_SOI):
        raise FrameInvalid("the image is not a JPEG")
    # Some writers reserve the space first: the zeros behind the end are not part of the image.
    if not data.rstrip(b"\0").endswith(_EOI):
        raise FrameInvalid("the JPEG is cut off: its end marker is missing")
    return _find_size(data)


def _find_size(data: bytes) -> tuple[int, int]:
    at = len(_SOI)
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


def _read_size(segment: bytes) -> tuple[int, int]:
    height = int.from_bytes(segment[1:3], "big")
    width = int.from_bytes(segment[3:5], "big")
    if len(segment) < 5 or not (width and height):
        raise FrameInvalid("the JPEG's header names no image size")
    return width, height
