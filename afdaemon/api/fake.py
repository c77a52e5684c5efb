"""A backend without an instrument, for trying out clients and doors.

Each job takes `steps` readings that approach focus, then ends as configured. With `hold` it stays on its
last reading until it is released or aborted.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from afdaemon import __version__
from afdaemon.api import schemas as s
from afdaemon.api.access.roles import Caller
from afdaemon.api.events import Publisher, topic_of
from afdaemon.api.server import Doors
from afdaemon.errors import BusyError, IdReused, JobNotFound, LimitError

_HARD_UM = (5_000.0, 50_000.0)
FOCUS_UM = 12_345.0
MAGNIFICATION = 2_000.0


class FakeBackend:
    """Keeps the promises of `dispatch.Backend`. `error`, if set, is raised by the next call."""

    def __init__(self, events: Publisher, *, instance: str, hold: bool = False) -> None:
        self.jobs: dict[str, s.Job] = {}
        self.wd_um = 12_000.0
        self.moves: list[float] = []
        self.wishes: list[s.AutofocusParams] = []
        self.images: list[bytes | None] = []
        self.error: Exception | None = None
        self.end = s.Job(job="", state=s.JobState.SUCCEEDED, converged=True, reason="focused")
        self.owed: s.Owed | None = None
        self.fault: s.Fault | None = None
        self.why_down = ""
        self.vendor: str | None = None
        self.steps = 3
        self.release = asyncio.Event()
        if not hold:
            self.release.set()
        self._events = events
        self._instance = instance
        self._loop = asyncio.get_running_loop()
        self._asked: dict[str, dict[str, object]] = {}
        self._owners: dict[str, str] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ended: dict[str, asyncio.Event] = {}
        self.aborted = threading.Event()
        self.aborted_by: str | None = None

    async def close(self) -> None:
        """End what still runs."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def status(self) -> s.Status:
        """A daemon with or without a job."""
        self._fail_if_told()
        running = self._running()
        return s.Status(
            instance=self._instance,
            version=__version__,
            state="ready" if running is None else "busy",
            uptime_s=1.0,
            microscope=s.MicroscopeStatus(
                name="fake",
                connected=not self.why_down,
                why_down=self.why_down,
                remedy="plug it in",
                wd_um=self.wd_um,
                magnification=MAGNIFICATION,
            ),
            job=None if running is None else s.Progress(job=running, phase="servo"),
            vendor=self.vendor,
            owed=self.owed,
            fault=self.fault,
        )

    async def start(self, params: s.AutofocusParams, request_id: str, caller: Caller) -> s.Started:
        """One job at a time."""
        self._fail_if_told()
        if request_id in self.jobs:
            if self._asked[request_id] != params.wish:
                raise IdReused(f"the id {request_id} belongs to a job with other params")
            return s.Started(job=request_id, state=self.jobs[request_id].state)
        if (running := self._running()) is not None:
            raise BusyError(f"the job {running} holds the microscope")
        if params.meta.dry_run:
            return s.Started(job=request_id, dry_run=True)
        self.wishes.append(params)
        self._asked[request_id] = params.wish
        self._owners[request_id] = caller.name
        self.jobs[request_id] = s.Job(
            job=request_id, state=s.JobState.RUNNING, start_wd_um=self.wd_um
        )
        self._ended[request_id] = asyncio.Event()
        self._tasks[request_id] = asyncio.create_task(self._work(request_id))
        return s.Started(job=request_id, state=s.JobState.RUNNING)

    async def job(self, job_id: str) -> s.Job:
        """As it stands."""
        self._fail_if_told()
        if job_id not in self.jobs:
            raise JobNotFound(f"there is no job {job_id}")
        return self.jobs[job_id]

    async def list_jobs(self, params: s.JobListParams) -> s.JobList:
        """In reverse order."""
        known = [
            s.JobSummary(job=job.job, state=job.state, began_utc="1970-01-01T00:00:00+00:00")
            for job in reversed(self.jobs.values())
        ]
        return s.JobList(jobs=known[: params.most])

    async def since(self, params: s.SinceParams) -> s.Missed:
        """What the doors have published."""
        events, latest, lost = self._events.since(params.seq, params.most)
        return s.Missed(events=events, latest=latest, lost=lost, status=await self.status())

    async def wait(self, job_id: str, timeout_s: float) -> s.Job:
        """Its end."""
        await self.job(job_id)
        try:
            async with asyncio.timeout(timeout_s):
                await self._ended[job_id].wait()
        except TimeoutError:
            pass
        return self.jobs[job_id]

    def abort(self, job_id: str | None, by: str | None, caller: Caller) -> s.Aborted:
        """From any thread."""
        running = self._running()
        if running is None or job_id not in {None, running}:
            return s.Aborted()
        caller.require_abort_of(running, self._owners[running])
        self.aborted_by = by
        self.aborted.set()
        self._loop.call_soon_threadsafe(self._tasks[running].cancel)
        return s.Aborted(job=running)

    async def recover(self, params: s.RecoverParams) -> s.Recovered:
        """What `owed` says is owed no longer."""
        self._fail_if_told()
        owed, self.owed = self.owed, None
        if owed is None:
            return s.Recovered(detail="nothing is owed")
        if params.decline:
            return s.Recovered(job=owed.job, detail="declined")
        return s.Recovered(job=owed.job, restored=True, detail="brought back", wd_um=self.wd_um)

    async def reset(self, params: s.NoParams) -> s.FaultReset:
        """What `fault` says is no more."""
        self._fail_if_told()
        was, self.fault = self.fault, None
        return s.FaultReset(was=None if was is None else was.detail)

    async def focus(self) -> s.Focus:
        """Where it stands."""
        self._fail_if_told()
        return s.Focus(wd_um=self.wd_um, magnification=MAGNIFICATION)

    async def set_focus(self, params: s.FocusSetParams) -> s.Focus:
        """Within the limits."""
        self._fail_if_told()
        low, high = _HARD_UM
        if not low <= params.wd_um <= high:
            raise LimitError(f"wd_um = {params.wd_um:g} is outside {low:g} to {high:g} um")
        if not params.meta.dry_run:
            self._move(params.wd_um)
        return s.Focus(wd_um=params.wd_um, dry_run=params.meta.dry_run)

    async def limits(self) -> s.Limits:
        """The hard ones alone."""
        low, high = _HARD_UM
        return s.Limits(min_um=low, max_um=high, hard=s.Range(min_um=low, max_um=high))

    async def score(self, image: bytes | None, magnification: float | None) -> s.Score:
        """Always the same."""
        self._fail_if_told()
        self.images.append(image)
        return s.Score(
            score=7.5,
            contrast=0.25,
            variance=0.25,
            entropy=6.5,
            magnification=magnification or MAGNIFICATION,
            width_px=320,
            height_px=240,
            wd_um=self.wd_um if image is None else None,
        )

    async def _work(self, job_id: str) -> None:
        try:
            for reading in range(1, self.steps + 1):
                await asyncio.sleep(0)
                self._read(job_id, reading)
            await self.release.wait()
            end = self.end
        except asyncio.CancelledError:
            end = s.Job(job="", state=s.JobState.ABORTED, reason="aborted", restored=True)
            end = end.model_copy(update={"detail": self.aborted_by or ""})
            self._move(self.jobs[job_id].start_wd_um or self.wd_um)
        finished = end.model_copy(
            update={"job": job_id, "best_wd_um": self.wd_um, "score": 8.5, "wd_um": self.wd_um}
        )
        self.jobs[job_id] = finished
        self._events.publish(topic_of(job_id), "result", finished, request_id=job_id)
        self._ended[job_id].set()

    def _read(self, job_id: str, reading: int) -> None:
        self._move(FOCUS_UM - 100.0 * (self.steps - reading))
        progress = s.Progress(
            job=job_id,
            phase="servo",
            kind="servo",
            reading=reading,
            readings_max=self.steps,
            wd_um=self.wd_um,
            score=9.0 * reading / self.steps,
            best_wd_um=self.wd_um,
            best_score=9.0 * reading / self.steps,
        )
        self._events.publish(topic_of(job_id), "progress", progress, request_id=job_id)

    def _move(self, wd_um: float) -> None:
        self.wd_um = wd_um
        self.moves.append(wd_um)

    def _running(self) -> str | None:
        return next((name for name, job in self.jobs.items() if not job.state.final), None)

    def _fail_if_told(self) -> None:
        error, self.error = self.error, None
        if error is not None:
            raise error


@asynccontextmanager
async def fake_daemon(doors: Doors, *, instance: str) -> AsyncIterator[FakeBackend]:
    """Serve a fake backend through open doors."""
    backend = FakeBackend(doors.events, instance=instance)
    backend.vendor = doors.vendor
    serving = asyncio.create_task(doors.serve(backend), name="serve")
    try:
        yield backend
    finally:
        await backend.close()
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving
