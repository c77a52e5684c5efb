"""Scenes measured at many distances from focus: what the defocus network learns from.

A scene's spectrum and AENet's answer are measured in two frames at each of `DISTANCES_DOF`; between distances they are
interpolated. A reading is made of either of the two at random, so it is as noisy as real frames.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afdaemon.models.defocus.state import REACH_DOF
from afdaemon.models.frames.spectrum import BANDS

Array = NDArray[np.float64]

DISTANCES_DOF: Array = np.sinh(np.linspace(0.0, np.arcsinh(REACH_DOF), 20))
"""Where scenes are measured, in true depths of focus, once on either side: blur is the same on both."""
FRAMES = 2
"""Taken at each distance."""
_STEP = math.asinh(REACH_DOF) / (len(DISTANCES_DOF) - 1)
_U_NOISE, _BAND_NOISE, _MODE_NOISE = 0.03, 0.02, 0.02
"""Extra noise: standard deviations of u and of a band's logarithm, and the latter's variance for a band of one mode."""
_FEWEST_MODES, _MORE_MODES = 5.0, 1.57
"""Modes in the lowest band of a fast-mode frame; each band holds about so many times as many as the one below."""


@dataclass(frozen=True, slots=True)
class DefocusBank:
    """Scenes at `DISTANCES_DOF`: spectra (s, 2, 20, 18), AENet's u and the logarithm of its error (s, 2, 20), float32.

    The 2 are frames taken there.
    """

    bands: NDArray[np.float32]
    u: NDArray[np.float32]
    log_error: NDArray[np.float32]

    def __len__(self) -> int:
        """Number of scenes."""
        return len(self.bands)

    def read(
        self, scene: NDArray[np.int64], defocus_dof: Array, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Spectra (n, 18), u and logarithm of its error (n,) of scenes (n,) at true distances (n,), with noise."""
        at = np.clip(np.arcsinh(np.abs(defocus_dof)) / _STEP, 0.0, len(DISTANCES_DOF) - 1 - 1e-6)
        low = at.astype(np.int64)
        upper = np.asarray(at - low, np.float32)
        one, other = rng.integers(FRAMES, size=(2, len(scene)))

        def between(values: NDArray[np.float32]) -> NDArray[np.float32]:
            share = upper.reshape(-1, *[1] * (values.ndim - 3))
            mixed = values[scene, one, low] * (1.0 - share) + values[scene, other, low + 1] * share
            return np.asarray(mixed, np.float32)

        bands = between(self.bands) + band_spread(_BAND_NOISE, _MODE_NOISE) * _normal(
            rng, (len(scene), BANDS)
        )
        u = between(self.u) + np.float32(_U_NOISE) * _normal(rng, (len(scene),))
        return bands, u, between(self.log_error)


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return rng.standard_normal(shape, np.float32)


def band_spread(noise: float, mode_noise: float) -> NDArray[np.float32]:
    """Standard deviation of a band's extra noise: the place has moved a little from one reading to the next.

    That of a band with many modes is `noise`, to which one of a single mode adds the variance `mode_noise`.
    """
    modes = _FEWEST_MODES * _MORE_MODES ** np.arange(BANDS)
    return np.asarray(np.sqrt(noise**2 + mode_noise / modes), np.float32)
