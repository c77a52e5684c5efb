"""Closes the connections that are too many. libzmq accepts whatever comes; its monitor tells us of each.

A thread for each socket, so that it works however busy the event loop is. It closes a connection by shutting down
its descriptor, which libzmq takes for the client's own end. That is safe although libzmq may have closed the
descriptor in between, and something else may have it: a duplicate is made first, and only a connection to our own
address is shut down. (A listening socket that is shut down makes libzmq end the process when it accepts.)
"""

import ctypes
import math
import os
import socket
import string
import struct
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, TypeVar

import structlog
import zmq
from zmq.utils.monitor import parse_monitor_message

from afdaemon.api.allowance import Seldom
from afdaemon.api.caps import Share
from afdaemon.api.connections import Connections, Entrances
from afdaemon.api.rundir import Listening, door_of
from afdaemon.clock import SystemClock

_WATCHED = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_MONITOR_STOPPED
_QUIET_S, _LOOK_MS = 1.0, 500
"""Memory is given back when so long nothing took much: not amid a flood, which would wait for it and take it again."""
_TELL_S = 10.0
"""A client that is cut off again and again is logged so often."""
_CREDENTIALS = struct.Struct("3i")

log = structlog.get_logger(__name__)

T = TypeVar("T")


class Guests:
    """The connections of one door, at all its addresses."""

    def __init__(self, door: str, share: Share) -> None:
        self.door = door
        self.connections = Connections(share)
        self.lock = threading.Lock()


class Porter:
    """Watches one socket, bound to `address`: made before the socket is bound, and closed before it is."""

    def __init__(self, watched: "zmq.Socket[Any]", address: str, guests: Guests) -> None:
        self._guests = guests
        self._address = address
        self._local = _local(address)
        self._watched = watched
        self._entrances = Entrances()
        self._clock = SystemClock()
        self._told = Seldom(_TELL_S)
        self._tidy_at_s = math.inf
        place = f"inproc://monitor of {address}"
        watched.monitor(place, _WATCHED)
        self._events: zmq.Socket[bytes] = zmq.Context(watched.context).socket(zmq.PAIR)
        self._events.setsockopt(zmq.RCVTIMEO, _LOOK_MS)
        self._events.connect(place)
        self._thread = threading.Thread(
            target=self._work, name=f"porter-{guests.door}", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop watching. From a thread in which the watched socket may be used."""
        self._watched.disable_monitor()
        self._thread.join()

    def subscribed(self, descriptor: int, topic: bytes) -> None:
        """Count a subscription that came over that descriptor; with too many it is closed."""
        with self._guests.lock:
            key = self._key(descriptor)
            client = self._guests.connections.subscribed(key, topic, self._clock.now_s())
            if client is not None:
                self._shut(descriptor, client, "had too many subscriptions")

    def unsubscribed(self, descriptor: int, topic: bytes) -> None:
        """The end of a subscription."""
        with self._guests.lock:
            self._guests.connections.unsubscribed(self._key(descriptor), topic)

    def expel(self, descriptor: int, client: str, why: str) -> None:
        """Close that client's connection."""
        with self._guests.lock:
            self._shut(descriptor, client, why)

    def spent(self, given: Sequence[Listening]) -> list[Listening]:
        """Those listening sockets by which nobody is connected and nobody will come."""
        with self._guests.lock:
            return [one for one in given if self._entrances.has_served(one.number)]

    def has_seen(self, number: int) -> bool:
        """Whether somebody was seen who came by the listening socket of that number, or by a later one."""
        with self._guests.lock:
            return self._entrances.has_seen(number)

    def tidy_later(self) -> None:
        """Much memory will be free: give it back to the system when it is quiet."""
        self._tidy_at_s = self._clock.now_s() + _QUIET_S

    def _work(self) -> None:
        with self._events:
            while True:
                try:
                    event = parse_monitor_message(self._events.recv_multipart())
                except zmq.Again:
                    self._tidy()
                    continue
                if event["event"] == zmq.EVENT_MONITOR_STOPPED:
                    return
                _, number = _split(event["endpoint"].decode())
                with self._guests.lock:
                    if event["event"] == zmq.EVENT_DISCONNECTED:
                        self._entrances.went(number)
                        self._guests.connections.closed(self._key(event["value"]))
                    else:
                        self._entrances.came(number)
                        self._came(event["value"])

    def _key(self, descriptor: int) -> tuple[str, int]:
        return self._address, descriptor

    def _came(self, descriptor: int) -> None:
        client = _with(descriptor, self._client_of_ours)
        if client is None:  # it has gone already
            return
        now_s = self._clock.now_s()
        refused = self._guests.connections.opened(self._key(descriptor), client, now_s)
        if refused is not None:
            self._shut(descriptor, client, refused)

    def _shut(self, descriptor: int, client: str, why: str) -> None:
        self.tidy_later()
        _with(descriptor, lambda line: self._shut_if_ours(line, client))
        if self._told.is_due(client, self._clock.now_s()):
            log.warning("connection_refused", door=self._guests.door, client=client, reason=why)

    def _shut_if_ours(self, line: socket.socket, client: str) -> None:
        if self._client_of_ours(line) == client:
            line.shutdown(socket.SHUT_RDWR)

    def _client_of_ours(self, line: socket.socket) -> str | None:
        """Whose connection to our address it is; None if it is another socket, or one of ours that listens there."""
        is_connection = not line.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        return client_of(line) if is_connection and _local_of(line) == self._local else None

    def _tidy(self) -> None:
        if self._clock.now_s() >= self._tidy_at_s:
            self._tidy_at_s = math.inf
            give_memory_back()


def client_of(line: socket.socket) -> str:
    """Whose connection it is, written as libzmq writes it in a message's Peer-Address."""
    if line.family != socket.AF_UNIX:
        return str(line.getpeername()[0])
    raw = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(raw)
    return f"localhost:{uid}:{gid}:{pid}"


def give_memory_back() -> None:
    """Return free memory to the system: malloc keeps it, the more so with the thresholds that the networks need."""
    with suppress(AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def _local(address: str) -> str:
    """What tells our ends of connections from all other sockets: where listening sockets are made, or the port."""
    scheme, _, rest = address.partition("://")
    return door_of(Path(rest)) if scheme == "ipc" else rest.rpartition(":")[2]


def _local_of(line: socket.socket) -> str:
    name = line.getsockname()
    return _split(name)[0] if line.family == socket.AF_UNIX else str(name[1])


def _split(endpoint: str) -> tuple[str, int]:
    """Where listening sockets are made, and the number of one of them; on tcp there is but one."""
    path = endpoint.removeprefix("ipc://")
    door = path.rstrip(string.digits)
    return door, int(path[len(door) :] or 0)


def _with(descriptor: int, use: Callable[[socket.socket], T]) -> T | None:
    """Use a duplicate of a descriptor that libzmq may close at any time; None if it is no connection any more."""
    with suppress(OSError), ExitStack() as stack:
        copy = os.dup(descriptor)
        stack.callback(os.close, copy)
        line = socket.socket(fileno=copy)
        stack.callback(line.detach)  # closed once, also where it is no socket
        return use(line)
    return None
