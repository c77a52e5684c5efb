"""The microtomography report's formulas, with what is wrong in them, so that its tables can be compared with.

With m = d rho^.91, A = 1 / (.49 exp(-.022 (Z + 2))) and psi = m / (74 E^1.55 - m), a film sends back the share
xi = 1 - exp(-A psi). Aluminium above slows the beam to E2 = E exp(-psi_Al^.45) before it meets the gold, and takes its
share of what comes back: phi = xi_Au (1 - xi_Al). The brightness is S = .49 (1 - phi) + .9 phi. E is in keV, d in nm,
rho in g/cm3. Source: the code that was published with the report.

Known to be wrong, and kept:

- Where there is no gold, aluminium takes its place: with its own A, but still with gold's .9. So aluminium on bare
  silicon is drawn as bright as gold. In truth it is 5 to 8 % darker than silicon at 1 to 6 keV, and much alike above.
- The brightness therefore jumps where the last gold goes, and a solver that follows the slope cannot cross the jump.
"""

from dataclasses import dataclass

import numpy as np

from afdaemon.energy.physics.forward import require_drawable
from afdaemon.energy.physics.scattering import Floats
from afdaemon.energy.specimens.errors import StackError
from afdaemon.energy.specimens.materials import Material
from afdaemon.energy.specimens.stacks import AU_AL_SI, Stack

_SILICON, _FILM = 0.49, 0.9


def _mass(material: Material, nm: Floats) -> Floats:
    return np.asarray(nm * material.density**0.91, np.float64)


def _share_back(material: Material, psi: Floats) -> Floats:
    absorption = 1.0 / (0.49 * np.exp(-0.022 * (material.atomic_number + 2.0)))
    return np.asarray(1.0 - np.exp(-absorption * psi), np.float64)


def _psi(mass: Floats, energy_kev: Floats) -> Floats:
    rest = 74.0 * energy_kev**1.55 - mass
    if not (rest > 0.0).all():
        raise StackError(
            f"the report's formula has no value for these layers at {energy_kev.min():.2f} keV",
            remedy="use higher energies or thinner layers; the Monte Carlo table has no such limit",
        )
    return mass / rest


@dataclass(frozen=True, slots=True)
class ReportPhysics:
    """The report's two layers: the lower scatters, the upper shades it."""

    stack: Stack = AU_AL_SI
    range_kev: tuple[float, float] = (5.0, 40.0)

    def signal(self, thickness_nm: Floats, energy_kev: Floats) -> Floats:
        """Brightness (energies, ...) of thicknesses (2, ...), divided by the bare substrate's."""
        require_drawable(self, thickness_nm, energy_kev)
        lower, upper = thickness_nm
        e0 = energy_kev.reshape(-1, *[1] * lower.ndim)
        below, above = (layer.material for layer in self.stack.layers)
        psi = _psi(_mass(above, upper), e0)
        shade = _share_back(above, psi)
        slowed = e0 * np.exp(-(psi**0.45))
        shaded = _share_back(below, _psi(_mass(below, lower), slowed)) * (1.0 - shade)
        phi = np.where(lower > 0.0, shaded, shade)
        return 1.0 - phi + phi * _FILM / _SILICON
