"""What can go wrong between us and an instrument.

DriverError
 ├─ NotConnected     the link is down; nothing was sent
 │   └─ AnotherInstrument  what answers is not the instrument that was connected first
 ├─ LinkLost         the link broke during an operation, which may or may not have been carried out
 ├─ LinkTimeout      the instrument did not answer in time
 ├─ ProtocolError    an answer that no version of the protocol that we know allows
 ├─ CommandRefused   the instrument understood the command and refused it
 │   └─ Unsupported    the link cannot carry such a command; nothing was sent
 ├─ FrameInvalid     a frame cannot be decoded, or is larger than the cap
 │   └─ OverCap       it is larger than the cap: waiting does not help
 ├─ FrameStale       frames keep coming that are not evidence (old, frozen, out of step)
 └─ SettingsError    no link of that name, or a setting that the link cannot have
"""

__all__ = [
    "AnotherInstrument",
    "CommandRefused",
    "DriverError",
    "FrameInvalid",
    "FrameStale",
    "LinkLost",
    "LinkTimeout",
    "NotConnected",
    "OverCap",
    "ProtocolError",
    "SettingsError",
    "Unsupported",
]


class DriverError(Exception):
    """A failure of the instrument or its link. `remedy` says what to do next."""

    remedy = "check the microscope, its cable and the vendor's software"

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        if remedy is not None:
            self.remedy = remedy


class NotConnected(DriverError):
    """The link is down; nothing was sent."""


class AnotherInstrument(NotConnected):
    """What answers is not the instrument that was connected first; it is not moved."""

    remedy = "connect the first one again, or restart the daemon to work with this one"


class LinkLost(DriverError):
    """The link broke during an operation, which may or may not have been carried out."""


class LinkTimeout(DriverError):
    """The instrument did not answer in time."""


class ProtocolError(DriverError):
    """An answer that no version of the protocol that we know allows."""


class CommandRefused(DriverError):
    """The instrument understood the command and refused it."""


class Unsupported(CommandRefused):
    """The link, or the instrument behind it, has no such command; nothing was sent."""


class FrameInvalid(DriverError):
    """A frame that cannot be decoded, or that exceeds a cap."""


class OverCap(FrameInvalid):
    """What came as a frame is larger than any that the instrument makes. Waiting does not help."""


class FrameStale(DriverError):
    """Too many frames in a row that are not evidence: old, frozen, or out of step with the command."""


class SettingsError(DriverError):
    """No link of that name, or a setting that the link cannot have."""

    remedy = "correct the section `microscope` of the configuration"
