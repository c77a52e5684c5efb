"""Clients of the daemon: `Client` waits, `AsyncClient` (see `async_client`) awaits. Both need only pyzmq and pydantic.

    with Client() as client:
        job = client.autofocus(on_event=print)
        print(job.converged, job.best_wd_um)

`key` names the file of the client's key for tcp; if it is None, AFCTL_KEY does, or `client.key` in the user's folder of
settings is used if it is there.

Errors: `Unreachable` (no daemon answers), `AccessError` (it does not accept the key, or we not its own),
`VersionMismatch` (another protocol), `RequestRefused` (it answered with an error; its `kind` says which, `forbidden`
where the client's role does not allow it), `UsageError` (params that no daemon would accept), `ConfigError` (a wrong
address, or a key file that can't be used).
A request that could not be sent is dropped, never delivered later to a restarted daemon.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import zmq
import zmq.asyncio

from afdaemon.api import asks, lines, wire
from afdaemon.api import schemas as s
from afdaemon.api.asks import Ask
from afdaemon.api.async_client import AsyncClient
from afdaemon.api.lines import Line, OnEvent
from afdaemon.clock import SystemClock
from afdaemon.errors import AfdaemonError

__all__ = ["AsyncClient", "Client", "Events"]

R = TypeVar("R", bound=s.Reply)


class Client:
    """A synchronous client. Use it from one thread; several clients may be open at once."""

    def __init__(self, address: str | None = None, *, key: str | Path | None = None) -> None:
        self._places, self._key = lines.found(address, key)
        self._context = zmq.Context()
        self._lines: dict[str, Line[zmq.Socket[bytes]]] = {}
        self._clock = SystemClock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the sockets. What was not sent yet is dropped."""
        for line in self._lines.values():
            line.close()
        self._lines.clear()
        self._context.term()

    def hello(self) -> s.Hello:
        """Who answers, in which protocol, with which methods."""
        return self._ask(asks.hello())

    def ping(self) -> s.Pong:
        """Whether it answers."""
        return self._ask(asks.ping())

    def status(self) -> s.Status:
        """The daemon, the instrument, the running job."""
        return self._ask(asks.status())

    def start(self, *, request_id: str | None = None, **wish: Any) -> s.Started:
        """Start a job and return at once; params as for `asks.autofocus_params`."""
        return self._ask(asks.start(asks.autofocus_params(**wish)), request_id=request_id)

    def autofocus(
        self, *, on_event: OnEvent | None = None, request_id: str | None = None, **wish: Any
    ) -> s.Job:
        """Focus, and return when the job has ended. `on_event` gets every event of the job.

        Params as for `asks.autofocus_params`. The job's id is `request_id`, so that another
        thread's client (or this one, after an interrupt) can abort it.
        """
        job_id = request_id or wire.new_id()
        with self.events(f"job.{job_id}") as events:
            started = self.start(request_id=job_id, **wish)
            return self.follow(started.job, events, on_event)

    def follow(
        self, job_id: str, events: "Events | None" = None, on_event: OnEvent | None = None
    ) -> s.Job:
        """Wait for a job's end, passing to `on_event` what `events` brings meanwhile."""
        while True:
            job = self._ask(asks.wait(job_id, asks.SLICE_S), events=events, on_event=on_event)
            if job.state.final:
                return job

    def job(self, job_id: str) -> s.Job:
        """A job as it stands."""
        return self._ask(asks.job(job_id))

    def jobs(self, most: int = 20, *, before: str | None = None) -> s.JobList:
        """Jobs, newest first; those that began before one of them."""
        return self._ask(asks.jobs(most, before))

    def missed(self, seq: int) -> s.Missed:
        """Events after the number `seq`, as far as they are kept, and the status now."""
        return self._ask(asks.since(seq))

    def wait(self, job_id: str, timeout_s: float) -> s.Job:
        """A job when it has ended, or as it stands after `timeout_s`."""
        return self._ask(asks.wait(job_id, timeout_s))

    def abort(self, job_id: str | None = None, *, by: str | None = None) -> s.Aborted:
        """End a job, or the running one, over the abort socket; `by` says who or what ends it."""
        return self._ask(asks.abort(job_id, by), place=self._places.abort)

    def recover(self, *, decline: bool = False) -> s.Recovered:
        """Carry out the restore that an earlier job owes, or decline it."""
        return self._ask(asks.recover(decline=decline))

    def reset(self) -> s.FaultReset:
        """Somebody has looked after an instrument that did not do what it was told: jobs may begin again."""
        return self._ask(asks.reset())

    def wd(self) -> s.Focus:
        """The instrument's WD (um) and magnification."""
        return self._ask(asks.focus())

    def set_wd(self, wd_um: float, *, dry_run: bool = False) -> s.Focus:
        """Command an absolute WD (um)."""
        return self._ask(asks.set_focus(wd_um, dry_run=dry_run))

    def limits(self) -> s.Limits:
        """The range that may be commanded."""
        return self._ask(asks.limits())

    def score_image(
        self, image: bytes | Path | None = None, magnification: float | None = None
    ) -> s.Score:
        """Score an image file or its bytes at its magnification; without an image, a frame taken now."""
        return self._ask(asks.score(image, magnification))

    @contextmanager
    def events(self, *topics: str) -> Iterator["Events"]:
        """Subscribe to topics with these prefixes; nothing published from then on is missed."""
        with closing(self._connected(zmq.SUB, self._places.events)) as line:
            name = lines.subscribe(line.socket, topics)
            events = Events(line.socket)
            self._await_welcome(line, events, name)
            yield events

    def _await_welcome(self, line: Line[zmq.Socket[bytes]], events: "Events", name: str) -> None:
        for wait_s in line.waits_s():
            end_s = self._clock.now_s() + wait_s
            while (left_s := end_s - self._clock.now_s()) > 0:
                event = events.next(left_s)
                if event is not None and event.topic == name:
                    return
        raise line.trouble()

    def _ask(
        self,
        ask: Ask[R],
        *,
        place: str | None = None,
        request_id: str | None = None,
        events: "Events | None" = None,
        on_event: OnEvent | None = None,
    ) -> R:
        line = self._line(place or self._places.control)
        request_id = request_id or wire.new_id()
        line.send_multipart(lines.frames(ask, request_id))
        end_s = self._clock.now_s() + ask.timeout_s
        while (left_s := end_s - self._clock.now_s()) > 0:
            if _await_either(line, events, left_s):
                response = wire.decode_response(line.recv_multipart()[-1])
                if response.id == request_id or response.id is None:
                    _tell(events, on_event)
                    return wire.result_of(response, ask.result)
            _tell(events, on_event)
        raise lines.silent(self._places.address, ask)

    def _line(self, place: str) -> "zmq.Socket[bytes]":
        """A socket that can be sent on."""
        if place not in self._lines:
            self._lines[place] = self._connected(zmq.DEALER, place)
        line = self._lines[place]
        try:
            for wait_s in line.waits_s():
                if line.socket.poll(int(wait_s * 1000), zmq.POLLOUT):
                    return line.socket
            raise line.trouble()
        except AfdaemonError:
            self._lines.pop(place).close()  # a line that was refused never tries again
            raise

    def _connected(self, kind: int, place: str) -> Line[zmq.Socket[bytes]]:
        return Line(self._context, kind, self._places, place, self._key)


class Events:
    """A subscription; ends with the `with` block that opened it."""

    def __init__(self, socket: "zmq.Socket[Any]") -> None:
        self.socket = socket

    def next(self, timeout_s: float | None = None) -> s.Event | None:
        """The next event, or None after `timeout_s`."""
        if not self.socket.poll(None if timeout_s is None else int(timeout_s * 1000)):
            return None
        return lines.event(self.socket.recv_multipart())


def _await_either(line: "zmq.Socket[Any]", events: Events | None, timeout_s: float) -> bool:
    """Wait for an answer or an event; whether an answer is there."""
    poller = zmq.Poller()
    poller.register(line, zmq.POLLIN)
    if events is not None:
        poller.register(events.socket, zmq.POLLIN)
    return line in dict(poller.poll(max(1, int(timeout_s * 1000))))


def _tell(events: Events | None, on_event: OnEvent | None) -> None:
    while events is not None and (event := events.next(0.0)) is not None:
        if on_event is not None:
            on_event(event)
