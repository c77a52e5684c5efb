"""How our sockets are set up: every size and wait that a peer could stretch is limited here."""

import errno
from collections.abc import Sequence
from typing import Any, TypeVar

import zmq

from afdaemon.api.access.guard import DOMAIN
from afdaemon.errors import BusyError, ConfigError

F = TypeVar("F", bytes, zmq.Frame)

_HANDSHAKE_MS = 2_000
"""A peer that connects and says nothing is dropped: silent connections must not pile up."""
_HEARTBEAT_MS = 5_000
_HEARTBEAT_TIMEOUT_MS = 15_000
"""A peer that vanished without closing is dropped, with what is queued for it."""
_UNSENT = 256
"""Messages queued for one peer; one that doesn't read gets no more, and takes no memory."""
_UNREAD = 1
"""Messages received ahead from one connection; the others wait in their sender's buffers, which it pays for."""
_LINGER_MS = 200
"""The last answers leave within this time; closing never hangs on a peer that doesn't read."""
_BACKLOG = 64


def harden(socket: zmq.Socket[Any], *, max_bytes: int) -> None:
    """Set what all our listening sockets have in common, before they are bound."""
    socket.setsockopt(zmq.MAXMSGSIZE, max_bytes)
    socket.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
    socket.setsockopt(zmq.HEARTBEAT_IVL, _HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _HEARTBEAT_TIMEOUT_MS)
    socket.setsockopt(zmq.SNDHWM, _UNSENT)
    socket.setsockopt(zmq.RCVHWM, _UNREAD)
    socket.setsockopt(zmq.LINGER, _LINGER_MS)
    socket.setsockopt(zmq.BACKLOG, _BACKLOG)
    socket.setsockopt(zmq.IPV6, 1)
    # With any domain libzmq refuses the protocols of before 2013 (ZMTP 1, 2), whose messages don't say whose they are.
    socket.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)
    if socket.type == zmq.ROUTER:
        # An answer to a client that has gone raises an error instead of being dropped silently.
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    if socket.type == zmq.XPUB:
        # Report every subscription and its end, whoever else has the same.
        socket.setsockopt(zmq.XPUB_VERBOSER, 1)


def bind(socket: zmq.Socket[Any], address: str, listening: int = -1) -> None:
    """Listen on an address, with a socket that does so already if one is given; libzmq takes that over.

    Raises:
        BusyError: something else listens there.
        ConfigError: it can't be listened on.
    """
    socket.setsockopt(zmq.USE_FD, listening)
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        if error.errno == errno.EADDRINUSE:
            raise BusyError(
                f"another program already listens on {address}",
                remedy="if it is afdaemon, use that one; otherwise give this one another address",
            ) from None
        raise ConfigError(f"cannot listen on {address}: {error.strerror}") from None


def unwrap(message: Sequence[F]) -> tuple[Sequence[F], Sequence[F]]:
    """The return address of a ROUTER's message, and its payload.

    A DEALER's message carries its identity alone, a REQ's an empty frame after it.
    """
    cut = 2 if len(message) > 1 and len(message[1]) == 0 else 1
    return message[:cut], message[cut:]
