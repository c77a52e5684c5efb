"""Restored means restored: what a job says of where it left the lens, against where the simulator knows it to be.

Twelve faults of the lens and its link, each with jobs that are aborted, fail, run out of time, or are left alone. Then
aborts and jobs in turn: does the start stay where it was?

    python benchmarks/restored.py [--quick] [--seed N] [--json FILE] [--markdown FILE]
"""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from reporting import conclude, parse

from afdaemon.clock import ManualClock
from afdaemon.control.fast.profile import FastProfile
from afdaemon.control.limits import Limits, MotionGuard, Range
from afdaemon.control.values import Outcome, Reading
from afdaemon.drivers.base import Frame, Microscope
from afdaemon.drivers.registry import kept_up
from afdaemon.evaluate.section import Bar, at_most
from afdaemon.job.bench import Bench, Deadlines
from afdaemon.job.journal import Journal
from afdaemon.job.loop import Job
from afdaemon.service.scoring import Networks, load_networks
from afdaemon.settings import ModelSettings
from afdaemon.sim.instrument.faults import FaultPlan, parse_rule
from afdaemon.sim.instrument.inprocess import InProcessMicroscope
from afdaemon.sim.instrument.instrument import Instrument
from afdaemon.sim.instrument.settings import WD_UM, InstrumentSettings
from afdaemon.sim.instrument.told import Truth
from afdaemon.sim.instrument.world import World

FAULTS = {
    "none": "",
    "ignored": "wd-ignored",
    "ignored now and then": "wd-ignored:0.5",
    "refused": "wd-refused",
    "refused now and then": "wd-refused:0.5",
    "late by 0.5 s": "wd-late,amount=0.5",
    "late by 10 s": "wd-late:0.5,amount=10",
    "overshot by 50 um": "wd-overshot,amount=50",
    "overshot by 3 mm once": "wd-overshot:0.3,times=1,amount=3000",
    "read back 100 um too long": "readback-wrong,amount=100",
    "read back wrong now and then": "readback-wrong:0.3,amount=100",
    "unplugged for 1 s": "unplug:0.2,amount=1",
    "unplugged for 8 s": "unplug:0.2,times=1,amount=8",
}
LIES = ("read back 100 um too long",)
"""What the instrument says of itself is wrong there for good: nobody can know where it stands."""
ENDS = ("abort", "failure", "timeout", "success")
_SLOW_S = 2.0
"""Settling time of the lens that is slow by itself, without any fault."""
_TOLERANCE_UM = 3.0
"""The driver's tolerance, and the read-back's noise."""
_JOB_S = 60.0
_LATER_S = 30.0
"""After the job, whatever was late has come."""
_MAGNIFICATION, _FOCUS_UM, _AWAY_UM, _NARROW_UM = 2_000, 14_000.0, 700.0, 150.0
_ROUNDS, _MOST_WALK_DOF = 100, 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A job's word, the truth when it was given, and the truth once all that was late has come. WDs in um."""

    fault: str
    end: str
    seed: int
    reason: str
    restored: bool
    start_um: float
    said_um: float | None
    true_um: float
    later_um: float

    @property
    def is_true(self) -> bool:
        """Whether the lens is where it was said to be, and home for good if it was; nothing known is never wrong."""
        is_home = abs(self.later_um - self.start_um) <= _TOLERANCE_UM
        is_there = self.said_um is None or abs(self.true_um - self.said_um) <= _TOLERANCE_UM
        return (is_there or self.fault in LIES) and (is_home or not self.restored)


def main() -> int:
    """Measure."""
    arguments = parse(__doc__, quick="one job a cell, and twenty rounds")
    rules = FastProfile(calibrated=True)
    networks = load_networks(ModelSettings(device="cpu", threads=1), rules)
    seeds = range(arguments.seed, arguments.seed + (1 if arguments.quick else 8))
    rounds = 20 if arguments.quick else _ROUNDS
    with tempfile.TemporaryDirectory() as folder, closing(Journal(Path(folder) / "j")) as journal:
        cells = [
            asyncio.run(_cell(fault, end, seed, networks, rules, journal))
            for fault in (*FAULTS, "slow")
            for end in ENDS
            for seed in seeds
        ]
        walk_dof = asyncio.run(_walk(rounds, arguments.seed, networks, rules, journal))
    wrong = [cell for cell in cells if not cell.is_true]
    bars = [
        Bar(
            "what was said of the lens was so",
            not wrong,
            f"{len(cells) - len(wrong)} of {len(cells)}",
        ),
        at_most(f"the start's walk in {rounds} aborted jobs, DoF", walk_dof, _MOST_WALK_DOF),
    ]
    rows = [{**asdict(cell), "is_true": cell.is_true} for cell in cells]
    return conclude(arguments, "benchmarks/restored.py", _table(cells), bars, rows)


def _table(cells: list[Cell]) -> str:
    lines = [f"{'lens':<30}" + "".join(f"{end:>28}" for end in ENDS)]
    for fault in dict.fromkeys(cell.fault for cell in cells):
        row = f"{fault:<30}"
        for end in ENDS:
            of = [cell for cell in cells if (cell.fault, cell.end) == (fault, end)]
            home = sum(cell.restored or cell.reason == "focused" for cell in of)
            true = sum(cell.is_true for cell in of)
            row += f"{f'{home} home or focused, {true}/{len(of)}':>28}"
        lines.append(row)
    return "\n".join(
        [
            *lines,
            "n/m: of m jobs, n said rightly where the lens stands and whether that is the start",
        ]
    )


async def _cell(
    fault: str, end: str, seed: int, networks: Networks, rules: FastProfile, journal: Journal
) -> Cell:
    clock = ManualClock()
    settings = _settings(seed)
    if fault == "slow":
        settings = replace(settings, settle_s=_SLOW_S)
    world = World(settings, clock=clock)
    plan = FaultPlan(seed=seed)
    instrument = Instrument(world, plan, clock=clock)

    seen: set[int] = set()

    def at_reading(number: int, job: Job) -> None:
        """Faults begin with the first reading; an abort comes, or time runs out, with the second."""
        if number in seen:
            return
        seen.add(number)
        if number == 1 and FAULTS.get(fault):
            plan.set(parse_rule(FAULTS[fault]))
        if number == 2 and end == "abort":
            job.abort("a benchmark")
        if number == 2 and end == "timeout":
            clock.advance(_JOB_S)

    start = instrument.truth()
    narrow = _NARROW_UM if end == "failure" else None
    async with _running(instrument, clock) as microscope:
        bench = _bench(microscope, clock, networks, journal, start, narrow)
        outcome = await _job(bench, f"{fault}-{end}-{seed}", rules, at_reading)
        truth = instrument.truth()
        later = _later(instrument, clock)
    return Cell(
        fault=fault,
        end=end,
        seed=seed,
        reason=outcome.reason.value,
        restored=outcome.restored,
        start_um=start.lens_wd_um,
        said_um=outcome.wd_um,
        true_um=truth.lens_wd_um,
        later_um=later.lens_wd_um,
    )


async def _walk(
    rounds: int, seed: int, networks: Networks, rules: FastProfile, journal: Journal
) -> float:
    """How far the start is from the first one after that many aborted jobs, in depths of focus."""
    clock = ManualClock()
    instrument = Instrument(World(_settings(seed), clock=clock), clock=clock)
    start = instrument.truth()
    async with _running(instrument, clock) as microscope:
        bench = _bench(microscope, clock, networks, journal, start, None)
        for number in range(rounds):
            await _job(bench, f"walk-{number}", rules, _abort_at_the_second)
        end = _later(instrument, clock)
    return abs(end.lens_wd_um - start.lens_wd_um) / start.dof_um


def _later(instrument: Instrument, clock: ManualClock) -> Truth:
    """The truth once every command has been carried out, and the lens is at rest."""
    clock.advance(_LATER_S)
    instrument.truth()
    clock.advance(_LATER_S)
    return instrument.truth()


def _settings(seed: int) -> InstrumentSettings:
    away_um = _AWAY_UM if seed % 2 else -_AWAY_UM
    return InstrumentSettings(
        specimen="tin_balls",
        magnification=_MAGNIFICATION,
        seed=seed,
        focus_wd_um=_FOCUS_UM,
        start_wd_um=_FOCUS_UM + away_um,
    )


@asynccontextmanager
async def _running(instrument: Instrument, clock: ManualClock) -> AsyncIterator[Microscope]:
    """Its microscope, while its link is kept up."""
    microscope = InProcessMicroscope(instrument, clock=clock)
    async with kept_up(microscope):
        await microscope.wait_connected(1.0)
        yield microscope


def _bench(
    microscope: Microscope,
    clock: ManualClock,
    networks: Networks,
    journal: Journal,
    start: Truth,
    narrow_um: float | None,
) -> Bench:
    """With `narrow_um`, jobs may not go further from the start: too near for them to find the focus."""
    hard = Range(lo_um=WD_UM.low, hi_um=WD_UM.high)
    here_um = start.lens_wd_um
    session = narrow_um and Range(lo_um=here_um - narrow_um, hi_um=here_um + narrow_um)
    return Bench(
        microscope=microscope,
        score=partial(_read, networks),
        laws=networks.laws,
        guard=MotionGuard(Limits(hard=hard, session=session or None)),
        journal=journal,
        clock=clock,
    )


async def _read(networks: Networks, frame: Frame) -> Reading:
    measures = networks.score(frame.pixels, frame.magnification)
    return Reading(wd_um=frame.wd_um, magnification=frame.magnification, frame=measures)


def _abort_at_the_second(number: int, job: Job) -> None:
    if number == 2:
        job.abort("a benchmark")


async def _job(
    bench: Bench, job_id: str, rules: FastProfile, at_reading: Callable[[int, Job], None]
) -> Outcome:
    job = Job(
        job_id,
        bench,
        rules=rules,
        deadlines=Deadlines(job_s=_JOB_S),
        report=lambda progress: at_reading(progress.reading, job),
    )
    return (await job.run()).outcome


if __name__ == "__main__":
    sys.exit(main())
