"""What a table gets wrong as a whole, measured on one pad whose layers are known.

No two films have the same density, no two detectors the same response. Four numbers take up most of that: a factor on
each layer's thickness, one on the energies, one on the contrast against the bare substrate.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

from afdaemon.energy.physics.forward import Forward
from afdaemon.energy.physics.noise import Noise
from afdaemon.energy.physics.scattering import Floats
from afdaemon.energy.specimens.errors import SeriesError
from afdaemon.energy.specimens.stacks import Stack

_USUAL = 0.05
"""How far from 1 a factor usually is: without it, one pad could not tell four factors apart."""


@dataclass(frozen=True, slots=True)
class Scaled:
    """Physics with factors: of each layer's thickness, of the energies, of the contrast."""

    forward: Forward
    thickness: tuple[float, ...]
    energy: float = 1.0
    contrast: float = 1.0

    @property
    def stack(self) -> Stack:
        """What is on the substrate."""
        return self.forward.stack

    @property
    def range_kev(self) -> tuple[float, float]:
        """Energies that the physics is good for."""
        return self.forward.range_kev

    def signal(self, thickness_nm: Floats, energy_kev: Floats) -> Floats:
        """Brightness (energies, ...) of thicknesses (layers, ...); beyond its ends, the physics stays as there."""
        factors = np.reshape(self.thickness, (-1, *[1] * (thickness_nm.ndim - 1)))
        tops = np.reshape([layer.max_nm for layer in self.stack.layers], factors.shape)
        nm = np.minimum(factors * thickness_nm, np.maximum(tops, thickness_nm))
        energies = (self.energy * energy_kev).clip(*self.range_kev)
        return 1.0 + self.contrast * (self.forward.signal(nm, energies) - 1.0)


def fit_scales(
    pad: Floats, pad_nm: Floats, forward: Forward, energy_kev: Floats, noise: Noise
) -> Scaled:
    """The factors with which `forward` draws a pad as it looks.

    `pad` (energies, pixels) are the pixels of a pad of uniform layers `pad_nm` (layers,). Raises `SeriesError` for a
    pad without pixels, or with pixels that are no numbers.
    """
    if pad.ndim != 2 or len(pad) != len(energy_kev) or not pad.size or not np.isfinite(pad).all():
        raise SeriesError("a pad is known by finite pixels (energies, pixels) of every energy")
    exposures = np.sqrt(pad.shape[1])
    target = noise.stabilised(pad.mean(axis=1))
    count = len(forward.stack.layers) + 2

    def rest(x: Floats) -> Floats:
        drawn = noise.stabilised(_scaled(forward, x).signal(pad_nm, energy_kev))
        return np.concatenate([exposures * (drawn - target), (x - 1.0) / _USUAL])

    found = least_squares(rest, np.ones(count), bounds=(0.7, 1.3), diff_step=np.full(count, 1e-3))
    return _scaled(forward, found.x)


def _scaled(forward: Forward, x: Floats) -> Scaled:
    *thickness, energy, contrast = (float(value) for value in x)
    return Scaled(forward, tuple(thickness), energy, contrast)
