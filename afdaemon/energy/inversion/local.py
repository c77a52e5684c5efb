"""Least squares that follow the slope: Levenberg-Marquardt with Tikhonov's term, pixel by pixel, as in the report.

A pixel knows nothing of its neighbours, and the solver nothing of the other side of a jump: where the report's
physics has no gold, it finds the wrong stack. Kept to compare with.
"""

import numpy as np

from afdaemon.energy.inversion.dictionary import checked, sensitivity
from afdaemon.energy.physics.forward import Forward
from afdaemon.energy.physics.noise import Noise
from afdaemon.energy.physics.scattering import Floats

_ROUNDS = 12
_DAMPING = 1e-2, 0.3, 10.0
"""At the start, after a step that helped, after one that did not."""
_LEAST = 1e-3
"""Of the greatest thickness: the solver stays on the side where every layer is there."""


def local_search(
    series: Floats, forward: Forward, energy_kev: Floats, noise: Noise, tikhonov: float = 1.0
) -> Floats:
    """Thicknesses (layers, y, x) in nm of a series (energies, y, x), found from the middle of the range.

    `tikhonov` weighs the squares of thickness / greatest thickness against those of residual / noise.
    """
    checked(series, energy_kev)
    target = noise.stabilised(series).reshape(len(series), -1)
    most = np.array([[layer.max_nm] for layer in forward.stack.layers])
    x = np.full((len(most), target.shape[1]), 0.5)
    damping = np.full(target.shape[1], _DAMPING[0])
    costs = _costs(target, forward, energy_kev, noise, x * most, x, tikhonov)
    for _ in range(_ROUNDS):
        nm = x * most
        slopes = sensitivity(forward, nm, energy_kev, noise) * most
        rest = target - noise.stabilised(forward.signal(nm, energy_kev))
        trial = (x + _steps(slopes, rest, x, damping, tikhonov)).clip(_LEAST, 1.0)
        tried = _costs(target, forward, energy_kev, noise, trial * most, trial, tikhonov)
        helps = tried < costs
        x, costs = np.where(helps, trial, x), np.where(helps, tried, costs)
        damping *= np.where(helps, _DAMPING[1], _DAMPING[2])
    return np.asarray((x * most).reshape(-1, *series.shape[1:]), np.float64)


def _costs(
    target: Floats,
    forward: Forward,
    energy_kev: Floats,
    noise: Noise,
    nm: Floats,
    x: Floats,
    tikhonov: float,
) -> Floats:
    rest = target - noise.stabilised(forward.signal(nm, energy_kev))
    return np.asarray((rest**2).sum(axis=0) + tikhonov * (x**2).sum(axis=0), np.float64)


def _steps(slopes: Floats, rest: Floats, x: Floats, damping: Floats, tikhonov: float) -> Floats:
    """Damped Gauss-Newton steps (layers, pixels)."""
    normal = np.einsum("ekp,elp->pkl", slopes, slopes, optimize=True)
    pull = np.einsum("ekp,ep->pk", slopes, rest, optimize=True) - tikhonov * x.T
    diagonal = np.arange(len(x))
    normal[:, diagonal, diagonal] += tikhonov
    normal[:, diagonal, diagonal] *= 1.0 + damping[:, None]
    return np.linalg.solve(normal, pull[..., None])[..., 0].T
