"""Focus: how many readings does each procedure take, and where does it end?

Jobs on simulated instruments, with no wire in between: all drawn specimens, two of them never trained on, and, where a
folder of them is given, micrographs; magnifications from 500 to 30 000, noise from good to bad, drift, hysteresis,
astigmatism up to 2 DoF.

    python benchmarks/focus.py [--quick] [--seed N] [--json FILE] [--micrographs DIR]
"""

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from multiprocessing import get_context

from focus_curves import draw_curves
from focus_player import WAYS, play
from focus_report import (
    HEAD,
    LEGEND,
    Played,
    Row,
    bars,
    contests,
    draw_boxes,
    line,
    summary,
)
from focus_runs import Run, Start, Task, tasks
from peers.mapfost_way import is_installed
from reporting import conclude, parse

from afdaemon.evaluate.section import Bar
from afdaemon.sim.datasets.frames import find_micrographs

QUICK_RUNS = {"fast": 12, "fast with ladder": 8, "paper": 4} | dict.fromkeys(WAYS, 6)

NEAR, FAR = Start(reach_dof=20.0), Start(reach_dof=75.0)
ANY_LOW = Start(reach_dof=None, magnification=2_000)
ANY_HIGH = Start(reach_dof=None, magnification=20_000)
ROWS = (
    Row(procedure="fast", start=NEAR, most_mean=3.8, most_median=3.0, within_1=0.99),
    Row(
        procedure="fast", start=replace(NEAR, angle_factor=2.0), most_mean=4.2, within_1=0.99
    ),
    Row(procedure="fast", start=FAR, most_mean=5.5, within_1=0.97),
    Row(procedure="fast", start=ANY_LOW, most_median=12.0, within_1=0.98),
    Row(procedure="fast", start=ANY_HIGH, most_median=60.0, within_1=0.97),
    Row(procedure="fast with ladder", start=ANY_HIGH, most_median=25.0, within_1=0.97),
    *(Row(procedure="paper", start=start, runs=10) for start in (ANY_LOW, ANY_HIGH)),
    Row(procedure="paper", start=NEAR, runs=300, most_beside_looks=13.0),
    Row(procedure="paper", start=FAR, runs=300),
    *(Row(procedure=way, start=start) for way in WAYS for start in (NEAR, FAR)),
)  # fmt: skip


def _play(job: tuple[Row, Task]) -> Run:
    row, task = job
    return play(task, row.procedure, row.start)


def main() -> int:
    arguments = parse(__doc__, quick="1 to 12 runs a row")
    micrographs = find_micrographs(arguments.micrographs) if arguments.micrographs else []
    lines, held = [HEAD], list[Bar]()
    played: dict[Row, list[Run]] = {}
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        for row in ROWS:
            count = _quick(row) if arguments.quick else row.runs
            drawn = tasks(count, row.start, micrographs, seed=arguments.seed)
            played[row] = list(pool.map(_play, [(row, task) for task in drawn], chunksize=2))
            lines.append(line(row.name, played[row]))
            print(lines[-1], file=sys.stderr, flush=True)
            held += bars(row, played[row], ours=row.procedure not in WAYS)
    told, won = contests(played)
    if not is_installed():
        lines.append("MAPFoSt: left out; `pip install afdaemon[bench]` has it")
    text = "\n".join([*lines, LEGEND, "", *told])
    pictures: dict[str, str] = {}
    if arguments.markdown:
        boxes, curves = (arguments.markdown.with_suffix(end) for end in (".png", ".curves.png"))
        pictures = {
            boxes.name: "Readings and remaining distances of each row, 5th to 95th percentile",
            curves.name: "Score over WD in one job of each specimen by the fast procedure, and its readings",
        }
        draw_boxes(played, boxes)
        draw_curves(micrographs, arguments.seed, curves)
    return conclude(
        arguments, "benchmarks/focus.py", text, held + won, _published(played), pictures
    )


def _quick(row: Row) -> int:
    """A search of the whole range takes many readings."""
    few = QUICK_RUNS[row.procedure]
    return few if row.start.reach_dof is not None else few // 4


def _published(played: Played) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for row, runs in played.items():
        rows += [{"row": row.name, **summary(runs)}]
        rows += [{"row": row.name, **asdict(run)} for run in runs if not run.within_1]
    return rows


if __name__ == "__main__":
    sys.exit(main())
