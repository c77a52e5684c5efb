"""Image files: bytes in, grey pixels out. PNG, JPEG, TIFF and BMP, grey or colour.

Samples of other types than 8 or 16 bit (TIFF has signed, long and floating ones) are scaled to 16 bit. TIFFs that
OpenCV reads wrongly, or not at all (`Page.oddity`), are left to the caller's own decoder, or refused.

Files come from anywhere, so the size that the header promises is checked before a decoder reserves memory for it, and
an image that is cut off is refused instead of being shown half grey.
"""

import math
import struct
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from afdaemon.drivers.base import MAX_FRAME_SIDE_PX
from afdaemon.drivers.errors import FrameInvalid
from afdaemon.drivers.wire import tiff
from afdaemon.drivers.wire.jpeg import JPEG_START, decode_jpeg, jpeg_size
from afdaemon.grey import scale

GreyPixels = scale.Pixels
Samples = NDArray[np.generic]
"""As a file holds them: (H, W), or (H, W, colours) in OpenCV's order, blue first."""
Decoder = Callable[[bytes, tiff.Page], Samples]
"""Reads the first page of a TIFF, or raises `FrameInvalid`."""

MAX_FILE_BYTES = 256 * 2**20
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNK_BYTES = 12
"""Without its data: length, type, checksum."""
_MAX_PNG_CHUNKS = 2**16
"""With chunks of 8 KiB, as libpng writes them, more than any picture that is read here needs."""
_PNG_END = b"IEND\xaeB`\x82"
_BMP, _BMP_HEADER_BYTES = b"BM", 40
"""The header of Windows 3 (BITMAPINFOHEADER), or a later one, which begins alike."""
_GREY_OF_BGR = np.array([0.114, 0.587, 0.299], dtype=np.float32)
"""ITU-R BT.601 luma, in OpenCV's channel order."""


_NEW_SHARE = 0.01
"""A new exposure differs by its noise in most pixels; a frozen picture with a clock or a comment in it, in few."""


def is_repeat(pixels: GreyPixels, before: GreyPixels | None) -> bool:
    """Whether a picture is the one before, but for a few pixels. What is white or black in both tells nothing."""
    if before is None or (pixels.shape, pixels.dtype) != (before.shape, before.dtype):
        return False
    differ = pixels != before
    told = differ | ((pixels > 0) & (pixels < np.iinfo(pixels.dtype).max))
    return int(np.count_nonzero(differ)) <= _NEW_SHARE * int(np.count_nonzero(told))


def decode_grey(data: bytes, odd_tiff: Decoder | None = None) -> GreyPixels:
    """Grey pixels, uint8 or uint16 (H, W), of an image file's bytes; colour becomes luma, alpha is dropped.

    `odd_tiff` decodes the TIFFs that OpenCV reads wrongly or not at all; without it they are refused.

    Raises:
        FrameInvalid: not a PNG, JPEG, TIFF or BMP, cut off, damaged, too large, odd, or not of numbers.
    """
    if data.startswith(JPEG_START) and len(data) <= MAX_FILE_BYTES:
        return decode_jpeg(data)
    if len(data) > MAX_FILE_BYTES:
        raise FrameInvalid(f"the image file is larger than {MAX_FILE_BYTES >> 20} MiB")
    width, height = image_size(data)
    if max(width, height) > MAX_FRAME_SIDE_PX:
        raise FrameInvalid(
            f"the image is {width} x {height} pixels; at most {MAX_FRAME_SIDE_PX} a side are read"
        )
    if tiff.is_tiff(data):
        return _decode_tiff(data, next(tiff.pages(data)), odd_tiff)
    return _to_grey(_unsigned(_decode(data)))


def _decode_tiff(data: bytes, page: tiff.Page, odd_tiff: Decoder | None) -> GreyPixels:
    if not page.oddity:
        is_negative = page.white_is_zero and page.bits > 8  # OpenCV turns those of fewer bits
        samples = _decode(data)
    elif odd_tiff is not None:
        is_negative, samples = page.white_is_zero, odd_tiff(data, page)
    else:
        raise FrameInvalid(f"the TIFF is {page.oddity}, which is not read here")
    grey = _to_grey(_unsigned(samples))
    return _negative(grey) if is_negative else grey


def _negative(grey: GreyPixels) -> GreyPixels:
    turned = scale.full_scale(grey) - grey
    is_byte = grey.dtype == np.uint8
    return np.asarray(turned, np.uint8) if is_byte else np.asarray(turned, np.uint16)


def _unsigned(image: Samples) -> GreyPixels:
    """The samples as they are, or scaled to 16 bit from the lowest to the highest; of 8 bit if no more is used."""
    is_shallow = image.dtype == np.uint16 and int(image.max()) < 2**8
    if image.dtype == np.uint8 or is_shallow:
        return np.asarray(image, np.uint8)
    if image.dtype == np.uint16:
        return np.asarray(image, np.uint16)
    values = image.astype(np.float64)
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise FrameInvalid("the image has samples that are not numbers")
    gain = (2**16 - 1) / (high - low) if high > low else 0.0
    return np.rint((values - low) * gain).astype(np.uint16)


def _decode(data: bytes) -> Samples:
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    finally:
        cv2.utils.logging.setLogLevel(level)
    if image is None:
        raise FrameInvalid("the image cannot be decoded: it is damaged, cut off, or of a rare kind")
    return image


def _to_grey(image: GreyPixels) -> GreyPixels:
    if image.ndim == 3 and image.shape[2] >= 3:
        grey = np.rint(image[:, :, :3].astype(np.float32) @ _GREY_OF_BGR)
    else:
        grey = image if image.ndim == 2 else image[:, :, 0]
    if image.dtype == np.uint8:
        return np.asarray(grey, dtype=np.uint8)
    return np.asarray(grey, dtype=np.uint16)


def image_size(data: bytes) -> tuple[int, int]:
    """(width, height) in pixels that an image file's header promises.

    Raises:
        FrameInvalid: not a PNG, JPEG, TIFF or BMP, or cut off.
    """
    try:
        if data.startswith(_PNG):
            return _png_size(data)
        if tiff.is_tiff(data):
            return _tiff_size(data)
        if data.startswith(JPEG_START):
            return jpeg_size(data)
        if data.startswith(_BMP):
            return _bmp_size(data)
    except struct.error as error:
        raise FrameInvalid("the image is cut off in its header") from error
    raise FrameInvalid("it is not a PNG, JPEG, TIFF or BMP image")


def _png_size(data: bytes) -> tuple[int, int]:
    if _PNG_END not in data[-64:]:
        raise FrameInvalid("the PNG is cut off: its end is missing")
    width, height = struct.unpack_from(">II", data, 16)
    _check_png_chunks(data)
    return width, height


def _check_png_chunks(data: bytes) -> None:
    """A decoder reserves what a chunk claims, up to 4 GiB, before it looks whether so much is there."""
    at = len(_PNG)
    for _ in range(_MAX_PNG_CHUNKS):
        length, kind = struct.unpack_from(">I4s", data, at)
        at += _PNG_CHUNK_BYTES + length
        if at > len(data):
            raise FrameInvalid("the PNG is damaged: a chunk is longer than the file")
        if kind == _PNG_END[:4]:
            return
    raise FrameInvalid(f"the PNG has more than {_MAX_PNG_CHUNKS} chunks")


def _tiff_size(data: bytes) -> tuple[int, int]:
    first = next(tiff.pages(data))
    return first.width_px, first.height_px


def _bmp_size(data: bytes) -> tuple[int, int]:
    """Rows are not compressed: what is missing can be counted."""
    (pixels_at,) = struct.unpack_from("<I", data, 10)
    header, width, height, _, bits, packing = struct.unpack_from("<IiiHHI", data, 14)
    if header < _BMP_HEADER_BYTES or width <= 0 or height == 0 or packing != 0:
        raise FrameInvalid("the BMP is compressed, or of an old kind: save it as PNG")
    row_bytes = (width * bits + 31) // 32 * 4
    if pixels_at + row_bytes * abs(height) > len(data):
        raise FrameInvalid("the BMP is cut off")
    return width, abs(height)
