"""The abort socket: a thread and a ZeroMQ context of its own, so that nothing else delays it."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import zmq

from afdaemon.api.allowance import Pace
from afdaemon.api.caps import RECEIVED, Share
from afdaemon.api.endpoints import Endpoints
from afdaemon.api.porter import Porter
from afdaemon.api.sockets import bind, harden, unwrap
from afdaemon.api.wire import MAX_REQUEST_BYTES
from afdaemon.clock import SystemClock

_STOP = "inproc://stop"


class AbortDoor:
    """Bound when made, answering from `start` on, released by `close`."""

    def __init__(self, endpoints: Sequence[Endpoints], connections: Share) -> None:
        self._context = zmq.Context()
        self._router: zmq.Socket[Any] = self._context.socket(zmq.ROUTER)
        self._stop: zmq.Socket[Any] = self._context.socket(zmq.PAIR)
        self._stop.setsockopt(zmq.LINGER, 0)
        self._thread: threading.Thread | None = None
        addresses = [place.abort for place in endpoints]
        self._porter = Porter(self._router, "abort", addresses, connections)
        try:
            harden(self._router, max_bytes=MAX_REQUEST_BYTES)
            for place in endpoints:
                bind(self._router, place.abort, place)
            self._stop.bind(_STOP)
        except BaseException:
            self.close()
            raise

    def start(self, answer: Callable[[Sequence[bytes]], bytes]) -> Future[None]:
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
        self._porter.close()
        self._router.close()
        self._stop.close()
        self._context.term()

    def _work(
        self,
        answer: Callable[[Sequence[bytes]], bytes],
        stopped: zmq.Socket[Any],
        finished: Future[None],
    ) -> None:
        try:
            self._serve(answer, stopped)
        except BaseException as error:  # noqa: BLE001 - handed to the watcher of the thread
            finished.set_exception(error)
        else:
            finished.set_result(None)

    def _serve(self, answer: Callable[[Sequence[bytes]], bytes], stopped: zmq.Socket[Any]) -> None:
        clock, pace = SystemClock(), Pace(RECEIVED)
        with stopped:
            poller = zmq.Poller()
            poller.register(stopped, zmq.POLLIN)
            poller.register(self._router, zmq.POLLIN)
            while stopped not in (ready := dict(poller.poll())):
                if self._router in ready:
                    address, payload = unwrap(self._router.recv_multipart())
                    with suppress(zmq.ZMQError):  # the client has gone, or doesn't read
                        self._router.send_multipart([*address, answer(payload)], zmq.DONTWAIT)
                # A flood here must not keep the interpreter from the event loop, which ends the job.
                delay_s = pace.delay_s("", clock.now_s())
                if delay_s > 0.0 and stopped.poll(max(1, int(1e3 * delay_s))):
                    return
