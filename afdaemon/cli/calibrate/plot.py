"""The plot that goes with a calibration: score curves, how detail fades, and the laws over the measured widths."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from afdaemon.calibration import Calibration
from afdaemon.models.optics import HALF_SCORE_DOF, TOP_SCORE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GREY = "#555"
_GRID_DOF = [0.1 * k - 8.0 for k in range(161)]


def plot(calibration: Calibration, file: Path) -> None:
    """Draw it."""
    from matplotlib.figure import Figure

    drawings = [_scores]
    drawings += [_fading] if any(one.fading for one in calibration.measured) else []
    drawings += [_laws] if calibration.laws is not None else []
    figure = Figure(figsize=(7.0, 3.4 * len(drawings)), layout="constrained")
    panels = figure.subplots(len(drawings), squeeze=False)
    for draw, axes in zip(drawings, panels[:, 0], strict=True):
        draw(calibration, axes)
        axes.legend()
    figure.suptitle(calibration.instrument)
    figure.savefig(file, dpi=120)


def _scores(calibration: Calibration, axes: "Axes") -> None:
    for one in calibration.measured:
        at = [(wd_um - one.best_wd_um) / one.dof_um for wd_um, _ in one.points]
        named = f"{one.magnification:g}x, DoF {one.dof_um:.1f} um"
        axes.plot(at, [s for _, s in one.points], ".", label=named)
    ideal = [TOP_SCORE / (1.0 + (z / HALF_SCORE_DOF) ** 2) for z in _GRID_DOF]
    axes.plot(_GRID_DOF, ideal, "-", lw=0.8, color=_GREY, label="9 / (1 + z^2 / 4)")
    axes.set(xlabel="WD from focus / depths of focus", ylabel="score")


def _fading(calibration: Calibration, axes: "Axes") -> None:
    for one in calibration.measured:
        at = [band.cycles_px for band in one.fading]
        falls = [band.fall_um / one.dof_um for band in one.fading]
        axes.loglog(at, falls, ".-", lw=0.8, label=f"{one.magnification:g}x")
    everything = [band.cycles_px for one in calibration.measured for band in one.fading]
    ends = [min(everything), max(everything)]
    ideal = [1.0 / (2.0 * math.pi * f) for f in ends]
    axes.loglog(ends, ideal, "-", lw=0.8, color=_GREY, label="a disc of blur, 1 / (2 pi f)")
    axes.set(xlabel="cycles per pixel", ylabel="power falls to 1/e at / DoF")


def _laws(calibration: Calibration, axes: "Axes") -> None:
    if calibration.laws is None:
        return
    shown = [one.magnification for one in calibration.measured]
    axes.loglog(shown, [one.width_um for one in calibration.measured], "o", label="measured")
    grid = _spaced(min(shown), max(shown))
    tanh, dof = calibration.laws.tanh, calibration.laws.dof
    axes.loglog(
        grid, [tanh.width_um(m) for m in grid], "-", lw=0.8, label="tanh, the published form"
    )
    axes.loglog(grid, [dof.width_um(m) for m in grid], "-", lw=0.8, label=f"{dof.c:g} DoF")
    axes.set(xlabel="magnification", ylabel="width at half height / um")


def _spaced(low: float, high: float, count: int = 200) -> Sequence[float]:
    return [low * (high / low) ** (k / (count - 1)) for k in range(count)]
