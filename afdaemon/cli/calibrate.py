"""`afctl calibrate`: how deep the focus of this instrument is, and by how much its lens lags behind."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from afdaemon.api.client import Client
from afdaemon.calibration import (
    Calibration,
    CalibrationError,
    Measured,
    curve,
    load,
)
from afdaemon.clock import SystemClock

_FIRST_STEP = 0.0003
"""Share of the WD: the first step of the search for the flanks; it is doubled until the score is low."""
_FLANK_SCORE = 2.5
_MOST_DOUBLINGS = 14
_COARSE_POINTS = 7
Told = Callable[[str], None]


def measure(client: Client, *, points: int, told: Told) -> Measured:
    """Focus, sweep over the focus and back, and return to the focus.

    Whatever goes wrong, the start WD is commanded again.

    Raises:
        CalibrationError: there is no focus, or no curve to measure.
    """
    home_um = client.wd().wd_um
    try:
        return _measured(client, points, told)
    except BaseException:
        client.set_wd(home_um)
        raise


def _measured(client: Client, points: int, told: Told) -> Measured:
    job = client.autofocus()
    if not job.converged or job.best_wd_um is None:
        raise CalibrationError(f"autofocus did not converge: {job.reason}")
    reach_um = _reach(client, job.best_wd_um)
    told(f"focus at {job.best_wd_um:.1f} um; sweeping {reach_um:.1f} um to either side, and back")
    centre_um = _centre(_sweep(client, job.best_wd_um, reach_um, _COARSE_POINTS))
    rising = _sweep(client, centre_um, reach_um, points)
    falling = _sweep(client, centre_um, -reach_um, points)
    up, down = curve(rising), curve(falling)
    middle_um = 0.5 * (up.best_um + down.best_um)
    there = client.set_wd(middle_um)
    if there.magnification is None:
        raise CalibrationError("the instrument does not tell its magnification")
    return Measured(
        utc=SystemClock().utc(),
        magnification=there.magnification,
        best_wd_um=middle_um,
        half_um=math.sqrt(up.half_um * down.half_um),
        hysteresis_um=up.best_um - down.best_um,
        points=[*rising, *falling],
    )


def _reach(client: Client, best_um: float) -> float:
    """How far from there the score is low on either side (um): autofocus may have ended on a flank."""
    return max(_flank(client, best_um, side) for side in (1.0, -1.0))


def _flank(client: Client, best_um: float, side: float) -> float:
    """How far on one side the score is low, or the limits are, in um."""
    limits = client.limits()
    step_um = _FIRST_STEP * best_um
    for _ in range(_MOST_DOUBLINGS):
        there_um = best_um + side * step_um
        if not limits.min_um <= there_um <= limits.max_um:
            break
        if _read(client, there_um)[1] < _FLANK_SCORE:
            return step_um
        step_um *= 2.0
    raise CalibrationError(
        f"the score does not fall below {_FLANK_SCORE:g} within the limits",
        remedy="take a higher magnification",
    )


def _sweep(
    client: Client, centre_um: float, reach_um: float, points: int
) -> list[tuple[float, float]]:
    """WDs (um) and scores, from one side of the centre to the other; a negative reach begins on the far one."""
    limits = client.limits()
    places = [centre_um + reach_um * (2.0 * k / (points - 1) - 1.0) for k in range(points)]
    return [_read(client, wd) for wd in places if limits.min_um <= wd <= limits.max_um]


def _centre(swept: Sequence[tuple[float, float]]) -> float:
    """Mean of the WDs, each as heavy as its score is high: autofocus may have ended beside the peak."""
    weights = [score**4 for _, score in swept]
    if not any(weights):
        raise CalibrationError("no reading around the focus scores above 0")
    return sum(w * wd for w, (wd, _) in zip(weights, swept, strict=True)) / sum(weights)


def _read(client: Client, wd_um: float) -> tuple[float, float]:
    client.set_wd(wd_um)
    return wd_um, client.score_image().score


def earlier_in(file: Path, instrument: str) -> Calibration | None:
    """What is in `file` already. Raises `CalibrationError` where that is of another instrument."""
    if not file.exists():
        return None
    earlier = load(file)
    if earlier.instrument != instrument:
        raise CalibrationError(
            f"{file} calibrates {earlier.instrument!r}, but this is {instrument!r}",
            remedy="name another file",
        )
    return earlier


def plot(calibration: Calibration, file: Path) -> bool:
    """Draw scores over WD beside the file; False where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(7.0, 3.4), layout="constrained")
    axes = figure.add_subplot()
    for one in calibration.measured:
        at = [(wd_um - one.best_wd_um) / one.dof_um for wd_um, _ in one.points]
        axes.plot(
            at,
            [s for _, s in one.points],
            ".",
            label=f"{one.magnification:g}x, DoF {one.dof_um:.1f} um",
        )
    grid = [0.1 * k - 8.0 for k in range(161)]
    axes.plot(
        grid,
        [9.0 / (1.0 + 0.25 * z * z) for z in grid],
        "-",
        lw=0.8,
        color="#555",
        label="9 / (1 + z^2 / 4)",
    )
    axes.set(xlabel="WD from focus / depths of focus", ylabel="score", title=calibration.instrument)
    axes.legend()
    figure.savefig(file, dpi=120)
    return True
