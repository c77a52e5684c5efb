"""Focus: how many readings does each procedure take, and where does it end?

Jobs on simulated instruments without any wire between: all drawn specimens, two of them never trained on, and, where a
folder of them is given, micrographs; magnifications from 500 to 30 000, noise from good to bad, drift, hysteresis,
astigmatism up to 2 DoF.

    python benchmarks/focus.py [--quick] [--seed N] [--json FILE] [--micrographs DIR]
"""

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from statistics import mean, median

from focus_player import player
from focus_runs import Run, Start, Task, play_way, tasks
from peers.mapfost_way import is_installed, mapfost
from peers.ways import WAYS as IN_WORDS
from reporting import Bar, close, parse, publish

from afdaemon.sim.dataset import find_micrographs

WAYS = {**IN_WORDS, **({"MAPFoSt": mapfost} if is_installed() else {})}
OTHER_RUNS = Counter(paper=40) + Counter(dict.fromkeys(WAYS, 100))
QUICK_RUNS = Counter(fast=20, paper=6) + Counter(dict.fromkeys(WAYS, 8))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Circumstances that many runs share, and what must hold of them; the other bars are those of every row."""

    procedure: str
    start: Start
    runs: int = 1_000
    most_mean: float | None = None
    most_median: float | None = None
    within_1: float | None = None

    @property
    def name(self) -> str:
        """Procedure and circumstances."""
        angle = "" if self.start.angle_factor == 1.0 else ", angle unknown"
        return f"{self.procedure}, {self.start.named}{angle}"


NEAR, FAR = Start(reach_dof=20.0), Start(reach_dof=75.0)
OTHERS = ("paper", *WAYS)
ROWS = (
    Row(procedure="fast", start=NEAR, most_mean=3.8, most_median=3.0, within_1=0.99),
    Row(
        procedure="fast", start=replace(NEAR, angle_factor=2.0), most_mean=4.2, within_1=0.99
    ),
    Row(procedure="fast", start=FAR, most_mean=5.5, within_1=0.97),
    Row(
        procedure="fast", start=Start(reach_dof=None, magnification=2_000), runs=200,
        most_median=12.0, within_1=0.98,
    ),
    Row(
        procedure="fast", start=Start(reach_dof=None, magnification=20_000), runs=60,
        most_median=60.0, within_1=0.97,
    ),
    *(Row(procedure=other, start=start, runs=OTHER_RUNS[other]) for other in OTHERS for start in (NEAR, FAR)),
)  # fmt: skip


def _play(job: tuple[Row, Task]) -> Run:
    row, task = job
    reach_dof = row.start.reach_dof
    if row.procedure in WAYS and reach_dof is not None:
        return play_way(task, WAYS[row.procedure], reach_dof)
    calibrated = row.start.angle_factor == 1.0
    return player().play(task, row.procedure, calibrated=calibrated)


def line(row: Row, runs: Sequence[Run]) -> str:
    """A row of the table."""
    used = [run.readings for run in runs]
    found = [run for run in runs if run.converged]
    return (
        f"{row.name:<34}{len(runs):>6}{mean(used):>7.2f}{median(used):>5.0f}"
        f"{mean(run.within_1 for run in runs):>9.3f}{len(found) / len(runs):>11.3f}"
        f"{sum(run.is_worse for run in runs):>7}{mean(run.is_wrong for run in runs):>8.3f}"
    )


def _summary(runs: Sequence[Run]) -> dict[str, object]:
    """A row in numbers; of single runs only those that missed are published."""
    return {
        "runs": len(runs),
        "readings": sorted(Counter(run.readings for run in runs).items()),
        "within_1_dof": mean(run.within_1 for run in runs),
        "converged": mean(run.converged for run in runs),
        "worse": sum(run.is_worse for run in runs),
        "wrong": sum(run.is_wrong for run in runs),
    }


def bars(row: Row, runs: Sequence[Run]) -> list[Bar]:
    """What must hold of a row of ours."""
    if row.procedure in WAYS:
        return []
    used, near = [run.readings for run in runs], mean(run.within_1 for run in runs)
    count, share = sum(run.is_worse for run in runs), mean(run.is_wrong for run in runs)
    held = [Bar(f"{row.name}: none ends worse", count == 0, f"{count}")]
    if row.most_mean is not None:
        name = f"{row.name}: mean readings <= {row.most_mean:g}"
        held.append(Bar(name, mean(used) <= row.most_mean, f"{mean(used):.2f}"))
    if row.most_median is not None:
        name = f"{row.name}: median of readings <= {row.most_median:g}"
        held.append(Bar(name, median(used) <= row.most_median, f"{median(used):g}"))
    if row.within_1 is not None:
        name = f"{row.name}: within 1 DoF >= {row.within_1:g}"
        held.append(Bar(name, near >= row.within_1, f"{near:.3f}"))
    if row.procedure == "fast":
        name = f"{row.name}: wrong success <= 0.2 %"
        held.append(Bar(name, share <= 0.002, f"{100 * share:.2f} %"))
    return held


def contests(played: Mapping[str, Sequence[Run]]) -> list[Bar]:
    """Fast against each other procedure from the same distance: fewer readings, and more often in focus."""
    found = []
    for row in ROWS:
        if row.procedure == "fast":
            continue
        several = played[f"fast, {row.start.named}"], played[row.name]
        used = [mean(run.readings for run in runs) for runs in several]
        near = [mean(run.within_1 for run in runs) for runs in several]
        found.append(
            Bar(
                f"fast beats {row.name}, on readings and success",
                used[0] < used[1] and near[0] > near[1],
                f"{used[0]:.1f} to {used[1]:.1f}, {near[0]:.3f} to {near[1]:.3f}",
            )
        )
    return found


def main() -> int:
    arguments = parse(__doc__, quick="6 to 20 runs a row")
    micrographs = find_micrographs(arguments.micrographs) if arguments.micrographs else []
    lines = [
        f"{'procedure, start':<34}{'runs':>6}{'mean':>7}{'med.':>5}"
        f"{'in 1 DoF':>9}{'converged':>11}{'worse':>7}{'wrong':>8}"
    ]
    held: list[Bar] = []
    rows: list[dict[str, object]] = []
    played: dict[str, list[Run]] = {}
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        for row in ROWS:
            count = min(row.runs, QUICK_RUNS[row.procedure]) if arguments.quick else row.runs
            drawn = tasks(count, row.start, micrographs, seed=arguments.seed)
            runs = list(pool.map(_play, [(row, task) for task in drawn], chunksize=2))
            lines.append(line(row, runs))
            print(lines[-1], file=sys.stderr, flush=True)
            held += bars(row, runs)
            played[row.name] = runs
            rows += [{"row": row.name, **_summary(runs)}]
            rows += [{"row": row.name, **asdict(run)} for run in runs if not run.within_1]
    held += contests(played)
    if not is_installed():
        lines.append("MAPFoSt: left out; `pip install afdaemon[bench]` has it")
    lines.append(
        "mean, med.: readings; worse: ends further from focus; wrong: converged over 3 DoF off"
    )
    text = "\n".join(lines)
    print(text)
    publish(arguments, "benchmarks/focus.py", text, held, rows)
    return close(held)


if __name__ == "__main__":
    sys.exit(main())
