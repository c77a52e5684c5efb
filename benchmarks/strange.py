"""Strange instruments: how true is the focus on optics, detectors, lenses and specimens that nobody here made?

Drawn instruments with wave-optical probes, coloured noise, electrons in bunches, a lens that moves the image, relief,
hysteresis and drift; specimens that nothing is trained on, every tenth of them a rough grating. All procedures get the
same ones. A job succeeds within 1 DoF of either truth: the least blur weighted by detail, or the most gradient energy
without noise.

    python benchmarks/strange.py [--quick] [--seed N] [--json FILE] [--micrographs DIR] [--procedure NAME]
"""

import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from statistics import mean, median

from focus_player import WAYS, play
from focus_runs import Start, Task
from reporting import conclude, parser_of
from strange_runs import GRATING_EVERY, StrangeRun, strange_run, strange_tasks

from afdaemon.clock import ManualClock
from afdaemon.evaluate.section import Bar, at_least, at_most
from afdaemon.sim.datasets.frames import find_micrographs
from afdaemon.sim.instrument.world import World

OURS = ("fast", "paper")
_RUNS, _QUICK_RUNS = 556, 10
"""Of them 500 without gratings."""
_MOST_WRONG = 0.003


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A start, and what the fast procedure must reach from there."""

    start: Start
    within_1: float
    most_mean: float


FIELDS = (
    Field(start=Start(reach_dof=20.0), within_1=0.985, most_mean=4.0),
    Field(start=Start(reach_dof=20.0, angle_factor=2.0), within_1=0.97, most_mean=4.3),
    Field(start=Start(reach_dof=75.0, angle_factor=2.0), within_1=0.96, most_mean=6.0),
)
Played = Mapping[str, Sequence[StrangeRun]]


def main() -> int:
    """Play."""
    parser = parser_of(__doc__ or "", quick="10 runs a row, our own and Brent's")
    parser.add_argument("--procedure", action="append", help="only this one; may be repeated")
    arguments = parser.parse_args()
    micrographs = find_micrographs(arguments.micrographs) if arguments.micrographs else []
    names = arguments.procedure or (("fast", "Brent") if arguments.quick else (*OURS, *WAYS))
    lines, held, rows = [_HEAD], list[Bar](), list[dict[str, object]]()
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        for field in FIELDS:
            count = _QUICK_RUNS if arguments.quick else _RUNS
            drawn = list(strange_tasks(count, field.start, micrographs, seed=arguments.seed))
            played = dict[str, list[StrangeRun]]()
            for name in names:
                jobs = [(name, field.start, task) for task in drawn]
                played[name] = list(pool.map(_play, jobs, chunksize=2))
                lines.append(_line(f"{name}, {field.start.named}", played[name]))
                print(lines[-1], file=sys.stderr, flush=True)
            held += _bars(field, played)
            rows += [_row(name, field.start, runs) for name, runs in played.items()]
    text = "\n".join([*lines, _LEGEND])
    return conclude(arguments, "benchmarks/strange.py", text, held, rows)


def _play(job: tuple[str, Start, Task]) -> StrangeRun:
    name, start, task = job
    world = World(task.settings, clock=ManualClock())
    return strange_run(play(task, name, start, world), task, world)


_HEAD = (
    f"{'procedure, start':<36}{'runs':>6}{'mean':>7}{'either':>8}{'blur':>7}{'grad.':>7}{'claimed':>9}"
    f"{'worse':>7}{'wrong':>7}{'failures, readings':>20}{'gratings':>10}{'wrong':>7}"
)
_LEGEND = (
    "mean: readings; either, blur, grad.: within 1 DoF by either truth, of the least blur, of the most gradient\n"
    "energy; wrong: claimed over 3 DoF off, and there by neither truth; failures: median of their readings;\n"
    f"gratings: every {GRATING_EVERY}th field, within 1 DoF, apart from the columns before"
)


def _line(name: str, runs: Sequence[StrangeRun]) -> str:
    plain, lined = _apart(runs)
    failed = [one.run.readings for one in plain if not one.run.converged]
    return (
        f"{name:<36}{len(plain):>6}{mean(one.run.readings for one in plain):>7.2f}{_there(plain):>8.3f}"
        f"{mean(one.by_blur for one in plain):>7.3f}{mean(one.by_gradient for one in plain):>7.3f}"
        f"{mean(one.run.converged for one in plain):>9.3f}{_worse(plain):>7}"
        f"{sum(one.is_wrong for one in plain):>7}{median(failed) if failed else 0:>20g}"
        f"{_there(lined):>10.3f}{sum(one.is_wrong for one in lined):>7}"
    )


def _row(name: str, start: Start, runs: Sequence[StrangeRun]) -> dict[str, object]:
    """In numbers; of single runs only those that missed are published."""
    missed = [asdict(one) for one in runs if not one.is_there]
    plain, lined = _apart(runs)
    return {
        "procedure": name,
        "start": start.named,
        "readings": mean(one.run.readings for one in plain),
        "within_1_dof": _there(plain),
        "gratings_within_1_dof": _there(lined),
        "missed": missed,
    }


def _apart(runs: Sequence[StrangeRun]) -> tuple[list[StrangeRun], list[StrangeRun]]:
    """Without gratings, and gratings."""
    return [one for one in runs if not one.is_grating], [one for one in runs if one.is_grating]


def _there(runs: Sequence[StrangeRun]) -> float:
    return mean(one.is_there for one in runs) if runs else 1.0


def _worse(runs: Sequence[StrangeRun]) -> int:
    return sum(one.run.is_worse and not one.is_there for one in runs)


def _bars(field: Field, played: Played) -> list[Bar]:
    """What the fast procedure must reach by itself, and beside the others on the same instruments."""
    if "fast" not in played:
        return []
    fast, named = played["fast"], field.start.named
    plain, _ = _apart(fast)
    used = mean(one.run.readings for one in plain)
    wrong = mean(one.is_wrong for one in fast)
    held = [
        at_least(f"fast, {named}: within 1 DoF", _there(plain), field.within_1),
        at_most(f"fast, {named}: mean of readings", used, field.most_mean),
        at_most(f"fast, {named}: share of wrong successes, with gratings", wrong, _MOST_WRONG),
        at_most(f"fast, {named}: end worse than they began", float(_worse(fast)), 0.0),
    ]
    failed = [one.run.readings for one in fast if not one.run.converged]
    if failed:
        held.append(at_most(f"fast, {named}: median of failures", float(median(failed)), 40.0))
    for rival in WAYS.keys() & played.keys():
        theirs, _ = _apart(played[rival])
        more = mean(one.run.readings for one in theirs)
        told = f"{used:.1f} ({_there(plain):.3f}) to {more:.1f} ({_there(theirs):.3f})"
        won = used < more and _there(plain) >= _there(theirs)
        held.append(Bar(f"fast beats {rival}, {named}, on readings and success", won, told))
    return held


if __name__ == "__main__":
    sys.exit(main())
