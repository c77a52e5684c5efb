"""A real micrograph as a specimen: its grey values become the electron yield.

It has been imaged once already, so it is cleaned (median) and mapped finely: at 1000x three of its pixels make one of a
fast-mode frame, so that its own blur and noise are mostly below the pixel. Beyond its border it is mirrored.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from afdaemon.drivers.errors import FrameInvalid
from afdaemon.drivers.wire.image import GreyPixels, decode_grey
from afdaemon.grey.data_bar import without_data_bar
from afdaemon.sim.errors import SpecimenError
from afdaemon.sim.optics import pixel_um
from afdaemon.sim.surface import FloatImage, Patch, Surface

_IMAGE_PIXEL_UM = pixel_um(1000.0) / 3.0
"""Size of an image pixel on the specimen: a third of a fast-mode pixel at 1000x."""

MIN_SIDE_PX = 64
_IMAGE_REMEDY = "give an 8 or 16 bit PNG, TIFF or JPEG micrograph"


@dataclass(frozen=True, slots=True, eq=False)
class Micrograph:
    """Yield (0..1, float32 (H, W)) at `pixel_um` um a pixel; the image's centre lies at (0, 0)."""

    values: FloatImage
    pixel_um: float = _IMAGE_PIXEL_UM

    def draw(self, patch: Patch) -> Surface:
        """Electron yield of `patch`, flat; area-averaged where the patch is coarser than the image."""
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
        yields = _sample_mirrored(source, x + source.shape[1] / 2, y + source.shape[0] / 2)
        return Surface(secondary=yields)


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
    their spread is that of a well set detector.

    Raises:
        SpecimenError: missing, not an image, truncated, too small or too large, or without any contrast.
    """
    grey = without_data_bar(_read_grey(path))
    if min(grey.shape) < MIN_SIDE_PX:
        raise SpecimenError(
            f"{path} is {grey.shape[1]} x {grey.shape[0]} pixels without its data bar;"
            f" a specimen needs at least {MIN_SIDE_PX} x {MIN_SIDE_PX}",
            remedy=_IMAGE_REMEDY,
        )
    clean = np.asarray(cv2.medianBlur(grey.astype(np.float32), 3), dtype=np.float32)
    low, high = np.percentile(clean, (2.0, 98.0))
    if high - low < 1e-3 * max(1.0, float(clean.max())):
        raise SpecimenError(
            f"{path} shows no contrast (all greys alike)", remedy="give an image of a specimen"
        )
    values = np.clip(0.2 + 0.6 * (clean - low) / (high - low), 0.0, 1.0)
    return Micrograph(np.asarray(values, dtype=np.float32))


def _read_grey(path: Path) -> GreyPixels:
    try:
        return decode_grey(path.read_bytes())
    except OSError as error:
        raise SpecimenError(
            f"{path} cannot be read: {error.strerror}", remedy=_IMAGE_REMEDY
        ) from error
    except FrameInvalid as error:
        raise SpecimenError(
            f"{path} cannot be a specimen: {error}", remedy=_IMAGE_REMEDY
        ) from error
