"""The job loop: carries out the machine's commands on a microscope and feeds back what happened.

Each turn is: step, journal, do. No move away from the start is made before it is in the journal; every move
passes the motion guard when it is about to be sent; every action has a deadline. Failures become
events, so that the machine, and nothing else, decides what follows. A move that no frame follows counts as
carried out when the lens has been read back there (`afdaemon.job.lens`).

An abort, and the end of the job's time, interrupt a reading at once, and the wait for a lens that moves. A command may
still be acknowledged, so that nobody has to guess where the instrument stands; its deadline is short. A
cancelled `run` aborts the job, waits until the start WD is restored and then passes the
cancellation on.
"""

import asyncio
import math
import threading
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from afdaemon.control.evidence import as_shown, best_informative
from afdaemon.control.machine import step
from afdaemon.control.procedures import procedure_of
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
    Outcome,
    Phase,
    ReadingKind,
    Reason,
    Started,
    TakeReading,
    TracePoint,
)
from afdaemon.errors import JournalError, LimitError
from afdaemon.job.bench import DEADLINES, Bench, Deadlines
from afdaemon.job.hands import Hands
from afdaemon.job.records import JournalStep


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
        self._hands = Hands(bench, deadlines)
        self._deadlines = deadlines
        self._request = request or {}
        self._report = report
        procedure = procedure_of(rules, bench.laws)
        self._state: AnyState = new_job(procedure, bench.guard.limits)
        self._began_s = bench.clock.now_s()
        self._steps = 0
        self._link: int | None = None
        self._noted: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scope: asyncio.Timeout | None = None
        self._ends = threading.Lock()
        self._abort_detail: str | None = None
        self._is_ending = False

    def abort(self, detail: str = "no reason was given") -> bool:
        """End the job as soon as possible, from any thread; it restores the start WD and `run` returns as usual.

        False if it comes too late: the job has ended, or failed and is on its way home.
        """
        with self._ends:
            if self._is_ending and self._abort_detail is None:
                return False
            self._abort_detail = self._abort_detail or detail
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended, and the job with it
                self._loop.call_soon_threadsafe(self._interrupt)
        return True

    def _interrupt(self) -> None:
        if self._scope is not None and not self._scope.expired():
            self._scope.reschedule(asyncio.get_running_loop().time())

    async def run(self) -> JobResult:
        """Do the job.

        Raises JournalError if it cannot be entered in the journal; then nothing has moved. Whatever goes wrong later,
        with the journal, the instrument or frames, is an outcome.
        """
        self._loop = asyncio.get_running_loop()
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
            instrument=self._bench.microscope.name,
        )
        self._began_s = self._bench.clock.now_s()
        try:
            outcome = await self._converse(await self._begin())
            if outcome.converged:
                self._bench.standing.confirmed_link = self._link
        except JournalError as error:
            is_refused = self._steps == 0
            outcome = await self._wind_up(
                f"the journal fails, and nothing moves without it: {error}"
            )
            if is_refused:
                raise
        except Exception as error:
            if self._state.phase is not Phase.DONE:
                await self._wind_up(f"ended by an error of the service: {error}")
            raise
        return JobResult(
            job_id=self.job_id,
            profile=self.profile,
            outcome=outcome,
            trace=self._state.trace,
            seconds=self._elapsed_s(),
            moves=self._hands.moves,
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
        if self._is_overruled(event, command):
            event = self._aborted()
            self._state, (command,) = step(before, event)
        try:
            await self._enter(
                JournalStep(event=event, command=command, proposal=self._state.proposal)
            )
        except JournalError:
            # The command will not be carried out: as far as moves go, this step never happened.
            self._state = before
            raise
        self._steps += 1
        has_read = len(self._state.trace) > len(before.trace)
        if has_read or self._state.phase is not before.phase:
            self._tell(_newest(self._state, command) if has_read else None)
        return command

    async def _enter(self, entry: JournalStep) -> None:
        """Record a step. The start, and a move away from it, must reach the disk first; the rest has happened."""
        is_home = self._state.phase is Phase.RESTORE
        is_away = isinstance(entry.command, MoveWd) and not is_home
        journal = self._bench.journal
        write = journal.append if is_away or isinstance(entry.event, Started) else journal.keep
        if self._noted is not None:
            await self._noted
        noting = asyncio.to_thread(write, self.job_id, self._steps, entry)
        if is_home:  # an abort does not wait for a disk
            self._noted = asyncio.create_task(noting, name="note of the way home")
        else:
            await noting

    def _is_overruled(self, event: Event, command: Command) -> bool:
        """Whether the job would end by itself now, although an abort has been acknowledged before."""
        if not isinstance(command, Conclude) and self._state.failure is None:
            return False
        with self._ends:
            is_first, self._is_ending = not self._is_ending, True
        is_taken = isinstance(event, Failed) and event.reason is Reason.TAKEN_OVER
        return is_first and self._abort_detail is not None and not is_taken

    async def _wind_up(self, detail: str) -> Outcome:
        """Bring the instrument home after a failure that is not an event, trusting nothing else."""
        self._report = None
        return await self._converse(Failed(reason=Reason.ABORTED, detail=detail))

    async def _begin(self) -> Event:
        bench = self._bench
        self._link = bench.microscope.stats.connects
        request = Started(
            wd_um=math.nan,
            magnification=math.nan,
            begin_wd_um=self._begin_wd_um,
            dose_limit_e_nm2=self._dose_limit_e_nm2,
            guess_wd_um=self._guess_wd_um,
            confirm=bench.confirm and bench.standing.confirmed_link != self._link,
        )
        return await self._interruptibly(lambda: self._hands.start(request))

    async def _carry_out(self, command: MoveWd | TakeReading) -> Event:
        if self._state.phase is not Phase.RESTORE:
            stop = self._must_stop()
            if stop is not None:
                return stop
        if isinstance(command, TakeReading):
            return await self._interruptibly(lambda: self._hands.read(self._elapsed_s))
        out = self._forbidden(command)
        if out is not None:
            return out
        match self._state.phase:
            case Phase.RESTORE:
                return await self._hands.restore(command)
            case Phase.ADJUST:
                event = await self._hands.adjust(command)
                if isinstance(event, Moved):
                    return await self._interruptibly(lambda: self._hands.arrive(event))
                return event
            case _:
                return await self._hands.move(command)

    def _forbidden(self, move: MoveWd) -> Failed | None:
        """Why the move's magnification may not be used: it is never higher than where the job began."""
        home = self._state.home_magnification
        lowest = self._state.procedure.lowest_magnification(home)
        try:
            if move.magnification is not None:
                self._bench.guard.check_magnification(
                    move.magnification, lowest=lowest, highest=home
                )
        except LimitError as error:
            return Failed(reason=Reason.OUT_OF_RANGE, detail=str(error))
        return None

    async def _interruptibly(self, act: Callable[[], Coroutine[Any, Any, Event]]) -> Event:
        """What an abort or the end of the job's time may interrupt; it does not begin after either."""
        stop = self._must_stop()
        if stop is not None:
            return stop
        left_s = self._deadlines.job_s - self._elapsed_s()
        try:
            async with asyncio.timeout(left_s) as self._scope:
                return await act()
        except TimeoutError:
            return self._must_stop() or self._out_of_time()
        finally:
            self._scope = None

    def _must_stop(self) -> Failed | None:
        if self._abort_detail is not None:
            return self._aborted()
        return self._out_of_time() if self._elapsed_s() >= self._deadlines.job_s else None

    def _aborted(self) -> Failed:
        return Failed(reason=Reason.ABORTED, detail=self._abort_detail or "")

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
                wd_um=_known(state.wd_um),
                score=last.score if last is not None else None,
                best_wd_um=best.wd_um if best is not None else None,
                best_score=best.score if best is not None else None,
                elapsed_s=self._elapsed_s(),
                magnification=_known(state.magnification),
            )
        )


def _newest(state: AnyState, command: Command) -> TracePoint:
    """The newest reading as shown to people: on success, or before the last step to it, it verified the focus."""
    is_end = isinstance(command, Conclude) and command.outcome.converged
    is_verified = is_end or state.phase is Phase.ADJUST
    return as_shown(state.trace, converged=is_verified)[-1]


def _known(number: float) -> float | None:
    return number if math.isfinite(number) else None
