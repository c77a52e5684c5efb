"""A peak in what a job's readings measure: the focus of a specimen with little detail. Pure.

A smooth specimen never scores high: AENet measures the blur against detail that is not there. But the score still falls
off alike on both sides of the focus; and where the specimen is so smooth that no score is a trace of it, the contrast
does, though far less steeply. So either is fitted by A / (1 + ((z - z0) / w)^2)^q; for each place z0, width w and
steepness q, the height A is a linear least-squares fit. How well each place explains the readings shows where the peak
is, and how certain that is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afdaemon.control.evidence import is_trusted
from afdaemon.control.limits import Limits
from afdaemon.control.values import TracePoint
from afdaemon.models.frames.measures import Measures

Array = NDArray[np.float64]

LEAST_SCORE = 0.4
"""A best score below it is no trace of focus."""
_FALLEN = 0.93
"""Share of the largest value below which blur has reduced the contrast: frames of one place differ by less."""
_MOST_UNSURE_DOF = 0.5
"""Largest standard deviation of a clear peak's place: less than the depth of focus that a success promises."""
_WORST_FIT = 6.0
"""Chi square per reading above which no curve explains them; the errors of the values are rough estimates."""
_SIDE_DOF = 1.5
"""A reading closer than this to a place stands for it."""
_LEAST_POWER = 1e-9
"""Readings that all lie at one place have a flat shape, which has no power."""
_PLACES = np.linspace(-1.0, 1.0, 201)
"""Where the peak is sought, in shares of `places_dof`: a tenth of a depth of focus apart."""
_STEEPNESS: Array = np.array([0.5, 1.0, 2.0])[:, None]
"""Exponents q: 1 is the label curve itself; smooth specimens make it less, rough ones more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FocusMeasure:
    """A measure that is highest in focus: `of` a frame; in words, `named`. Distances in depths of focus (DoF).

    is_trace: whether values (n,) show any trace of a focus.
    fewest_readings: fewer say nothing about the curve, which has four parameters, or five on a floor.
    reach_dof: readings further from the best one are not fitted;
    places_dof: nor is the peak sought further from it.
    apart: spacing of the readings around a peak, relative to that around a peak of the score.
    widths_dof: the narrowest and the widest peak.
    floor, share: error of a value: a constant, plus a share of the value.
    drop: share of the best value below which the measure must fall on both sides: a flat curve is no peak.
    as_high: share of the best value that the top of a peak must show again.
    is_on_floor: whether noise adds a constant to all values, which is then fitted too.
    """

    named: str
    of: Callable[[Measures], float]
    is_trace: Callable[[Array], bool]
    fewest_readings: int
    reach_dof: float
    places_dof: float
    apart: float
    widths_dof: tuple[float, float]
    floor: float
    share: float
    drop: float
    as_high: float
    is_on_floor: bool


SCORE = FocusMeasure(
    named="score",
    of=lambda frame: frame.score,
    is_trace=lambda scores: bool(scores.max() >= LEAST_SCORE),
    fewest_readings=5,
    reach_dof=24.0,
    places_dof=10.0,
    apart=1.0,
    widths_dof=(0.5, 12.0),
    floor=0.03,
    share=0.12,
    drop=0.4,
    as_high=0.6,
    is_on_floor=False,
)
CONTRAST = FocusMeasure(
    named="contrast",
    of=lambda frame: frame.contrast**2,
    is_trace=lambda powers: bool(powers.min() <= _FALLEN * powers.max()),
    fewest_readings=7,
    reach_dof=80.0,
    places_dof=12.0,
    apart=2.0,
    widths_dof=(4.0, 60.0),
    floor=1e-6,
    share=0.008,
    drop=_FALLEN,
    as_high=0.9,
    is_on_floor=True,
)
"""Variance of the picture over the square of its mean, noise included."""
MEASURES = (SCORE, CONTRAST)
"""The most informative one first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """Place of a peak (um), its standard deviation (DoF), and whether it is clearly a peak.

    `has_fallen`: the measure has fallen off on both sides; until then the peak is taken to be at the best reading.
    """

    wd_um: float
    error_dof: float
    has_fallen: bool = False
    is_clear: bool = False


def peak(rung: Sequence[TracePoint], unit_um: float, measure: FocusMeasure) -> Peak | None:
    """The peak near the best of the readings at one magnification, or None if they show no trace of one.

    `unit_um` is the depth of focus there.
    """
    readings = [point for point in rung if is_trusted(point)]
    best = max(readings, key=lambda p: measure.of(p.frame), default=None)
    if best is None:
        return None
    away = np.array([(p.wd_um - best.wd_um) / unit_um for p in readings])
    near = np.abs(away) <= measure.reach_dof
    away, value = away[near], np.array([measure.of(p.frame) for p in readings])[near]
    if not measure.is_trace(value):
        return None
    if len(value) < measure.fewest_readings:
        return Peak(wd_um=best.wd_um, error_dof=measure.reach_dof)
    place, error, misfit = _fitted(away, value, measure)
    has_fallen = all(
        value[side].min(initial=np.inf) <= measure.drop * value.max()
        for side in (away < place, away > place)
    )
    is_clear = has_fallen and misfit <= _WORST_FIT and error <= _MOST_UNSURE_DOF
    return Peak(
        wd_um=best.wd_um + (place * unit_um if has_fallen else 0.0),
        error_dof=error,
        has_fallen=has_fallen,
        is_clear=is_clear,
    )


def is_as_high(rung: Sequence[TracePoint], measure: FocusMeasure) -> bool:
    """Whether the newest reading shows what the best promised."""
    values = [measure.of(p.frame) for p in rung if is_trusted(p)]
    return bool(values) and measure.of(rung[-1].frame) >= measure.as_high * max(values)


def _fitted(away: Array, value: Array, measure: FocusMeasure) -> tuple[float, float, float]:
    """Place of the peak and its standard deviation (DoF), and chi square per reading of the best curve."""
    places, widths = measure.places_dof * _PLACES, np.geomspace(*measure.widths_dof, 10)
    apart = (away - places[:, None, None, None]) / widths[:, None, None]
    shape = (1.0 + apart**2) ** -_STEEPNESS
    weight = (measure.floor + measure.share * value) ** -2.0
    if measure.is_on_floor:
        even = weight / weight.sum()
        shape, value = shape - (shape @ even)[..., None], value - value @ even
    power = np.maximum(shape**2 @ weight, _LEAST_POWER)
    height = np.maximum((shape * value) @ weight / power, 0.0)
    chi = ((value - height[..., None] * shape) ** 2 @ weight).reshape(len(places), -1)
    spread = max(chi.min() / max(len(value) - 4 - measure.is_on_floor, 1), 1.0)
    likely = np.exp(-0.5 * (chi - chi.min()) / spread).sum(axis=1)
    likely /= likely.sum()
    place = float(likely @ places)
    error = float(np.sqrt(likely @ (places - place) ** 2))
    return place, error, float(chi.min()) / len(value)


def next_place(
    rung: Sequence[TracePoint], top: Peak, *, apart_um: float, unit_um: float, limits: Limits
) -> float | None:
    """Where to read next (um), or None if all informative places have been read.

    `apart_um` from the peak on either side, then half of that, or twice where it has not fallen yet.
    """
    then = 0.5 if top.has_fallen else 2.0
    for share in (-1.0, 1.0, -then, then):
        place_um = top.wd_um + share * apart_um
        is_read = any(abs(p.wd_um - place_um) <= _SIDE_DOF * unit_um for p in rung)
        if limits.within(place_um) and not is_read:
            return place_um
    return None
