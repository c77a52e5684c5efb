"""What the API asks for, done: implements `afdaemon.api.dispatch.Backend`.

Everything here runs in the event loop's thread, except `abort`, which may be called from any.
"""

import asyncio
from contextlib import suppress

import structlog

from afdaemon import __version__
from afdaemon.api import schemas as s
from afdaemon.api.access.roles import Caller
from afdaemon.api.events import Publisher
from afdaemon.drivers.errors import DriverError, NotConnected
from afdaemon.errors import BusyError, FaultError, JobNotFound
from afdaemon.job.bench import Bench
from afdaemon.service import translate
from afdaemon.service.instrument import Instrument, Seen
from afdaemon.service.jobs import Jobs, Rules
from afdaemon.service.recovery import Recovery
from afdaemon.service.scoring import ScoringThread
from afdaemon.service.upkeep import Upkeep

_WATCH_S = 0.2
"""How often the link is checked, to tell subscribers when it comes and goes."""

log = structlog.get_logger(__name__)


class FocusBackend:
    """The API's view of one microscope. Jobs run as tasks of `group`."""

    def __init__(
        self,
        *,
        rules: Rules,
        bench: Bench,
        scoring: ScoringThread,
        events: Publisher,
        instance: str,
        group: asyncio.TaskGroup,
        upkeep: Upkeep,
        vendor: str | None = None,
    ) -> None:
        self._rules = rules
        self._upkeep = upkeep
        self._may_recover = False
        self._scoring = scoring
        self._events = events
        self._clock = bench.clock
        self._journal = bench.journal
        self._instance = instance
        self._vendor = vendor
        self._began_s = bench.clock.now_s()
        self._instrument = Instrument(bench)
        self._recovery = Recovery(bench.journal, self._instrument)
        self._jobs = Jobs(
            recovery=self._recovery,
            rules=rules,
            bench=bench,
            instrument=self._instrument,
            scoring=scoring,
            events=events,
            group=group,
            changed=self._on_change,
        )

    # What the API asks for

    async def status(self) -> s.Status:
        """The daemon, the instrument as last seen, the running job."""
        return self._status()

    async def start(self, params: s.AutofocusParams, request_id: str, caller: Caller) -> s.Started:
        """Accept a job; returns when it is recorded. Raises what `Jobs.start` raises."""
        return await self._jobs.start(params, request_id, caller.name)

    async def job(self, job_id: str) -> s.Job:
        """A job, running or past."""
        job = await self._jobs.find(job_id)
        if job is None:
            raise JobNotFound(f"there is no job {job_id}")
        return job

    async def wait(self, job_id: str, timeout_s: float) -> s.Job:
        """A job when it has ended, or as it stands after `timeout_s`."""
        await self._jobs.wait(job_id, timeout_s)
        return await self.job(job_id)

    async def list_jobs(self, params: s.JobListParams) -> s.JobList:
        """Jobs, newest first."""
        running = None if self._jobs.now is None else self._jobs.now.job
        records = await asyncio.to_thread(self._journal.latest, params.most, params.before)
        told = [translate.summary(one, is_running=one.job_id == running) for one in records]
        return s.JobList(jobs=told)

    async def since(self, params: s.SinceParams) -> s.Missed:
        """Events after a number, and the status now."""
        events, latest, lost = self._events.since(params.seq, params.most)
        return s.Missed(events=events, latest=latest, lost=lost, status=self._status())

    def abort(self, job_id: str | None, by: str | None, caller: Caller) -> s.Aborted:
        """End that job, or the running one, if `caller` may. From any thread; returns at once."""
        return self._jobs.abort(job_id, by or f"by {caller.name}", caller)

    async def recover(self, params: s.RecoverParams) -> s.Recovered:
        """Carry out the restore that a job owes, or decline it; not during a job."""
        self._jobs.require_free()
        if params.meta.dry_run:
            owed = self._recovery.owed
            return s.Recovered(
                job=owed.job if owed is not None else None,
                detail=owed.detail if owed is not None else "nothing is owed",
            )
        async with self._jobs.reserved():
            if params.decline:
                done = await self._recovery.settle("declined; the instrument is left where it is")
            else:
                done = await self._recovery.carry_out()
        await self._instrument.trust()  # a person has looked after it
        self._tell_state()
        return done

    async def reset(self, params: s.NoParams) -> s.FaultReset:
        """Somebody has looked after the instrument: jobs may begin again."""
        was = self._instrument.fault
        if was is not None and not params.meta.dry_run:
            await self._instrument.trust()
            log.warning("fault_reset", was=was)
            self._tell_state()
        return s.FaultReset(was=was)

    async def focus(self) -> s.Focus:
        """Where the instrument stands; during a job, where the job last saw it."""
        if self._jobs.now is None:
            return _focus(await self._instrument.look())
        if self._instrument.seen is None:
            raise NotConnected("the instrument has not yet reported where it stands")
        return _focus(self._instrument.seen)

    async def set_focus(self, params: s.FocusSetParams) -> s.Focus:
        """Command an absolute WD through the motion guard; not during a job."""
        self._instrument.check(params.wd_um)
        self._jobs.require_free()
        self._instrument.require_trusted()
        self._instrument.require_connected()
        if params.meta.dry_run:
            return s.Focus(wd_um=params.wd_um, dry_run=True)
        async with self._jobs.reserved():
            reached = await self._instrument.move(params.wd_um)
            await self._recovery.settle("a client has set the WD since")
        log.info("wd_set", wd_um=params.wd_um)
        return _focus(reached).model_copy(update={"detail": self._unwritten()})

    async def limits(self) -> s.Limits:
        """The range that may be commanded."""
        return translate.limits(self._rules.limits)

    async def score(self, image: bytes | None, magnification: float | None) -> s.Score:
        """Score an encoded image at its magnification, or a frame taken now."""
        if image is None or magnification is None:
            return await self._score_now()
        scored = await self._scoring.score_file(image, magnification)
        return translate.score(scored.measures, magnification, scored.width_px, scored.height_px)

    # What the service asks for

    async def open(self) -> None:
        """Learn what earlier jobs owe. Raises `JournalError`."""
        await self._instrument.open()
        await self._recovery.open()

    async def watch(self) -> None:
        """Tell subscribers when the link comes and goes, and why; look after journal and restores; until cancelled."""
        was: str | None = None
        while True:
            await self._clock.sleep(_WATCH_S)
            down = self._instrument.why_down
            now = "" if down is None else str(down)
            if now != was:
                await self._note_link(down)
            was = now
            if down is None and self._may_recover:
                await self._recover_by_itself()
            if await self._upkeep.step(idle=self._jobs.now is None):
                self._tell_state()

    async def stop(self) -> None:
        """Accept no more jobs, abort the running one, and return when the start WD is restored."""
        await self._jobs.close()
        self._tell_state()
        await self._upkeep.finish()

    # Inside

    def _on_change(self) -> None:
        """A job has begun or ended."""
        self._upkeep.wake()
        self._may_recover = True
        self._tell_state()

    async def _recover_by_itself(self) -> None:
        """Once after each job and each return of the link, between jobs."""
        if self._jobs.now is not None or self._jobs.is_closed:
            return
        self._may_recover = False
        if self._rules.recovers_by_itself and self._recovery.owed is not None:
            with suppress(BusyError):  # the job that has just begun does it first
                async with self._jobs.reserved():
                    await self._recovery.by_itself()
            self._tell_state()

    def _unwritten(self) -> str:
        """What a client that moved the instrument should know of the journal."""
        now = self._upkeep.status
        if not now.detail:
            return ""
        return f"the WD is set; the journal knows nothing of it yet: {now.detail}. {now.remedy}"

    async def _note_link(self, down: DriverError | None) -> None:
        self._may_recover = down is None
        name = self._instrument.name
        if down is None:
            log.info("connected", microscope=name)
        else:
            log.warning("disconnected", microscope=name, detail=str(down), remedy=down.remedy)
        if down is None and self._jobs.now is None:
            try:
                await self._instrument.look()
            except DriverError as error:
                log.warning("state_unknown", detail=str(error))
        self._tell_state()

    async def _score_now(self) -> s.Score:
        self._instrument.require_connected()
        async with self._jobs.reserved() as microscope:
            frame = await microscope.grab()
        reading = await self._scoring.read(frame)
        return translate.score_of_frame(reading, frame.width_px, frame.height_px)

    def _status(self) -> s.Status:
        seen, down = self._instrument.seen, self._instrument.why_down
        return s.Status(
            instance=self._instance,
            version=__version__,
            state=self._state(),
            uptime_s=self._clock.now_s() - self._began_s,
            microscope=s.MicroscopeStatus(
                name=self._instrument.name,
                connected=down is None,
                why_down="" if down is None else str(down),
                remedy="" if down is None else down.remedy,
                wd_um=seen.wd_um if seen is not None else None,
                magnification=seen.magnification if seen is not None else None,
            ),
            job=self._jobs.now,
            last_job=self._jobs.last_job,
            owed=self._recovery.owed,
            interrupted=self._recovery.interrupted,
            journal=self._upkeep.status,
            fault=self._fault(),
            models=dict(self._scoring.hashes),
            vendor=self._vendor,
        )

    def _fault(self) -> s.Fault | None:
        why = self._instrument.fault
        return None if why is None else s.Fault(detail=why, remedy=FaultError.remedy)

    def _state(self) -> str:
        if self._jobs.is_closed:
            return "stopping"
        if self._jobs.now is not None:
            return "busy"
        if self._instrument.fault is not None:
            return "fault"
        return "ready" if self._instrument.connected else "no_microscope"

    def _tell_state(self) -> None:
        self._events.publish("state", "state", self._status())


def _focus(seen: Seen) -> s.Focus:
    return s.Focus(wd_um=seen.wd_um, magnification=seen.magnification)
