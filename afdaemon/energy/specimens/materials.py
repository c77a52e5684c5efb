"""The materials that a layer may be made of: what their electrons scatter on."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Material:
    """An element as a film: atomic number, atomic mass (g/mol) and density (g/cm3)."""

    name: str
    atomic_number: int
    mass: float
    density: float

    @property
    def atoms_per_cm3(self) -> float:
        """Atoms in a cubic centimetre."""
        return self.density * 6.02214076e23 / self.mass


CARBON = Material("C", 6, 12.011, 2.0)
ALUMINIUM = Material("Al", 13, 26.982, 2.70)
SILICON = Material("Si", 14, 28.085, 2.33)
TITANIUM = Material("Ti", 22, 47.867, 4.51)
CHROMIUM = Material("Cr", 24, 51.996, 7.19)
NICKEL = Material("Ni", 28, 58.693, 8.91)
COPPER = Material("Cu", 29, 63.546, 8.96)
SILVER = Material("Ag", 47, 107.868, 10.49)
TUNGSTEN = Material("W", 74, 183.84, 19.25)
PLATINUM = Material("Pt", 78, 195.084, 21.45)
GOLD = Material("Au", 79, 196.967, 19.30)

MATERIALS = {
    material.name: material
    for material in (
        CARBON,
        ALUMINIUM,
        SILICON,
        TITANIUM,
        CHROMIUM,
        NICKEL,
        COPPER,
        SILVER,
        TUNGSTEN,
        PLATINUM,
        GOLD,
    )
}
"""All of them, by their chemical symbols."""
