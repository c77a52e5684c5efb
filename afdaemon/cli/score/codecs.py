"""TIFFs that OpenCV does not read: with tifffile and imagecodecs, where they are installed (`afdaemon[images]`)."""

import io
import logging
import struct
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from afdaemon.drivers.base import MAX_FRAME_SIDE_PX
from afdaemon.drivers.errors import FrameInvalid
from afdaemon.drivers.wire.image import Samples
from afdaemon.drivers.wire.tiff import Page

if TYPE_CHECKING:
    from tifffile import TiffPage

_LIBRARIES = ("tifffile", "imagecodecs")
_MOST_BYTES = 16 * MAX_FRAME_SIDE_PX**2
"""Of samples: the largest picture in colour with alpha, of 32 bit each."""
_TROUBLES = (
    ArithmeticError, AttributeError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError,
    struct.error,
)  # fmt: skip
"""What the two raise for files that are damaged, or of a kind that they do not know."""


class CodecMissing(FrameInvalid):
    """A TIFF that takes libraries which are not installed."""

    remedy = "`pip install 'afdaemon[images]'` reads such files; or save it as PNG"


def odd_tiff(data: bytes, page: Page) -> Samples:
    """The samples of a TIFF that begins with this page: grey (H, W), or colours (H, W, 3), blue first.

    Raises:
        CodecMissing: the libraries are not installed.
        FrameInvalid: damaged, cut off, too large, or neither grey nor in colour.
    """
    if not all(map(find_spec, _LIBRARIES)):
        raise CodecMissing(f"the TIFF is {page.oddity}, which takes tifffile and imagecodecs")
    try:
        return _samples(data)
    except _TROUBLES as error:
        raise FrameInvalid(
            f"the TIFF is {page.oddity}, and damaged or of a kind that is not read"
        ) from error


def _samples(data: bytes) -> Samples:
    from tifffile import TiffFile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it warns of is told as an error
    with TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        _check(page, len(data))
        return _picture(page)


def _check(page: "TiffPage", file_bytes: int) -> None:
    """Before memory is taken; and tifffile takes what is missing at the end for black."""
    if page.nbytes > _MOST_BYTES:
        raise FrameInvalid(f"the image has more than {_MOST_BYTES >> 30} GiB of samples")
    parts = zip(page.dataoffsets, page.databytecounts, strict=True)
    if any(at + size > file_bytes for at, size in parts):
        raise FrameInvalid("the TIFF is cut off")


def _picture(page: "TiffPage") -> Samples:
    from tifffile import PHOTOMETRIC

    samples = page.asarray(maxworkers=1)
    if samples.ndim == 3 and page.axes.startswith("S"):
        samples = np.moveaxis(samples, 0, -1)
    if samples.dtype.kind not in "uif":
        raise ValueError("not of whole or floating numbers")
    is_grey = samples.ndim == 2 or (samples.ndim == 3 and samples.shape[2] == 2)
    match page.photometric:
        case PHOTOMETRIC.PALETTE if page.colormap is not None:
            return np.moveaxis(page.colormap[::-1, samples], 0, -1)
        case PHOTOMETRIC.RGB | PHOTOMETRIC.YCBCR if samples.ndim == 3:
            return samples[..., 2::-1]
        case PHOTOMETRIC.MINISBLACK | PHOTOMETRIC.MINISWHITE if is_grey:
            return _full_range(samples.reshape(*samples.shape[:2], -1)[..., 0], page.bitspersample)
        case _:
            raise ValueError("neither grey nor in colour")


def _full_range(grey: Samples, bits: int) -> Samples:
    """Samples of fewer than 8 bit spread over 8."""
    if grey.dtype != np.uint8 or bits >= 8:
        return grey
    return np.asarray(grey, np.uint8) * np.uint8(255 // (2**bits - 1))
