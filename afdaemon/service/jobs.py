"""Jobs from request to answer: one at a time, each recorded, watched and accounted for."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

import structlog

from afdaemon.api import schemas as s
from afdaemon.api.access.roles import Caller
from afdaemon.api.events import Publisher, topic_of
from afdaemon.control.dose import Beam
from afdaemon.control.limits import Limits, Motion, MotionGuard, Range
from afdaemon.control.profile import Profile
from afdaemon.control.values import Reason
from afdaemon.drivers.base import Microscope
from afdaemon.errors import KNOWN_ERRORS, BusyError, IdReused, LimitError
from afdaemon.job.bench import Bench, Deadlines
from afdaemon.job.loop import Job, JobProgress
from afdaemon.logs import job_context
from afdaemon.models.frames.region import WHOLE, Region
from afdaemon.models.optics import SAMPLING_WIDTH_PX, pixel_nm
from afdaemon.service import translate
from afdaemon.service.instrument import Instrument
from afdaemon.service.looks import Looks
from afdaemon.service.recovery import Recovery
from afdaemon.service.scoring import ScoringThread

_REMEMBERED_JOBS = 100
"""Ended jobs that are answered from memory; older ones come from the journal."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a job must keep to: limits, the parameters of each procedure by its name, and its longest time (s).

    `profile` is the procedure of a job that asks for none. `dose_limit_e_nm2` needs a `beam`. `recovers_by_itself` says
    whether the restore that a job owes may be carried out unasked.
    """

    limits: Limits
    profiles: Mapping[str, Profile]
    profile: str
    timeout_s: float
    motion: Motion = field(default_factory=Motion)
    beam: Beam | None = None
    dose_limit_e_nm2: float | None = None
    recovers_by_itself: bool = False

    def profile_of(self, wanted: str | None, ladder: bool | None = None) -> Profile:
        """The parameters of the procedure called `wanted`, with or without its ladder if the job asks.

        Raises UsageError for a ladder with a procedure that has none.
        """
        return self.profiles[wanted or self.profile].with_ladder(ladder)

    def dose_limit(self, wanted_e_nm2: float | None) -> float | None:
        """The dose limit of a job that asks for `wanted_e_nm2`, electrons per square nanometre."""
        return wanted_e_nm2 or self.dose_limit_e_nm2


@dataclass(slots=True)
class Running:
    """The job under way, and the name of the caller whose it is."""

    job: Job
    now: s.Progress
    owner: str
    recorded: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None


class Jobs:
    """Runs jobs as tasks of `group`, on a `bench` whose microscope is that of `instrument`.

    `changed` is called when a job begins and when it has ended. Everything runs in the event loop's
    thread, except `abort`.
    """

    def __init__(
        self,
        *,
        rules: Rules,
        bench: Bench,
        instrument: Instrument,
        recovery: Recovery,
        scoring: ScoringThread,
        events: Publisher,
        group: asyncio.TaskGroup,
        changed: Callable[[], None],
    ) -> None:
        self._rules = rules
        self._bench = bench
        self._instrument = instrument
        self._recovery = recovery
        self._scoring = scoring
        self._events = events
        self._group = group
        self._changed = changed
        self._running: Running | None = None
        self._ended: OrderedDict[str, s.Job] = OrderedDict()
        self._is_closed = False
        self._last_focus_um: float | None = None

    @property
    def is_closed(self) -> bool:
        """Whether no more jobs are accepted."""
        return self._is_closed

    @property
    def now(self) -> s.Progress | None:
        """The running job."""
        return self._running.now if self._running is not None else None

    @property
    def last_job(self) -> str | None:
        """The id of the job that ended last."""
        return next(reversed(self._ended), None)

    def require_free(self) -> None:
        """Raise `BusyError` while a job runs, or when no more jobs are accepted."""
        if self._is_closed:
            raise BusyError("the daemon is stopping", remedy="start it again")
        if self._running is not None:
            raise BusyError(f"job {self._running.job.job_id} holds the microscope")

    @asynccontextmanager
    async def reserved(self) -> AsyncIterator[Microscope]:
        """The microscope between two jobs. Raises `BusyError` as `require_free` does."""
        self.require_free()
        async with self._instrument.held() as microscope:
            self.require_free()  # a job accepted while we waited is behind us, but goes first
            yield microscope

    async def start(self, params: s.AutofocusParams, job_id: str, owner: str) -> s.Started:
        """Accept a job of `owner`; returns when it is in the journal.

        Raises:
            BusyError: a job runs, or no more jobs are accepted.
            FaultError: the instrument did not do what it was told, and nobody has reset that.
            UsageError: it asks for a ladder that its procedure does not have.
            LimitError: the job's own range and the limits have nothing in common, it would begin
                outside them, or its dose limit cannot be kept.
            NotConnected: the link is down.
            JournalError: it cannot be recorded.
            IdReused: the id belongs to a job with other params.
        """
        known = await self._known(params, job_id)
        if known is not None:
            return s.Started(job=known.job, state=known.state)
        profile = self._rules.profile_of(params.profile, params.ladder)
        limits = self._limits_of(params)
        self.require_free()
        self._instrument.require_trusted()
        self._instrument.require_connected()
        await self._require_journal()
        self._check_dose(self._rules.dose_limit(params.dose_limit_e_nm2))
        if params.meta.dry_run:
            return s.Started(job=job_id, dry_run=True)
        await self._scoring.wait()
        self.require_free()  # it may have been told to stop meanwhile
        running = self._begin(params, job_id, owner, profile, limits)
        await running.recorded.wait()
        if running.error is not None:
            raise running.error
        return s.Started(job=job_id, state=s.JobState.RUNNING)

    async def _require_journal(self) -> None:
        """Raise `JournalError` while what earlier jobs did cannot be written."""
        journal = self._bench.journal
        await asyncio.to_thread(journal.flush)
        if journal.problem is not None:
            raise journal.problem

    async def _known(self, params: s.AutofocusParams, job_id: str) -> s.Job | None:
        """The job that this request made before, in this life of the daemon or an earlier one."""
        record = await asyncio.to_thread(self._bench.journal.find, job_id)
        if record is None:
            return None
        if _wish_in(record.request) != params.wish:
            raise IdReused(
                f"the id {job_id} belongs to an autofocus with other params,"
                f" of {record.opened_utc:%Y-%m-%d %H:%M:%S} UTC"
            )
        return await self.find(job_id)

    async def find(self, job_id: str) -> s.Job | None:
        """The job with that id, running or past."""
        if self._running is not None and self._running.job.job_id == job_id:
            return translate.under_way(self._running.now)
        if job_id in self._ended:
            return self._ended[job_id]
        journal = self._bench.journal
        record = await asyncio.to_thread(journal.find, job_id)
        if record is None:
            return None
        return translate.recorded(record, await asyncio.to_thread(journal.steps, job_id))

    async def wait(self, job_id: str, timeout_s: float) -> None:
        """Return when that job is not running, or after `timeout_s`."""
        running = self._running
        if running is not None and running.job.job_id == job_id:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await running.ended.wait()

    def abort(self, job_id: str | None, detail: str, caller: Caller) -> s.Aborted:
        """End that job, or the running one, and say at once which. From any thread.

        Raises `ForbiddenError` if `caller` may not.
        """
        running = self._running
        if running is None or job_id not in (None, running.job.job_id):
            return s.Aborted()
        caller.require_abort_of(running.job.job_id, running.owner)
        is_in_time = running.job.abort(detail)
        return s.Aborted(job=running.job.job_id, too_late=not is_in_time)

    async def close(self) -> None:
        """Accept no more jobs, abort the running one, and return when the start WD is restored."""
        self._is_closed = True
        running = self._running
        if running is not None:
            running.job.abort("the daemon is stopping")
            await running.ended.wait()

    def _limits_of(self, params: s.AutofocusParams) -> Limits:
        """The limits, narrowed by the job's own range."""
        limits = self._rules.limits
        if params.limits is not None:
            session = Range(lo_um=params.limits.min_um, hi_um=params.limits.max_um)
            limits = replace(limits, session=session)
        if params.start_wd_um is not None:
            MotionGuard(limits).check(params.start_wd_um)
        return limits

    def _motion_of(self, params: s.AutofocusParams) -> Motion:
        """How much the job may move the lens: its own wish can only tighten the site's."""
        wish = params.motion
        if wish is None:
            return self._rules.motion
        return self._rules.motion.tightened(
            Motion(step_um=wish.max_step_um, travel_um=wish.max_travel_um)
        )

    def _check_dose(self, limit_e_nm2: float | None) -> None:
        """Raise `LimitError` for a limit that cannot be kept."""
        beam, seen = self._rules.beam, self._instrument.seen
        magnification = seen.magnification if seen is not None else None
        if limit_e_nm2 is None:
            return
        if beam is None:
            raise LimitError(
                f"dose_limit_e_nm2 = {limit_e_nm2:g} cannot be kept: the beam current is not known",
                remedy="set dose.current_pa",
            )
        if magnification is not None:  # a fast-mode frame has the least dose of all
            one = beam.dose_e_nm2(pixel_nm(magnification, SAMPLING_WIDTH_PX))
            if one > limit_e_nm2:
                raise LimitError(
                    f"dose_limit_e_nm2 = {limit_e_nm2:g} is below one frame at"
                    f" {magnification:g}x, {one:.3g}",
                    remedy="allow more, or lower the magnification",
                )

    def _begin(
        self,
        params: s.AutofocusParams,
        job_id: str,
        owner: str,
        profile: Profile,
        limits: Limits,
    ) -> Running:
        bench = replace(self._bench, guard=MotionGuard(limits, self._motion_of(params)))
        region = WHOLE if params.region is None else Region(**params.region.model_dump())
        looks = Looks(profile.dof_um, region)
        bench = replace(bench, score=lambda frame: self._scoring.look(frame, looks))
        job = Job(
            job_id,
            bench,
            rules=profile,
            deadlines=Deadlines(job_s=params.timeout_s or self._rules.timeout_s),
            request=params.wish,
            report=self._report,
            begin_wd_um=params.start_wd_um,
            dose_limit_e_nm2=self._rules.dose_limit(params.dose_limit_e_nm2),
            guess_wd_um=self._last_focus_um,
        )
        first = s.Progress(job=job_id, phase="prepare", profile=job.profile)
        running = Running(job, first, owner)
        self._running = running
        with job_context(job_id):
            self._group.create_task(self._carry_out(running), name=f"job {job_id}")
        return running

    async def _carry_out(self, running: Running) -> None:
        """Run a job to its end; whatever happens, an end is reported."""
        job_id = running.job.job_id
        log.info("job_started", owner=running.owner)
        self._recovery.interrupted = None
        self._changed()
        result = translate.broken(job_id, "the daemon ended while the job ran")
        try:
            async with self._instrument.held():
                recovered = await self._recover()
                ended = await running.job.run()
            notes = (recovered, self._unwritten())
            result = translate.ended(ended, self._scoring.hashes, notes)
            if _is_misplaced(result):
                await self._instrument.distrust(result.detail)
            await self._recovery.look()
        except KNOWN_ERRORS as error:
            running.error = error
            result = translate.broken(job_id, str(error))
        finally:
            self._conclude(running, result)

    async def _recover(self) -> str:
        """What an earlier job owes is carried out before the next one begins: its start is then the true one."""
        owed = self._recovery.owed
        if owed is None:
            return ""
        done = await self._recovery.carry_out()
        return f"before it, the restore owed by job {owed.job}: {done.detail}"

    def _unwritten(self) -> str:
        problem = self._bench.journal.problem
        return "" if problem is None else f"its end is not yet in the journal: {problem}"

    def _report(self, now: JobProgress) -> None:
        running = self._running
        if running is None:
            return
        running.now = translate.progress(now)
        running.recorded.set()
        if now.wd_um is not None:
            self._instrument.note(now.wd_um, now.magnification)
        log.info(
            "job_progress",
            phase=now.phase.value,
            reading=now.reading,
            wd_um=now.wd_um,
            score=now.score,
        )
        self._tell(now.job_id, "progress", running.now)

    def _conclude(self, running: Running, result: s.Job) -> None:
        if running.error is None:  # else it was refused: its id is free
            self._remember(result)
        self._running = None
        if result.converged:
            self._last_focus_um = result.best_wd_um
        if result.wd_um is not None:
            self._instrument.note(result.wd_um, result.magnification)
        elif result.moves is None or result.moves > 0:
            self._instrument.lose_sight()
        running.recorded.set()
        running.ended.set()
        log.info(
            "job_ended",
            readings=len(result.trace),
            **result.model_dump(
                mode="json",
                include={"state", "reason", "detail", "score", "wd_um", "restored", "seconds"},
            ),
        )
        self._tell(result.job, "result", result)
        self._changed()

    def _remember(self, result: s.Job) -> None:
        self._ended[result.job] = result
        if len(self._ended) > _REMEMBERED_JOBS:
            self._ended.popitem(last=False)

    def _tell(self, job_id: str, kind: str, data: s.Reply) -> None:
        self._events.publish(topic_of(job_id), kind, data, request_id=job_id)


def _wish_in(request: Mapping[str, object]) -> dict[str, object]:
    """`AutofocusParams.wish` as the journal has it; earlier versions also recorded `meta`, and what was absent."""
    return {key: value for key, value in request.items() if key != "meta" and value is not None}


def _is_misplaced(result: s.Job) -> bool:
    """Whether the instrument, which nobody else has turned, stands where it was not sent."""
    is_away = not result.converged and not result.restored and result.wd_um is not None
    return is_away and bool(result.moves) and result.reason != Reason.TAKEN_OVER.value
