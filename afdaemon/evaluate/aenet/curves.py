"""Score, variance and entropy over the working distance: figures 4b to 4d of Lee et al. 2021."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from afdaemon.evaluate.judged import Judge, drawn
from afdaemon.evaluate.section import Section, new_figure
from afdaemon.models.frames.shot import Shot
from afdaemon.sim.datasets.series import ImagedSeries, image_series
from afdaemon.sim.specimens.catalogue import open_specimen

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAGNIFICATIONS: Mapping[str, Sequence[float]] = {
    "tin_balls": (500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0),
    "tem_grid": (500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0),
    "gold_nanoparticles": (8_000.0, 12_000.0, 20_000.0, 30_000.0),
}
OFFSETS_DOF: NDArray[np.float64] = np.linspace(-12.0, 12.0, 25)
_MEASURES = ("score", "variance", "entropy")


@dataclass(frozen=True, slots=True)
class CurveTask:
    """One series to be imaged."""

    specimen: str
    magnification: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A series judged: lists of n, over the WD's distance from the best."""

    specimen: str
    magnification: float
    offset_um: Sequence[float]
    score: Sequence[float]
    variance: Sequence[float]
    entropy: Sequence[float]


def measure(
    judge: Judge, magnifications: Mapping[str, Sequence[float]], *, seed: int, workers: int
) -> Section:
    """A series of each specimen at each of its magnifications."""
    jobs = [CurveTask(name, m, seed) for name, several in magnifications.items() for m in several]
    found = zip(jobs, drawn(image, jobs, workers=workers), strict=True)
    return conclude([_curve(judge, job, imaged) for job, imaged in found])


def image(job: CurveTask) -> ImagedSeries:
    """The series of a job, with a column and a detector of its own."""
    rng = np.random.default_rng([job.seed, round(job.magnification), *job.specimen.encode()])
    specimen = open_specimen(job.specimen, seed=int(rng.integers(2**31)))
    return image_series(job.specimen, specimen, job.magnification, rng, OFFSETS_DOF)


def _curve(judge: Judge, job: CurveTask, imaged: ImagedSeries) -> Curve:
    said = judge.judge(
        [Shot(pixels=pixels, magnification=imaged.magnification) for pixels in imaged.pixels]
    )
    return Curve(
        specimen=job.specimen,
        magnification=job.magnification,
        offset_um=imaged.offset_um.tolist(),
        score=[one.score for one in said],
        variance=[one.contrast for one in said],
        entropy=[one.entropy for one in said],
    )


def conclude(curves: Sequence[Curve]) -> Section:
    """The maxima of each measure, which should be alike everywhere: only then is it an absolute criterion."""
    lines = [f"{'specimen':<22}{'magn.':>8}" + "".join(f"{f'max {m}':>14}" for m in _MEASURES)]
    lines += [
        f"{one.specimen:<22}{one.magnification:>8g}"
        + "".join(f"{max(getattr(one, m)):>14.3f}" for m in _MEASURES)
        for one in curves
    ]
    spreads = {m: _relative_spread([max(getattr(one, m)) for one in curves]) for m in _MEASURES}
    lines.append(
        f"{'spread / mean of the maxima':<30}" + "".join(f"{spreads[m]:>14.3f}" for m in _MEASURES)
    )
    return Section(
        key="curves",
        title="Score, variance and entropy against WD",
        lines=lines,
        numbers={"curves": [asdict(one) for one in curves], "relative_spread": spreads},
        figures={"curves": _plot(curves)},
    )


def _relative_spread(values: Sequence[float]) -> float:
    mean = float(np.mean(values))
    return float(np.std(values)) / mean if mean > 0.0 else 0.0


def _plot(curves: Sequence[Curve]) -> "Figure":
    specimens = list(dict.fromkeys(one.specimen for one in curves))
    figure = new_figure(3.2 * len(specimens), 7.0)
    grid = figure.subplots(len(_MEASURES), len(specimens), squeeze=False, sharey="row")
    for row, measure_name in enumerate(_MEASURES):
        for column, specimen in enumerate(specimens):
            axes = grid[row][column]
            for one in curves:
                if one.specimen == specimen:
                    dof = OFFSETS_DOF[-1] * np.array(one.offset_um) / one.offset_um[-1]
                    label = f"{one.magnification:g}x"
                    axes.plot(dof, getattr(one, measure_name), label=label, lw=1.0)
            axes.set(xlabel="WD from the best / DoF", ylabel=measure_name)
            if row == 0:
                axes.set_title(specimen)
                axes.legend(fontsize="x-small")
    return figure
