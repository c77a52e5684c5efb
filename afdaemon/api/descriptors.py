"""Enough descriptors for what may be open at once: libzmq ends the process when they run out."""

import math
import resource
from pathlib import Path

import structlog

from afdaemon.api.caps import (
    ACCEPTED_AHEAD,
    OWN_DESCRIPTORS,
    QUEUED,
    SPARE_DESCRIPTORS,
    VENDOR_DESCRIPTORS,
    Caps,
)
from afdaemon.errors import ConfigError

_SOCKETS = 3
_EACH = 2
"""Descriptors that a connection takes: its own, and the listening socket that it came by (see `gate`)."""
_UNCOUNTED = _SOCKETS * (QUEUED + 1) + SPARE_DESCRIPTORS
"""To be free when clients are let in: at all sockets it may happen at the same moment."""
_OURS = OWN_DESCRIPTORS + _UNCOUNTED
TCP_FLOOD = _SOCKETS * ACCEPTED_AHEAD
"""What a flood of connections on tcp may take in addition."""
_OPEN = Path("/dev/fd")
_RAISE = "raise the limit (LimitNOFILE= of the unit, or ulimit -n)"

log = structlog.get_logger(__name__)


def secure(caps: Caps, *, tcp: bool, vendor: bool = False) -> int:
    """Raise the limit to what the system allows, and return it.

    Raises:
        ConfigError: that is too low for the connections that `caps` allow.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    least = needed(caps, vendor=vendor)
    safe = least + TCP_FLOOD
    if hard == resource.RLIM_INFINITY or hard >= safe:
        return hard
    if hard < least:
        most = caps.connections.all - math.ceil((least - hard) / (_SOCKETS * _EACH))
        raise ConfigError(
            f"this process may open {hard} files, and {caps.connections.all} connections to each"
            f" of {_SOCKETS} sockets need {least}",
            remedy=_RAISE + (f", or set api.most_connections to {most}" if most > 0 else ""),
        )
    if tcp:
        log.warning("few_descriptors", limit=hard, safe=safe, remedy=_RAISE)
    return hard


def needed(caps: Caps, *, vendor: bool = False) -> int:
    """Descriptors without which the daemon does not start, with or without the vendor door."""
    return _SOCKETS * _EACH * caps.connections.all + _OURS + (VENDOR_DESCRIPTORS if vendor else 0)


def is_room() -> bool:
    """Whether clients may be let in now: descriptors enough are free for all who may be waiting."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return True
    try:
        return limit - open_now() >= _UNCOUNTED
    except OSError:  # not even one is free to look
        return False


def open_now() -> int:
    """How many descriptors are open. Linux 6.2 and later tell at once; before, they are listed one by one."""
    return _OPEN.stat().st_size or sum(1 for _ in _OPEN.iterdir())
