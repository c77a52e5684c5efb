"""The error tree. Three more families stand beside it, each owned by its package; `KNOWN_ERRORS` names them all.

AfdaemonError
 ├─ ConfigError          a setting is wrong, misspelt or missing
 ├─ NotInstalled         a command takes an extra of the package that is not installed
 ├─ UsageError           a command line or a request asks for something impossible
 ├─ LimitError           a working distance outside the limits; nothing was sent
 ├─ FaultError           the instrument did not do what it was told; nothing moves until somebody resets that
 ├─ BusyError            another job holds the microscope, or the sockets are taken
 ├─ JobNotFound          no job with that id
 ├─ IdReused             the id belongs to a job with other params
 ├─ JournalError         the journal cannot be written; no move is made without it
 ├─ ForbiddenError       who asks has not the role for it; nothing was done
 ├─ Unreachable          the daemon does not answer
 ├─ AccessError          client and daemon don't accept each other's keys
 ├─ VersionMismatch      client and daemon speak different major versions of the protocol
 └─ RequestRefused       the daemon answered with an error (carries its kind)
DriverError   (afdaemon.drivers.errors)    the instrument and its link
ModelError    (afdaemon.models.errors)     networks, weights, images
SimError      (afdaemon.sim.errors)        the simulated instrument's settings

Each is a sentence for a person, with a `remedy`: what to do next.
"""

from afdaemon.drivers.errors import DriverError
from afdaemon.models.errors import ModelError
from afdaemon.sim.errors import SimError

__all__ = [
    "KNOWN_ERRORS",
    "AccessError",
    "AfdaemonError",
    "BusyError",
    "ConfigError",
    "FaultError",
    "ForbiddenError",
    "IdReused",
    "JobNotFound",
    "JournalError",
    "LimitError",
    "NotInstalled",
    "RequestRefused",
    "Unreachable",
    "UsageError",
    "VersionMismatch",
]


class AfdaemonError(Exception):
    """Root of the service's own errors."""

    kind = "error"
    remedy = ""

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        if remedy is not None:
            self.remedy = remedy


class ConfigError(AfdaemonError):
    """A setting is wrong, misspelt or missing."""

    kind = "config"
    remedy = "check it with `afdaemon config check FILE`; `afdaemon config show` lists every key"


class NotInstalled(AfdaemonError):
    """A command takes an extra of the package that is not installed."""

    kind = "not_installed"


class UsageError(AfdaemonError):
    """A command line or a request asks for something impossible."""

    kind = "usage"


class LimitError(AfdaemonError):
    """A working distance outside the limits. It is refused, never clipped, and nothing was sent."""

    kind = "limit"
    remedy = "ask `focus.limits` (afctl wd) for the allowed range"


class FaultError(AfdaemonError):
    """The instrument did not do what it was told; nothing moves it until somebody resets that."""

    kind = "fault"
    remedy = "look after the instrument, then `afctl reset`"


class BusyError(AfdaemonError):
    """Another job holds the microscope, or another daemon the sockets."""

    kind = "busy"
    remedy = "wait for it (`afctl watch`) or end it (`afctl abort`)"


class JobNotFound(AfdaemonError):
    """No job with that id."""

    kind = "job_not_found"
    remedy = "`afctl status` names the present job"


class IdReused(AfdaemonError):
    """The id of a request belongs to a job with other params; nothing was done."""

    kind = "id_reused"
    remedy = "give every new request a new id, preferably a UUID"


class JournalError(AfdaemonError):
    """The journal cannot be written, and without it nothing moves."""

    kind = "journal"
    remedy = "check the state directory's space and permissions"


class ForbiddenError(AfdaemonError):
    """Who asks has not the role that this needs; nothing was done."""

    kind = "forbidden"
    remedy = "ask whoever runs the daemon for another role"


class Unreachable(AfdaemonError):
    """The daemon does not answer."""

    kind = "unreachable"
    remedy = "start it with `afdaemon serve`, or name its address with --endpoint"


class AccessError(AfdaemonError):
    """Client and daemon don't accept each other's keys; nothing was sent."""

    kind = "access"
    remedy = (
        "`afctl keys new NAME --role ROLE`, on the daemon's machine, makes a key for this client"
    )


class VersionMismatch(AfdaemonError):
    """Client and daemon speak different major versions of the protocol."""

    kind = "protocol"
    remedy = "install the same version of afdaemon on both sides"


class RequestRefused(AfdaemonError):
    """The daemon answered with an error of the given kind."""

    def __init__(self, message: str, *, kind: str, code: int, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.kind = kind
        self.code = code


KNOWN_ERRORS = (AfdaemonError, DriverError, ModelError, SimError)
"""What a command line reports as one sentence; anything else is a bug."""
