"""What the clients' sockets have in common: how they are set up, what goes in, what comes out."""

from collections.abc import Sequence
from typing import Any, TypeVar

import zmq
from pydantic import ValidationError

from afdaemon.api import wire
from afdaemon.api.asks import Ask
from afdaemon.api.endpoints import NAMES, Endpoints
from afdaemon.api.schemas import Event, Reply
from afdaemon.errors import Unreachable, VersionMismatch

CONNECT_S = 1.5
"""A daemon on this machine accepts at once; a longer wait is in vain."""
MAX_REPLY_BYTES = 16 * 1024 * 1024
"""A job's trace of many thousand readings fits; nothing larger can be genuine."""

R = TypeVar("R", bound=Reply)


def prepare(socket: "zmq.Socket[Any]", place: str) -> None:
    """Cap and connect a client's socket.

    Raises:
        Unreachable: the address is not valid.
    """
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_REPLY_BYTES)
    # Send only to a daemon that is there: nothing is kept for one that may come later.
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.setsockopt(zmq.IPV6, 1)
    try:
        socket.connect(place)
    except zmq.ZMQError as error:
        raise Unreachable(f"{place} cannot be reached: {error.strerror}") from None


def subscribe(socket: "zmq.Socket[Any]", topics: Sequence[str]) -> str:
    """Subscribe, and return the topic of the welcome that says when it has taken effect."""
    name = f"welcome.{wire.new_id()}"
    for topic in (*topics, name):
        socket.setsockopt(zmq.SUBSCRIBE, topic.encode())
    return name


def frames(ask: Ask[R], request_id: str) -> list[bytes]:
    """A call as a message."""
    request = wire.encode_request(ask.method, ask.params, request_id)
    return [request] if ask.image is None else [request, ask.image]


def event(message: Sequence[bytes]) -> Event:
    """The event in a message: topic, then JSON."""
    try:
        return Event.model_validate_json(message[-1])
    except ValidationError:
        raise VersionMismatch("an event came that this client does not understand") from None


def nobody(places: Endpoints) -> Unreachable:
    """Nothing accepted the connection, or, where there are sockets, it was one too many."""
    may_run = places.folder is None or any((places.folder / name).exists() for name in NAMES)
    also = "; if it runs, close connections that this program doesn't need" if may_run else ""
    return Unreachable(
        f"no daemon answers at {places.address}", remedy=f"{Unreachable.remedy}{also}"
    )


def silent(address: str, ask: Ask[R]) -> Unreachable:
    """The connection was accepted, but no answer came."""
    return Unreachable(
        f"the daemon at {address} did not answer {ask.method} within {ask.timeout_s:g} s"
    )
