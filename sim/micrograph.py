"""A real micrograph as a specimen: its grey values become the electron yield.

It has been imaged once already, so it is cleaned (median) and mapped finely: at 1000x three of its pixels fall on one
of a fast-mode frame, where its own blur and noise are mostly below the pixel. Beyond its border it is mirrored.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from afdaemon.sim.errors import SpecimenError
from afdaemon.sim.noise import Patch
from afdaemon.sim.optics import FloatImage, pixel_um

IMAGE_PIXEL_UM = pixel_um(1000.0) / 3.0
"""Size of an image pixel on the specimen: a third of a fast-mode pixel at 1000x."""

MAX_FILE_BYTES = 256 * 2**20
MIN_SIDE_PX = 64
MAX_SIDE_PX = 16384
_IMAGE_REMEDY = "give an 8 or 16 bit PNG, TIFF or JPEG micrograph"


@dataclass(frozen=True, slots=True, eq=False)
class Micrograph:
    """Yield (0..1, float32 (H, W)) at `pixel_um` um a pixel; the image's centre lies at (0, 0)."""

    values: FloatImage
    pixel_um: float = IMAGE_PIXEL_UM

    def draw(self, patch: Patch) -> FloatImage:
        """Electron yield of `patch`; area-averaged where the patch is coarser than the image."""
        height, width = self.values.shape
        ratio = patch.step_um / self.pixel_um
        source = self.values
        reduction = max(1, int(ratio))
        if reduction > 1:
            size = (max(1, width // reduction), max(1, height // reduction))
            source = np.asarray(
                cv2.resize(source, size, interpolation=cv2.INTER_AREA), dtype=np.float32
            )
        scale_x = source.shape[1] / width / self.pixel_um
        scale_y = source.shape[0] / height / self.pixel_um
        x = (patch.left_um + patch.step_um * np.arange(patch.width)) * scale_x
        y = (patch.top_um + patch.step_um * np.arange(patch.height)) * scale_y
        return _sample_mirrored(source, x + source.shape[1] / 2, y + source.shape[0] / 2)


def _sample_mirrored(
    image: FloatImage, x: NDArray[np.float64], y: NDArray[np.float64]
) -> FloatImage:
    """Bilinear samples at the outer product of `x` and `y`, the image mirrored without end."""

    def fold(values: NDArray[np.float64], size: int) -> NDArray[np.float32]:
        period = 2.0 * (size - 1)
        wrapped = np.mod(values, period)
        return np.minimum(wrapped, period - wrapped).astype(np.float32)

    grid_x, grid_y = np.meshgrid(fold(x, image.shape[1]), fold(y, image.shape[0]))
    return np.asarray(cv2.remap(image, grid_x, grid_y, cv2.INTER_LINEAR), dtype=np.float32)


def load_micrograph(path: Path) -> Micrograph:
    """Read, check, crop and normalise a micrograph file.

    Colour is turned to grey, 16 bit is kept, a data bar at the bottom is cut off, and the greys are stretched so that
    their mean is .5 and their spread that of a well set detector.

    Raises:
        SpecimenError: missing, not an image, truncated, too small or too large, or without any contrast.
    """
    grey = _read_grey(path)
    grey = crop_data_bar(grey)
    if min(grey.shape) < MIN_SIDE_PX:
        raise SpecimenError(
            f"{path} is {grey.shape[1]} x {grey.shape[0]} pixels without its data bar;"
            f" a specimen needs at least {MIN_SIDE_PX} x {MIN_SIDE_PX}",
            remedy=_IMAGE_REMEDY,
        )
    clean = np.asarray(cv2.medianBlur(grey.astype(np.float32), 3), dtype=np.float32)
    low, high = np.percentile(clean, (2.0, 98.0))
    if high - low < 1e-3 * max(1.0, float(np.abs(clean).max())):
        raise SpecimenError(
            f"{path} shows no contrast (all greys alike)", remedy="give an image of a specimen"
        )
    values = np.clip(0.2 + 0.6 * (clean - low) / (high - low), 0.0, 1.0)
    return Micrograph(np.asarray(values, dtype=np.float32))


def _read_grey(path: Path) -> FloatImage:
    """Grey values of an image file, float32 (H, W)."""
    if not path.is_file():
        raise SpecimenError(f"{path}: there is no such file", remedy=_IMAGE_REMEDY)
    if path.stat().st_size > MAX_FILE_BYTES:
        raise SpecimenError(f"{path} is larger than 256 MiB", remedy=_IMAGE_REMEDY)
    data = np.fromfile(path, dtype=np.uint8)
    image = None if data.size == 0 else _decode(data)
    if image is None:
        raise SpecimenError(f"{path} is not a whole image that can be read", remedy=_IMAGE_REMEDY)
    if max(image.shape) > MAX_SIDE_PX:
        raise SpecimenError(f"{path} is wider or higher than {MAX_SIDE_PX} pixels")
    if image.ndim == 3:
        colour = image[:, :, :3].astype(np.float32)
        weights = np.array([0.114, 0.587, 0.299], dtype=np.float32)
        return np.asarray(colour @ weights, dtype=np.float32)
    if image.dtype not in (np.uint8, np.uint16):
        raise SpecimenError(f"{path} has samples of type {image.dtype}", remedy=_IMAGE_REMEDY)
    return image.astype(np.float32)


def _decode(data: NDArray[np.uint8]) -> NDArray[np.generic] | None:
    try:
        return cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None


def crop_data_bar(grey: FloatImage) -> FloatImage:
    """Cut off the strip of text that many microscopes put at the bottom, if there is one.

    A bar is recognised by its ground: from some row in the lowest third on, most pixels of most rows share one value.
    """
    height = grey.shape[0]
    median = np.median(grey, axis=1, keepdims=True)
    flat = np.mean(np.abs(grey - median) <= 1.0, axis=1) > 0.5
    start = height
    lowest = height - height // 3
    while start > lowest and np.mean(flat[start - 1 : start + 8]) > 0.5:
        start -= 1
    bar = grey[start:]
    is_bar = height // 50 <= height - start < height // 3 and flat[start:].mean() > 0.5
    text = is_bar and float(bar.max() - bar.min()) > 60.0
    return grey[:start] if text else grey
