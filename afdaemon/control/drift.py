"""Whether the focus moved while a job searched for it, from the job's own readings. Pure.

By the label formula, 9 / s - 1 is a parabola in the distance from the best WD. If that WD moves at a constant speed v,
it is a parabola in WD - v t: for each v, and each width that the convergence angle allows, the rest is a linear
least-squares fit. How well each v explains the scores shows how fast the focus moves, and how certain that is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afdaemon.control.evidence import is_trusted
from afdaemon.control.profile import Profile
from afdaemon.control.values import TracePoint
from afdaemon.models.optics import HALF_SCORE_DOF, TOP_SCORE
from afdaemon.words import rate

Array = NDArray[np.float64]

FEWEST_READINGS = 7
"""Near focus: four parameters are fitted, and with fewer readings a specimen's relief can pass for a movement."""
LEAST_SCORE = 0.8
"""Readings that score lower are too far from the focus, about 6 depths of focus (DoF), to locate it well enough."""
_NOTICED_DOF = 0.5
"""Of the whole movement; anything less leaves the picture as sharp."""
_SURE = 3.5
"""A movement is noticed if it is at least this many standard deviations."""
_MOST_UNSURE_DOF = 1.0
"""Largest standard deviation of the whole movement; above it, unless a movement is certain, none is reported."""
_WORST_FIT = 1.0
"""Chi square per reading; scores that no uniform movement explains say nothing about one."""
_SHAPE = 0.15
"""Relative error of 9 / s - 1, in addition to the error that AENet expects of its score."""
_LEAST_ERROR = 0.05
_BELOW_ZERO = 0.1
"""Standard deviation by which a parabola may dip below 0, where no score can be."""
_NEVER_QUITE = 8.99
_MOVED_DOF: Array = np.sinh(np.linspace(-1.0, 1.0, 201) * np.arcsinh(60.0 / 0.5)) * 0.5
_APART_DOF: Array = np.gradient(_MOVED_DOF)
"""Movements that are tried (DoF from the first to the last reading near focus), and their spacing."""
_STEEPER: Array = np.linspace(-2.0, 2.0, 9)
"""How much steeper the parabola may be than the convergence angle says, in standard deviations of the logarithm."""
_UNSURE = 0.9
"""That standard deviation: the angle may be off by a factor of 2, and relief makes the curve wider."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Speed of the best WD and its standard deviation (um per minute), and the whole movement (DoF).

    From the first to the last reading near the focus; positive is towards longer WDs.
    """

    um_per_min: float
    error_um_per_min: float
    moved_dof: float

    @property
    def is_noticed(self) -> bool:
        """Whether it is beyond doubt, and enough to matter."""
        return (
            abs(self.moved_dof) >= _NOTICED_DOF
            and abs(self.um_per_min) >= _SURE * self.error_um_per_min
        )

    def __str__(self) -> str:
        return (
            f"the focus drifts by {rate(self.um_per_min, self.error_um_per_min)}, in total by"
            f" {self.moved_dof:+.1f} depths of focus while the job was near it"
        )


def drift(trace: Sequence[TracePoint], profile: Profile) -> Drift | None:
    """How the focus moved during a job, or None if its readings cannot tell.

    That needs seven readings near focus, all at the last one's magnification, and time between them.
    """
    near = _near(trace)
    if len(near) < FEWEST_READINGS:
        return None
    unit_um = profile.dof_um(near[-1].reading.magnification)
    times_s = np.array([p.reading.at_s for p in near])
    span_s = float(np.ptp(times_s))
    if span_s <= 0.0:
        return None
    wd_dof = np.array([p.reading.wd_um for p in near]) / unit_um
    chi = _chi_square(wd_dof, (times_s - times_s[0]) / span_s, *_parabola_values(near))
    if chi.min() > _WORST_FIT * len(near):
        return None
    moved, error = _moved(chi)
    if error > max(_MOST_UNSURE_DOF, abs(moved) / _SURE):
        return None
    per_min = 60.0 * unit_um / span_s
    return Drift(
        um_per_min=_rounded(moved * per_min),
        error_um_per_min=_rounded(error * per_min),
        moved_dof=_rounded(moved),
    )


def _near(trace: Sequence[TracePoint]) -> list[TracePoint]:
    """The readings at the last one's magnification that locate the focus."""
    shown = trace[-1].reading.magnification if trace else math.nan
    return [
        p
        for p in trace
        if p.score >= LEAST_SCORE and p.reading.magnification == shown and is_trusted(p)
    ]


def _moved(chi: Array) -> tuple[float, float]:
    """The mean movement (DoF), weighted by how well each explains the readings, and its standard deviation.

    The latter is large enough that no movement at all is no less likely than the readings make it.
    """
    weight = np.exp(-0.5 * (chi - chi.min())).sum(axis=1) * _APART_DOF
    weight /= weight.sum()
    moved = float(weight @ _MOVED_DOF)
    spread = math.sqrt(float(weight @ ((_MOVED_DOF - moved) ** 2 + (0.5 * _APART_DOF) ** 2)))
    against_none = float(chi[len(_MOVED_DOF) // 2].min() - chi.min())
    return moved, max(spread, abs(moved) / math.sqrt(max(against_none, 1.0)))


def _rounded(number: float) -> float:
    """To three digits: it is known no better, and a replay on another machine then gives the same."""
    return float(f"{number:.3g}")


def _parabola_values(near: Sequence[TracePoint]) -> tuple[Array, Array]:
    """9 / s - 1 of each reading, and its standard deviation, (n,)."""
    score = np.minimum([p.score for p in near], _NEVER_QUITE)
    value = TOP_SCORE / score - 1.0
    error = TOP_SCORE / score**2 * np.array([p.frame.expected_error for p in near])
    return value, np.sqrt(error**2 + (_SHAPE * value) ** 2 + _LEAST_ERROR**2)


def _chi_square(wd: Array, time: Array, value: Array, error: Array) -> Array:
    """How badly each movement (row) and steepness (column) explains the values, with the best place and height."""
    steep = np.exp(_STEEPER * _UNSURE)[None, :, None] / HALF_SCORE_DOF**2
    at = (wd - wd.mean())[None, :] - _MOVED_DOF[:, None] * (time - time.mean())[None, :]
    weight = error**-2.0
    centre = at - (at @ weight / weight.sum())[:, None]
    left = value - steep * (centre**2)[:, None, :]
    height = left @ weight / weight.sum()
    turned = left - height[..., None]
    across = (centre**2) @ weight
    slope = np.einsum("vsn,vn,n->vs", turned, centre, weight) / np.maximum(across, 1e-12)[:, None]
    misfit = ((turned - slope[..., None] * centre[:, None, :]) ** 2) @ weight
    lowest = height - slope**2 / (4.0 * steep[..., 0])
    return np.asarray(
        misfit + (np.minimum(lowest, 0.0) / _BELOW_ZERO) ** 2 + _STEEPER**2, np.float64
    )
