"""Lets those in over tcp whose keys are known: CURVE, and the ZAP handler (ZeroMQ RFC 27) behind it.

A thread of its own answers for the control and event sockets and for the abort socket, whose contexts are apart. The
tcp sockets share these contexts with no others: whatever strangers do here, ipc neither asks this thread nor waits for
their handshakes. Whatever goes wrong with one request is answered as a refusal; a thread that hangs is the watchdog's.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import structlog
import zmq
import zmq.asyncio
from zmq.utils import z85

from afdaemon.api.access import keys
from afdaemon.api.access.callers import KeyHolders
from afdaemon.api.access.roles import Role
from afdaemon.errors import ConfigError
from afdaemon.pulse import Part

DEADLINE_S = 5.0
"""A request takes well below a millisecond, unless the keys lie on a disk that hangs."""
DOMAIN = b"afdaemon"
"""Of all our sockets. (In ZAP itself no name stands for all domains, not even `*`.)"""
_PLACE = "inproc://zeromq.zap.01"
_STOP = "inproc://stop"
_TURN_MS = 1_000
"""An idle thread goes round this often, to show that it is alive."""
_VERSION = b"1.0"
_KEY_BYTES = 32

log = structlog.get_logger(__name__)


class Guard:
    """Answers from when it is made until `close`, which comes after the sockets that it guards are closed.

    Raises:
        ConfigError: the daemon's own key can't be used, or libzmq was built without CURVE.
    """

    def __init__(self, folder: Path) -> None:
        if not zmq.has("curve"):
            raise ConfigError(
                "the installed libzmq knows no keys (CURVE), and tcp is not opened without",
                remedy="install pyzmq from its wheels, or listen on ipc alone",
            )
        self._own = keys.server_key(folder)
        if not keys.known(folder).grants:
            log.warning("no_keys", folder=str(folder), remedy="afctl keys new NAME --role ROLE")
        self.callers = KeyHolders(folder)
        self.part = Part("keys' thread", DEADLINE_S)
        self.context = zmq.asyncio.Context()
        """Of the control and event sockets."""
        self.abort_context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._stop, stopped = self._pair()
        doors = [self._door(self.context), self._door(self.abort_context)]
        self._thread = threading.Thread(
            target=self._work, args=(doors, stopped), name="keys", daemon=True
        )
        self._thread.start()

    def lock(self, socket: "zmq.Socket[Any]") -> None:
        """Let a socket of its domain talk only to those whom this guard lets in, before it is bound."""
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self._own.secret.encode())
        # libzmq puts who it is into the queue, before the messages: with room for one alone none would ever come.
        socket.setsockopt(zmq.RCVHWM, int(socket.getsockopt(zmq.RCVHWM)) + 1)
        # Without this a socket whose handler has gone lets everybody in.
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)

    def close(self) -> None:
        """End the thread."""
        self._stop.send(b"")
        self._thread.join()
        self._stop.close()
        self.context.term()
        self.abort_context.term()

    def _pair(self) -> "tuple[zmq.Socket[Any], zmq.Socket[Any]]":
        stop, stopped = (self.abort_context.socket(zmq.PAIR) for _ in range(2))
        stop.bind(_STOP)
        stopped.connect(_STOP)
        return stop, stopped

    @staticmethod
    def _door(context: "zmq.Context[Any]") -> "zmq.Socket[bytes]":
        door: zmq.Socket[bytes] = zmq.Context(context).socket(zmq.ROUTER)
        door.setsockopt(zmq.LINGER, 0)
        door.bind(_PLACE)
        return door

    def _work(self, doors: "Sequence[zmq.Socket[bytes]]", stopped: "zmq.Socket[Any]") -> None:
        poller = zmq.Poller()
        for socket in (stopped, *doors):
            poller.register(socket, zmq.POLLIN)
        with self.part.busy() as work:
            while stopped not in (ready := dict(poller.poll(_TURN_MS))):
                work.beat()
                for door in doors:
                    if door in ready:
                        self._answer(door)
        for socket in (stopped, *doors):
            socket.close()

    def _answer(self, door: "zmq.Socket[bytes]") -> None:
        try:
            message = door.recv_multipart()
            cut = message.index(b"") + 1
            door.send_multipart([*message[:cut], *reply(message[cut:], self._is_known)])
        except Exception:  # one request's failure must not end the thread that all others need
            log.exception("key_request_failed")

    def _is_known(self, public: str) -> bool:
        return self.callers.holder_of(public).role is not Role.NOBODY


def reply(request: Sequence[bytes], is_known: Callable[[str], bool]) -> list[bytes]:
    """The answer to a request of ZAP: 200 with the public key as the user's id, else 400; 500 if `is_known` fails."""
    request_id = request[1] if len(request) > 1 else b""
    refused = [_VERSION, request_id, b"400", b"", b"", b""]
    match list(request):
        case [version, _, domain, _, _, b"CURVE", raw] if (version, domain) == (_VERSION, DOMAIN):
            public = z85.encode(raw).decode() if len(raw) == _KEY_BYTES else ""
        case _:
            return refused
    try:
        let_in = bool(public) and is_known(public)
    except Exception:  # whatever fails, the client gets a refusal and the log the cause
        log.exception("key_lookup_failed")
        return [_VERSION, request_id, b"500", b"", b"", b""]
    return [_VERSION, request_id, b"200", b"", public.encode(), b""] if let_in else refused
