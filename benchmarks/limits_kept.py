"""Limits kept: whatever laws, frames, read-backs and requests say, no command outside the limits is sent.

Jobs of both procedures and direct moves, with laws that propose anything (NaN, infinities, kilometres), readings and
read-backs that are just as wild, links that break and instruments that refuse. Every command is encoded as for the
wire and judged as the instrument's side decodes it: within the hard, site and session limits, and no longer a step than
allowed.

    python benchmarks/limits_kept.py [--quick] [--seed N] [--json FILE] [--markdown FILE] [--steps N]
"""

import asyncio
import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

import numpy as np
from reporting import conclude, parser_of

from afdaemon.clock import ManualClock
from afdaemon.control.fast.profile import FastProfile
from afdaemon.control.limits import Limits, Motion, MotionGuard, Range
from afdaemon.control.procedures import Laws
from afdaemon.control.profile import Profile
from afdaemon.control.published.profile import PublishedProfile
from afdaemon.control.values import Proposal, Reading
from afdaemon.drivers.base import Frame, LinkStats, MicroscopeState
from afdaemon.drivers.errors import CommandRefused, DriverError, FrameStale, LinkLost
from afdaemon.drivers.wire.messages import Move
from afdaemon.drivers.wire.stream import Decoder, encode
from afdaemon.errors import LimitError
from afdaemon.evaluate.section import Bar
from afdaemon.job.bench import Bench, Deadlines
from afdaemon.job.loop import Job
from afdaemon.job.records import JournalStep
from afdaemon.models.frames.measures import Measures
from afdaemon.models.frames.spectrum import BANDS

if TYPE_CHECKING:
    from afdaemon.job.journal import Journal

STEPS, QUICK_STEPS = 1_000_000, 20_000
HARD = Range(lo_um=5_000.0, hi_um=50_000.0)
NONSENSE = (math.nan, math.inf, -math.inf, 1e300, -1e300, 1e9, -1e9, 0.0, -0.0, 5e-324)
_NONSENSE_SHARE, _FAILURE_SHARE = 0.02, 0.01
_WRONG_UM = (math.nan, math.inf, -math.inf, 0.0, 1e6, -1e6)
"""What no read-back may be: a driver keeps such frames to itself, and here none does."""
_MAGNIFICATIONS = (200.0, 2_000.0, 9_000.0, 20_000.0)
_FAILURES = (CommandRefused, LinkLost, FrameStale)
_WIRE_UM = 0.1
"""The steps in which the wire tells a WD."""
_TOLERANCE_UM = 4.0
"""Of a step: between two places, each known within the tolerance of a read-back."""


@dataclass
class Hostile:
    """An instrument on which nothing can be relied; it judges what arrives."""

    rng: np.random.Generator
    clock: ManualClock
    allowed: Limits
    longest_um: float | None = None
    wd_um: float = 20_000.0
    magnification: float = 2_000.0
    name: str = "hostile"
    connected: bool = True
    why_down: None = None
    stats: LinkStats = field(default_factory=LinkStats)
    wd_tolerance_um: float = 2.0
    arrived: int = 0
    outside: int = 0
    too_long: int = 0

    def __post_init__(self) -> None:
        self._decoder = Decoder()
        self._sequence = 0

    def judged_by(self, allowed: Limits, longest_um: float | None) -> None:
        """From now on by these limits."""
        self.allowed, self.longest_um = allowed, longest_um

    async def run(self) -> None:
        """Nothing to keep up."""
        return

    async def wait_connected(self, timeout_s: float) -> None:
        """It is, unless it fails."""
        self._may_fail()

    async def close(self) -> None:
        """Nothing to release."""
        return

    async def read_state(self) -> MicroscopeState:
        """Where it stands, unless it says something else."""
        self._may_fail()
        wd_um = self._maybe(self.wd_um + float(self.rng.normal(0.0, 0.3)))
        is_reported = bool(self.rng.random() < 0.95)
        return MicroscopeState(
            wd_um=wd_um, magnification=self.magnification, is_reported=is_reported
        )

    async def move_wd(self, wd_um: float, magnification: float | None = None) -> None:
        """Over the wire and judged; it may fail before or after it has moved."""
        self._sequence += 1
        move = Move(wd_um=wd_um, magnification=magnification or self.magnification)
        self._decoder.feed(encode(move, sequence=self._sequence))
        received = self._decoder.next_message()
        if received is None or not isinstance(received.message, Move):
            raise DriverError("it did not arrive")
        self._judge(received.message.wd_um)
        try:
            self._may_fail()
        except LinkLost:
            if self.rng.random() < 0.5:
                self.wd_um = wd_um
            raise
        self.wd_um = wd_um
        self.magnification = float(move.magnification or self.magnification)

    def _judge(self, wd_um: float) -> None:
        self.arrived += 1
        ranges = [limit for _, limit in self.allowed.named()]
        self.outside += not all(
            limit.lo_um - _WIRE_UM <= wd_um <= limit.hi_um + _WIRE_UM for limit in ranges
        )
        longest_um = math.inf if self.longest_um is None else self.longest_um
        self.too_long += abs(wd_um - self.wd_um) > longest_um + _TOLERANCE_UM

    async def grab(self) -> Frame:
        """A frame from somewhere."""
        self._may_fail()
        return Frame(
            pixels=np.zeros((2, 2), np.uint8),
            wd_um=self._maybe(self.wd_um),
            magnification=self.magnification,
            sequence=self._sequence,
            received_s=self.clock.now_s(),
        )

    def _maybe(self, number: float) -> float:
        wild = float(self.rng.choice(_WRONG_UM))
        return wild if self.rng.random() < _NONSENSE_SHARE else number

    def _may_fail(self) -> None:
        self.clock.advance(0.02)
        if self.rng.random() < _FAILURE_SHARE:
            failure = _FAILURES[int(self.rng.integers(len(_FAILURES)))]
            raise failure("a benchmark")


def _wild(rng: np.random.Generator) -> float:
    return float(rng.choice(NONSENSE))


class Notes:
    """A journal that keeps nothing but the number of steps."""

    def __init__(self) -> None:
        self.steps = 0

    def open_job(self, *_args: object, **_more: object) -> None:
        """Anything goes."""

    def append(self, _job_id: str, _number: int, _entry: JournalStep) -> None:
        """One more."""
        self.steps += 1

    keep = append


@dataclass(frozen=True, slots=True)
class Whims:
    """Laws that propose anything, and scores that are anything."""

    rng: np.random.Generator

    def step(self, _newest_first: Sequence[Reading]) -> float:
        """Any step, um."""
        return self._any(float(self.rng.normal(0.0, 3_000.0)))

    def focus(self, _newest_first: Sequence[Reading]) -> Proposal:
        """Any proposal."""
        draw = self.rng.random
        return Proposal(
            step_um=self._any(float(self.rng.normal(0.0, 2_000.0))),
            confidence=self._any(draw()),
            out_of_capture=self._any(draw() ** 2),
            dof_scale=self._any(float(np.exp(self.rng.normal(0.0, 0.5)))),
        )

    async def score(self, frame: Frame) -> Reading:
        """Any reading."""
        draw = self.rng.random
        measures = Measures(
            score=self._measured(9.0 * draw()),
            contrast=self._measured(draw()),
            entropy=self._measured(8.0 * draw()),
            saturated=0.9 if draw() < 0.01 else 0.0,
            bands=tuple(self.rng.normal(0.0, 2.0, BANDS)),
            doubt="a doubt" if draw() < 0.05 else "",
        )
        return Reading(wd_um=frame.wd_um, magnification=frame.magnification, frame=measures)

    def _measured(self, number: float) -> float:
        """A scorer may fail to give a number, but gives none beyond its scale."""
        return math.nan if self.rng.random() < _NONSENSE_SHARE else number

    def _any(self, number: float) -> float:
        return _wild(self.rng) if self.rng.random() < _NONSENSE_SHARE else number


def main() -> int:
    """Measure."""
    parser = parser_of(__doc__, quick=f"{QUICK_STEPS} steps")
    parser.add_argument("--steps", type=int, help=f"how many; default: {STEPS}")
    arguments = parser.parse_args()
    wanted = arguments.steps or (QUICK_STEPS if arguments.quick else STEPS)
    rng = np.random.default_rng(arguments.seed)
    notes, reasons, moved = Notes(), Counter[str](), Counter[str]()
    hostile = Hostile(rng, ManualClock(), Limits(hard=HARD))
    while notes.steps + moved.total() < wanted:
        reasons[asyncio.run(_job(hostile, notes))] += 1
        moved += asyncio.run(_direct_moves(hostile))
    steps = notes.steps + moved.total()
    table = "\n".join(
        [
            f"{steps} steps: {reasons.total()} jobs, {moved.total()} direct moves"
            f" ({moved['refused']} refused); {hostile.arrived} commands arrived",
            "jobs ended as " + ", ".join(f"{name} {n}" for name, n in reasons.most_common()),
        ]
    )
    bars = [
        Bar(f"at least {wanted} steps", steps >= wanted, f"{steps}"),
        Bar("commands outside the limits: 0", hostile.outside == 0, f"{hostile.outside}"),
        Bar("steps longer than allowed: 0", hostile.too_long == 0, f"{hostile.too_long}"),
    ]
    rows = [{"steps": steps, "arrived": hostile.arrived, "reasons": dict(reasons)}]
    return conclude(arguments, "benchmarks/limits_kept.py", table, bars, rows)


def _drawn_limits(rng: np.random.Generator) -> Limits:
    low_um, high_um = sorted(float(v) for v in rng.uniform(HARD.lo_um, HARD.hi_um, 2))
    site = Range(lo_um=low_um, hi_um=high_um + 100.0) if rng.random() < 0.5 else None
    middle_um = float(rng.uniform(low_um, high_um))
    session = Range(lo_um=middle_um - 400.0, hi_um=middle_um + 400.0)
    return Limits(hard=HARD, site=site, session=session if rng.random() < 0.3 else None)


async def _job(hostile: Hostile, notes: Notes) -> str:
    rng, laws = hostile.rng, Whims(hostile.rng)
    limits = _drawn_limits(rng)
    allowed = limits.allowed
    hostile.wd_um = float(rng.uniform(allowed.lo_um, allowed.hi_um))
    hostile.magnification = float(rng.choice(_MAGNIFICATIONS))
    motion = _drawn_motion(rng)
    hostile.judged_by(limits, motion.step_um)
    bench = Bench(
        microscope=hostile,
        score=laws.score,
        laws=Laws(step=laws.step, focus=laws.focus),
        guard=MotionGuard(limits, motion),
        journal=cast("Journal", notes),
        clock=hostile.clock,
        approach_um=float(rng.choice((0.0, 30.0))),
    )
    begin_um = _wild(rng) if rng.random() < 0.1 else float(rng.uniform(0.0, 60_000.0))
    job = Job(
        "benchmark",
        bench,
        rules=_drawn_rules(rng),
        deadlines=Deadlines(job_s=60.0),
        begin_wd_um=begin_um if rng.random() < 0.3 else None,
        guess_wd_um=_wild(rng) if rng.random() < 0.1 else None,
    )
    return (await job.run()).outcome.reason.value


def _drawn_motion(rng: np.random.Generator) -> Motion:
    step_um = float(rng.choice((500.0, 5_000.0))) if rng.random() < 0.3 else None
    travel_um = float(rng.choice((20_000.0, 200_000.0))) if rng.random() < 0.3 else None
    return Motion(step_um=step_um, travel_um=travel_um)


def _drawn_rules(rng: np.random.Generator) -> Profile:
    if rng.random() < 0.5:
        return PublishedProfile(both_directions=bool(rng.random() < 0.5), searches=2)
    return replace(FastProfile(), ladder=bool(rng.random() < 0.5))


async def _direct_moves(hostile: Hostile) -> Counter[str]:
    """Absolute targets, some of them made by adding to the last one until they lead outside."""
    rng, told = hostile.rng, Counter[str]()
    limits = _drawn_limits(rng)
    hostile.judged_by(limits, None)
    bench_lens = Bench(
        microscope=hostile,
        score=Whims(rng).score,
        laws=Laws(),
        guard=MotionGuard(limits),
        journal=cast("Journal", Notes()),
        clock=hostile.clock,
    ).lens
    target_um = hostile.wd_um
    for _ in range(10):
        wild = rng.random() < 0.2
        target_um = _wild(rng) if wild else target_um + float(rng.normal(0.0, 5_000.0))
        try:
            await bench_lens.bring(target_um, None, 1.0)
            told["made"] += 1
        except LimitError:
            told["refused"] += 1
        except DriverError:
            told["failed"] += 1
    return told


if __name__ == "__main__":
    sys.exit(main())
