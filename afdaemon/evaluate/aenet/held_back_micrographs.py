"""Micrographs that no network learned from, as specimens: does the score follow the focus over a WD series?"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from afdaemon.evaluate.aenet.sharpness import REDUCTIONS, SHARP_AT_LEAST, sharp_reduction
from afdaemon.evaluate.judged import Judge, drawn
from afdaemon.evaluate.section import Section, at_least, new_figure
from afdaemon.models.frames.shot import Shot
from afdaemon.models.scorers.metrics import spearman
from afdaemon.sim.datasets.frames import held_back, micrograph_at
from afdaemon.sim.datasets.scenes import log_uniform
from afdaemon.sim.datasets.series import ImagedSeries, image_series
from afdaemon.sim.imaging.frame import View, crop, sharp_field
from afdaemon.sim.specimens.micrograph import load_micrograph
from afdaemon.sim.surface import FloatImage
from afdaemon.sim.truth import focus_score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAGNIFICATIONS = (500.0, 20_000.0)
OFFSETS_DOF: NDArray[np.float64] = np.linspace(-15.0, 15.0, 61)
"""Out to 15 depths of focus: a blur radius of 30 px, a score of .16."""
_RANKS_AT_LEAST = 0.98
_BEST_WITHIN_DOF = 1.0
_BEST_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class SeriesTask:
    """One series to be imaged."""

    path: Path
    number: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A series; with `reduction` None its micrograph stays soft however far it is reduced.

    `scores` and `truth` are lists of n, `rank_correlation` is theirs, `best_dof` where the highest score lies.
    """

    micrograph: str
    number: int
    reduction: float | None
    rank_correlation: float
    best_dof: float
    offset_dof: Sequence[float]
    scores: Sequence[float]
    truth: Sequence[float]


def measure(
    judge: Judge, micrographs: Sequence[Path], *, series: int, seed: int, workers: int
) -> Section:
    """`series` series of each held-back one of `micrographs`."""
    kept = [path for path in micrographs if held_back(path)]
    jobs = [SeriesTask(path, number, seed) for path in kept for number in range(series)]
    return conclude(list(rows(judge, jobs, workers=workers)))


def rows(judge: Judge, jobs: Sequence[SeriesTask], *, workers: int) -> Iterator[Row]:
    """All series, judged."""
    for job, (reduction, imaged) in zip(jobs, drawn(image, jobs, workers=workers), strict=True):
        shots = [Shot(pixels=p, magnification=imaged.magnification) for p in imaged.pixels]
        scores = [said.score for said in judge.judge(shots)]
        yield row_of(job, reduction, imaged.offset_um / imaged.dof_um, scores)


def image(job: SeriesTask) -> tuple[float | None, ImagedSeries]:
    """The reduction at which the micrograph is sharp, and a series at it (at the largest where there is none)."""
    micrograph = load_micrograph(job.path)

    def field_at(reduction: float) -> FloatImage:
        view = View(x_um=0.0, y_um=0.0, magnification=1000.0, width_px=320, height_px=240)
        return np.ascontiguousarray(
            crop(sharp_field(micrograph_at(micrograph, 1000.0, reduction), view), view)
        )

    reduction = sharp_reduction(field_at)
    rng = np.random.default_rng([job.seed, job.number, *job.path.name.encode()])
    magnification = log_uniform(rng, MAGNIFICATIONS)
    specimen = micrograph_at(micrograph, magnification, reduction or REDUCTIONS[-1])
    return reduction, image_series("micrograph", specimen, magnification, rng, OFFSETS_DOF)


def row_of(
    job: SeriesTask,
    reduction: float | None,
    offset_dof: NDArray[np.float64],
    scores: Sequence[float],
) -> Row:
    """What a series shows. A blur radius is 2 pixels per depth of focus."""
    truth = [focus_score(2.0 * abs(float(at))) for at in offset_dof]
    return Row(
        micrograph=f"{job.path.parent.name}/{job.path.name}",
        number=job.number,
        reduction=reduction,
        rank_correlation=spearman(np.array(scores), np.array(truth)),
        best_dof=float(offset_dof[int(np.argmax(scores))]),
        offset_dof=offset_dof.tolist(),
        scores=list(scores),
        truth=truth,
    )


def conclude(found: Sequence[Row]) -> Section:
    """Bars over the series of sharp micrographs; the soft ones are shown apart."""
    sharp = [row for row in found if row.reduction is not None]
    worst = min((row.rank_correlation for row in sharp), default=0.0)
    near = [abs(row.best_dof) <= _BEST_WITHIN_DOF for row in sharp]
    share = sum(near) / len(near) if near else 0.0
    soft = sorted({row.micrograph for row in found if row.reduction is None})
    rule = (
        f"soft: an octave holds less than {SHARP_AT_LEAST} of the contrast of the next coarser one (finest two),"
        f" at every reduction from {REDUCTIONS[0]:g} to {REDUCTIONS[-1]:g}"
    )
    return Section(
        key="held_back",
        title="WD series of held-back micrographs",
        lines=[*_table(found), rule, f"soft, so not under the bars: {', '.join(soft) or 'none'}"],
        bars=[
            at_least("held-back micrographs: least rank correlation", worst, _RANKS_AT_LEAST),
            at_least("held-back micrographs: best WD within 1 DoF, share", share, _BEST_SHARE),
        ],
        numbers={"rule": rule, "series": [asdict(row) for row in found]},
        figures={"held_back": _plot(found)},
    )


def _table(found: Sequence[Row]) -> list[str]:
    lines = [
        f"{'micrograph':<34}{'series':>7}{'reduced':>9}{'rank corr.':>12}{'best at / DoF':>15}"
    ]
    for row in found:
        reduced = "soft" if row.reduction is None else f"{row.reduction:g}"
        lines.append(
            f"{row.micrograph:<34}{row.number:>7}{reduced:>9}{row.rank_correlation:>12.4f}{row.best_dof:>15.1f}"
        )
    return lines


def _plot(found: Sequence[Row]) -> "Figure":
    figure = new_figure(7.0, 3.4)
    axes = figure.add_subplot()
    for row in found:
        style = ":" if row.reduction is None else "-"
        axes.plot(row.offset_dof, row.scores, style, lw=0.8, alpha=0.8)
    if found:
        axes.plot(found[0].offset_dof, found[0].truth, color="black", lw=1.5, label="truth")
        axes.legend(fontsize="small")
    axes.set(xlabel="WD from the best / DoF", ylabel="score (dotted: soft)", ylim=(-0.3, 9.3))
    return figure
