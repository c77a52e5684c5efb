"""Adversity: specimens on which autofocus can hardly work, or not at all: it must say so, and leave nothing worse.

Jobs of both procedures on simulated instruments, with no wire in between. On a bare or a white frame any success is a
false one; elsewhere, one more than 3 depths of focus (DoF) from the truth. Where the focus drifts, a job that was near
it and failed must say so; where it stands still, none may.

    python benchmarks/adversity.py [--quick] [--seed N] [--json FILE]
"""

import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from multiprocessing import get_context
from statistics import mean, median

import numpy as np
from focus_player import player
from focus_runs import Run, Start, Task, tasks
from reporting import conclude, parse

from afdaemon.control.values import Reason
from afdaemon.evaluate.section import Bar
from afdaemon.sim.instrument.settings import InstrumentSettings
from afdaemon.sim.optics import depth_of_focus_um

RUNS, QUICK_RUNS = 200, 4
FALSE_SHARE = 0.01
FALSE_DRIFTS = 0.005
NOTICED_OF_NEAR = 0.8
"""A job that was never near the focus, `not_found`, cannot know that it moves."""
MOST_DRIFT_UM_PER_MIN, MOST_SETTLE_S = 1_000.0, 10.0
"""The most that the simulator can be set to."""
PROCEDURES = ("fast", "paper")
Spoil = Callable[[InstrumentSettings, np.random.Generator], InstrumentSettings]


def blank(settings: InstrumentSettings, _rng: np.random.Generator) -> InstrumentSettings:
    """Bare tape."""
    return replace(settings, specimen="empty")


def saturated(settings: InstrumentSettings, rng: np.random.Generator) -> InstrumentSettings:
    """Brightness turned up until all is white."""
    brightness = float(rng.uniform(2.0, 3.0))
    return replace(settings, detector=replace(settings.detector, brightness=brightness))


def charging(settings: InstrumentSettings, rng: np.random.Generator) -> InstrumentSettings:
    """Bright streaks behind everything that charges."""
    return replace(settings, scan=replace(settings.scan, charging=float(rng.uniform(2.0, 10.0))))


def moving(settings: InstrumentSettings, rng: np.random.Generator) -> InstrumentSettings:
    """A stage that creeps some um a second, on a floor that shakes."""
    creep_x, creep_y = (float(v) for v in rng.uniform(-10_000.0, 10_000.0, 2))
    scan = replace(
        settings.scan,
        creep_x_nm_per_s=creep_x,
        creep_y_nm_per_s=creep_y,
        vibration_nm=float(rng.uniform(0.0, 300.0)),
    )
    return replace(settings, scan=scan)


def drifting(settings: InstrumentSettings, rng: np.random.Generator) -> InstrumentSettings:
    """A focus that drifts by half a depth of focus per reading or more, on a slow instrument."""
    dof_um = depth_of_focus_um(settings.magnification, settings.alpha_rad)
    settle_s = 60.0 * float(rng.uniform(0.5, 1.0)) * dof_um / MOST_DRIFT_UM_PER_MIN
    drift = MOST_DRIFT_UM_PER_MIN * float(rng.choice((-1.0, 1.0)))
    column = replace(settings.column, drift_um_per_min=drift)
    return replace(settings, column=column, settle_s=min(settle_s, MOST_SETTLE_S))


CASES: Mapping[str, Spoil] = {
    "blank": blank,
    "saturated": saturated,
    "charging": charging,
    "moving": moving,
    "drifting": drifting,
}
HOPELESS = ("blank", "saturated")


def main() -> int:
    arguments = parse(__doc__ or "", quick="4 runs a row")
    count = QUICK_RUNS if arguments.quick else RUNS
    lines = [
        f"{'procedure, specimen':<22}{'runs':>5}{'mean':>7}{'med.':>5}{'converged':>11}{'false':>7}"
        f"{'worse':>7}{'home':>7}{'drift':>7}  reasons"
    ]
    held: list[Bar] = []
    rows: list[dict[str, object]] = []
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        for procedure in PROCEDURES:
            for case in CASES:
                jobs = [(procedure, task) for task in _tasks(case, count, arguments.seed)]
                runs = list(pool.map(_play, jobs, chunksize=2))
                lines.append(_line(procedure, case, runs))
                print(lines[-1], file=sys.stderr, flush=True)
                held += _bars(procedure, case, runs)
                rows += [{"row": f"{procedure}, {case}", **asdict(run)} for run in runs]
    lines.append(
        "false: success that is none; worse: ends further from focus; home: of failures; drift: noticed"
    )
    text = "\n".join(lines)
    return conclude(arguments, "benchmarks/adversity.py", text, held, rows)


def _tasks(case: str, count: int, seed: int) -> list[Task]:
    rng = np.random.default_rng([seed, *case.encode()])
    drawn = tasks(count, Start(reach_dof=20.0), [], seed=seed)
    return [replace(task, settings=CASES[case](task.settings, rng)) for task in drawn]


def _play(job: tuple[str, Task]) -> Run:
    procedure, task = job
    return player().play(task, procedure, calibrated=True)


def _false(case: str, runs: Sequence[Run]) -> float:
    return mean(run.converged if case in HOPELESS else run.is_wrong for run in runs)


def _home(runs: Sequence[Run]) -> float:
    failed = [run for run in runs if not run.converged]
    return mean(run.restored for run in failed) if failed else 1.0


def _line(procedure: str, case: str, runs: Sequence[Run]) -> str:
    used = [run.readings for run in runs]
    reasons = Counter(run.reason for run in runs).most_common()
    return (
        f"{f'{procedure}, {case}':<22}{len(runs):>5}{mean(used):>7.1f}{median(used):>5.0f}"
        f"{mean(run.converged for run in runs):>11.3f}{_false(case, runs):>7.3f}"
        f"{sum(run.is_worse for run in runs):>7}{_home(runs):>7.3f}"
        f"{mean(run.drift_noticed for run in runs):>7.3f}"
        f"  {', '.join(f'{reason} {n}' for reason, n in reasons)}"
    )


def _bars(procedure: str, case: str, runs: Sequence[Run]) -> list[Bar]:
    name, false = f"{procedure}, {case}", _false(case, runs)
    count, home = sum(run.is_worse for run in runs), _home(runs)
    held = [Bar(f"{name}: every failure ends at the start", home == 1.0, f"{home:.3f}")]
    if case == "drifting":
        near = [run.drift_noticed for run in runs if run.reason == Reason.NOT_CONVERGED]
        seen = mean(near) if near else 1.0
        said = f"{name}: not_converged that say why >= {NOTICED_OF_NEAR:.0%}"
        return [*held, Bar(said, seen >= NOTICED_OF_NEAR, f"{seen:.3f} of {len(near)}")]
    held += [
        Bar(f"{name}: false success <= {FALSE_SHARE:.0%}", false <= FALSE_SHARE, f"{false:.3f}"),
        Bar(f"{name}: none ends worse", count == 0, f"{count}"),
    ]
    if case == "moving":  # other heights come into view: the focus may well move
        return held
    drifts = mean(run.drift_noticed for run in runs)
    said = f"{name}: false drift <= {FALSE_DRIFTS:.1%}"
    return [*held, Bar(said, drifts <= FALSE_DRIFTS, f"{drifts:.3f}")]


if __name__ == "__main__":
    sys.exit(main())
