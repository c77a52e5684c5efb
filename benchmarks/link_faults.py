"""Faults at every step of every link: each ends in a recovery or a typed error within 5 s, and no job claims too much.

Twelve kinds of fault begin with one step of a job's conversation and last 2 s. Then links break twice within 5 s in
mid-job. What the job says is held against where the simulator knows the lens to be. Real sockets, real time.

    python benchmarks/link_faults.py [--quick] [--seed N] [--json FILE] [--markdown FILE]
"""

import asyncio
import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial

import numpy as np
from link_rigs import RULES, Ended, Rig, job, rig, together
from reporting import conclude, parse

from afdaemon.drivers.errors import DriverError
from afdaemon.drivers.registry import kept_up
from afdaemon.evaluate.section import Bar, at_least, at_most
from afdaemon.job.loop import Job
from afdaemon.service.scoring import Networks, ScoringThread, load_networks
from afdaemon.settings import ModelSettings
from afdaemon.sim.chaos.plan import parse_rule as parse_trouble
from afdaemon.sim.instrument.faults import parse_rule as parse_fault

LINKS = ("aisem", "stream", "usb")
STEPS = ("connect", "greet", "read state", "move", "grab", "restore")
"""`connect` is the first attempt of all; `greet` belongs to a link that comes back in mid-job."""
LASTS_S = 2.0
SLOW_S = 2.0
OFF_S = 0.3
"""How long the link is gone before it is greeted again."""
WITHIN_S = 5.0
GREETING = ("connect", "greet")
AT_ONCE = 10
BREAKS, QUICK_BREAKS = 40, 2
LEAST_HOME = 0.95
QUICK_EVERY = 6
HOWS = ("focused", "home", "owed", "taken")
LEGEND = (
    "How the job ended, and the longest operation in s. home: it failed, and the lens is back at its start; owed: it",
    "could not be brought back, and the status says so; taken: it was found elsewhere again and again, as if somebody",
    "had turned it, and is left there. -: not measured.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of fault: troubles on the way, faults of the instrument, both as rules, and whether the lens is slow.

    `refuses`: while connecting, the connection itself is refused.
    """

    troubles: Sequence[str] = ()
    faults: Sequence[str] = ()
    is_slow: bool = False
    refuses: bool = False


KINDS: Mapping[str, Kind] = {
    "time-out": Kind(troubles=("drop", "drop,way=frames")),
    "half message": Kind(troubles=("half", "half,way=frames")),
    "bad CRC": Kind(troubles=("garble", "garble,way=frames")),
    "stale frame": Kind(faults=("frame-stale",)),
    "frozen feed": Kind(faults=("frame-frozen",)),
    "wrong read-back": Kind(faults=("readback-wrong,amount=100",)),
    "slow settle": Kind(is_slow=True),
    "reset": Kind(troubles=("cut", "cut,way=frames")),
    "refused": Kind(faults=("wd-refused",), refuses=True),
    "saturated": Kind(faults=("saturated",)),
    "blank": Kind(faults=("blank",)),
    "out of order": Kind(
        troubles=("reorder", "reorder,way=frames"), faults=("frame-out-of-order",)
    ),
}


@dataclass(kw_only=True)
class Cell:
    """What came of a fault. `end` is how the job ended, `wrong` everything that may not be."""

    link: str
    kind: str
    step: str
    seed: int
    end: str = ""
    longest_s: float = 0.0
    home: bool = False
    owed: bool = False
    detail: str = ""
    wrong: list[str] = field(default_factory=list)

    def note(self, ended: Ended) -> None:
        """Take over what is known of a job."""
        outcome = ended.outcome
        self.end = outcome.reason.value
        self.detail = outcome.detail
        self.home, self.owed = ended.is_home, ended.is_owed
        checks = {
            "false focus": ended.is_false_focus,
            "false restore": ended.is_false_restore,
            "forgotten restore": ended.is_forgotten,
        }
        self.wrong += [name for name, is_so in checks.items() if is_so]

    @property
    def told(self) -> str:
        """As the table shows it."""
        return "! " + self.wrong[0] if self.wrong else f"{self.how} {self.longest_s:.1f}"

    @property
    def how(self) -> str:
        """One of `HOWS`."""
        if self.end in ("focused", "taken_over"):
            return self.end.replace("_over", "")
        return "home" if self.home else "owed"


def main() -> int:
    """Measure."""
    arguments = parse(__doc__, quick="every sixth cell, and two double breaks a link")
    logging.getLogger("em30_bridge").setLevel(logging.CRITICAL)
    cells, broken = asyncio.run(_measure(arguments.seed, quick=arguments.quick))
    wrong = [cell for cell in (*cells, *broken) if cell.wrong]
    slow = max((cell.longest_s for cell in cells), default=0.0)
    bars = [
        Bar(
            "cells that recovered or ended in a typed error, with nothing claimed falsely",
            not wrong,
            f"{len(cells) + len(broken) - len(wrong)} of {len(cells) + len(broken)}",
        ),
        at_most("longest operation, s", slow, WITHIN_S),
    ]
    for link in LINKS:
        of = [cell for cell in broken if cell.link == link]
        share = sum(cell.home or cell.end == "focused" for cell in of) / len(of)
        bars.append(at_least(f"{link} broken twice: home or focused", share, LEAST_HOME))
    rows = [asdict(cell) for cell in (*cells, *broken)]
    table = _table(cells, broken)
    return conclude(arguments, "benchmarks/link_faults.py", table, bars, rows)


async def _measure(seed: int, *, quick: bool) -> tuple[list[Cell], list[Cell]]:
    load = partial(load_networks, ModelSettings(device="cpu", threads=1), RULES)
    with closing(ScoringThread(load)) as scoring:
        networks = await scoring.open()
        places = [(link, kind, step) for link in LINKS for kind in KINDS for step in STEPS]
        chosen = [
            place
            for place in places
            if not quick or sum(map(_number, place)) % QUICK_EVERY == seed % QUICK_EVERY
        ]
        matrix = [
            partial(_cell, Cell(link=link, kind=kind, step=step, seed=seed), scoring, networks)
            for link, kind, step in chosen
        ]
        breaks = [
            partial(_break_twice, Cell(link=link, kind="broken twice", step="", seed=number), scoring, networks)
            for link in LINKS
            for number in range(seed, seed + (QUICK_BREAKS if quick else BREAKS))
        ]  # fmt: skip
        ended = await together([*matrix, *breaks], AT_ONCE)
    return ended[: len(matrix)], ended[len(matrix) :]


def _number(name: str) -> int:
    """Where a link, kind or step stands in its list."""
    return next(list(names).index(name) for names in (LINKS, KINDS, STEPS) if name in names)


# --- the matrix ---


async def _cell(cell: Cell, scoring: ScoringThread, networks: Networks) -> Cell:
    try:
        async with rig(cell.link, cell.seed) as on:
            begin = _Beginning(on, cell)
            on.microscope.on = begin.at
            if cell.step == "connect":
                begin.now()
            async with kept_up(on.microscope):
                await _connected(on, cell)
                cell.note(await job(on, scoring, networks, begin.at_reading))
                await begin.over()
                await _recovered(on, cell)
            cell.longest_s = on.microscope.longest_s
            cell.wrong += [f"untyped {error}" for error in on.microscope.untyped]
    except TimeoutError:
        cell.wrong.append("hangs")
    return cell


async def _connected(on: Rig, cell: Cell) -> None:
    """A link within 5 s, or the cause; then a link."""
    try:
        await on.microscope.wait_connected(WITHIN_S - 0.5)
    except DriverError:
        if on.microscope.why_down is None:
            cell.wrong.append("no cause")
        await on.microscope.wait_connected(WITHIN_S)


async def _recovered(on: Rig, cell: Cell) -> None:
    """Once the fault is over, all is well again."""
    try:
        await on.microscope.wait_connected(WITHIN_S)
        await on.microscope.read_state()
    except DriverError as error:
        cell.wrong.append(f"stays broken: {error}")


class _Beginning:
    """Makes the fault begin with its step, once, and end."""

    def __init__(self, on: Rig, cell: Cell) -> None:
        self._on = on
        self._cell = cell
        self._kind = KINDS[cell.kind]
        self._is_aborted = False
        self._ending: asyncio.Task[None] | None = None

    def at_reading(self, number: int, running: Job) -> None:
        """A restore needs a reason."""
        if number == 1 and self._cell.step == "restore" and not self._is_aborted:
            self._is_aborted = True
            running.abort("a benchmark")

    def at(self, operation: str) -> None:
        """Called before each operation."""
        step = self._cell.step
        if self._ending is not None or step == "connect":
            return
        begins_with = "grab" if step == "greet" else step
        if self._is_aborted if step == "restore" else operation == begins_with:
            self.now()

    def now(self) -> None:
        """The fault begins."""
        if self._cell.step == "greet":
            self._on.instrument.unplug(OFF_S)
        if self._kind.refuses and self._cell.step in GREETING:
            self._on.instrument.unplug(LASTS_S)
        for rule in self._kind.troubles:
            self._on.chaos.add(parse_trouble(rule))
        for rule in self._kind.faults:
            self._on.instrument.plan.set(parse_fault(rule))
        world = self._on.instrument.world
        honest = world.settings
        if self._kind.is_slow:
            world.settings = replace(honest, settle_s=SLOW_S)

        async def end() -> None:
            await asyncio.sleep(LASTS_S)
            self._on.chaos.clear()
            self._on.instrument.plan.clear()
            world.settings = honest

        self._ending = asyncio.create_task(end())

    async def over(self) -> None:
        """Return when it has ended."""
        if self._ending is None:
            self._cell.wrong.append("never began")
        else:
            await self._ending


# --- broken twice ---


async def _break_twice(cell: Cell, scoring: ScoringThread, networks: Networks) -> Cell:
    """The cable is out twice within 5 s: first for up to 1.5 s, from the first reading on, then for up to 2 s."""
    rng = np.random.default_rng([cell.seed, 2])
    first_s, second_s = float(rng.uniform(0.2, 1.5)), float(rng.uniform(0.2, 2.0))
    gap_s = float(rng.uniform(0.05, 5.0 - first_s - second_s))
    breaking: list[asyncio.Task[None]] = []
    try:
        async with rig(cell.link, cell.seed) as on:

            async def unplugged() -> None:
                on.instrument.unplug(first_s)
                await asyncio.sleep(first_s + gap_s)
                on.instrument.unplug(second_s)
                await asyncio.sleep(second_s)

            def at_reading(number: int, _: Job) -> None:
                if number == 1 and not breaking:
                    breaking.append(asyncio.create_task(unplugged()))

            async with kept_up(on.microscope):
                await on.microscope.wait_connected(WITHIN_S)
                cell.note(await job(on, scoring, networks, at_reading))
                await asyncio.gather(*breaking)
                await _recovered(on, cell)
            cell.longest_s = on.microscope.longest_s
    except TimeoutError:
        cell.wrong.append("hangs")
    return cell


def _table(cells: Sequence[Cell], broken: Sequence[Cell]) -> str:
    told = {(cell.link, cell.kind, cell.step): cell.told for cell in cells}
    lines: list[str] = []
    for link in LINKS:
        lines.append(f"{link:<18}" + "".join(f"{step:>16}" for step in STEPS))
        for kind in KINDS:
            row = "".join(f"{told.get((link, kind, step), '-'):>16}" for step in STEPS)
            lines.append(f"  {kind:<16}{row}")
        of = [cell.how for cell in broken if cell.link == link]
        counts = ", ".join(f"{of.count(how)} {how}" for how in HOWS)
        lines.append(f"  broken twice within 5 s, {len(of)} jobs: {counts}")
    wrong = [cell for cell in (*cells, *broken) if cell.wrong]
    lines += [
        f"! {cell.link}, {cell.kind}, {cell.step}, seed {cell.seed}: {'; '.join(cell.wrong)}"
        f" ({cell.end}: {cell.detail})"
        for cell in wrong
    ]
    return "\n".join((*lines, *LEGEND))


if __name__ == "__main__":
    sys.exit(main())
