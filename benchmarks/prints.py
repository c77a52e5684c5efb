"""Prints: what a vendor's software draws into the live picture is no specimen, and must not be taken for focus.

Jobs of the fast procedure on simulated instruments, with no wire in between, each with one kind of print: from 12 and
60 depths of focus (DoF) away, and on a bare field, where any success is a false one.

    python benchmarks/prints.py [--quick] [--seed N] [--json FILE] [--markdown FILE] [--print NAME ...]
"""

import os
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from multiprocessing import get_context
from statistics import mean

from focus_player import player
from focus_runs import Run, Start, Task, tasks
from reporting import conclude, parser_of

from afdaemon.control.values import Reason
from afdaemon.evaluate.section import Bar
from afdaemon.sim.imaging.prints import Print
from afdaemon.sim.instrument.settings import WD_UM, InstrumentSettings
from afdaemon.sim.optics import depth_of_focus_um

RUNS, QUICK_RUNS = 50, 2
AWAY_DOF = (12.0, 60.0)
BARE = "bare field"
NEAR_SHARE = 0.95
NONE = "nothing"
KINDS = (NONE, *Print)


def main() -> int:
    """Measure."""
    parser = parser_of(__doc__ or "", quick="2 jobs a row of four prints")
    parser.add_argument("--print", action="append", choices=KINDS, help="only these; repeatable")
    arguments = parser.parse_args()
    count = QUICK_RUNS if arguments.quick else RUNS
    kinds = arguments.print or (KINDS[:4] if arguments.quick else KINDS)
    lines = [
        f"{'print, start':<30}{'jobs':>5}{'within 1 DoF':>14}{'wrong':>7}{'readings':>10}  reasons"
    ]
    bars: list[Bar] = []
    rows: list[dict[str, object]] = []
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        for kind in kinds:
            for place in (*AWAY_DOF, BARE):
                drawn = _tasks(kind, place, count, arguments.seed)
                runs = list(pool.map(_play, drawn, chunksize=2))
                name = f"{kind}, {place if place == BARE else f'{place:g} DoF'}"
                lines.append(_line(name, place, runs))
                print(lines[-1], file=sys.stderr, flush=True)
                bars += _bars(name, place, runs)
                rows += [{"row": name, **asdict(run)} for run in runs]
    return conclude(arguments, "benchmarks/prints.py", "\n".join(lines), bars, rows)


def _tasks(kind: str, place: float | str, count: int, seed: int) -> list[Task]:
    """Instruments that start that far from the focus, to either side, or have nothing to focus on."""
    prints = "" if kind == NONE else kind
    drawn = tasks(count, Start(reach_dof=20.0), [], seed=seed)
    return [
        replace(task, settings=_placed(replace(task.settings, prints=prints), place, number))
        for number, task in enumerate(drawn)
    ]


def _placed(settings: InstrumentSettings, place: float | str, number: int) -> InstrumentSettings:
    if not isinstance(place, float):
        return replace(settings, specimen="empty")
    focus_um = settings.focus_wd_um or 0.0
    away_um = place * depth_of_focus_um(settings.magnification, settings.alpha_rad)
    start_um = focus_um + (away_um if number % 2 else -away_um)
    if not WD_UM.low <= start_um <= WD_UM.high:
        start_um = 2.0 * focus_um - start_um
    return replace(settings, start_wd_um=min(max(start_um, WD_UM.low), WD_UM.high))


def _play(task: Task) -> Run:
    return player().play(task, "fast", calibrated=True)


def _wrong(place: float | str, runs: Sequence[Run]) -> int:
    return sum(run.converged if place == BARE else run.is_wrong for run in runs)


def _near(runs: Sequence[Run]) -> float:
    return mean(run.converged and run.within_1 for run in runs)


def _line(name: str, place: float | str, runs: Sequence[Run]) -> str:
    reasons = Counter(run.reason for run in runs).most_common()
    near = "" if place == BARE else f"{_near(runs):.2f}"
    return (
        f"{name:<30}{len(runs):>5}{near:>14}{_wrong(place, runs):>7}"
        f"{mean(run.readings for run in runs):>10.1f}"
        f"  {', '.join(f'{reason} {n}' for reason, n in reasons)}"
    )


def _bars(name: str, place: float | str, runs: Sequence[Run]) -> list[Bar]:
    wrong = _wrong(place, runs)
    bars = [Bar(f"{name}: no wrong success", wrong == 0, f"{wrong}")]
    if place == BARE:
        told = mean(run.reason == Reason.NO_CONTRAST for run in runs)
        return [*bars, Bar(f"{name}: always no_contrast", told == 1.0, f"{told:.2f}")]
    near = _near(runs)
    said = f"{name}: within 1 DoF >= {NEAR_SHARE:.0%}"
    return [*bars, Bar(said, near >= NEAR_SHARE, f"{near:.2f}")]


if __name__ == "__main__":
    sys.exit(main())
