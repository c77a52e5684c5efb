"""What a detector and a column add to a series: noise, gains that wander, images that shift and blur."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from afdaemon.energy.physics.scattering import Floats

_DARKEST = 1e-3
"""The least brightness that is believed: a dead pixel has no logarithm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """How a pixel's brightness scatters.

    As electrons do (`poisson`), by the same amount (`gaussian`), or by the same share of itself (`relative`).

    `share` is the standard deviation on the bare substrate: .02 are 2 % of its brightness, or 2 500 electrons.
    """

    kind: Literal["poisson", "gaussian", "relative"] = "poisson"
    share: float = 0.02

    def drawn(self, signal: Floats, rng: np.random.Generator) -> Floats:
        """The signal as one exposure shows it."""
        if self.share == 0.0:
            return signal
        if self.kind != "poisson":
            per_sd = signal if self.kind == "relative" else 1.0
            return signal + self.share * per_sd * rng.standard_normal(signal.shape)
        return np.asarray(rng.poisson(signal / self.share**2) * self.share**2, np.float64)

    def stabilised(self, signal: Floats) -> Floats:
        """The signal on a scale where the noise is 1 everywhere: a square root, itself, or a logarithm."""
        if self.kind == "gaussian":
            return signal / self.share
        positive = np.maximum(signal, _DARKEST)
        scale = np.log(positive) if self.kind == "relative" else 2.0 * np.sqrt(positive)
        return np.asarray(scale / self.share, np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What else goes wrong between one energy and the next.

    `gain_error` and `jitter_px` are standard deviations. The blur (sigma, px) is 0 in the middle of the series and
    `blur_px` at both ends. `has_dead_edge` blackens the last row and column, as in the report's scans.
    """

    gain_error: float = 0.0
    jitter_px: float = 0.0
    blur_px: float = 0.0
    has_dead_edge: bool = False


def taken(
    signal: Floats, noise: Noise, rng: np.random.Generator, column: Column | None = None
) -> Floats:
    """A series (energies, y, x) as it comes from the instrument."""
    column = column or Column()
    from_middle = np.abs(np.linspace(-1.0, 1.0, len(signal)))
    gains = 1.0 + column.gain_error * rng.standard_normal(len(signal))
    shifts_px = column.jitter_px * rng.standard_normal((len(signal), 2))
    images = []
    for image, far, gain, shift_px in zip(signal, from_middle, gains, shifts_px, strict=True):
        moved = ndimage.shift(image, shift_px, order=1, mode="nearest") if shift_px.any() else image
        images.append(gain * ndimage.gaussian_filter(moved, far * column.blur_px, mode="nearest"))
    series = noise.drawn(np.stack(images), rng)
    if column.has_dead_edge:
        series[:, -1, :] = series[:, :, -1] = 0.0
    return series
