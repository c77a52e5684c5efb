"""The abort socket: a thread and a ZeroMQ context of its own, so that nothing else delays it."""

import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import zmq

from afdaemon.api.access.roles import Caller
from afdaemon.api.allowance import Pace
from afdaemon.api.caps import RECEIVED, Share
from afdaemon.api.entry import Entry, enter
from afdaemon.api.gate import BETWEEN_S
from afdaemon.api.places import Place
from afdaemon.api.porter import Guests
from afdaemon.api.sockets import unwrap
from afdaemon.api.wire import MAX_REQUEST_BYTES
from afdaemon.clock import SystemClock
from afdaemon.pulse import Part, Work

DEADLINE_S = 5.0
"""An abort has to be acknowledged within 50 ms: a thread that takes a hundred times as long is stuck."""
_TURN_MS = 1_000
"""An idle thread goes round this often, to show that it is alive."""
_STOP = "inproc://stop"


Answer = Callable[[Sequence[bytes], Caller], bytes]


class AbortDoor:
    """Bound when made, answering from `start` on, released by `close`."""

    def __init__(self, places: Sequence[Place], connections: Share) -> None:
        self.part = Part("abort socket's thread", DEADLINE_S)
        self._context = zmq.Context()
        self._stop: zmq.Socket[Any] = self._context.socket(zmq.PAIR)
        self._stop.setsockopt(zmq.LINGER, 0)
        self._thread: threading.Thread | None = None
        self._entries: list[Entry[zmq.Socket[bytes]]] = []
        addresses = [(place.at.abort, place) for place in places]
        guests = Guests("abort", connections)
        try:
            self._entries = enter(
                self._context_of, zmq.ROUTER, addresses, guests, max_bytes=MAX_REQUEST_BYTES
            )
            self._stop.bind(_STOP)
        except BaseException:
            self.close()
            raise

    def _context_of(self, place: Place) -> "zmq.Context[zmq.Socket[bytes]]":
        return self._context if place.guard is None else place.guard.abort_context

    def start(self, answer: Answer) -> Future[None]:
        """Answer messages in a thread. The future ends with the thread, and has its error.

        Raises:
            RuntimeError: it was started before; two threads on one socket would end the process.
        """
        if self._thread is not None:
            raise RuntimeError("the abort socket is already answered; open new doors")
        finished: Future[None] = Future()
        finished.set_running_or_notify_cancel()
        stopped: zmq.Socket[Any] = self._context.socket(zmq.PAIR)
        stopped.connect(_STOP)
        self._thread = threading.Thread(
            target=self._work, args=(answer, stopped, finished), name="abort", daemon=True
        )
        self._thread.start()
        return finished

    def close(self) -> None:
        """End the thread and release the sockets."""
        if self._thread is not None:
            with suppress(zmq.Again):  # the thread has ended by itself
                self._stop.send(b"", zmq.DONTWAIT)
            self._thread.join()
        for entry in self._entries:
            entry.close()
        self._stop.close()
        self._context.term()

    def _work(self, answer: Answer, stopped: zmq.Socket[Any], finished: Future[None]) -> None:
        try:
            with self.part.busy() as work:
                self._serve(answer, stopped, work)
        except BaseException as error:  # noqa: BLE001 - handed to the watcher of the thread
            finished.set_exception(error)
        else:
            finished.set_result(None)

    def _serve(self, answer: Answer, stopped: zmq.Socket[Any], work: Work) -> None:
        clock, pace = SystemClock(), Pace(RECEIVED)
        with stopped:
            while stopped not in (ready := self._ready(stopped)):
                work.beat()
                delay_s = BETWEEN_S if self._let_in(ready) else 0.0
                for entry in self._entries:
                    if entry.socket in ready:
                        _answer_one(entry, answer)
                        # A flood here must not keep the interpreter from the event loop, which ends the job.
                        delay_s = max(delay_s, pace.delay_s("", clock.now_s()))
                if delay_s > 0.0 and stopped.poll(max(1, int(1e3 * delay_s))):
                    return

    def _ready(self, stopped: zmq.Socket[Any]) -> Collection[zmq.Socket[Any] | int]:
        """What can be read, as soon as something can."""
        poller = zmq.Poller()
        poller.register(stopped, zmq.POLLIN)
        for entry in self._entries:
            poller.register(entry.socket, zmq.POLLIN)
            if entry.gate is not None:
                poller.register(entry.gate.fileno(), zmq.POLLIN)
        return dict(poller.poll(_TURN_MS))

    def _let_in(self, ready: Collection[zmq.Socket[Any] | int]) -> bool:
        """Whether somebody was waiting to be let in."""
        gates = [entry.gate for entry in self._entries if entry.gate is not None]
        wanted = [gate for gate in gates if gate.fileno() in ready]
        for gate in wanted:
            gate.admit()
        for gate in gates:
            gate.mend()
        return bool(wanted)


def _answer_one(entry: Entry[zmq.Socket[bytes]], answer: Answer) -> None:
    frames = entry.socket.recv_multipart(copy=False)
    address, payload = unwrap(frames)
    message = [frame.bytes for frame in payload]
    reply = answer(message, entry.callers.of(frames[-1]))
    with suppress(zmq.ZMQError):  # the client has gone, or doesn't read
        entry.socket.send_multipart([*address, reply], zmq.DONTWAIT)
