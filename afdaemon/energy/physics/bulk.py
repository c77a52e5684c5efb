"""What thick and thin films send back, by formulas: for stacks without a table, and to check the Monte Carlo with."""

from dataclasses import dataclass

import numpy as np

from afdaemon.energy.physics.forward import require_drawable
from afdaemon.energy.physics.scattering import Floats, range_nm
from afdaemon.energy.specimens.materials import Material
from afdaemon.energy.specimens.stacks import Stack

_DEPTH = 0.15
"""A film hides what is below it as exp(-d / (.15 R)), R its range: fitted to the table of gold and aluminium, where it
is off by a tenth of the substrate's brightness (root mean square)."""


def bulk_backscatter(material: Material, energy_kev: Floats) -> Floats:
    """Share of electrons that a thick piece sends back, from 1 to 30 keV.

    H.-J. Hunger and L. Kuechler, phys. stat. sol. (a) 56 (1979) K45.
    """
    z = float(material.atomic_number)
    log_z = np.log(z)
    power = 0.1382 - 0.9211 / np.sqrt(z)
    factor = 0.1904 - 0.2236 * log_z + 0.1292 * log_z**2 - 0.01491 * log_z**3
    return np.asarray(energy_kev**power * factor * (0.9987 + 2.167e-4 * z), np.float64)


@dataclass(frozen=True, slots=True)
class AnalyticPhysics:
    """Any stack, roughly: each film hides the share of what is below it that its thickness over its range tells.

    Good for planning a series. To measure with, compute a table of the stack.
    """

    stack: Stack
    range_kev: tuple[float, float] = (1.0, 30.0)

    def signal(self, thickness_nm: Floats, energy_kev: Floats) -> Floats:
        """Brightness (energies, ...) of thicknesses (layers, ...), divided by the bare substrate's."""
        require_drawable(self, thickness_nm, energy_kev)
        energies = energy_kev.reshape(-1, *[1] * (thickness_nm.ndim - 1))
        bare = bulk_backscatter(self.stack.substrate, energies)
        share = bare
        for layer, nm in zip(self.stack.layers, thickness_nm, strict=True):
            depth = nm / (_DEPTH * range_nm(layer.material, energies))
            film = bulk_backscatter(layer.material, energies)
            share = film + (share - film) * np.exp(-depth)
        return share / bare
