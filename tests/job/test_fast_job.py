"""A job of the fast procedure with the shipped networks on a simulated instrument, and its replay."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from afdaemon.clock import ManualClock
from afdaemon.control.fast.profile import FastProfile
from afdaemon.control.limits import Limits, MotionGuard, Range
from afdaemon.control.values import Phase, ReadingKind, Reason
from afdaemon.drivers.base import MicroscopeState
from afdaemon.drivers.registry import kept_up
from afdaemon.job.bench import DEADLINES, Bench
from afdaemon.job.journal import Journal
from afdaemon.job.loop import Job, JobProgress, JobResult
from afdaemon.service.scoring import Networks, ScoringThread, load_networks
from afdaemon.settings import ModelSettings
from afdaemon.sim.instrument.inprocess import InProcessMicroscope
from afdaemon.sim.instrument.instrument import Instrument
from afdaemon.sim.instrument.settings import ColumnSettings, InstrumentSettings
from afdaemon.sim.instrument.world import World

LIMITS = Limits(hard=Range(lo_um=5_000.0, hi_um=50_000.0))
RULES = FastProfile(calibrated=True)
FOCUS_UM = 12_000.0


@pytest.fixture(scope="module")
def networks() -> Networks:
    return load_networks(ModelSettings(device="cpu", threads=1), RULES)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with closing(Journal(tmp_path / "journal.sqlite")) as journal:
        yield journal


class Stuck(InProcessMicroscope):
    """Does not answer where it stands while the job waits for its last step, `job` being aborted just then."""

    job: Job | None = None
    is_last_step = False
    waited_s = 0.0
    """In real time, from the abort to when the job gave up waiting."""

    def watch(self, progress: JobProgress) -> None:
        self.is_last_step = progress.phase is Phase.ADJUST

    async def read_state(self) -> MicroscopeState:
        if self.is_last_step and self.job is not None:
            self.is_last_step = False
            self.job.abort("enough")
            began_s = asyncio.get_running_loop().time()
            try:
                await asyncio.Event().wait()
            finally:
                self.waited_s = asyncio.get_running_loop().time() - began_s
        return await super().read_state()


class Leaving(Stuck):
    """Takes the last step, `job` being aborted just then; `looks` are those before the way home."""

    looks = 0
    is_on_its_way = False

    async def move_wd(self, wd_um: float, magnification: float | None = None) -> None:
        self.is_on_its_way = self.is_last_step
        if self.is_last_step and self.job is not None:
            self.is_last_step = False
            self.job.abort("enough")
            await asyncio.sleep(0)  # the loop runs what the abort has called
        await super().move_wd(wd_um, magnification)

    async def read_state(self) -> MicroscopeState:
        self.looks += self.is_on_its_way
        return await super().read_state()


SETTINGS = InstrumentSettings(
    specimen="tin_balls",
    magnification=2_000,
    seed=3,
    focus_wd_um=FOCUS_UM,
    start_wd_um=FOCUS_UM + 1_500.0,
)


async def test_an_abort_during_the_last_step_turns_round_at_once(
    networks: Networks, journal: Journal
) -> None:
    """One look: has somebody else moved it? Without waiting for the lens to arrive first."""
    clock = ManualClock()
    microscope = Leaving(Instrument(World(SETTINGS, clock=clock), clock=clock), clock=clock)
    result = await job_of(microscope, clock, networks, journal, is_aborted=True)
    assert (result.outcome.reason, result.outcome.restored) == (Reason.ABORTED, True)
    assert microscope.looks <= 1


async def test_an_abort_does_not_wait_for_the_lens_at_its_last_step(
    networks: Networks, journal: Journal
) -> None:
    clock = ManualClock()
    microscope = Stuck(Instrument(World(SETTINGS, clock=clock), clock=clock), clock=clock)
    result = await job_of(microscope, clock, networks, journal, is_aborted=True)
    assert (result.outcome.reason, result.outcome.restored) == (Reason.ABORTED, True)
    assert result.outcome.detail == "enough"
    assert 0.0 < microscope.waited_s < 0.5 * DEADLINES.move_s


async def focused(
    world: World,
    clock: ManualClock,
    networks: Networks,
    journal: Journal,
    rules: FastProfile = RULES,
) -> JobResult:
    microscope = Stuck(Instrument(world, clock=clock), clock=clock)
    return await job_of(microscope, clock, networks, journal, rules)


async def job_of(
    microscope: Stuck,
    clock: ManualClock,
    networks: Networks,
    journal: Journal,
    rules: FastProfile = RULES,
    *,
    is_aborted: bool = False,
) -> JobResult:
    with closing(ScoringThread(lambda: networks)) as scoring:
        await scoring.open()
        bench = Bench(
            microscope=microscope,
            score=scoring.read,
            laws=networks.laws,
            guard=MotionGuard(LIMITS),
            journal=journal,
            clock=clock,
        )
        job = Job("job-1", bench, rules=rules, report=microscope.watch)
        microscope.job = job if is_aborted else None
        async with kept_up(microscope):
            await microscope.wait_connected(1.0)
            return await job.run()


@pytest.mark.parametrize(
    ("specimen", "magnification", "away_um"),
    [
        ("tin_balls", 2_000, 1_100.0),
        ("tem_grid", 1_000, -2_500.0),
        ("gold_nanoparticles", 15_000, 90.0),
    ],
)
async def test_it_focuses_in_a_few_readings_and_replays(
    specimen: str, magnification: int, away_um: float, networks: Networks, journal: Journal
) -> None:
    clock = ManualClock()
    settings = InstrumentSettings(
        specimen=specimen,
        magnification=magnification,
        seed=3,
        focus_wd_um=FOCUS_UM,
        start_wd_um=FOCUS_UM + away_um,
    )
    world = World(settings, clock=clock)
    result = await focused(world, clock, networks, journal)
    truth = world.truth()
    assert result.outcome.converged, result.outcome.detail
    assert result.outcome.readings.total <= 6
    assert abs(truth.wd_um - truth.focus_wd_um) <= 1.5 * truth.dof_um
    assert result.profile == "fast"
    assert {point.kind for point in result.trace} <= {ReadingKind.SERVO, ReadingKind.VERIFY}
    assert all(len(point.frame.bands) == 18 for point in result.trace)
    times_s = [point.reading.at_s for point in result.trace]
    assert times_s == sorted(set(times_s))
    assert 0.0 < times_s[0] < times_s[-1] <= result.seconds
    assert journal.replay("job-1") == journal.steps("job-1")


async def test_the_ladder_finds_a_focus_far_away_and_replays(
    networks: Networks, journal: Journal
) -> None:
    clock = ManualClock()
    settings = InstrumentSettings(
        specimen="tin_balls",
        magnification=20_000,
        seed=3,
        focus_wd_um=FOCUS_UM,
        start_wd_um=FOCUS_UM + 20_000.0,
    )
    world = World(settings, clock=clock)
    result = await focused(world, clock, networks, journal, replace(RULES, ladder=True))
    truth = world.truth()
    assert result.outcome.converged, result.outcome.detail
    assert result.outcome.readings.total <= 25
    assert truth.magnification == result.outcome.magnification == 20_000
    assert abs(truth.wd_um - truth.focus_wd_um) <= 1.5 * truth.dof_um
    assert min(point.reading.magnification for point in result.trace) < 20_000
    assert journal.replay("job-1") == journal.steps("job-1")


async def test_a_focus_that_runs_away_is_the_reason_for_the_failure(
    networks: Networks, journal: Journal
) -> None:
    """It moves by about two depths of focus a reading; the job is replayed with what it says of that."""
    clock = ManualClock()
    settings = InstrumentSettings(
        specimen="tin_balls",
        magnification=10_000,
        seed=3,
        settle_s=1.9,
        focus_wd_um=FOCUS_UM,
        start_wd_um=FOCUS_UM + 150.0,
        column=ColumnSettings(drift_um_per_min=1_000.0),
    )
    result = await focused(World(settings, clock=clock), clock, networks, journal)
    outcome = result.outcome
    assert outcome.reason is Reason.NOT_CONVERGED
    assert outcome.drift_noticed
    assert outcome.drift_um_per_min == pytest.approx(1_000.0, rel=0.15)
    assert "probably because the focus drifts by" in outcome.detail
    assert journal.replay("job-1") == journal.steps("job-1")


async def test_an_empty_field_is_no_focus_and_leaves_the_wd_alone(
    networks: Networks, journal: Journal
) -> None:
    clock = ManualClock()
    settings = InstrumentSettings(
        specimen="empty", seed=3, focus_wd_um=FOCUS_UM, start_wd_um=FOCUS_UM + 500.0
    )
    world = World(settings, clock=clock)
    outcome = (await focused(world, clock, networks, journal)).outcome
    assert not outcome.converged
    assert outcome.restored
    assert outcome.wd_um == outcome.start_wd_um
    assert outcome.reason is Reason.NO_CONTRAST, outcome.detail
