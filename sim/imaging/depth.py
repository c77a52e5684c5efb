"""Fields that are not flat: parts of them focus at different working distances. Pure.

A field is split into a few layers of equal height; between two, a spot belongs to both by linear weights. Each layer is
blurred with the defocus of its own height, and the sum is divided by the equally blurred weights, so that no bright or
dark halo appears where two layers meet.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from afdaemon.sim.imaging.transfer import transfer
from afdaemon.sim.optics import Optics
from afdaemon.sim.surface import FloatImage

MOST_LAYERS = 12
"""Fields with more relief get wider steps instead: each layer costs a transform and a transfer function."""
LAYER_STEP_PX = 0.75
"""Neighbouring layers differ by at most this blur radius, unless there are too many."""
_FLAT_STEPS = 0.25
"""Relief below this share of a step counts as flat."""
_FAINTEST_WEIGHT = 1e-3
"""Floor of the blurred weights, which the signal is divided by."""

Spectra = NDArray[np.complex64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tilt:
    """The specimen's plane rises by `angle_rad` towards `azimuth_rad` (from x towards y of the stage).

    ASSUMED eucentric: the field's centre keeps its height. Foreshortening is left out.
    """

    angle_rad: float = 0.0
    azimuth_rad: float = 0.0


LEVEL = Tilt()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layers:
    """A field (H, W) split by height: heights (K,) in um, and half-plane spectra (K, H, W // 2 + 1), complex64.

    `weights` are the spectra of the layers' weights, None if there is only one layer.
    """

    size: tuple[int, int]
    height_um: NDArray[np.float64]
    spectra: Spectra
    weights: Spectra | None = None

    def blurred(
        self, optics: Optics, defocus_um: float, magnification: float, width_px: int
    ) -> tuple[Spectra, Spectra | None]:
        """Spectra of the blurred field and of the blurred weights (None where they are 1)."""
        transfers = [
            transfer(self.size, optics.blur(defocus_um + float(height), magnification, width_px))
            for height in self.height_um
        ]
        if self.weights is None:
            return self.spectra[0] * transfers[0], None
        signal, weight = np.zeros_like(self.spectra[0]), np.zeros_like(self.spectra[0])
        for k, response in enumerate(transfers):
            signal += self.spectra[k] * response
            weight += self.weights[k] * response
        return signal, weight


def plane_um(
    size: tuple[int, int], step_um: float, tilt: Tilt, rotation_rad: float
) -> FloatImage | None:
    """Height (H, W) of the tilted plane over a field whose pixels measure `step_um`; None where it is level."""
    if tilt.angle_rad == 0.0:
        return None
    azimuth = tilt.azimuth_rad - rotation_rad  # the stage's direction as the turned scan sees it
    x = (np.arange(size[1]) - 0.5 * (size[1] - 1)) * (step_um * math.cos(azimuth))
    y = (np.arange(size[0]) - 0.5 * (size[0] - 1)) * (step_um * math.sin(azimuth))
    slope = math.tan(tilt.angle_rad)
    return np.asarray(slope * (x[None, :] + y[:, None]), dtype=np.float32)


def layer_step_um(pixel_um: float, alpha_rad: float) -> float:
    """Height between two layers, the same for all angles within a factor of sqrt(2) so that layers can be cached."""
    rounded = math.exp2(0.5 * math.ceil(2.0 * math.log2(alpha_rad)))
    return LAYER_STEP_PX * pixel_um / rounded


def split(field: FloatImage, height_um: FloatImage | None, step_um: float) -> Layers:
    """The layers of `field` (H, W), at most `step_um` apart while there are no more than `MOST_LAYERS`."""
    size = (field.shape[0], field.shape[1])
    if height_um is None:
        return Layers(size=size, height_um=np.zeros(1), spectra=fft.rfft2(field)[None])
    low, high = float(height_um.min()), float(height_um.max())
    if high - low <= _FLAT_STEPS * step_um:
        mean = np.array([float(height_um.mean())])
        return Layers(size=size, height_um=mean, spectra=fft.rfft2(field)[None])
    count = min(MOST_LAYERS, 1 + math.ceil((high - low) / step_um))
    heights = np.linspace(low, high, count)
    place = (height_um - np.float32(low)) * np.float32((count - 1) / (high - low))
    weights = np.maximum(
        0.0, 1.0 - np.abs(place - np.arange(count, dtype=np.float32)[:, None, None])
    )
    weights = weights.astype(np.float32)
    return Layers(
        size=size,
        height_um=heights,
        spectra=fft.rfft2(weights * field),
        weights=fft.rfft2(weights),
    )


def normalised(signal: FloatImage, weight: FloatImage) -> FloatImage:
    """`signal` over `weight`, both (H, W)."""
    return np.asarray(signal / np.maximum(weight, np.float32(_FAINTEST_WEIGHT)), dtype=np.float32)
