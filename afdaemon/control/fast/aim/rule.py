"""The rule of least expected loss: from a posterior over the focus to the next move, or to the end. Pure.

A job loses one for every reading, and `miss_cost` for ending further than one depth of focus from the focus. It stops
where one more reading costs as much as the miss that it could prevent: where miss_cost * P(miss) <= 1. Otherwise it
reads where that is expected to tell most. All functions take any number of posteriors at once, so that training follows
exactly the rule by which the service moves.

Distances are in depths of focus (DoF) that the service assumes, from the newest reading's WD.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afdaemon.control.fast.posterior import around, most_likely, reach_of, within_close
from afdaemon.models.defocus.posterior.tokens import AXIS_DOF, Posterior
from afdaemon.models.defocus.state import SCALES

Array = NDArray[np.float64]

VERIFIED_DOF = 0.3
"""A success rests on a reading no further than this from where the job ends."""
_TELLING_DOF = 2.0
"""A frame this far from the focus tells half as much as one in focus. Not yet weighed against others."""
_NEW_DOF = 1.5
"""A second frame closer than this to another tells little that is new: blur there is the same."""

_AROUND = around(AXIS_DOF)
_APART = np.abs(AXIS_DOF[:, None] - AXIS_DOF[None, :])
_TELLS = 1.0 / (1.0 + _APART / _TELLING_DOF)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """For each of n posteriors, (n,): what to do.

    Attributes:
        best_dof: where the focus most likely is, from the newest WD.
        miss: probability that there is none, or that it is further than 1 true depth of focus from there.
        stop: whether to end there: no further reading is worth its cost, and one was taken there.
        read_dof: where to read otherwise.
        nothing: probability that the frames show nothing that could be focused.
        scale: length of a true depth of focus in assumed ones.
    """

    best_dof: Array
    miss: Array
    stop: NDArray[np.bool_]
    read_dof: Array
    nothing: Array
    scale: Array


def advise(posterior: Posterior, read_dof: Array, miss_cost: float) -> Advice:
    """What n posteriors advise, whose jobs have readings at `read_dof` (n, K): NaN where there is none.

    The newest one is at 0.
    """
    best_dof = most_likely(posterior.mass, AXIS_DOF, _AROUND)
    left_dof = np.abs(AXIS_DOF + best_dof[:, None])
    there = within_close(posterior.mass, posterior.odds, left_dof)
    miss = 1.0 - (1.0 - posterior.nothing) * there
    is_enough = miss_cost * miss <= 1.0
    with np.errstate(invalid="ignore"):
        apart = np.abs(read_dof - best_dof[:, None]) <= VERIFIED_DOF
    is_verified = apart.any(axis=1)
    return Advice(
        best_dof=best_dof,
        miss=miss,
        stop=is_enough & is_verified,
        read_dof=np.where(is_enough, best_dof, _telling(posterior.mass, read_dof, best_dof)),
        nothing=posterior.nothing,
        scale=np.asarray(np.exp(posterior.odds @ np.log(SCALES)), np.float64),
    )


def _telling(mass: Array, read_dof: Array, best_dof: Array) -> Array:
    """Where (n,) a frame is expected to tell most: close to where the focus may be, and not where one was taken."""
    places = -AXIS_DOF
    told = mass @ _TELLS.T
    nearest = np.nanmin(np.abs(read_dof[:, :, None] - places[None, None, :]), axis=1)
    worth = told * -np.expm1(-np.square(nearest / _NEW_DOF))
    best = places[worth.argmax(axis=1)]
    is_near_best = np.abs(best - best_dof) <= reach_of(best_dof)
    return np.where(is_near_best, best_dof, best)
