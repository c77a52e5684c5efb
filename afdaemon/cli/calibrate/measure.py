"""`afctl calibrate`: how deep the focus of this instrument is, how its lens lags and settles, how detail fades."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from afdaemon.api.client import Client
from afdaemon.calibration import (
    Calibration,
    CalibrationError,
    Measured,
    SeenFrame,
    Settling,
    Spectrum,
    agreeing,
    curve,
    fading,
    load,
    settled,
)
from afdaemon.clock import Clock, SystemClock
from afdaemon.models.optics import dof_um

_FIRST_STEP = 0.0003
"""Share of the WD: first step of the search for the flanks; it is doubled until the score is low."""
_FLANK_SCORE = 2.5
_MOST_DOUBLINGS = 14
_COARSE_POINTS = 7
_SETTLING_FRAMES = 12
_STEEPEST = 1.0 / math.sqrt(3.0)
"""Where the score's curve is steepest, in half widths from its peak."""
Told = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Look:
    """A reading of a sweep: commanded WD (um), score, and spectrum."""

    wd_um: float
    score: float
    spectrum: Spectrum


def measure(client: Client, *, points: int, told: Told, clock: Clock | None = None) -> Measured:
    """Focus, sweep over the focus and back, see a step settle, and return to the focus.

    Whatever goes wrong, the start WD is commanded again.

    Raises:
        CalibrationError: there is no focus, or no curve to measure.
    """
    home_um = client.wd().wd_um
    try:
        return _measured(client, points, told, clock or SystemClock())
    except BaseException:
        client.set_wd(home_um)
        raise


def _measured(client: Client, points: int, told: Told, clock: Clock) -> Measured:
    job = client.autofocus()
    if not job.converged or job.best_wd_um is None:
        raise CalibrationError(f"autofocus did not converge: {job.reason}")
    reach_um = _reach(client, job.best_wd_um)
    told(f"focus at {job.best_wd_um:.1f} um; sweeping {reach_um:.1f} um to either side, and back")
    centre_um = _centre(_sweep(client, job.best_wd_um, reach_um, _COARSE_POINTS))
    rising = _sweep(client, centre_um, reach_um, points)
    falling = _sweep(client, centre_um, -reach_um, points)
    up, down = curve(_scores(rising)), curve(_scores(falling))
    middle_um, half_um = 0.5 * (up.best_um + down.best_um), math.sqrt(up.half_um * down.half_um)
    flank_um = min(middle_um + _STEEPEST * half_um, max(look.wd_um for look in rising))
    settling = _settling(client, clock, rising[0].wd_um, flank_um, told)
    there = client.set_wd(middle_um)
    if there.magnification is None:
        raise CalibrationError("the instrument does not report its magnification")
    distances = [(look.wd_um - up.best_um, look.spectrum) for look in rising]
    distances += [(look.wd_um - down.best_um, look.spectrum) for look in falling]
    found = Measured(
        utc=clock.utc(),
        magnification=there.magnification,
        best_wd_um=middle_um,
        half_um=half_um,
        hysteresis_um=up.best_um - down.best_um,
        points=_scores([*rising, *falling]),
        settling=settling,
        fading=fading(distances),
    )
    return agreeing(found)


def _reach(client: Client, best_um: float) -> float:
    """The distance at which the score is low on both sides (um): autofocus may have ended on a flank."""
    return max(_flank(client, best_um, side) for side in (1.0, -1.0))


def _flank(client: Client, best_um: float, side: float) -> float:
    """The distance (um) at which the score is low on one side. Raises `CalibrationError` if the limits are nearer."""
    limits = client.limits()
    step_um = _FIRST_STEP * best_um
    for _ in range(_MOST_DOUBLINGS):
        there_um = best_um + side * step_um
        if not limits.min_um <= there_um <= limits.max_um:
            break
        if _read(client, there_um).score < _FLANK_SCORE:
            return step_um
        step_um *= 2.0
    raise CalibrationError(
        f"the score does not fall below {_FLANK_SCORE:g} within the limits",
        remedy="use a higher magnification",
    )


def _sweep(client: Client, centre_um: float, reach_um: float, points: int) -> list[_Look]:
    """From one side of the centre to the other; a negative reach begins on the far one."""
    limits = client.limits()
    places = [centre_um + reach_um * (2.0 * k / (points - 1) - 1.0) for k in range(points)]
    return [_read(client, wd) for wd in places if limits.min_um <= wd <= limits.max_um]


def _centre(swept: Sequence[_Look]) -> float:
    """Mean of the WDs, weighted towards high scores: autofocus may have ended beside the peak."""
    weights = [look.score**4 for look in swept]
    if not any(weights):
        raise CalibrationError("no reading around the focus scores above 0")
    return sum(w * look.wd_um for w, look in zip(weights, swept, strict=True)) / sum(weights)


def _read(client: Client, wd_um: float) -> _Look:
    client.set_wd(wd_um)
    seen = client.score_image()
    return _Look(wd_um, seen.score, seen.bands)


def _scores(looks: Sequence[_Look]) -> list[tuple[float, float]]:
    return [(look.wd_um, look.score) for look in looks]


def _settling(
    client: Client, clock: Clock, from_um: float, to_um: float, told: Told
) -> Settling | None:
    """Command a step to where the score is most sensitive to the WD, and take frames one after another.

    `set_wd` waits for a first frame, of which it returns only the WD.
    """
    client.set_wd(from_um)
    began_s = clock.now_s()
    wd_um = client.set_wd(to_um).wd_um
    seen = [SeenFrame(clock.now_s() - began_s, wd_um)]
    for _ in range(_SETTLING_FRAMES):
        shot = client.score_image()
        there_um = wd_um if shot.wd_um is None else shot.wd_um
        seen.append(SeenFrame(clock.now_s() - began_s, there_um, shot.score))
    try:
        return settled(seen, to_um - from_um)
    except CalibrationError as error:
        told(f"no settling time: {error}")
        return None


def earlier_in(file: Path, instrument: str) -> Calibration | None:
    """What is in `file` already. Raises `CalibrationError` if that is of another instrument."""
    if not file.exists():
        return None
    earlier = load(file)
    earlier.check_instrument(instrument)
    return earlier


def summary(found: Calibration, one: Measured) -> str:
    """What was measured at one magnification, and the laws of all, in lines."""
    angle_rad = dof_um(one.magnification, 1.0) / one.dof_um
    lines = [
        f"{one.magnification:g}x: depth of focus {one.dof_um:.2f} um"
        f" ({one.dof_by_score_um:.2f} um by the score), convergence angle {1e3 * angle_rad:.2f} mrad,"
        f" hysteresis {one.hysteresis_um:+.2f} um",
        *_settling_line(one.settling),
        *(
            f"power at {band.cycles_px:.3f} cycles/px falls to 1/e"
            f" {band.fall_um:.2f} um ({band.fall_um / one.dof_um:.2f} DoF) from the focus"
            for band in one.fading
        ),
    ]
    if found.laws is not None:
        t, d = found.laws.tanh, found.laws.dof
        lines += [
            f"width {t.a_um:.4g} (-{t.b:.3g} tanh((m - {t.m0:.4g}) / {t.w:.4g}) + {t.c:.3g}) um,"
            f" fitted {', '.join(t.free)}: off by {_off(t.residuals)}",
            f"width {d.c:g} DoF, DoF = {d.dof_um_at_1x:.5g} um / m: off by {_off(d.residuals)}",
        ]
    return "\n".join(lines)


def _settling_line(settling: Settling | None) -> list[str]:
    if settling is None:
        return []
    after = f"a step of {settling.step_um:.1f} um"
    if settling.changed:
        return [
            f"settles {settling.seconds:.2f} s (+- {settling.frame_s:.2f} s) after {after}:"
            f" frames before that differ: {settling.changed}"
        ]
    return [
        f"settles within {settling.seconds:.2f} s after {after}: the first frame that the link"
        " hands out is like the later ones"
    ]


def _off(residuals: Sequence[float]) -> str:
    """The root mean square of logarithms, as a percentage."""
    return f"{100.0 * math.expm1(math.sqrt(sum(r * r for r in residuals) / len(residuals))):.1f} %"
