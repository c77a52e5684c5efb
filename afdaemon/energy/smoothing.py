"""From what the Monte Carlo counted at some nodes to a smooth table.

A thin-plate spline goes through the nodes, as stiff as those that it was not shown like best. It runs in coordinates
in which the coefficients are smooth: the logarithm of the energy, and for each layer that of 1 + thickness / (a tenth
of the range in it).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.interpolate import RBFInterpolator

from afdaemon.energy.physics.scattering import Floats, range_nm
from afdaemon.energy.specimens.stacks import Stack

_THIN = 0.1
_STIFFNESS = (30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4)
"""Tried ones, as factors of each node's variance."""
_HELD_BACK = 5
"""One node in so many is held back to choose among them."""
_ENOUGH = 3_000
_NEIGHBOURS = 300
"""With more nodes than enough, each value follows from its neighbours only."""


@dataclass(frozen=True, slots=True)
class Nodes:
    """Counted: energies (nodes,) in keV, thicknesses (layers, nodes) in nm, coefficients and electrons (nodes,)."""

    energy_kev: Floats
    thickness_nm: Floats
    eta: Floats
    electrons: Floats

    @property
    def variance(self) -> Floats:
        """Of the coefficients."""
        return self.eta * (1.0 - self.eta) / self.electrons

    def only(self, which: npt.NDArray[np.bool_]) -> "Nodes":
        """Some of them."""
        return Nodes(
            self.energy_kev[which],
            self.thickness_nm[:, which],
            self.eta[which],
            self.electrons[which],
        )


@dataclass(frozen=True, slots=True)
class Smoothed:
    """The spline's values at the points that were asked for; its stiffness; chi square of a node held back."""

    eta: Floats
    stiffness: float
    chi_square: float


def smoothed(nodes: Nodes, stack: Stack, energy_kev: Floats, thickness_nm: Floats) -> Smoothed:
    """Coefficients at energies (points,) and thicknesses (layers, points)."""
    held = np.arange(len(nodes.eta)) % _HELD_BACK == 0
    shown, hidden = nodes.only(~held), nodes.only(held)
    scores = {
        stiffness: _chi_square(hidden, _spline(shown, stack, stiffness), stack)
        for stiffness in _STIFFNESS
    }
    best = min(scores, key=lambda stiffness: scores[stiffness])
    spline = _spline(nodes, stack, best)
    return Smoothed(spline(_coordinates(stack, energy_kev, thickness_nm)), best, scores[best])


def _coordinates(stack: Stack, energy_kev: Floats, thickness_nm: Floats) -> Floats:
    depths = [
        np.log1p(nm / (_THIN * range_nm(layer.material, energy_kev)))
        for layer, nm in zip(stack.layers, thickness_nm, strict=True)
    ]
    return np.stack([np.log(energy_kev), *depths], axis=1)


def _spline(nodes: Nodes, stack: Stack, stiffness: float) -> RBFInterpolator:
    return RBFInterpolator(
        _coordinates(stack, nodes.energy_kev, nodes.thickness_nm),
        nodes.eta,
        smoothing=stiffness * nodes.variance,
        neighbors=_NEIGHBOURS if len(nodes.eta) > _ENOUGH else None,
    )


def _chi_square(hidden: Nodes, spline: RBFInterpolator, stack: Stack) -> float:
    drawn = spline(_coordinates(stack, hidden.energy_kev, hidden.thickness_nm))
    return float(np.mean((hidden.eta - drawn) ** 2 / hidden.variance))
