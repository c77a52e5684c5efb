"""What lies on the substrate: which materials, in which order, and how thick each may be."""

from dataclasses import dataclass

from afdaemon.energy.specimens.materials import ALUMINIUM, GOLD, SILICON, Material


@dataclass(frozen=True, slots=True)
class Layer:
    """A film of one material and the greatest thickness (nm) that is looked for."""

    material: Material
    max_nm: float


@dataclass(frozen=True, slots=True)
class Stack:
    """Layers on a substrate, from the lowest to the topmost.

    Thicknesses of a stack are arrays (layers, ...) in nm, in this order; layer k is class k + 1 of a volume.
    """

    layers: tuple[Layer, ...]
    substrate: Material = SILICON

    @property
    def materials(self) -> tuple[Material, ...]:
        """The layers' materials, from the lowest to the topmost, then the substrate's."""
        return (*(layer.material for layer in self.layers), self.substrate)


AU_AL_SI = Stack((Layer(GOLD, 15.0), Layer(ALUMINIUM, 150.0)))
"""The stack of the microtomography report: up to 15 nm of gold under up to 150 nm of aluminium, on silicon."""
