"""Every scorer on the same crops: the comparison of Kim et al. 2019."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from afdaemon.evaluate.aenet import test_part
from afdaemon.evaluate.aenet.test_part import Truth
from afdaemon.evaluate.judged import Case
from afdaemon.evaluate.section import Bar, Section, new_figure
from afdaemon.models.errors import WeightsError
from afdaemon.models.frames.shot import Shot, judged_image
from afdaemon.models.scorers.base import FrameScorer
from afdaemon.models.scorers.metrics import Numbers, rmse
from afdaemon.models.scorers.networks.base import centre_crop
from afdaemon.models.scorers.zoo import COMPACT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from afdaemon.sim.datasets.dataset1 import Dataset1

CROP_PX = 224
_AGAINST_CLASSICAL = 0.5
"""RMSE of ours, at most this share of the best classical one's."""

PUBLISHED = {
    "Absolute variance": (1.5374, 0.0713),
    "Squared variance": (2.2610, 0.0758),
    "Absolute gradient": (2.1937, 0.0270),
    "Squared gradient": (2.9930, 0.0351),
    "Vollath F4": (2.5133, 0.0522),
    "Entropy": (2.3036, 0.0820),
    "PACF": (1.2256, 0.0050),
    "VGG11": (1.4400, 0.0061),
    "VGG13": (1.2035, 0.0076),
    "VGG19": (1.3250, 0.0100),
    "ResNet50": (0.8329, 0.0110),
    "ResNet101": (0.8049, 0.0174),
}
"""RMSE and seconds per frame on a GeForce GTX 1080M; grid and tin balls, scores of experts."""

_TIMED_FRAMES = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A scorer: its RMSE and seconds per frame, or why it has none."""

    name: str
    classical: bool
    rmse: float | None = None
    seconds: float | None = None
    note: str = ""


def crops(
    dataset: "Dataset1", specimens: Sequence[str], *, scenes: int, workers: int
) -> Iterator[Case[Truth]]:
    """Centre crops, 224 x 224, of test frames at the judged sampling, rounded to 8 bits again."""
    for case in test_part.cases(dataset, specimens, scenes=scenes, workers=workers):
        yield Case(cropped(case.shot), case.facts)


def cropped(shot: Shot) -> Shot:
    """The middle of a frame at the judged sampling."""
    middle = centre_crop(judged_image(shot), CROP_PX, CROP_PX)
    return Shot(
        pixels=np.rint(255.0 * middle).astype(np.uint8),
        magnification=shot.magnification,
        brightness=shot.brightness,
        contrast=shot.contrast,
        wd_um=shot.wd_um,
    )


def compare(
    names: Sequence[str],
    open_scorer: Callable[[str], FrameScorer],
    cases: Sequence[Case[Truth]],
    *,
    classical: Sequence[str],
) -> Iterator[Row]:
    """A row for each scorer; one without weights gets a row that says so."""
    shots = [case.shot for case in cases]
    true: Numbers = np.array([case.facts.score for case in cases])
    for name in names:
        try:
            scorer = open_scorer(name)
        except WeightsError as error:
            note = f"not trained: {error.remedy}"
            yield Row(name=name, classical=name in classical, note=note)
            continue
        yield Row(
            name=name,
            classical=name in classical,
            rmse=rmse(scorer.scores(shots), true),
            seconds=_seconds_a_frame(scorer, shots[:_TIMED_FRAMES]),
        )


def _seconds_a_frame(scorer: FrameScorer, shots: Sequence[Shot]) -> float:
    """Median time of one frame at a time, preparation included; the first is a warm-up and doesn't count."""
    scorer.scores(shots[:1])
    seconds = []
    for shot in shots:
        began_s = time.perf_counter()
        scorer.scores([shot])
        seconds.append(time.perf_counter() - began_s)
    return median(seconds)


def conclude(rows: Sequence[Row], frames: int) -> Section:
    """The table and its bars."""
    return Section(
        key="kim",
        title=f"Every scorer on the same {frames} crops of {CROP_PX} x {CROP_PX}",
        lines=_table(rows),
        bars=_bars(rows),
        numbers={"frames": frames, "rows": [asdict(row) for row in rows], "published": PUBLISHED},
        figures={"kim": _plot(rows)},
    )


def _bars(rows: Sequence[Row]) -> list[Bar]:
    """What was not compared is not promised: a bar without both sides is missed."""
    classical = {r.name: r.rmse for r in rows if r.classical and r.rmse is not None}
    networks = {r.name: r.rmse for r in rows if not r.classical and r.rmse is not None}
    rivals = {name: value for name, value in networks.items() if name != COMPACT}
    ours = networks.get(COMPACT)
    best, worst = min(classical.values(), default=None), max(networks.values(), default=None)
    least = min(rivals.values(), default=None)
    half = None if best is None else _AGAINST_CLASSICAL * best
    return [
        _below("every trained network's RMSE < best classical", worst, best),
        _below(
            f"{COMPACT}: RMSE <= {_AGAINST_CLASSICAL:g} of the best classical",
            ours,
            half,
            or_equal=True,
        ),
        _below(f"{COMPACT}: RMSE < every trained rival's", ours, least),
    ]


def _below(name: str, value: float | None, limit: float | None, *, or_equal: bool = False) -> Bar:
    if value is None or limit is None:
        return Bar(name, False, "nothing to compare")
    holds = value < limit or (or_equal and value == limit)
    return Bar(name, holds, f"{value:.3f} against {limit:.3f}")


def _table(rows: Sequence[Row]) -> list[str]:
    lines = [
        f"{'scorer':<22}{'RMSE':>8}{'ms/frame':>10}   {'published RMSE':>14}{'ms/frame':>10}",
    ]
    for row in sorted(rows, key=lambda r: (not r.classical, r.rmse is None, -(r.rmse or 0.0))):
        if row.rmse is None or row.seconds is None:
            lines.append(f"{row.name:<22}{row.note}")
            continue
        there = PUBLISHED.get(row.name)
        beside = f"   {there[0]:>14.3f}{1000.0 * there[1]:>10.1f}" if there else ""
        lines.append(f"{row.name:<22}{row.rmse:>8.3f}{1000.0 * row.seconds:>10.2f}{beside}")
    return [*lines, "published: grid and tin balls, experts' scores, GeForce GTX 1080M"]


def _plot(rows: Sequence[Row]) -> "Figure":
    figure = new_figure(7.0, 3.6)
    axes = figure.add_subplot()
    for row in rows:
        if row.rmse is not None and row.seconds is not None:
            colour = "#4c78a8" if row.classical else "#f58518"
            axes.plot(1000.0 * row.seconds, row.rmse, "o", color=colour)
            axes.annotate(row.name, (1000.0 * row.seconds, row.rmse), fontsize="x-small")
    axes.set(xlabel="ms a frame", ylabel="RMSE", xscale="log")
    return figure
