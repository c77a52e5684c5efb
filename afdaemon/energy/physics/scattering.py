"""How an electron scatters and slows down in a material: cross-sections, angles, energy loss.

Two models of elastic scattering, so that what was learnt with one can be tried on the other:

- `browning`: R. Browning et al., J. Appl. Phys. 76 (1994) 2016, fitted to Mott cross-sections from .1 to 30 keV. Angles
  are those of a screened Rutherford law, mixed with isotropic ones.
- `rutherford`: the screened Rutherford cross-section with Joy's screening, Scanning Microscopy 5 (1991) 329.

Energy loss is that of D. C. Joy and S. Luo, Scanning 11 (1989) 176. Energies are in keV, lengths in nm.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from afdaemon.energy.specimens.materials import Material

Floats = npt.NDArray[np.float64]

CUT_KEV = 0.05
"""An electron that is slower is stopped: it leaves the specimen no more."""
_NM_PER_CM = 1e7
_REST_KEV = 511.0


@dataclass(frozen=True, slots=True)
class Scattering:
    """At each of some energies: mean free path (nm), screening parameter, share of isotropic collisions."""

    path_nm: Floats
    screening: Floats
    isotropic: Floats


Elastic = Callable[[Material, Floats], Scattering]


def browning(material: Material, energy_kev: Floats) -> Scattering:
    """Mott scattering in Browning's form."""
    z, e = float(material.atomic_number), energy_kev
    area_cm2 = 3e-18 * z**1.7 / (e + 0.005 * z**1.7 * np.sqrt(e) + 0.0007 * z**2 / np.sqrt(e))
    rutherford_to_isotropic = 300.0 * e ** (1.0 - z / 2000.0) / z + z**3 / (3e5 * e)
    return Scattering(
        path_nm=_NM_PER_CM / (material.atoms_per_cm3 * area_cm2),
        screening=7e-3 / e,
        isotropic=1.0 / (1.0 + rutherford_to_isotropic),
    )


def rutherford(material: Material, energy_kev: Floats) -> Scattering:
    """Screened Rutherford scattering, every collision of it."""
    z, e = float(material.atomic_number), energy_kev
    screening = 3.4e-3 * z**0.67 / e
    relativity = ((e + _REST_KEV) / (e + 2.0 * _REST_KEV)) ** 2
    solid_angle = 4.0 * np.pi / (screening * (1.0 + screening))
    area_cm2 = 5.21e-21 * (z / e) ** 2 * solid_angle * relativity
    return Scattering(
        path_nm=_NM_PER_CM / (material.atoms_per_cm3 * area_cm2),
        screening=screening,
        isotropic=np.zeros_like(e),
    )


ELASTIC: dict[str, Elastic] = {"browning": browning, "rutherford": rutherford}


def loss_kev_per_nm(material: Material, energy_kev: Floats) -> Floats:
    """Energy lost on a nm of the way, after Joy and Luo."""
    z = float(material.atomic_number)
    ionisation_kev = (9.76 * z + 58.5 * z**-0.19) * 1e-3
    k = 0.734 * z**0.037
    per_cm = 78_500.0 * material.density * z / (material.mass * energy_kev)
    stopping = np.log(1.166 * (energy_kev + k * ionisation_kev) / ionisation_kev)
    return np.asarray(per_cm * stopping / _NM_PER_CM, np.float64)


def range_nm(material: Material, energy_kev: Floats) -> Floats:
    """How deep an electron comes, after K. Kanaya and S. Okayama, J. Phys. D 5 (1972) 43."""
    weight = material.atomic_number**0.89 * material.density
    return np.asarray(27.6 * material.mass * energy_kev**1.67 / weight, np.float64)
