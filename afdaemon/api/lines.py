"""What the clients' sockets have in common: how they are set up, what goes in, what comes out."""

import errno
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import zmq
from pydantic import ValidationError

from afdaemon.api import wire
from afdaemon.api.asks import Ask
from afdaemon.api.endpoints import NAMES, Endpoints
from afdaemon.api.schemas import Event, Reply
from afdaemon.errors import Unreachable, VersionMismatch

_CONNECT_S, _LET_IN_S = 1.5, 5.0
"""A daemon that runs accepts at once; one that is starting, on a busy machine, may take some seconds."""
MAX_REPLY_BYTES = 16 * 1024 * 1024
"""A job's trace of many thousand readings fits; nothing larger can be genuine."""

R = TypeVar("R", bound=Reply)


def prepare(line: "zmq.Socket[Any]", place: str) -> None:
    """Cap and connect a client's socket.

    Raises:
        Unreachable: the address is not valid.
    """
    line.setsockopt(zmq.LINGER, 0)
    line.setsockopt(zmq.MAXMSGSIZE, MAX_REPLY_BYTES)
    # Send only to a daemon that is there: nothing is kept for one that may come later.
    line.setsockopt(zmq.IMMEDIATE, 1)
    line.setsockopt(zmq.IPV6, 1)
    try:
        line.connect(place)
    except zmq.ZMQError as error:
        raise Unreachable(f"{place} cannot be reached: {error.strerror}") from None


def subscribe(line: "zmq.Socket[Any]", topics: Sequence[str]) -> str:
    """Subscribe, and return the topic of the welcome that says when it has taken effect."""
    name = f"welcome.{wire.new_id()}"
    for topic in (*topics, name):
        line.setsockopt(zmq.SUBSCRIBE, topic.encode())
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


def waits_s(places: Endpoints) -> Iterator[float]:
    """How long to wait for a connection (s), and how much longer if somebody listens there."""
    yield _CONNECT_S
    if places.folder is not None and _trouble_at(places.folder / NAMES[0]) is None:
        yield _LET_IN_S - _CONNECT_S


def nobody(places: Endpoints) -> Unreachable:
    """Why there is no connection: nobody is there, or whoever is there lets nobody in."""
    if places.folder is None:
        also = "; if it runs, close connections that this program doesn't need"
        return Unreachable(
            f"no daemon answers at {places.address}", remedy=f"{Unreachable.remedy}{also}"
        )
    trouble = _trouble_at(places.folder / NAMES[0])
    if trouble is None:
        return Unreachable(
            f"the daemon at {places.address} did not let this program in within {_LET_IN_S:g} s",
            remedy="close connections that this program doesn't need; if it has none, see whether the daemon hangs"
            " (its log, `systemctl status afdaemon`)",
        )
    if trouble in (errno.EACCES, errno.EPERM):
        return Unreachable(
            f"this user may not connect to the daemon at {places.address}",
            remedy="become a member of its group (`sudo usermod -aG afdaemon $USER`), and log in again",
        )
    return Unreachable(f"no daemon answers at {places.address}")


def _trouble_at(path: Path) -> int | None:
    """What the system says to a connection there; None if somebody listens."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        trouble = probe.connect_ex(str(path))
    return None if trouble in (0, errno.EAGAIN) else trouble


def silent(address: str, ask: Ask[R]) -> Unreachable:
    """The connection was accepted, but no answer came."""
    return Unreachable(
        f"the daemon at {address} did not answer {ask.method} within {ask.timeout_s:g} s"
    )
