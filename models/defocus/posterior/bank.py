"""Scenes measured at many distances on both sides of focus: what the posterior's network learns from.

A frame is taken at each of `DISTANCES_DOF`; between two of them what was measured is interpolated, and further out than
the furthest, where nothing of the specimen is left, it stays as it is there.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afdaemon.models.defocus.scenes import band_spread
from afdaemon.models.frames.spectrum import BANDS

Array = NDArray[np.float64]

FURTHEST_DOF = 250.0
PLACES = 41
_TOP = float(np.arcsinh(FURTHEST_DOF))
DISTANCES_DOF: Array = np.sinh(np.linspace(-_TOP, _TOP, PLACES))
"""Where scenes are measured, in true depths of focus from the least blur; .3 apart at the middle."""
_STEP = 2.0 * _TOP / (PLACES - 1)
_U_NOISE, _CONTRAST_NOISE, _BAND_NOISE, _MODE_NOISE = 0.05, 0.01, 0.03, 0.03
"""Extra noise: standard deviations of u, of the contrast's logarithm and of a band's logarithm, and the latter's
variance for a band of one mode: the frames between two that were measured have noise of their own."""


@dataclass(frozen=True, slots=True)
class Bank:
    """Scenes at `DISTANCES_DOF`: spectra (s, 41, 18); u, logarithm of its error, contrast, doubt (s, 41); all float32.

    `shows` (s,) is 1 where there is something to focus.
    """

    bands: NDArray[np.float32]
    u: NDArray[np.float32]
    log_error: NDArray[np.float32]
    contrast: NDArray[np.float32]
    doubted: NDArray[np.float32]
    shows: NDArray[np.float32]

    def __len__(self) -> int:
        """Number of scenes."""
        return len(self.bands)

    def read(
        self, scene: NDArray[np.int64], defocus_dof: Array, rng: np.random.Generator
    ) -> "Read":
        """What is measured of scenes (n,) at true distances (n,), with noise."""
        at = np.clip((np.arcsinh(defocus_dof) + _TOP) / _STEP, 0.0, PLACES - 1 - 1e-6)
        low = at.astype(np.int64)
        upper = np.asarray(at - low, np.float32)

        def between(values: NDArray[np.float32]) -> NDArray[np.float32]:
            share = upper.reshape(-1, *[1] * (values.ndim - 2))
            mixed = values[scene, low] * (1.0 - share) + values[scene, low + 1] * share
            return np.asarray(mixed, np.float32)

        def noise(*shape: int) -> NDArray[np.float32]:
            return rng.standard_normal((len(scene), *shape), np.float32)

        return Read(
            bands=between(self.bands) + band_spread(_BAND_NOISE, _MODE_NOISE) * noise(BANDS),
            u=between(self.u) + np.float32(_U_NOISE) * noise(),
            log_error=between(self.log_error),
            contrast=between(self.contrast) * np.exp(np.float32(_CONTRAST_NOISE) * noise()),
            doubted=np.rint(between(self.doubted)),
        )


@dataclass(frozen=True, slots=True)
class Read:
    """A reading of each of n jobs: spectra (n, 18), the rest (n,); float32."""

    bands: NDArray[np.float32]
    u: NDArray[np.float32]
    log_error: NDArray[np.float32]
    contrast: NDArray[np.float32]
    doubted: NDArray[np.float32]
