"""Enough descriptors for what may be open at once: libzmq ends the process when they run out."""

import resource

import structlog

from afdaemon.api.caps import ACCEPTED_AHEAD, RESERVED_DESCRIPTORS, Caps
from afdaemon.errors import ConfigError

_SOCKETS = 3
_RAISE = "raise the limit (LimitNOFILE= of the unit, or ulimit -n)"

log = structlog.get_logger(__name__)


def secure(caps: Caps) -> int:
    """Raise the limit to what the system allows, and return it.

    Raises:
        ConfigError: that is too low for the connections that `caps` allow.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    needed = _SOCKETS * caps.connections.all + RESERVED_DESCRIPTORS
    safe = needed + _SOCKETS * ACCEPTED_AHEAD
    if hard == resource.RLIM_INFINITY or hard >= safe:
        return hard
    if hard < needed:
        most = (hard - RESERVED_DESCRIPTORS) // _SOCKETS
        raise ConfigError(
            f"this process may open {hard} files, and {caps.connections.all} connections to each"
            f" of {_SOCKETS} sockets need {needed}",
            remedy=_RAISE + (f", or set api.most_connections to {most}" if most > 0 else ""),
        )
    log.warning("few_descriptors", limit=hard, safe=safe, remedy=_RAISE)
    return hard
