"""The job loop against a scripted microscope: every failure path, abort anywhere, nothing leaked."""

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from afdaemon.clock import ManualClock
from afdaemon.control.limits import Limits, MotionGuard, Range
from afdaemon.control.procedures import Laws
from afdaemon.control.published.profile import PUBLISHED, PublishedProfile
from afdaemon.control.published.servo import StepLaw
from afdaemon.control.values import MoveWd, Phase, Reading, ReadingKind, Reason
from afdaemon.drivers.base import Frame, LinkStats, Microscope, MicroscopeState
from afdaemon.drivers.errors import FrameStale, LinkLost, LinkTimeout, NotConnected
from afdaemon.errors import JournalError
from afdaemon.job.bench import DEADLINES, Bench, Deadlines
from afdaemon.job.journal import Journal
from afdaemon.job.loop import Job, JobProgress, JobResult
from afdaemon.models.errors import ImageError
from afdaemon.models.frames.measures import Measures

FailFrom = Callable[[Journal, int], None]
Free = Callable[[Journal], None]

START_UM = 12_000.0
BEST_UM = 14_500.0
LIMITS = Limits(hard=Range(lo_um=5_000.0, hi_um=30_000.0))
OPERATIONS = 21
"""What the job below takes without faults: five search, one servo, one verifying reading.

It asks twice for the state before the first reading, and once while each frame is scored.
"""

LOOK_S, WORK_S = 0.01, 0.5
QUICK = Deadlines(move_s=0.1, read_s=0.1, restore_s=0.1, job_s=1_000.0)
PIXELS = np.zeros((8, 8), dtype=np.uint8)


@dataclass
class ScriptedMicroscope:
    """Obeys at once, unless a hook has something else in mind.

    `on` is called before each operation with its name and its number (from 0) among all; it may
    raise, wait, or abort the job.
    """

    clock: ManualClock
    wd_um: float = START_UM
    on: Callable[[str, int], object] = lambda name, number: None
    log: list[str] = field(default_factory=list)
    moves: list[float] = field(default_factory=list)
    hangs_at: int | None = None
    lost_at: int | None = None
    returns: bool = False
    busy: bool = False
    name: str = "scripted"
    connected: bool = True
    stats: LinkStats = field(default_factory=LinkStats)
    why_down: None = None
    wd_tolerance_um: float = 2.0
    hung: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def wait_connected(self, timeout_s: float) -> None:
        """Comes back if it was lost for a moment only."""
        if self.returns:
            self.lost_at = None

    async def close(self) -> None:
        return

    async def read_state(self) -> MicroscopeState:
        await self._begin("read_state")
        return MicroscopeState(wd_um=self.wd_um, magnification=500.0)

    async def move_wd(self, wd_um: float, magnification: float | None = None) -> None:
        assert magnification is None, "this procedure leaves it alone"
        self.moves.append(wd_um)
        await self._begin("move_wd")
        self.wd_um = wd_um

    async def grab(self) -> Frame:
        await self._begin("grab")
        return Frame(
            pixels=PIXELS,
            wd_um=self.wd_um,
            magnification=500.0,
            sequence=len(self.log),
            received_s=self.clock.now_s(),
        )

    async def _begin(self, name: str) -> None:
        assert not self.busy, "one caller at a time"
        number = len(self.log)
        self.log.append(name)
        self.clock.advance(LOOK_S if name == "read_state" else WORK_S)
        self.on(name, number)
        if self.lost_at is not None and number >= self.lost_at:
            raise (LinkLost if number == self.lost_at else NotConnected)("the link is down")
        self.busy = True
        try:
            if number == self.hangs_at:
                self.hung.set()
                await asyncio.Event().wait()
            await asyncio.sleep(0)
        finally:
            self.busy = False


async def score(frame: Frame) -> Reading:
    await asyncio.sleep(0)
    value = 9.0 / (1.0 + ((frame.wd_um - BEST_UM) / 640.0) ** 2)
    return Reading(
        wd_um=frame.wd_um,
        magnification=frame.magnification,
        frame=Measures(score=value, contrast=0.3, entropy=7.0),
    )


@dataclass
class Lab:
    """A job's whole surroundings; tests change what they need before `job()`."""

    journal: Journal
    clock: ManualClock
    microscope: ScriptedMicroscope
    guard: MotionGuard
    law: StepLaw = lambda readings: BEST_UM - readings[0].wd_um
    score: Callable[[Frame], object] = score
    rules: PublishedProfile = PUBLISHED
    deadlines: Deadlines = DEADLINES
    progress: list[JobProgress] = field(default_factory=list)
    report: Callable[[JobProgress], None] | None = None

    def job(self, job_id: str = "job-1") -> Job:
        bench = Bench(
            microscope=self.microscope,
            score=self.score,  # type: ignore[arg-type]  # tests break it on purpose
            laws=Laws(step=self.law),
            guard=self.guard,
            journal=self.journal,
            clock=self.clock,
        )
        return Job(
            job_id,
            bench,
            rules=self.rules,
            deadlines=self.deadlines,
            request={"client": "test"},
            report=self.report or self.progress.append,
        )


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    clock = ManualClock()
    journal = Journal(tmp_path / "journal.sqlite")
    yield Lab(journal, clock, ScriptedMicroscope(clock), MotionGuard(LIMITS))
    journal.close()


def assert_home(lab: Lab, result: JobResult) -> None:
    assert not result.outcome.converged
    assert result.outcome.restored
    assert lab.microscope.wd_um == START_UM
    assert result.outcome.wd_um == result.outcome.start_wd_um


# Success


async def test_a_job_focuses_and_tells_the_whole_story(lab: Lab) -> None:
    assert isinstance(lab.microscope, Microscope)
    result = await lab.job().run()
    outcome = result.outcome
    assert (outcome.converged, outcome.reason, outcome.restored) == (True, Reason.FOCUSED, False)
    assert lab.microscope.wd_um == outcome.wd_um == BEST_UM
    assert [point.kind for point in result.trace] == (
        [ReadingKind.SEARCH] * outcome.readings.search
        + [ReadingKind.SERVO] * outcome.readings.servo
        + [ReadingKind.VERIFY]
    )
    assert len(lab.microscope.log) == OPERATIONS
    assert result.seconds == pytest.approx(12 * WORK_S, abs=0.5)


async def test_the_journal_holds_the_job_and_replays_it(lab: Lab) -> None:
    lab.clock.advance(1_000.0)  # the machine has been up for a while
    result = await lab.job().run()
    assert result.seconds < 20.0
    assert all(0.0 <= point.reading.at_s < 20.0 for point in result.trace)
    numbers = lab.journal._store.connection.execute(
        "SELECT number FROM steps ORDER BY number"
    ).fetchall()
    assert [number for (number,) in numbers] == list(range(len(numbers)))
    record = lab.journal.find("job-1")
    assert record is not None
    assert record.outcome == result.outcome
    assert record.request == {"client": "test"}
    commands = [entry.command for entry in lab.journal.replay("job-1")]
    moves = [command.wd_um for command in commands if isinstance(command, MoveWd)]
    assert moves == lab.microscope.moves


async def test_progress_tells_every_reading(lab: Lab) -> None:
    result = await lab.job().run()
    told = [report for report in lab.progress if report.kind is not None]
    assert [(p.kind, p.score) for p in told] == [(p.kind, p.score) for p in result.trace]
    assert [p.reading for p in told] == list(range(1, len(told) + 1))
    assert all(p.reading <= p.readings_max for p in lab.progress)
    assert [p.elapsed_s for p in told] == sorted(p.elapsed_s for p in told)
    assert lab.progress[0].phase is Phase.SEARCH
    assert lab.progress[-1].phase is Phase.DONE
    assert lab.progress[-1].best_wd_um == lab.progress[-1].wd_um == BEST_UM
    assert {p.magnification for p in lab.progress} == {500.0}
    assert {p.job_id for p in lab.progress} == {"job-1"}
    assert [p.kind for p in told].count(ReadingKind.VERIFY) == 1
    assert [p.phase for p in lab.progress if p.kind is None] == [Phase.SEARCH]


async def test_a_second_job_with_the_same_id_moves_nothing(lab: Lab) -> None:
    await lab.job().run()
    operations = len(lab.microscope.log)
    with pytest.raises(JournalError, match="already"):
        await lab.job().run()
    assert len(lab.microscope.log) == operations


# The journal comes first


async def test_the_journal_knows_the_start_and_every_move_before_it_is_made(
    lab: Lab, tmp_path: Path
) -> None:
    known: list[tuple[float | None, int]] = []

    def look(name: str, number: int) -> None:
        if name == "move_wd":
            reader = Journal(tmp_path / "journal.sqlite", read_only=True)
            record = reader.find("job-1")
            assert record is not None
            assert record.limits == LIMITS
            commands = [str(step.command) for step in reader.steps("job-1")]
            known.append((record.start_wd_um, sum("MoveWd" in text for text in commands)))
            reader.close()

    lab.microscope.on = look
    await lab.job().run()
    assert known == [(START_UM, count + 1) for count in range(len(lab.microscope.moves))]


async def test_without_a_journal_nothing_moves(lab: Lab) -> None:
    lab.journal.close()
    with pytest.raises(JournalError):
        await lab.job().run()
    assert lab.microscope.log == []


async def test_a_job_that_cannot_be_entered_is_refused(
    lab: Lab, fail_from: FailFrom, free: Free
) -> None:
    fail_from(lab.journal, 0)
    with pytest.raises(JournalError, match="full"):
        await lab.job().run()
    assert lab.microscope.moves == []
    free(lab.journal)
    lab.journal.flush()
    assert lab.journal.interrupted() == [], "its end was entered later"


@pytest.mark.parametrize("fails_at", range(1, 13))
async def test_a_disk_that_fills_up_in_mid_job_costs_no_truth(
    lab: Lab, fails_at: int, fail_from: FailFrom, free: Free
) -> None:
    fail_from(lab.journal, fails_at)
    result = await lab.job().run()
    outcome = result.outcome
    if not outcome.converged:
        assert_home(lab, result)
        assert "the journal fails, and nothing moves without it" in outcome.detail
        assert "full" in outcome.detail
    assert lab.microscope.wd_um == outcome.wd_um
    assert lab.journal.kept > 0
    assert "full" in str(lab.journal.problem)
    with closing(Journal(lab.journal.path, read_only=True)) as reader:
        written = [step.command for step in reader.steps("job-1")]
    durable = {command.wd_um for command in written if isinstance(command, MoveWd)}
    assert set(lab.microscope.moves) <= durable | {START_UM}
    kept = lab.journal.find("job-1")
    assert kept is not None
    assert kept.outcome == outcome, "it is answered for before it is written"
    steps = lab.journal.replay("job-1")
    moves = list(lab.microscope.moves)
    with pytest.raises(JournalError, match="full"):
        await lab.job("job-2").run()
    assert lab.microscope.moves == moves
    free(lab.journal)
    lab.journal.flush()
    assert (lab.journal.kept, lab.journal.problem) == (0, None)
    with closing(Journal(lab.journal.path, read_only=True)) as reader:
        assert reader.find("job-1") == kept
        assert reader.replay("job-1") == steps


# Failures of the instrument and of the frames


@pytest.mark.parametrize("number", range(OPERATIONS))
async def test_a_lost_link_is_told_at_once_wherever_it_breaks(lab: Lab, number: int) -> None:
    lab.microscope.lost_at = number
    result = await lab.job().run()
    outcome = result.outcome
    assert (outcome.converged, outcome.reason) == (False, Reason.DEVICE)
    assert "the link is down" in outcome.detail
    assert outcome.restored is (lab.microscope.moves == [])
    if not outcome.restored:
        assert "could not be restored" in outcome.detail
    assert result.seconds <= WORK_S * number + DEADLINES.restore_s + 1.0


@pytest.mark.parametrize("number", range(OPERATIONS))
async def test_a_hang_is_cut_short_wherever_it_happens(lab: Lab, number: int) -> None:
    lab.deadlines = QUICK
    lab.microscope.hangs_at = number
    result = await lab.job().run()
    assert result.outcome.reason is Reason.DEVICE
    assert "took longer than 0.1 s" in result.outcome.detail
    assert_home(lab, result)


async def test_a_link_that_comes_back_brings_the_instrument_home(lab: Lab) -> None:
    lab.microscope.lost_at, lab.microscope.returns = 10, True
    result = await lab.job().run()
    assert result.outcome.reason is Reason.DEVICE
    assert result.outcome.restored
    assert lab.microscope.wd_um == START_UM


async def test_stale_frames_are_a_failure_of_the_device(lab: Lab) -> None:
    def on(name: str, number: int) -> None:
        if number == 8:
            raise FrameStale("only old frames arrive")

    lab.microscope.on = on
    result = await lab.job().run()
    assert_home(lab, result)
    assert (result.outcome.reason, result.outcome.detail) == (
        Reason.DEVICE,
        "only old frames arrive",
    )


async def test_a_frame_that_cannot_be_scored_is_a_failure_of_the_device(lab: Lab) -> None:
    async def refuse(frame: Frame) -> Reading:
        if frame.wd_um != START_UM:
            raise ImageError("the frame is too small")
        return await score(frame)

    lab.score = refuse
    result = await lab.job().run()
    assert_home(lab, result)
    assert result.outcome.detail == "the frame is too small"


async def test_a_score_that_is_no_number_ends_at_the_start(lab: Lab) -> None:
    async def nan(frame: Frame) -> Reading:
        return Reading(
            wd_um=0, magnification=500, frame=Measures(score=math.nan, contrast=0.3, entropy=7)
        )

    lab.score = nan
    assert_home(lab, await lab.job().run())


# Limits


async def test_the_guard_refuses_what_the_session_has_ruled_out_meanwhile(lab: Lab) -> None:
    def on(name: str, number: int) -> None:
        if number == 7:
            session = Range(lo_um=START_UM - 500.0, hi_um=START_UM + 500.0)
            lab.guard.limits = Limits(hard=LIMITS.hard, session=session)

    lab.microscope.on = on
    result = await lab.job().run()
    assert_home(lab, result)
    assert result.outcome.reason is Reason.OUT_OF_RANGE
    assert "session" in result.outcome.detail
    assert max(lab.microscope.moves[2:], default=0.0) <= START_UM + 500.0


async def test_a_start_outside_the_limits_moves_nothing(lab: Lab) -> None:
    lab.microscope.wd_um = 1_000.0
    result = await lab.job().run()
    assert result.outcome.reason is Reason.OUT_OF_RANGE
    assert lab.microscope.log == ["read_state", "read_state"]


# Abort, time, shutdown


@pytest.mark.parametrize("number", range(OPERATIONS))
async def test_abort_ends_at_the_start_from_anywhere(lab: Lab, number: int) -> None:
    def on(name: str, at: int) -> None:
        if at == number:
            job.abort("the operator pressed stop")

    lab.microscope.on = on
    job = lab.job()
    result = await job.run()
    assert_home(lab, result)
    assert (result.outcome.reason, result.outcome.detail) == (
        Reason.ABORTED,
        "the operator pressed stop",
    )
    assert lab.microscope.log[number + 1 :].count("move_wd") <= 1
    assert "grab" not in lab.microscope.log[number + 1 :]


async def test_abort_before_the_job_begins_touches_nothing(lab: Lab) -> None:
    job = lab.job()
    job.abort()
    result = await job.run()
    assert result.outcome.reason is Reason.ABORTED
    assert lab.microscope.log == []


async def test_a_move_that_was_decided_before_the_abort_is_not_sent(lab: Lab) -> None:
    def abort_at_the_second_reading(progress: JobProgress) -> None:
        if progress.reading == 2:
            job.abort()

    lab.report = abort_at_the_second_reading
    job = lab.job()
    result = await job.run()
    assert_home(lab, result)
    assert lab.microscope.moves[1:] == [START_UM]


@pytest.mark.parametrize("hangs_at", [2, 5, 8])
async def test_abort_interrupts_a_frame_that_does_not_come(lab: Lab, hangs_at: int) -> None:
    lab.microscope.hangs_at = hangs_at
    job = lab.job()
    running = asyncio.create_task(job.run())
    await lab.microscope.hung.wait()
    assert lab.microscope.log[-1] == "grab"
    job.abort()
    job.abort("again")
    result = await asyncio.wait_for(running, 1.0)
    assert_home(lab, result)
    assert result.outcome.detail == "no reason was given"


async def test_abort_interrupts_the_scoring(lab: Lab) -> None:
    scoring = asyncio.Event()

    async def endless(frame: Frame) -> Reading:
        scoring.set()
        await asyncio.Event().wait()
        raise AssertionError("never reached")

    lab.score = endless
    job = lab.job()
    running = asyncio.create_task(job.run())
    await scoring.wait()
    job.abort()
    assert_home(lab, await asyncio.wait_for(running, 1.0))


async def test_abort_while_restoring_does_not_stop_the_way_home(lab: Lab) -> None:
    def on(name: str, number: int) -> None:
        if number == 8:
            raise FrameStale("only old frames arrive")
        if number > 8 and name == "move_wd":
            assert not job.abort()

    lab.microscope.on = on
    job = lab.job()
    result = await job.run()
    assert_home(lab, result)
    assert result.outcome.reason is Reason.DEVICE


async def test_a_job_that_takes_too_long_ends_at_the_start(lab: Lab) -> None:
    lab.deadlines = Deadlines(job_s=2.4)
    result = await lab.job().run()
    assert_home(lab, result)
    assert (result.outcome.reason, result.outcome.detail) == (
        Reason.TIMEOUT,
        "the job took longer than 2.4 s",
    )
    assert result.seconds < 3.5


async def test_the_end_of_the_jobs_time_interrupts_a_reading(lab: Lab) -> None:
    lab.deadlines = Deadlines(job_s=1.55)
    lab.microscope.hangs_at = 5
    result = await asyncio.wait_for(lab.job().run(), 1.0)
    assert_home(lab, result)
    assert result.outcome.reason is Reason.TIMEOUT


@pytest.mark.parametrize("hangs_at", [0, 2, 5, 8])
async def test_a_cancelled_job_goes_home_before_the_cancellation_goes_on(
    lab: Lab, hangs_at: int
) -> None:
    lab.microscope.hangs_at = hangs_at
    running = asyncio.create_task(lab.job().run())
    await lab.microscope.hung.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 1.0)
    assert lab.microscope.wd_um == START_UM
    record = lab.journal.find("job-1")
    assert record is not None
    assert record.outcome is not None
    assert record.outcome.reason is Reason.ABORTED
    assert record.outcome.detail == "the service is stopping"


# Somebody else at the microscope


@pytest.mark.parametrize("number", [2, 5, 8, 14])  # while a frame is taken
async def test_somebody_else_ends_the_job_and_keeps_the_instrument(lab: Lab, number: int) -> None:
    def on(name: str, at: int) -> None:
        if at == number + 1:  # after it
            lab.microscope.wd_um = 17_777.0

    lab.microscope.on = on
    result = await lab.job().run()
    assert result.outcome.reason is Reason.TAKEN_OVER
    assert "somebody else" in result.outcome.detail
    assert result.outcome.wd_um == lab.microscope.wd_um == 17_777.0
    assert not result.outcome.restored


async def test_an_abort_is_not_carried_out_against_somebody_else(lab: Lab) -> None:
    def on(name: str, at: int) -> None:
        if at == 8:
            lab.microscope.wd_um = 17_777.0
            job.abort()

    lab.microscope.on = on
    job = lab.job()
    result = await job.run()
    assert lab.microscope.wd_um == 17_777.0
    assert result.outcome.reason is Reason.TAKEN_OVER


# What an acknowledged abort means


@pytest.mark.parametrize("reading", range(8))
async def test_an_abort_in_time_is_how_the_job_ends(lab: Lab, reading: int) -> None:
    """However close to its own end it comes: acknowledged means aborted, and at the start."""
    accepted: list[bool] = []

    def watch(progress: JobProgress) -> None:
        if progress.reading == reading:
            accepted.append(job.abort("enough"))

    lab.report = watch
    job = lab.job()
    result = await job.run()
    assert accepted[0] is (result.outcome.reason is Reason.ABORTED)
    if accepted[0]:
        assert_home(lab, result)


async def test_an_abort_after_the_end_is_too_late(lab: Lab) -> None:
    job = lab.job()
    result = await job.run()
    assert result.outcome.converged
    assert not job.abort()


# Errors of the program itself


async def test_a_bug_in_the_scorer_brings_the_instrument_home_and_is_raised(lab: Lab) -> None:
    async def broken(frame: Frame) -> Reading:
        if len(lab.microscope.moves) == 2:
            raise ZeroDivisionError("a bug")
        return await score(frame)

    lab.score = broken
    with pytest.raises(ZeroDivisionError, match="a bug"):
        await lab.job().run()
    assert lab.microscope.wd_um == START_UM
    record = lab.journal.find("job-1")
    assert record is not None
    assert record.outcome is not None
    assert "a bug" in record.outcome.detail


async def test_a_watcher_that_fails_does_not_keep_the_instrument_away(lab: Lab) -> None:
    def watch(progress: JobProgress) -> None:
        if progress.reading == 3:
            raise RuntimeError("the watcher fell asleep")

    lab.report = watch
    with pytest.raises(RuntimeError, match="asleep"):
        await lab.job().run()
    assert lab.microscope.wd_um == START_UM


# A link that is down for a moment


@dataclass
class Outage(ScriptedMicroscope):
    """Its link breaks once, at operation `breaks_at`, for `lasts_s`; then `meanwhile` has happened."""

    breaks_at: int = 0
    lasts_s: float = 1.0
    meanwhile: Callable[[], object] = lambda: None
    waited_s: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.on = self._break_once

    def _break_once(self, _name: str, number: int) -> None:
        if number == self.breaks_at:
            self.connected = False
        if not self.connected:
            raise LinkLost("the cable is out")

    async def wait_connected(self, timeout_s: float) -> None:
        if self.connected:
            return
        self.waited_s.append(timeout_s)
        self.clock.advance(min(timeout_s, self.lasts_s))
        if self.lasts_s > timeout_s:
            self.lasts_s -= timeout_s
            raise LinkTimeout("no link yet")
        self.meanwhile()
        self.connected = True


@pytest.mark.parametrize("number", range(OPERATIONS))
async def test_a_short_outage_is_survived_wherever_it_comes(lab: Lab, number: int) -> None:
    lab.microscope = microscope = Outage(lab.clock, breaks_at=number)
    result = await lab.job().run()
    assert result.outcome.converged
    assert microscope.wd_um == BEST_UM
    assert microscope.waited_s == pytest.approx([DEADLINES.outage_s], abs=0.2)


@pytest.mark.parametrize("number", range(4, OPERATIONS))
async def test_somebody_who_turned_the_lens_in_an_outage_keeps_it(lab: Lab, number: int) -> None:
    lab.microscope = microscope = Outage(lab.clock, breaks_at=number)
    microscope.meanwhile = lambda: setattr(microscope, "wd_um", 27_000.0)
    outcome = (await lab.job().run()).outcome
    if "move_wd" not in microscope.log[number - 1 : number + 1]:
        assert (outcome.reason, outcome.wd_um) == (Reason.TAKEN_OVER, 27_000.0)
        assert microscope.wd_um == 27_000.0
    else:  # until a command has been seen to be carried out, the lens may have gone there by itself
        assert microscope.wd_um in (BEST_UM, START_UM)


async def test_a_long_outage_ends_the_job_and_the_lens_comes_home(lab: Lab) -> None:
    lab.microscope = microscope = Outage(lab.clock, breaks_at=8, lasts_s=DEADLINES.outage_s + 2.0)
    result = await lab.job().run()
    assert_home(lab, result)
    assert (result.outcome.reason, result.outcome.detail) == (Reason.DEVICE, "the cable is out")
    assert len(microscope.waited_s) == 2
