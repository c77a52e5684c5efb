"""A peak of the score, however low: where a job's own readings place the focus of a specimen with little detail. Pure.

A smooth specimen never scores high: AENet measures the blur against detail that is not there. But the score still falls
off alike on both sides of the focus. So it is fitted by A / (1 + ((z - z0) / w)^2)^q; for each place z0, width w and
steepness q, the height A is a linear least squares. How well each place explains the scores says where the peak is, and
how sure that is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afdaemon.control.limits import Limits
from afdaemon.control.values import TracePoint

Array = NDArray[np.float64]

LEAST_SCORE = 0.4
"""A best score below it is no trace of focus."""
_REACH_DOF = 24.0
"""Further from the best reading nothing is fitted: there the score is as good as none."""
_FEWEST_READINGS = 5
"""Four numbers are fitted."""
_MOST_UNSURE_DOF = 0.5
_FLOOR, _SHARE = 0.03, 0.12
"""By how much a score may be off: what a frame without any focus scores, and a share of it."""
_WORST_FIT = 6.0
"""Chi square a reading."""
_DROP = 0.4
"""Share of the best score, below which it must have fallen on either side: a flat curve is no peak."""
_SIDE_DOF = 1.5
"""A reading that is closer to a place stands for it."""
_PLACES_DOF: Array = np.linspace(-10.0, 10.0, 201)
_WIDTHS_DOF: Array = np.geomspace(0.5, 12.0, 10)[:, None, None]
_STEEPNESS: Array = np.array([0.5, 1.0, 2.0])[:, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """Where the score peaks (um), how unsure that is (DoF, one standard deviation), and whether it is a peak at all.

    `has_fallen`: the score has fallen off on both sides of it; until then it is taken to be at the best reading.
    """

    wd_um: float
    error_dof: float
    has_fallen: bool = False
    is_clear: bool = False


def peak(rung: Sequence[TracePoint], unit_um: float) -> Peak | None:
    """The peak near the best of readings of one magnification, or None if they show no trace of one.

    `unit_um` is the depth of focus there.
    """
    told = [p for p in rung if not p.reading.doubt]
    best = max(told, key=lambda p: p.score, default=None)
    if best is None or best.score < LEAST_SCORE:
        return None
    away = np.array([(p.wd_um - best.wd_um) / unit_um for p in told])
    near = np.abs(away) <= _REACH_DOF
    away, score = away[near], np.array([p.score for p in told])[near]
    if len(score) < _FEWEST_READINGS:
        return Peak(wd_um=best.wd_um, error_dof=_REACH_DOF)
    place, error, misfit = _fitted(away, score)
    has_fallen = all(
        score[side].min(initial=np.inf) <= _DROP * best.score
        for side in (away < place, away > place)
    )
    is_clear = has_fallen and misfit <= _WORST_FIT and error <= _MOST_UNSURE_DOF
    return Peak(
        wd_um=best.wd_um + (place * unit_um if has_fallen else 0.0),
        error_dof=error,
        has_fallen=has_fallen,
        is_clear=is_clear,
    )


def _fitted(away: Array, score: Array) -> tuple[float, float, float]:
    """Place of the peak and its standard deviation (DoF), and chi square a reading of the best curve."""
    apart = (away - _PLACES_DOF[:, None, None, None]) / _WIDTHS_DOF
    shape = (1.0 + apart**2) ** -_STEEPNESS
    weight = (_FLOOR + _SHARE * score) ** -2.0
    height = (shape * score) @ weight / (shape**2 @ weight)
    chi = ((score - height[..., None] * shape) ** 2 @ weight).reshape(len(_PLACES_DOF), -1)
    spread = max(chi.min() / max(len(score) - 4, 1), 1.0)
    likely = np.exp(-0.5 * (chi - chi.min()) / spread).sum(axis=1)
    likely /= likely.sum()
    place = float(likely @ _PLACES_DOF)
    error = float(np.sqrt(likely @ (_PLACES_DOF - place) ** 2))
    return place, error, float(chi.min()) / len(score)


def next_place(
    rung: Sequence[TracePoint], top: Peak, *, apart_um: float, unit_um: float, limits: Limits
) -> float | None:
    """Where to read next (um), or None if all that tells more has been read.

    `apart_um` from the peak on either side, then half of that, or twice where the score has not fallen yet.
    """
    then = 0.5 if top.has_fallen else 2.0
    for share in (-1.0, 1.0, -then, then):
        place_um = top.wd_um + share * apart_um
        is_read = any(abs(p.wd_um - place_um) <= _SIDE_DOF * unit_um for p in rung)
        if limits.within(place_um) and not is_read:
            return place_um
    return None
