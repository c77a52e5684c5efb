"""Instruments that mislead: another one in its place, pictures that don't follow, answers that are late or no answers.

Seven ways on four links, from before the job on or from its first reading, until its end. Whatever comes of it: no
false "focused", no false "restored", and not one command to another instrument. Real sockets, real time.

    python benchmarks/misled.py [--quick] [--seed N] [--json FILE] [--markdown FILE]
"""

import asyncio
import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from link_rigs import LINKS, RULES, Ended, Rig, job, rig, together
from reporting import conclude, parse

from afdaemon.clock import SystemClock
from afdaemon.drivers.errors import DriverError
from afdaemon.drivers.registry import kept_up
from afdaemon.evaluate.section import Bar
from afdaemon.job.loop import Job
from afdaemon.service.scoring import Networks, ScoringThread, load_networks
from afdaemon.settings import ModelSettings
from afdaemon.sim.chaos.plan import parse_rule as parse_trouble
from afdaemon.sim.instrument.faults import FaultPlan
from afdaemon.sim.instrument.faults import parse_rule as parse_fault
from afdaemon.sim.instrument.instrument import Instrument
from afdaemon.sim.instrument.world import RecordedFrame, World
from afdaemon.sim.links import aisem

RUNS, QUICK_RUNS = 20, 2
AT_ONCE = 14
AWAY_S = 0.5
"""How long it takes to plug in another instrument."""
CONNECTED_S = 10.0
ABANDONED_S = 120.0
"""Twice as long as a job may take here before it is cancelled."""


class Misleading(Instrument):
    """What it shows is not what it sees: a picture that stands still, or the one before, under a new text."""

    is_frozen = False
    is_behind = False
    _before: RecordedFrame | None = None

    async def frames(self) -> list[RecordedFrame]:
        """As an honest one does, with other pictures."""
        return [self._shown(shot) for shot in await super().frames()]

    def _shown(self, shot: RecordedFrame) -> RecordedFrame:
        before = self._before or shot
        self._before = before if self.is_frozen else shot
        return replace(shot, pixels=before.pixels) if self.is_frozen or self.is_behind else shot


def misleading(world: World, plan: FaultPlan) -> Misleading:
    """An instrument that is honest until it is told otherwise."""
    return Misleading(world, plan, clock=SystemClock())


def _other(on: Rig) -> None:
    world = on.instrument.world
    on.instrument.unplug(AWAY_S)
    world.settings = replace(world.settings, serial="EM30-0002")


def _frozen(on: Rig) -> None:
    if isinstance(on.instrument, Misleading):
        on.instrument.is_frozen = True


def _behind(on: Rig) -> None:
    if isinstance(on.instrument, Misleading):
        on.instrument.is_behind = True


def _refusing_in_pieces(on: Rig) -> None:
    on.instrument.plan.set(parse_fault("wd-refused"))
    on.chaos.add(parse_trouble("split,amount=0.005"))


def _trouble(rule: str) -> Callable[[Rig], None]:
    return lambda on: on.chaos.add(parse_trouble(rule))


WAYS: Mapping[str, Callable[[Rig], None]] = {
    "another instrument": _other,
    "frozen picture": _frozen,
    "picture one behind": _behind,
    "NG in pieces": _refusing_in_pieces,
    "doubled answers": _trouble("double"),
    "shifted answers": _trouble("shift"),
    "OK and no move": lambda on: on.instrument.plan.set(parse_fault("wd-ignored")),
}
_BEFORE_THE_JOB = tuple(way for way in WAYS if way != "another instrument")
"""Which may begin before the job: before it, another instrument is simply the instrument."""


@dataclass(kw_only=True)
class Run:
    """What a job that was misled said. `false` names what was not so."""

    link: str
    way: str
    seed: int
    end: str = "no link"
    detail: str = ""
    off_um: float | None = None
    moves_of_another: int = 0
    false: list[str] = field(default_factory=list)

    def note(self, ended: Ended) -> None:
        """Take over what is known of a job."""
        self.end, self.detail = ended.outcome.reason.value, ended.outcome.detail
        self.off_um = ended.true_um - (
            ended.focus_um if ended.outcome.converged else ended.start_um
        )
        if ended.is_false_focus:
            self.false.append("focused")
        if ended.is_false_restore:
            self.false.append("restored")


def main() -> int:
    """Measure."""
    arguments = parse(__doc__, quick="two runs a cell")
    logging.getLogger("em30_bridge").setLevel(logging.CRITICAL)
    _mark_jpegs()
    count = QUICK_RUNS if arguments.quick else RUNS
    seeds = range(arguments.seed, arguments.seed + count)
    loop = asyncio.new_event_loop()
    runs = loop.run_until_complete(_measure(seeds))
    bars = [
        _none(f"false {word!r}", [run for run in runs if word in run.false])
        for word in ("focused", "restored", "hangs")
    ]
    bars.append(_none("moves of another instrument", [run for run in runs if run.moves_of_another]))
    rows = [asdict(run) for run in runs]
    code = conclude(arguments, "benchmarks/misled.py", _table(runs), bars, rows)
    if any("hangs" in run.false for run in runs):
        os._exit(code)  # what hangs would not let the loop end
    loop.close()
    return code


def _none(name: str, found: Sequence[Run]) -> Bar:
    where = sorted({f"{run.link}: {run.way}" for run in found})
    return Bar(name, not found, f"{len(found)}" + (f" ({', '.join(where)})" if where else ""))


def _mark_jpegs() -> None:
    """A vendor's JPEG may carry the time as a comment: then no two files are the same, whatever they show."""
    plain = aisem.jpeg_of

    def marked(shot: RecordedFrame) -> bytes:
        comment = f"frame {shot.number}".encode()
        data = plain(shot)
        return data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:]

    aisem.jpeg_of = marked


async def _measure(seeds: range) -> list[Run]:
    load = partial(load_networks, ModelSettings(device="cpu", threads=1), RULES)
    with closing(ScoringThread(load)) as scoring:
        networks = await scoring.open()
        runs = [
            partial(_watched, Run(link=link, way=way, seed=seed), scoring, networks)
            for link in LINKS
            for way in WAYS
            for seed in seeds
        ]
        return await together(runs, AT_ONCE)


async def _watched(run: Run, scoring: ScoringThread, networks: Networks) -> Run:
    """The run, abandoned when it neither ends nor can be ended; then `detail` says what it waits for."""
    task = asyncio.create_task(_run(run, scoring, networks))
    await asyncio.wait({task}, timeout=ABANDONED_S)
    if task.done():
        return task.result()
    run.false.append("hangs")
    places = map(_waits_for, asyncio.all_tasks())
    run.detail = " | ".join(place for place in places if "Semaphore.acquire" not in place)
    return run


def _waits_for(task: "asyncio.Task[Any]") -> str:
    """Where a task stands, from its outermost call to its innermost."""
    places: list[str] = []
    inner: Any = task.get_coro()
    while inner is not None:
        frame = getattr(inner, "cr_frame", None)
        if frame is not None:
            places.append(f"{frame.f_code.co_qualname}:{frame.f_lineno}")
        inner = getattr(inner, "cr_await", None)
    return f"{task.get_name()}: {' > '.join(places)}"


async def _run(run: Run, scoring: ScoringThread, networks: Networks) -> Run:
    is_early = run.seed % 2 == 0 and run.way in _BEFORE_THE_JOB
    begun_after: list[int] = []
    try:
        async with rig(run.link, run.seed, misleading) as on:

            def begin() -> None:
                if not begun_after:
                    begun_after.append(len(on.truth.commands))
                    WAYS[run.way](on)

            def at_reading(number: int, _: Job) -> None:
                if number == 1:
                    begin()

            async with kept_up(on.microscope):
                await on.microscope.wait_connected(CONNECTED_S)
                if is_early:
                    begin()
                run.note(await job(on, scoring, networks, at_reading))
            if run.way == "another instrument" and begun_after:
                run.moves_of_another = len(on.truth.commands) - begun_after[0]
    except TimeoutError:
        run.false.append("hangs")
    except DriverError as error:
        run.detail = str(error)
    return run


def _table(runs: Sequence[Run]) -> str:
    lines = [f"{'':<20}" + "".join(f"{link:>26}" for link in LINKS)]
    for way in WAYS:
        row = f"{way:<20}"
        for link in LINKS:
            of = [run for run in runs if (run.link, run.way) == (link, way)]
            false = sum(bool(run.false or run.moves_of_another) for run in of)
            ends = Counter(run.end for run in of).most_common(2)
            row += f"{'! ' * bool(false) + ', '.join(f'{n} {end}' for end, n in ends):>26}"
        lines.append(row)
    lines += [
        f"! {run.link}, {run.way}, seed {run.seed}: {', '.join(run.false) or 'moved another'} is false, off by"
        f" {run.off_um} um ({run.end}: {run.detail})"
        for run in runs
        if run.false or run.moves_of_another
    ]
    return "\n".join([*lines, "How the jobs of each cell ended: the two most frequent reasons."])


if __name__ == "__main__":
    sys.exit(main())
