"""Errors of the simulated instrument.

SimError
 ├─ SpecimenError     no such specimen, or an image that cannot serve as one
 ├─ SettingError      a value that the simulated instrument cannot have
 ├─ FaultError        no such fault, or an invalid rule
 ├─ ChaosError        no such trouble on the way, or an invalid rule
 ├─ OutOfReach        a command that it cannot carry out; nothing moved
 ├─ ControlError      an order over the control socket that cannot be carried out
 ├─ ServeError        its port or its folder cannot be used
 └─ FolderError       a folder that a data set cannot be written to
"""


class SimError(Exception):
    """A failure of the simulated instrument. `remedy` says what to do next."""

    remedy = "see `afdaemon sim serve --help`"

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        if remedy is not None:
            self.remedy = remedy


class SpecimenError(SimError):
    """No such specimen, or an image file that cannot serve as one."""


class SettingError(SimError):
    """A value that the simulated instrument cannot have."""


class FaultError(SimError):
    """No such fault, or an invalid rule."""

    remedy = "the faults and their rules are described in docs/simulator.md"


class ChaosError(SimError):
    """No such trouble on the way, or an invalid rule."""

    remedy = "the troubles and their rules are described in docs/simulator.md"


class OutOfReach(SimError):
    """A command that the instrument cannot carry out. Nothing moved."""


class ControlError(SimError):
    """An order over the control socket that cannot be carried out, or a simulator that does not answer."""

    remedy = "the orders are described in docs/simulator.md"


class ServeError(SimError):
    """The port or the folder of the simulated instrument cannot be used."""

    remedy = "name another with --port or --folder"


class FolderError(SimError):
    """A data set cannot be written to that folder."""

    remedy = "name an empty folder, or the one that the same command was writing to"
