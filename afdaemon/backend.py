"""What the API asks for, done: one job at a time, and the instrument for one caller at a time.

Everything here runs in the event loop's thread, except `abort`, which may be called from any.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field

import structlog

from afdaemon import __version__, views
from afdaemon.api import schemas as s
from afdaemon.api.events import Publisher
from afdaemon.clock import Clock
from afdaemon.control.limits import Limits, MotionGuard, Range
from afdaemon.control.profile import PaperProfile
from afdaemon.drivers.base import Microscope
from afdaemon.drivers.errors import DriverError, NotConnected
from afdaemon.errors import KNOWN_ERRORS, BusyError, JobNotFound
from afdaemon.job.journal import Journal
from afdaemon.job.loop import Bench, Deadlines, Job, Progress
from afdaemon.judge import Judge
from afdaemon.logs import job_context

REMEMBERED_JOBS = 100
"""Ended jobs that are answered from memory; older ones come from the journal."""
WATCH_S = 0.2
"""How often the link is looked at, to tell subscribers when it comes and goes."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a job must keep to: limits, the numbers of its procedure, and its longest time (s)."""

    limits: Limits
    profile: PaperProfile
    timeout_s: float


@dataclass(slots=True)
class Running:
    """The job under way."""

    job: Job
    now: s.Progress
    recorded: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None


class FocusBackend:
    """Implements `afdaemon.api.dispatch.Backend`. Jobs run as tasks of `group`."""

    def __init__(
        self,
        *,
        rules: Rules,
        microscope: Microscope,
        judge: Judge,
        journal: Journal,
        events: Publisher,
        clock: Clock,
        instance: str,
        group: asyncio.TaskGroup,
    ) -> None:
        self._rules = rules
        self._microscope = microscope
        self._judge = judge
        self._journal = journal
        self._events = events
        self._clock = clock
        self._instance = instance
        self._group = group
        self._loop = asyncio.get_running_loop()
        self._instrument = asyncio.Lock()
        self._guard = MotionGuard(rules.limits)
        self._began_s = clock.now_s()
        self._running: Running | None = None
        self._ended: OrderedDict[str, s.Job] = OrderedDict()
        self._seen: s.Focus | None = None
        self._is_stopping = False

    # What the API asks

    async def status(self) -> s.Status:
        """The daemon, the instrument as last seen, the running job."""
        return self._status()

    async def start(self, params: s.AutofocusParams, request_id: str) -> s.Started:
        """Take a job on; returns when it is in the journal.

        Raises:
            BusyError: a job runs, or the daemon is stopping.
            LimitError: the job's own range and the limits have nothing in common, or it would
                begin outside them.
            NotConnected: the link is down.
            JournalError: it cannot be recorded.
        """
        known = await self._find(request_id)
        if known is not None:
            return s.Started(job=known.job, state=known.state)
        limits = self._limits_of(params)
        self._require_free()
        self._require_connected()
        if params.meta.dry_run:
            return s.Started(job=request_id, dry_run=True)
        running = self._begin(params, request_id, limits)
        await running.recorded.wait()
        if running.error is not None:
            raise running.error
        return s.Started(job=request_id, state=s.JobState.RUNNING)

    async def job(self, job_id: str) -> s.Job:
        """A job, running or past."""
        job = await self._find(job_id)
        if job is None:
            raise JobNotFound(f"there is no job {job_id}")
        return job

    async def wait(self, job_id: str, timeout_s: float) -> s.Job:
        """A job when it has ended, or as it stands after `timeout_s`."""
        running = self._running
        if running is not None and running.job.job_id == job_id:
            try:
                async with asyncio.timeout(timeout_s):
                    await running.ended.wait()
            except TimeoutError:
                pass
        return await self.job(job_id)

    def abort(self, job_id: str | None) -> s.Aborted:
        """End that job, or the one that runs. From any thread; returns at once."""
        running = self._running
        if running is None or job_id not in (None, running.job.job_id):
            return s.Aborted()
        self._loop.call_soon_threadsafe(running.job.abort, "aborted by a client")
        return s.Aborted(job=running.job.job_id)

    async def focus(self) -> s.Focus:
        """Where the instrument stands; during a job, where that has seen it last."""
        if self._running is None:
            async with self._instrument:
                await self._look()
        if self._seen is None:
            raise NotConnected("the instrument has not said yet where it stands")
        return self._seen

    async def set_focus(self, params: s.FocusSetParams) -> s.Focus:
        """Command an absolute WD through the motion guard."""
        self._guard.check(params.wd_um)
        self._require_free()
        self._require_connected()
        if params.meta.dry_run:
            return s.Focus(wd_um=params.wd_um, dry_run=True)
        async with self._instrument:
            self._require_free()
            self._guard.check(params.wd_um)
            await self._microscope.move_wd(params.wd_um)
            log.info("wd_set", wd_um=params.wd_um)
            return await self._look()

    async def limits(self) -> s.Limits:
        """The range that may be commanded."""
        return views.limits(self._rules.limits)

    async def score(self, image: bytes | None, magnification: float | None) -> s.Score:
        """Score an encoded image at its magnification, or a frame taken now."""
        if image is None or magnification is None:
            return await self._score_now()
        judged = await self._judge.score_file(image, magnification)
        verdict = judged.verdict
        return s.Score(
            score=verdict.score,
            variance=verdict.variance,
            entropy=verdict.entropy,
            saturated=verdict.saturated,
            magnification=magnification,
            width_px=judged.width_px,
            height_px=judged.height_px,
        )

    # What the service asks

    async def watch(self) -> None:
        """Tell subscribers when the link comes and goes, until cancelled."""
        was = False
        while True:
            await self._clock.sleep(WATCH_S)
            now = self._microscope.connected
            if now is not was:
                await self._note_link(now)
            was = now

    async def stop(self) -> None:
        """Take no more jobs, abort the one that runs, and return when the start WD is restored."""
        self._is_stopping = True
        running = self._running
        if running is not None:
            running.job.abort("the daemon is stopping")
            await running.ended.wait()
        self._tell_state()

    # Inside

    async def _look(self) -> s.Focus:
        now = await self._microscope.read_state()
        self._seen = s.Focus(wd_um=now.wd_um, magnification=now.magnification)
        return self._seen

    async def _note_link(self, connected: bool) -> None:
        log.info("connected" if connected else "disconnected", microscope=self._microscope.name)
        if connected and self._running is None:
            try:
                await self.focus()
            except DriverError as error:
                log.warning("state_unknown", detail=str(error))
        self._tell_state()

    def _begin(self, params: s.AutofocusParams, job_id: str, limits: Limits) -> Running:
        bench = Bench(
            microscope=self._microscope,
            score=self._judge.read,
            law=self._judge.networks.law,
            guard=MotionGuard(limits),
            journal=self._journal,
            clock=self._clock,
        )
        job = Job(
            job_id,
            bench,
            rules=self._rules.profile,
            deadlines=Deadlines(job_s=params.timeout_s or self._rules.timeout_s),
            request=params.model_dump(mode="json"),
            report=self._report,
            begin_wd_um=params.start_wd_um,
        )
        running = Running(job, s.Progress(job=job_id, phase="prepare"))
        self._running = running
        with job_context(job_id):
            self._group.create_task(self._carry_out(running), name=f"job {job_id}")
        return running

    async def _carry_out(self, running: Running) -> None:
        """Run a job to its end; whatever happens, it is answered for."""
        job_id = running.job.job_id
        log.info("job_started")
        self._tell_state()
        result = views.broken(job_id, "the daemon ended while the job ran")
        try:
            async with self._instrument:
                result = views.ended(await running.job.run(), self._judge.networks.hashes)
        except KNOWN_ERRORS as error:
            running.error = error
            result = views.broken(job_id, str(error))
        finally:
            self._conclude(running, result)

    def _conclude(self, running: Running, result: s.Job) -> None:
        self._remember(result)
        self._running = None
        if result.wd_um is not None and result.trace:
            magnification = result.trace[-1].magnification
            self._seen = s.Focus(wd_um=result.wd_um, magnification=magnification)
        running.recorded.set()
        running.ended.set()
        log.info(
            "job_ended",
            state=result.state.value,
            reason=result.reason,
            detail=result.detail,
            score=result.score,
            wd_um=result.wd_um,
            restored=result.restored,
            readings=len(result.trace),
            seconds=round(result.seconds, 3),
        )
        self._events.publish(f"job.{result.job}", "result", result, request_id=result.job)
        self._tell_state()

    def _report(self, now: Progress) -> None:
        running = self._running
        if running is None:
            return
        running.now = views.progress(now)
        running.recorded.set()
        if now.wd_um is not None:
            magnification = self._seen.magnification if self._seen is not None else None
            self._seen = s.Focus(wd_um=now.wd_um, magnification=magnification)
        log.info(
            "job_progress",
            phase=now.phase.value,
            reading=now.reading,
            wd_um=now.wd_um,
            score=now.score,
        )
        self._events.publish(f"job.{now.job_id}", "progress", running.now, request_id=now.job_id)

    async def _find(self, job_id: str) -> s.Job | None:
        running = self._running
        if running is not None and running.job.job_id == job_id:
            return views.under_way(running.now)
        if job_id in self._ended:
            return self._ended[job_id]
        record = await asyncio.to_thread(self._journal.find, job_id)
        if record is None:
            return None
        return views.recorded(record, await asyncio.to_thread(self._journal.steps, job_id))

    def _remember(self, result: s.Job) -> None:
        self._ended[result.job] = result
        if len(self._ended) > REMEMBERED_JOBS:
            self._ended.popitem(last=False)

    async def _score_now(self) -> s.Score:
        self._require_free()
        self._require_connected()
        async with self._instrument:
            frame = await self._microscope.grab()
        reading = await self._judge.read(frame)
        return s.Score(
            score=reading.score,
            variance=reading.variance,
            entropy=reading.entropy,
            saturated=reading.saturated,
            magnification=reading.magnification,
            width_px=frame.width_px,
            height_px=frame.height_px,
            wd_um=reading.wd_um,
        )

    def _limits_of(self, params: s.AutofocusParams) -> Limits:
        """The limits, narrowed by the job's own range."""
        limits = self._rules.limits
        if params.limits is not None:
            session = Range(lo_um=params.limits.min_um, hi_um=params.limits.max_um)
            limits = Limits(hard=limits.hard, site=limits.site, session=session)
        if params.start_wd_um is not None:
            MotionGuard(limits).check(params.start_wd_um)
        return limits

    def _require_free(self) -> None:
        if self._is_stopping:
            raise BusyError("the daemon is stopping", remedy="start it again")
        if self._running is not None:
            raise BusyError(f"job {self._running.job.job_id} holds the microscope")

    def _require_connected(self) -> None:
        if not self._microscope.connected:
            raise NotConnected(f"there is no link to {self._microscope.name}")

    def _state(self) -> str:
        if self._is_stopping:
            return "stopping"
        if self._running is not None:
            return "busy"
        return "ready" if self._microscope.connected else "no_microscope"

    def _status(self) -> s.Status:
        seen = self._seen
        running = self._running
        return s.Status(
            instance=self._instance,
            version=__version__,
            state=self._state(),
            uptime_s=self._clock.now_s() - self._began_s,
            microscope=s.MicroscopeStatus(
                name=self._microscope.name,
                connected=self._microscope.connected,
                wd_um=seen.wd_um if seen is not None else None,
                magnification=seen.magnification if seen is not None else None,
            ),
            job=running.now if running is not None else None,
            last_job=next(reversed(self._ended), None),
            models=dict(self._judge.networks.hashes),
        )

    def _tell_state(self) -> None:
        self._events.publish("state", "state", self._status())
