"""A client's line to one of the daemon's sockets: how it is set up, what goes in, what comes out, why it fails."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import zmq
import zmq.asyncio
from pydantic import ValidationError
from zmq.utils.monitor import parse_monitor_message

from afdaemon.api import wire
from afdaemon.api.access.keys import ClientKey, key_in_use
from afdaemon.api.asks import Ask
from afdaemon.api.endpoints import Endpoints, default_address, parse_endpoint
from afdaemon.api.probe import no_connection, somebody_listens, unknown_key
from afdaemon.api.schemas import Event, Reply
from afdaemon.errors import AfdaemonError, Unreachable, VersionMismatch

_CONNECT_S, _LET_IN_S = 1.5, 5.0
"""A daemon that runs accepts at once; one that is starting, on a busy machine, may take some seconds."""
_LOOK_S = 0.1
"""On tcp it is looked this often whether the daemon refuses the key."""
MAX_REPLY_BYTES = 16 * 1024 * 1024
"""A job's trace of many thousand readings fits; nothing larger can be genuine."""

R = TypeVar("R", bound=Reply)
S = TypeVar("S", bound="zmq.Socket[Any]")
OnEvent = Callable[[Event], None]


class Line(Generic[S]):
    """A socket of `kind`, connected to `place`, one of the addresses in `places`; with the client's key on tcp.

    Raises:
        Unreachable: the address is not valid.
    """

    def __init__(
        self,
        context: "zmq.Context[S]",
        kind: int,
        places: Endpoints,
        place: str,
        key: ClientKey | None,
    ) -> None:
        self.socket: S = context.socket(kind)
        self._places = places
        self._key = None if places.folder is not None else key
        self._told = None if places.folder is not None else self._monitor(place)
        try:
            _prepare(self.socket, place, self._key)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Release the socket. What was not sent yet is dropped."""
        if self._told is not None:
            self.socket.disable_monitor()
            self._told.close()
        self.socket.close()

    def waits_s(self) -> Iterator[float]:
        """How long to wait for a connection (s), again and again as long as there is hope.

        Raises:
            AccessError: the daemon doesn't know the key.
        """
        if self._places.folder is None:
            for _ in range(round(_CONNECT_S / _LOOK_S)):
                yield _LOOK_S
                if self._is_refused():
                    raise unknown_key(self._places)
            return
        yield _CONNECT_S
        if somebody_listens(self._places.folder):
            yield _LET_IN_S - _CONNECT_S

    def trouble(self) -> AfdaemonError:
        """Why there is no connection after all that waiting."""
        return no_connection(self._places, has_key=self._key is not None, waited_s=_LET_IN_S)

    def _monitor(self, place: str) -> "zmq.Socket[bytes]":
        name = f"inproc://handshakes of {id(self.socket)} with {place}"
        self.socket.monitor(name, zmq.EVENT_HANDSHAKE_FAILED_AUTH)
        told: zmq.Socket[bytes] = zmq.Context(self.socket.context).socket(zmq.PAIR)
        told.setsockopt(zmq.LINGER, 0)
        told.connect(name)
        return told

    def _is_refused(self) -> bool:
        """Whether the daemon has said that it does not know the key."""
        while self._told is not None and self._told.poll(0):
            event = parse_monitor_message(self._told.recv_multipart())["event"]
            if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                return True
        return False


def _prepare(socket: "zmq.Socket[Any]", place: str, key: ClientKey | None) -> None:
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_REPLY_BYTES)
    # Send only to a daemon that is there: nothing is kept for one that may come later.
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.setsockopt(zmq.IPV6, 1)
    if key is not None:
        socket.setsockopt(zmq.CURVE_PUBLICKEY, key.public.encode())
        socket.setsockopt(zmq.CURVE_SECRETKEY, key.secret.encode())
        socket.setsockopt(zmq.CURVE_SERVERKEY, key.server.encode())
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


def silent(address: str, ask: Ask[R]) -> Unreachable:
    """The connection was accepted, but no answer came."""
    return Unreachable(
        f"the daemon at {address} did not answer {ask.method} within {ask.timeout_s:g} s"
    )


async def within(line: Line[zmq.asyncio.Socket], work: Awaitable[object]) -> None:
    """Wait for what needs a connection as long as there is hope; raise why there is none."""
    working = asyncio.ensure_future(work)
    try:
        for wait_s in line.waits_s():
            await asyncio.wait([working], timeout=wait_s)
            if working.cancelled():  # another call found out that there is no connection
                break
            if working.done():
                working.result()
                return
        raise await asyncio.to_thread(line.trouble)
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def received(socket: zmq.asyncio.Socket) -> AsyncGenerator[Event]:
    """What comes to a subscriber."""
    while True:
        yield event(await socket.recv_multipart())


async def welcomed(events: AsyncIterator[Event], topic: str) -> None:
    """Return when the welcome of that topic has come."""
    while (await anext(events)).topic != topic:
        pass


def found(address: str | None, key: str | Path | None) -> tuple[Endpoints, ClientKey | None]:
    """Where the daemon is, and the client's key if one is needed there."""
    places = parse_endpoint(address or default_address())
    return places, None if places.folder is not None else key_in_use(key)
