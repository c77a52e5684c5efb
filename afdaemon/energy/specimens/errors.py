"""What can go wrong with an energy series.

EnergyError
 ├─ SeriesError   images or energies that cannot be used together
 ├─ StackError    a stack that the physics cannot draw, or that the energies cannot tell apart
 └─ TableError    the table of backscatter coefficients is missing or damaged
"""

from afdaemon.errors import AfdaemonError


class EnergyError(AfdaemonError):
    """A failure of an energy series."""

    kind = "energy"


class SeriesError(EnergyError):
    """Images or energies that cannot be used together."""

    remedy = "give one image of the same field for each energy, divided by the bare substrate's brightness"


class StackError(EnergyError):
    """A stack that the physics cannot draw, or that the energies cannot tell apart."""

    remedy = "use other energies, or a stack with fewer or thinner layers"


class TableError(EnergyError):
    """The table of backscatter coefficients is missing or damaged."""

    remedy = "reinstall the package, or compute a table with `python -m afdaemon.energy.table --out FILE`"
