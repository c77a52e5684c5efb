"""The asyncio client of the daemon; see `client`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any, Self, TypeVar

import zmq
import zmq.asyncio

from afdaemon.api import asks, lines, wire
from afdaemon.api import schemas as s
from afdaemon.api.asks import Ask
from afdaemon.api.lines import Line, OnEvent
from afdaemon.errors import AfdaemonError, VersionMismatch

R = TypeVar("R", bound=s.Reply)


class AsyncClient:
    """An asyncio client: `async with AsyncClient() as client`. Calls may overlap."""

    def __init__(self, address: str | None = None, *, key: str | Path | None = None) -> None:
        self._places, self._key = lines.found(address, key)
        self._context = zmq.asyncio.Context()
        self._lines: dict[str, tuple[Line[zmq.asyncio.Socket], asyncio.Task[None]]] = {}
        self._pending: dict[str, asyncio.Future[s.Response]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        for place in list(self._lines):
            await self._drop(place)
        self._context.term()

    async def hello(self) -> s.Hello:
        """Who answers, in which protocol, with which methods."""
        return await self._ask(asks.hello())

    async def ping(self) -> s.Pong:
        """Whether it answers."""
        return await self._ask(asks.ping())

    async def status(self) -> s.Status:
        """The daemon, the instrument, the running job."""
        return await self._ask(asks.status())

    async def start(self, *, request_id: str | None = None, **wish: Any) -> s.Started:
        """Start a job and return at once; params as for `asks.autofocus_params`."""
        return await self._ask(asks.start(asks.autofocus_params(**wish)), request_id=request_id)

    async def autofocus(
        self, *, on_event: OnEvent | None = None, request_id: str | None = None, **wish: Any
    ) -> s.Job:
        """Focus, and return when the job has ended. `on_event` gets every event of the job.

        Cancelling ends the waiting, not the job: `abort(request_id)` does that.
        """
        job_id = request_id or wire.new_id()
        async with self.events(f"job.{job_id}") as events:
            started = await self.start(request_id=job_id, **wish)
            telling = asyncio.create_task(_tell_all(events, on_event), name="events")
            try:
                return await self.follow(started.job)
            finally:
                telling.cancel()
                with suppress(asyncio.CancelledError):
                    await telling

    async def follow(self, job_id: str) -> s.Job:
        """Wait for a job's end."""
        while True:
            job = await self._ask(asks.wait(job_id, asks.SLICE_S))
            if job.state.final:
                return job

    async def job(self, job_id: str) -> s.Job:
        """A job as it stands."""
        return await self._ask(asks.job(job_id))

    async def jobs(self, most: int = 20, *, before: str | None = None) -> s.JobList:
        """Jobs, newest first; those that began before one of them."""
        return await self._ask(asks.jobs(most, before))

    async def missed(self, seq: int) -> s.Missed:
        """Events after the number `seq`, as far as they are kept, and the status now."""
        return await self._ask(asks.since(seq))

    async def wait(self, job_id: str, timeout_s: float) -> s.Job:
        """A job when it has ended, or as it stands after `timeout_s`."""
        return await self._ask(asks.wait(job_id, timeout_s))

    async def abort(self, job_id: str | None = None, *, by: str | None = None) -> s.Aborted:
        """End a job, or the running one, over the abort socket; `by` says who or what ends it."""
        return await self._ask(asks.abort(job_id, by), place=self._places.abort)

    async def recover(self, *, decline: bool = False) -> s.Recovered:
        """Carry out the restore that an earlier job owes, or decline it."""
        return await self._ask(asks.recover(decline=decline))

    async def reset(self) -> s.FaultReset:
        """Somebody has looked after an instrument that did not do what it was told: jobs may begin again."""
        return await self._ask(asks.reset())

    async def wd(self) -> s.Focus:
        """The instrument's WD (um) and magnification."""
        return await self._ask(asks.focus())

    async def set_wd(self, wd_um: float, *, dry_run: bool = False) -> s.Focus:
        """Command an absolute WD (um)."""
        return await self._ask(asks.set_focus(wd_um, dry_run=dry_run))

    async def limits(self) -> s.Limits:
        """The range that may be commanded."""
        return await self._ask(asks.limits())

    async def score_image(
        self, image: bytes | Path | None = None, magnification: float | None = None
    ) -> s.Score:
        """Score an image file or its bytes at its magnification; without an image, a frame taken now."""
        return await self._ask(asks.score(image, magnification))

    @asynccontextmanager
    async def events(self, *topics: str) -> AsyncIterator[AsyncIterator[s.Event]]:
        """Subscribe to topics with these prefixes; nothing published from then on is missed."""
        with closing(self._connected(zmq.SUB, self._places.events)) as line:
            name = lines.subscribe(line.socket, topics)
            async with aclosing(lines.received(line.socket)) as events:
                await lines.within(line, lines.welcomed(events, name))
                yield events

    async def _ask(
        self, ask: Ask[R], *, place: str | None = None, request_id: str | None = None
    ) -> R:
        place = place or self._places.control
        request_id = request_id or wire.new_id()
        answer: asyncio.Future[s.Response] = asyncio.get_running_loop().create_future()
        self._pending[request_id] = answer
        try:
            await self._send(place, lines.frames(ask, request_id))
            async with asyncio.timeout(ask.timeout_s):
                return wire.result_of(await answer, ask.result)
        except TimeoutError:
            raise lines.silent(self._places.address, ask) from None
        finally:
            self._pending.pop(request_id, None)

    async def _send(self, place: str, message: list[bytes]) -> None:
        if place not in self._lines:
            line = self._connected(zmq.DEALER, place)
            reader = asyncio.create_task(self._read(line.socket), name="replies")
            self._lines[place] = line, reader
        line, _ = self._lines[place]
        try:
            await lines.within(line, line.socket.send_multipart(message))
        except AfdaemonError:
            await self._drop(place)  # a line that was refused never tries again
            raise

    async def _drop(self, place: str) -> None:
        if place in self._lines:
            line, reader = self._lines.pop(place)
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            line.close()

    def _connected(self, kind: int, place: str) -> Line[zmq.asyncio.Socket]:
        return Line(self._context, kind, self._places, place, self._key)

    async def _read(self, line: "zmq.asyncio.Socket") -> None:
        """The one task that receives on a socket."""
        while True:
            raw = (await line.recv_multipart())[-1]
            try:
                response = wire.decode_response(raw)
            except VersionMismatch as error:
                for answer in self._pending.values():
                    if not answer.done():
                        answer.set_exception(error)
                continue
            waiting = self._pending.get(str(response.id))
            if waiting is not None and not waiting.done():
                waiting.set_result(response)


async def _tell_all(events: AsyncIterator[s.Event], on_event: OnEvent | None) -> None:
    async for event in events:
        if on_event is not None:
            on_event(event)
