"""Small drawn cases, each a kind of frame that once misled the scorer: is it judged truly now?

The pictures go the way of `afdaemon score`. One case is a specimen: eight jobs on an edge along the scan lines, and
eight on the same edge turned by 90 degrees.

    python benchmarks/cases.py --cases DIR [--quick] [--seed N] [--json FILE] [--markdown FILE]
"""

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from focus_player import player
from focus_runs import ALPHA_MRAD, Run, Start, Task, tasks
from reporting import conclude, parser_of

from afdaemon.cli.score.files import Wanted, pictures
from afdaemon.cli.score.rows import Row
from afdaemon.cli.score.scorers import row_scorer
from afdaemon.drivers.wire.image import decode_grey
from afdaemon.evaluate.section import Bar, at_least, at_most
from afdaemon.models.optics import score_of_blur

_MAGNIFICATION = 2_000
_PICTURE_ROWS = 690
_JOBS, _QUICK_JOBS = 8, 4
_REACH_DOF = 12.0
_EDGE = "7_edge_along_lines"
_TRUE_BLUR_PX = {
    **{f"3_astigmatic_{long}x{short}": float(long) for long, short in ((16, 1), (16, 8), (16, 16))},
    "3_astigmatic_24x1": 24.0,
    **{f"4_cracked_film_b{blur:02}": float(blur) for blur in (0, 4, 6, 8, 10, 12)},
}
"""Radius in pixels of a frame 320 wide, where the case is about it."""


def main() -> int:
    """Measure."""
    parser = parser_of(__doc__ or "", quick="four jobs on either edge")
    parser.add_argument("--cases", type=Path, required=True, help="folder of the cases")
    arguments = parser.parse_args()
    rows = _rows(arguments.cases)
    count = _QUICK_JOBS if arguments.quick else _JOBS
    along, turned = _jobs(arguments.cases / f"{_EDGE}.png", count, arguments.seed)
    bars = [*_bars(rows), *_edge_bars(rows[_EDGE], along, turned)]
    lines = [*_table(rows), "", *_job_lines(along, turned)]
    told = [{"case": name, **asdict(row.measures)} for name, row in rows.items()]
    told += [{"edge": name, **asdict(run)} for name, runs in _named(along, turned) for run in runs]
    arguments.cases = "DIR"
    return conclude(arguments, "benchmarks/cases.py", "\n".join(lines), bars, told)


def _rows(folder: Path) -> dict[str, Row]:
    """What `afdaemon score` says about each picture."""
    scorer = row_scorer("AENet.compact")
    wanted = Wanted(magnification=float(_MAGNIFICATION))
    return {
        path.stem: scorer.row(next(pictures(path, wanted)))
        for path in sorted(folder.iterdir())
        if path.suffix in (".png", ".tif")
    }


def _table(rows: Mapping[str, Row]) -> Iterator[str]:
    yield f"{'case':<32}{'by the label':>13}{'score':>7}{'+-':>6}  remarks"
    for name, row in rows.items():
        blur_px, said = _TRUE_BLUR_PX.get(name), row.measures
        label = "" if blur_px is None else f"{score_of_blur(blur_px):.2f}"
        remarks = "; ".join((f"{row.width} x {row.height}", *said.remarks))
        yield f"{name:<32}{label:>13}{said.score:>7.2f}{said.expected_error:>6.2f}  {remarks}"


def _bars(rows: Mapping[str, Row]) -> Iterator[Bar]:
    """What each case must show."""
    blurred = [row.measures.score for name, row in rows.items() if name.startswith("1_")]
    yield at_most("blurred, with a bar or without: scores apart", float(np.ptp(blurred)), 0.5)
    for name in ("2_bar_8_bit", "2_bar_12_bit_in_16"):
        yield Bar(
            f"{name}: rows of picture", rows[name].height == _PICTURE_ROWS, f"{rows[name].height}"
        )
    for name in ("3_astigmatic_16x1", "3_astigmatic_24x1"):
        yield at_most(f"{name}: score", rows[name].measures.score, 1.5)
    for name in ("4_cracked_film_b08", "4_cracked_film_b12"):
        said = rows[name].measures
        holds = said.score <= 3.0 or said.expected_error >= 2.0
        seen = f"{said.score:.2f} +- {said.expected_error:.2f}"
        yield Bar(f"{name}: score <= 3 or expected error >= 2", holds, seen)
    narrow, wide = (rows[f"5_width_{width}"].measures.score for width in (479, 481))
    yield at_most("one picture, 479 and 481 px wide: scores apart", abs(narrow - wide), 0.3)
    for name in ("6_sparse_particles", "6_sparse_particles_noisier", "6_averaged_frame"):
        doubt = rows[name].measures.doubt
        yield Bar(f"{name}: not doubted", not doubt, doubt or "not doubted")


def _edge_bars(row: Row, along: Sequence[Run], turned: Sequence[Run]) -> Iterator[Bar]:
    yield Bar(
        "an edge along the lines is no streak",
        not row.measures.streaked,
        "; ".join(row.measures.remarks),
    )
    good, other = (
        float(np.mean([run.converged and run.within_1 for run in runs])) for runs in (along, turned)
    )
    yield at_least("jobs within 1 DoF on it, against the same edge turned", good, other)


def _job_lines(along: Sequence[Run], turned: Sequence[Run]) -> Iterator[str]:
    yield f"{'jobs on the edge':<20}{'within 1 DoF':>13}{'end, median DoF':>17}{'readings':>10}"
    for name, runs in _named(along, turned):
        good = sum(run.converged and run.within_1 for run in runs)
        yield (
            f"{name:<20}{f'{good} of {len(runs)}':>13}{median(run.end_dof for run in runs):>17.2f}"
            f"{median(run.readings for run in runs):>10.1f}"
        )


def _named(along: Sequence[Run], turned: Sequence[Run]) -> tuple[tuple[str, Sequence[Run]], ...]:
    return ("along the lines", along), ("turned by 90", turned)


def _jobs(edge: Path, count: int, seed: int) -> tuple[list[Run], list[Run]]:
    """Jobs on the edge as it lies, and on the edge turned."""
    with tempfile.TemporaryDirectory() as folder:
        turned = Path(folder) / f"{_EDGE}.png"
        cv2.imwrite(str(turned), np.rot90(decode_grey(edge.read_bytes())))
        along, across = (
            [_play(task) for task in _tasks(path, count, seed)] for path in (edge, turned)
        )
        return along, across


def _tasks(specimen: Path, count: int, seed: int) -> Iterator[Task]:
    start = Start(reach_dof=_REACH_DOF, magnification=_MAGNIFICATION)
    for task in tasks(count, start, [], seed=seed):
        settings = replace(task.settings, specimen=f"image:{specimen}")
        yield Task(settings=settings, assumed_alpha_mrad=ALPHA_MRAD)


def _play(task: Task) -> Run:
    return player().play(task, "fast", calibrated=True)


if __name__ == "__main__":
    sys.exit(main())
