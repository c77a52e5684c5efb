"""Backscatter coefficients of a stack from a table, as fast as a series needs them."""

from dataclasses import dataclass, field

import numpy as np
from scipy.interpolate import RegularGridInterpolator, make_interp_spline

from afdaemon.energy.physics.forward import require_drawable
from afdaemon.energy.physics.scattering import Floats
from afdaemon.energy.specimens.stacks import Stack


@dataclass(frozen=True, slots=True)
class TablePhysics:
    """A stack's coefficients `eta` (energies, levels of the first layer, ...) at `energy_kev` and `axes_nm`.

    Between energies a cubic spline in their logarithm is followed, between thicknesses a straight line.
    """

    stack: Stack
    energy_kev: Floats
    axes_nm: tuple[Floats, ...]
    eta: Floats = field(repr=False)

    @property
    def range_kev(self) -> tuple[float, float]:
        """The table's first and last energy."""
        return float(self.energy_kev[0]), float(self.energy_kev[-1])

    def signal(self, thickness_nm: Floats, energy_kev: Floats) -> Floats:
        """Brightness (energies, ...) of thicknesses (layers, ...), divided by the bare substrate's."""
        require_drawable(self, thickness_nm, energy_kev)
        at = make_interp_spline(np.log(self.energy_kev), self.eta, k=3)(np.log(energy_kev))
        bare = at.reshape(len(at), -1)[:, 0].reshape(-1, *[1] * len(self.axes_nm))
        lookup = RegularGridInterpolator(self.axes_nm, np.moveaxis(at / bare, 0, -1))
        tops = np.array([axis[-1] for axis in self.axes_nm])
        points = np.minimum(np.moveaxis(thickness_nm, 0, -1), tops)
        drawn = lookup(points).reshape(*points.shape[:-1], len(energy_kev))
        return np.ascontiguousarray(np.moveaxis(drawn, -1, 0))
