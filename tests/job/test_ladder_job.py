"""The ladder in the job loop: whatever ends a job below, WD and magnification come back, and the journal knows."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from afdaemon.clock import ManualClock
from afdaemon.control.fast.law import FocusLaw
from afdaemon.control.fast.profile import FAST, FastProfile
from afdaemon.control.limits import Limits, MotionGuard, Range
from afdaemon.control.procedures import Laws
from afdaemon.control.values import MoveWd, Proposal, Reading, Reason, Refused
from afdaemon.drivers.base import Frame, LinkStats, MicroscopeState
from afdaemon.drivers.errors import CommandRefused, LinkLost, Unsupported
from afdaemon.job.bench import Bench, Deadlines
from afdaemon.job.journal import Journal
from afdaemon.job.loop import Job, JobProgress
from afdaemon.models.frames.measures import Measures
from afdaemon.models.optics import dof_um

LIMITS = Limits(hard=Range(lo_um=5_000.0, hi_um=50_000.0))
START = MicroscopeState(wd_um=45_000.0, magnification=20_000.0)
BEST_UM = 11_000.0
RULES = replace(FAST, ladder=True, calibrated=True)
QUICK = Deadlines(move_s=0.1, read_s=0.1, restore_s=0.1, job_s=1_000.0)
PIXELS = np.zeros((8, 8), dtype=np.uint8)
OPERATIONS = 30
"""What the job below takes without faults."""


@dataclass
class LadderMicroscope:
    """Obeys at once; `on` is called before each operation with its number, and may raise or abort the job."""

    clock: ManualClock
    at: MicroscopeState = START
    on: Callable[[int], object] = lambda number: None
    operations: int = 0
    moves: list[MicroscopeState] = field(default_factory=list)
    hangs_at: int | None = None
    name: str = "ladder"
    connected: bool = True
    stats: LinkStats = field(default_factory=LinkStats)
    why_down: None = None
    wd_tolerance_um: float = 2.0

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def wait_connected(self, timeout_s: float) -> None:
        return

    async def close(self) -> None:
        return

    async def read_state(self) -> MicroscopeState:
        await self._begin()
        return self.at

    async def move_wd(self, wd_um: float, magnification: float | None = None) -> None:
        there = MicroscopeState(wd_um=wd_um, magnification=magnification or self.at.magnification)
        self.moves.append(there)
        await self._begin()
        self.at = there

    async def grab(self) -> Frame:
        await self._begin()
        return Frame(
            pixels=PIXELS,
            wd_um=self.at.wd_um,
            magnification=self.at.magnification,
            sequence=self.operations,
            received_s=self.clock.now_s(),
        )

    async def _begin(self) -> None:
        number, self.operations = self.operations, self.operations + 1
        self.clock.advance(0.5)
        self.on(number)
        if number == self.hangs_at:
            await asyncio.Event().wait()
        await asyncio.sleep(0)


def away_dof(wd_um: float, magnification: float) -> float:
    return (wd_um - BEST_UM) / dof_um(magnification, 5e-3)


async def score(frame: Frame) -> Reading:
    away = away_dof(frame.wd_um, frame.magnification)
    return Reading(
        wd_um=frame.wd_um,
        magnification=frame.magnification,
        frame=Measures(score=9.0 / (1.0 + (0.3 * away) ** 2), contrast=0.3, entropy=7.0),
    )


def knowing(newest_first: Sequence[Reading]) -> Proposal:
    """Sees as far as 80 DoF, but not the side in the first reading."""
    here = newest_first[0]
    away = away_dof(here.wd_um, here.magnification)
    side = 1.0 if len(newest_first) == 1 else -1.0
    return Proposal(
        step_um=side * (here.wd_um - BEST_UM),
        confidence=float(abs(away) < 1.0),
        out_of_capture=float(abs(away) > 80.0),
    )


@dataclass
class Lab:
    journal: Journal
    clock: ManualClock
    microscope: LadderMicroscope
    rules: FastProfile = RULES
    deadlines: Deadlines = QUICK
    approach_um: float = 0.0
    law: FocusLaw = field(default=lambda newest_first: knowing(newest_first))
    progress: list[JobProgress] = field(default_factory=list)

    def job(self, job_id: str = "job-1") -> Job:
        bench = Bench(
            microscope=self.microscope,
            score=score,
            laws=Laws(focus=self.law),
            guard=MotionGuard(LIMITS),
            journal=self.journal,
            clock=self.clock,
            approach_um=self.approach_um,
        )
        return Job(
            job_id,
            bench,
            rules=self.rules,
            deadlines=self.deadlines,
            report=self.progress.append,
        )

    def assert_home(self) -> None:
        assert self.microscope.at == START
        steps = self.journal.replay("job-1")
        assert steps == self.journal.steps("job-1")
        record = self.journal.find("job-1")
        assert record is not None
        assert record.start_magnification in (START.magnification, None)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    clock = ManualClock()
    with closing(Journal(tmp_path / "journal.sqlite")) as journal:
        yield Lab(journal, clock, LadderMicroscope(clock))


async def test_it_goes_down_and_up_again_and_replays(lab: Lab) -> None:
    result = await lab.job().run()
    outcome = result.outcome
    assert outcome.converged, outcome.detail
    assert lab.microscope.operations == OPERATIONS
    assert lab.microscope.at.magnification == outcome.magnification == START.magnification
    assert abs(lab.microscope.at.wd_um - BEST_UM) <= dof_um(START.magnification, 5e-3)
    seen = [point.reading.magnification for point in result.trace]
    assert seen[:4] == [20_000.0, 5_000.0, 1_250.0, 500.0]
    assert lab.journal.replay("job-1") == lab.journal.steps("job-1")
    told = {progress.magnification for progress in lab.progress}
    assert {500.0, START.magnification} <= told


@pytest.mark.parametrize("number", range(OPERATIONS))
async def test_abort_brings_both_back_from_anywhere(lab: Lab, number: int) -> None:
    job = lab.job()
    lab.microscope.on = lambda at: job.abort("enough") if at == number else None
    outcome = (await job.run()).outcome
    lab.assert_home()
    assert (outcome.reason, outcome.restored) == (Reason.ABORTED, True)
    if number > 0:
        assert (outcome.start_magnification, outcome.magnification) == (20_000.0, 20_000.0)


@pytest.mark.parametrize("number", range(OPERATIONS))
async def test_a_link_lost_for_a_moment_brings_both_back(lab: Lab, number: int) -> None:
    def on(at: int) -> None:
        if at == number:
            raise LinkLost("the cable is out")

    lab.microscope.on = on
    outcome = (await lab.job().run()).outcome
    assert (outcome.reason, outcome.restored) == (Reason.DEVICE, True)
    lab.assert_home()


async def test_where_a_lost_link_left_it_is_not_known(lab: Lab) -> None:
    def on(at: int) -> None:
        if at >= 6:
            raise LinkLost("the cable is out")

    lab.microscope.on = on
    outcome = (await lab.job().run()).outcome
    assert (outcome.reason, outcome.restored) == (Reason.DEVICE, False)
    assert (outcome.wd_um, outcome.magnification) == (None, None)
    assert outcome.start_magnification == 20_000.0


@pytest.mark.parametrize("number", range(1, OPERATIONS))
async def test_a_hang_and_the_end_of_the_jobs_time_bring_both_back(lab: Lab, number: int) -> None:
    lab.microscope.hangs_at = number
    outcome = (await lab.job().run()).outcome
    assert (outcome.reason, outcome.restored) == (Reason.DEVICE, True)
    lab.assert_home()


@pytest.mark.parametrize("job_s", [1.6, 3.6, 5.1, 7.1])
async def test_a_job_that_takes_too_long_brings_both_back(lab: Lab, job_s: float) -> None:
    lab.deadlines = replace(QUICK, job_s=job_s)
    outcome = (await lab.job().run()).outcome
    assert (outcome.reason, outcome.restored) == (Reason.TIMEOUT, True)
    lab.assert_home()


async def test_a_cancelled_job_brings_both_back(lab: Lab) -> None:
    below = asyncio.Event()
    lab.deadlines = Deadlines()
    lab.microscope.hangs_at = 8  # a frame
    lab.microscope.on = lambda at: below.set() if at == 8 else None
    running = asyncio.create_task(lab.job().run())
    await below.wait()
    assert lab.microscope.at.magnification < START.magnification
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 1.0)
    lab.assert_home()


@pytest.mark.parametrize("fails_at", range(2, 14))
async def test_a_journal_that_fails_below_brings_both_back(
    lab: Lab, fails_at: int, fail_from: Callable[[Journal, int], None]
) -> None:
    fail_from(lab.journal, fails_at)
    outcome = (await lab.job().run()).outcome
    assert (outcome.reason, outcome.restored) == (Reason.ABORTED, True)
    assert "full" in outcome.detail
    assert lab.microscope.at == START


@pytest.mark.parametrize("error", [CommandRefused, Unsupported])
async def test_an_instrument_that_sets_no_magnification_is_searched_as_without_ladder(
    lab: Lab, error: type[CommandRefused]
) -> None:
    def on(at: int) -> None:
        if lab.microscope.moves and lab.microscope.moves[-1].magnification != 20_000.0:
            lab.microscope.moves.pop()
            raise error("there is no such command")

    lab.microscope.on = on
    outcome = (await lab.job().run()).outcome
    assert outcome.converged, outcome.detail
    assert all(move.magnification == 20_000.0 for move in lab.microscope.moves)
    steps = lab.journal.replay("job-1")
    assert [step.event for step in steps if isinstance(step.event, Refused)] == [
        Refused(detail="there is no such command")
    ]


async def test_a_wd_that_is_refused_is_still_a_failure(lab: Lab) -> None:
    refused: list[int] = []

    def on(at: int) -> None:
        if len(lab.microscope.moves) == 5 and not refused:  # it leaves the magnification alone
            refused.append(at)
            raise CommandRefused("not now")

    lab.microscope.on = on
    outcome = (await lab.job().run()).outcome
    assert (outcome.reason, outcome.detail) == (Reason.DEVICE, "not now")
    lab.assert_home()


async def test_each_move_upwards_last_has_the_new_magnification_from_the_first(lab: Lab) -> None:
    lab.approach_um = 50.0

    def beyond_it(newest_first: Sequence[Reading]) -> Proposal:
        told = knowing(newest_first)
        return replace(told, step_um=1.01 * told.step_um)

    lab.law = beyond_it
    assert (await lab.job().run()).outcome.converged
    moves = lab.microscope.moves
    climb = next(
        n
        for n in range(1, len(moves))
        if moves[n].magnification > 500.0 == moves[n - 1].magnification
    )
    first, second = moves[climb : climb + 2]
    assert first.magnification == second.magnification == 20_000.0
    assert second.wd_um - first.wd_um == pytest.approx(50.0)


async def test_the_guard_keeps_a_job_to_its_magnifications(lab: Lab) -> None:
    """Whatever the machine says: a move above the start is not sent."""
    job = lab.job()
    await job.run()
    moves = len(lab.microscope.moves)
    event = await job._carry_out(MoveWd(wd_um=12_000.0, magnification=40_000.0))
    assert getattr(event, "reason", None) is Reason.OUT_OF_RANGE
    assert len(lab.microscope.moves) == moves
