"""The detector: from electrons that the specimen gives off to grey values."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afdaemon.sim.surface import FloatImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """Detector and amplifier.

    `electrons` is the mean count of a pixel of signal 1; a pixel of signal s is Poisson with mean s * electrons.
    The amplifier maps signal 0.5 to `brightness` (0..1 of the grey scale) with gain `contrast`, adds Gaussian
    `read_noise` (in grey levels) and applies `gamma`.
    """

    electrons: float = 150.0
    contrast: float = 1.0
    brightness: float = 0.5
    gamma: float = 1.0
    read_noise: float = 2.0


def detect(signal: FloatImage, detector: Detector, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Grey values, uint8 of the same (H, W), of a noise-free signal (0..1, float32)."""
    mean = np.clip(signal, 0.0, None) * detector.electrons
    counted = rng.poisson(mean).astype(np.float32) / np.float32(detector.electrons)
    level = detector.brightness + detector.contrast * (counted - 0.5)
    if detector.gamma != 1.0:
        level = np.clip(level, 0.0, 1.0) ** detector.gamma
    noise = rng.standard_normal(signal.shape, dtype=np.float32) * np.float32(detector.read_noise)
    return np.clip(np.rint(level * 255.0 + noise), 0, 255).astype(np.uint8)
