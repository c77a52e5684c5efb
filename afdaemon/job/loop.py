"""The job loop: carries out the machine's commands on a microscope and feeds back what happened.

Each turn is: step, journal, do. The journal is written before a command is carried out; every move
passes the motion guard when it is about to be sent; every action has a deadline. Failures become
events, so that the machine, and nothing else, decides what follows.

An abort, and the end of the job's time, interrupt a reading at once. A move under way may still be
acknowledged, so that nobody has to guess where the instrument stands; its deadline is short. A
cancelled `run` aborts the job, waits until the start WD is restored and then passes the
cancellation on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import assert_never

from afdaemon.clock import Clock
from afdaemon.control.dose import Beam
from afdaemon.control.evidence import as_shown, best_informative
from afdaemon.control.limits import MotionGuard
from afdaemon.control.machine import step
from afdaemon.control.procedures import Laws, procedure_of
from afdaemon.control.profile import Profile
from afdaemon.control.published.profile import PUBLISHED
from afdaemon.control.state import AnyState, new_job
from afdaemon.control.values import (
    Command,
    Conclude,
    Event,
    Failed,
    Moved,
    MoveWd,
    Observed,
    Outcome,
    Phase,
    Reading,
    ReadingKind,
    Reason,
    Refused,
    Started,
    TakeReading,
    TracePoint,
)
from afdaemon.drivers.base import Frame, Microscope
from afdaemon.drivers.errors import CommandRefused, DriverError
from afdaemon.errors import JournalError, LimitError
from afdaemon.job.journal import Journal, JournalStep
from afdaemon.models.errors import ModelError
from afdaemon.models.optics import pixel_nm

Score = Callable[[Frame], Awaitable[Reading]]
"""Judges a frame. Slow work belongs in a worker thread; raises ModelError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long (s) one action may take. The drivers' own time-outs are shorter and say more."""

    move_s: float = 3.0
    read_s: float = 10.0
    restore_s: float = 3.0
    job_s: float = 300.0


DEADLINES = Deadlines()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What a job works with: shared by all jobs, used by one at a time.

    `laws` are what the networks propose. Without a `beam` no dose is counted. With an `approach_um`, moves to shorter
    WDs first overshoot by that much: all then end upwards, and the lens's hysteresis is the same at every reading.
    """

    microscope: Microscope
    score: Score
    laws: Laws
    guard: MotionGuard
    journal: Journal
    clock: Clock
    beam: Beam | None = None
    approach_um: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgress:
    """Where a job stands, for anyone watching; sent after each reading and at each new phase.

    `reading` counts all readings so far, `readings_max` is the most there can be when the
    present phase ends. `kind` and `score` are None if no reading was taken since the last report. Times in s
    since the job began, working distances in um. The best is that at the present magnification.
    """

    job_id: str
    profile: str
    phase: Phase
    kind: ReadingKind | None
    reading: int
    readings_max: int
    wd_um: float | None
    score: float | None
    best_wd_um: float | None
    best_score: float | None
    elapsed_s: float
    magnification: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """How a job ended, every reading of it in order, how many moves were commanded, and how long it took."""

    job_id: str
    profile: str
    outcome: Outcome
    trace: tuple[TracePoint, ...]
    seconds: float
    moves: int = 0


class Job:
    """One autofocus job. Make it, `run` it once, `abort` it at any time (from the same loop)."""

    def __init__(
        self,
        job_id: str,
        bench: Bench,
        *,
        rules: Profile = PUBLISHED,
        deadlines: Deadlines = DEADLINES,
        request: Mapping[str, object] | None = None,
        report: Callable[[JobProgress], None] | None = None,
        begin_wd_um: float | None = None,
        dose_limit_e_nm2: float | None = None,
        guess_wd_um: float | None = None,
    ) -> None:
        self.job_id = job_id
        self._dose_limit_e_nm2 = dose_limit_e_nm2
        self._guess_wd_um = guess_wd_um
        self.profile = rules.name
        self._begin_wd_um = begin_wd_um
        self._bench = bench
        self._deadlines = deadlines
        self._request = request or {}
        self._report = report
        procedure = procedure_of(rules, bench.laws)
        self._state: AnyState = new_job(procedure, bench.guard.limits)
        self._began_s = bench.clock.now_s()
        self._steps = 0
        self._moves = 0
        self._is_journaled = True
        self._abort_detail: str | None = None
        self._scope: asyncio.Timeout | None = None

    def abort(self, detail: str = "no reason was given") -> None:
        """End the job as soon as possible; it restores the start WD and `run` returns as usual."""
        if self._abort_detail is None:
            self._abort_detail = detail
        if self._scope is not None and not self._scope.expired():
            self._scope.reschedule(asyncio.get_running_loop().time())

    async def run(self) -> JobResult:
        """Do the job.

        Raises JournalError if the journal fails (before any move, or after the start WD was
        restored as far as possible). Whatever goes wrong with instrument or frames is an outcome.
        """
        drive = asyncio.create_task(self._drive(), name=f"job {self.job_id}")
        is_cancelled = False
        while not drive.done():
            try:
                await asyncio.wait({drive})
            except asyncio.CancelledError:
                is_cancelled = True
                self.abort("the service is stopping")
        if is_cancelled:
            raise asyncio.CancelledError from drive.exception()
        return drive.result()

    async def _drive(self) -> JobResult:
        await asyncio.to_thread(
            self._bench.journal.open_job,
            self.job_id,
            request=self._request,
            limits=self._state.limits,
            rules=self._state.profile,
        )
        self._began_s = self._bench.clock.now_s()
        try:
            outcome = await self._converse(await self._begin())
        except Exception as error:
            await self._wind_up(error)
            raise
        return JobResult(
            job_id=self.job_id,
            profile=self.profile,
            outcome=outcome,
            trace=self._state.trace,
            seconds=self._elapsed_s(),
            moves=self._moves,
        )

    async def _converse(self, event: Event) -> Outcome:
        while True:
            command = await self._advance(event)
            if isinstance(command, Conclude):
                return command.outcome
            event = await self._carry_out(command)

    async def _advance(self, event: Event) -> Command:
        before = self._state
        self._state, (command,) = step(before, event)
        entry = JournalStep(event=event, command=command, proposal=self._state.proposal)
        try:
            if self._is_journaled:
                await asyncio.to_thread(self._bench.journal.append, self.job_id, self._steps, entry)
        except JournalError:
            # The command will not be carried out: as far as moves go, this step never happened.
            self._state = before
            raise
        self._steps += 1
        has_read = len(self._state.trace) > len(before.trace)
        if has_read or self._state.phase is not before.phase:
            self._tell(_newest(self._state, command) if has_read else None)
        return command

    async def _wind_up(self, error: Exception) -> None:
        """Bring the instrument home after a failure that is not an event, trusting nothing else."""
        if self._state.phase is Phase.DONE:
            return
        self._report = None
        if isinstance(error, JournalError):
            self._is_journaled = False
        detail = f"ended by an error of the service: {error}"
        await self._converse(Failed(reason=Reason.ABORTED, detail=detail))

    async def _begin(self) -> Event:
        what = "asking for the working distance"
        return self._must_stop() or await self._interruptibly(
            what, self._deadlines.move_s, self._read_start
        )

    async def _carry_out(self, command: MoveWd | TakeReading) -> Event:
        match command:
            case MoveWd() if self._state.phase is Phase.RESTORE:
                what = f"the move back to {command.wd_um:g} um"
                return await self._within(
                    what, self._deadlines.restore_s, lambda: self._move_home(command)
                )
            case MoveWd():
                what = f"the move to {command.wd_um:g} um"
                return self._must_stop() or await self._within(
                    what, self._deadlines.move_s, lambda: self._move(command)
                )
            case TakeReading():
                return self._must_stop() or await self._interruptibly(
                    "a scored frame", self._deadlines.read_s, self._read
                )
            case _:
                assert_never(command)

    async def _read_start(self) -> Event:
        now = await self._bench.microscope.read_state()
        return Started(
            wd_um=now.wd_um,
            magnification=now.magnification,
            begin_wd_um=self._begin_wd_um,
            dose_limit_e_nm2=self._dose_limit_e_nm2,
            guess_wd_um=self._guess_wd_um,
        )

    async def _move(self, move: MoveWd) -> Event:
        """Move. An instrument that cannot show the magnification refuses before anything moves."""
        guard, magnification = self._bench.guard, move.magnification
        if magnification is not None:
            low, high = self._magnifications()
            guard.check_magnification(magnification, lowest=low, highest=high)
        is_out = magnification is not None and self._state.phase is not Phase.RESTORE
        for n, wd_um in enumerate(self._way_to(move.wd_um)):
            guard.check(wd_um)
            self._moves += n == 0
            try:
                await self._bench.microscope.move_wd(wd_um, magnification)
            except CommandRefused as error:
                if n > 0 or not is_out:
                    raise
                return Refused(detail=str(error))
        return Moved(wd_um=move.wd_um, magnification=magnification)

    def _way_to(self, wd_um: float) -> tuple[float, ...]:
        """The WDs to command on the way there, in order: the last stretch goes upwards."""
        self._bench.guard.check(wd_um)
        below_um = self._bench.guard.limits.nearest(wd_um - self._bench.approach_um)
        if self._bench.approach_um > 0.0 and below_um < wd_um < self._state.wd_um:
            return below_um, wd_um
        return (wd_um,)

    def _magnifications(self) -> tuple[float, float]:
        """The lowest and the highest that a job may use: never higher than where it began."""
        home = self._state.home_magnification
        return self._state.procedure.lowest_magnification(home), home

    async def _move_home(self, move: MoveWd) -> Event:
        """Move back, over a link that may have to come up again first."""
        await self._bench.microscope.wait_connected(self._deadlines.restore_s)
        return await self._move(move)

    async def _read(self) -> Event:
        frame = await self._bench.microscope.grab()
        at_s = self._elapsed_s()
        reading = await self._bench.score(frame)
        beam = self._bench.beam
        dose_e_nm2 = (
            beam.dose_e_nm2(pixel_nm(frame.magnification, frame.width_px))
            if beam is not None
            else 0.0
        )
        return Observed(reading=replace(reading, dose_e_nm2=dose_e_nm2, at_s=at_s))

    async def _within(self, what: str, limit_s: float, do: Callable[[], Awaitable[Event]]) -> Event:
        """Do it within `limit_s`; whatever goes wrong with the instrument is an event too."""
        try:
            async with asyncio.timeout(limit_s):
                return await do()
        except TimeoutError:
            return Failed(reason=Reason.DEVICE, detail=f"{what} took longer than {limit_s:g} s")
        except LimitError as error:
            return Failed(reason=Reason.OUT_OF_RANGE, detail=str(error))
        except (DriverError, ModelError) as error:
            return Failed(reason=Reason.DEVICE, detail=str(error))

    async def _interruptibly(
        self, what: str, limit_s: float, do: Callable[[], Awaitable[Event]]
    ) -> Event:
        """The same for what an abort or the end of the job's time may interrupt."""
        left_s = self._deadlines.job_s - self._elapsed_s()
        try:
            async with asyncio.timeout(left_s) as self._scope:
                return await self._within(what, limit_s, do)
        except TimeoutError:
            return self._must_stop() or self._out_of_time()
        finally:
            self._scope = None

    def _must_stop(self) -> Failed | None:
        if self._abort_detail is not None:
            return Failed(reason=Reason.ABORTED, detail=self._abort_detail)
        return self._out_of_time() if self._elapsed_s() >= self._deadlines.job_s else None

    def _out_of_time(self) -> Failed:
        detail = f"the job took longer than {self._deadlines.job_s:g} s"
        return Failed(reason=Reason.TIMEOUT, detail=detail)

    def _elapsed_s(self) -> float:
        return self._bench.clock.now_s() - self._began_s

    def _tell(self, last: TracePoint | None) -> None:
        """Report where the job stands; `last` is the reading that was taken just now, if any."""
        if self._report is None:
            return
        state = self._state
        best = best_informative(state.rung, state.profile) if state.rung else None
        self._report(
            JobProgress(
                job_id=self.job_id,
                profile=self.profile,
                phase=state.phase,
                kind=last.kind if last is not None else None,
                reading=len(state.trace),
                readings_max=state.procedure.most_readings(state),
                wd_um=state.wd_um if state.start is not None else None,
                score=last.score if last is not None else None,
                best_wd_um=best.wd_um if best is not None else None,
                best_score=best.score if best is not None else None,
                elapsed_s=self._elapsed_s(),
                magnification=state.magnification if state.start is not None else None,
            )
        )


def _newest(state: AnyState, command: Command) -> TracePoint:
    """The newest reading as shown to people: on success, or before the last step to it, it verified the focus."""
    is_end = isinstance(command, Conclude) and command.outcome.converged
    is_verified = is_end or state.phase is Phase.ADJUST
    return as_shown(state.trace, converged=is_verified)[-1]
