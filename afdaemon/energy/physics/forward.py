"""What every physics offers: how bright a stack is."""

from typing import Protocol

import numpy as np

from afdaemon.energy.physics.scattering import Floats
from afdaemon.energy.specimens.errors import SeriesError, StackError
from afdaemon.energy.specimens.stacks import Stack

ENERGIES_KEV = np.arange(1.0, 16.25, 0.5)
"""31 energies for thin layers: below 1 keV contamination rules, and above 16 keV these layers hardly show."""
REPORT_ENERGIES_KEV = np.arange(5.0, 36.0)
"""The report's."""


class Forward(Protocol):
    """Physics of a stack."""

    @property
    def stack(self) -> Stack:
        """What is on the substrate."""
        ...

    @property
    def range_kev(self) -> tuple[float, float]:
        """Energies that it is good for."""
        ...

    def signal(self, thickness_nm: Floats, energy_kev: Floats) -> Floats:
        """Brightness (energies, ...) of thicknesses (layers, ...); the bare substrate is 1 at every energy.

        Raises `SeriesError` for energies out of range, `StackError` for thicknesses that it cannot draw.
        """
        ...


def require_drawable(forward: Forward, thickness_nm: Floats, energy_kev: Floats) -> None:
    """Raise where `forward` should not be asked for the brightness of these."""
    low, high = forward.range_kev
    if not (np.isfinite(energy_kev).all() and low <= energy_kev.min() and energy_kev.max() <= high):
        seen = f"{energy_kev.min():g} to {energy_kev.max():g} keV"
        raise SeriesError(
            f"energies of {seen} lie outside {low:g} to {high:g} keV, where the physics is known",
            remedy=f"leave out images beyond {low:g} to {high:g} keV",
        )
    layers = forward.stack.layers
    if len(thickness_nm) != len(layers):
        raise StackError(f"{len(thickness_nm)} thicknesses for a stack of {len(layers)} layers")
    for layer, nm in zip(layers, thickness_nm, strict=True):
        if not (np.isfinite(nm).all() and nm.min() >= 0.0 and nm.max() <= layer.max_nm + 1e-6):
            raise StackError(
                f"{layer.material.name} of {nm.min():g} to {nm.max():g} nm:"
                f" only 0 to {layer.max_nm:g} nm can be drawn"
            )
