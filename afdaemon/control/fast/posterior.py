"""From a belief about the defocus to a move: where to go next, and when to stop.

A belief is the probability of each bin of `AXIS_DOF`, the signed distance of the present WD from the best one, in
assumed depths of focus, and of each of `SCALES`, what a true one measures in these. All functions take any number of
beliefs at once, so that training plays by the very rules that the service moves by.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afdaemon.control.fast.profile import FastProfile
from afdaemon.models.defocus.state import AXIS_DOF, READINGS, SCALES, Belief

Array = NDArray[np.float64]

_CLOSE_DOF = 1.0
_SHARE = 0.15
"""A place is tried with what lies within 1 DoF of it, or within this share of its distance: far ones are coarse."""

_APART = np.abs(AXIS_DOF[:, None] - AXIS_DOF[None, :])
_AROUND = (np.maximum(_CLOSE_DOF, _SHARE * np.abs(AXIS_DOF))[:, None] >= _APART).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """For each belief, (n,): the step in DoF; how probably it ends within 1 true DoF of the focus, this is far away.

    And whether to stop, with that step as the last one; and what a true DoF measures in assumed ones.
    """

    step_dof: Array
    at_focus: Array
    far: Array
    found: NDArray[np.bool_]
    scale: Array


def advise(belief: Belief, count: NDArray[np.int64], rules: FastProfile) -> Advice:
    """What n beliefs after so many readings (n,) advise.

    The step leads to where most probability lies around. Where that is here already after the first reading, it leads
    aside: a second frame at the same place would not tell the sides either.
    """
    mass = belief.mass
    around = mass @ _AROUND.T
    chosen = _AROUND[around.argmax(axis=1)] * mass
    step = -(chosen @ AXIS_DOF) / np.maximum(chosen.sum(axis=1), 1e-9)
    at_focus = _at_focus(belief, np.abs(AXIS_DOF + step[:, np.newaxis]))
    side = np.where(mass @ np.sign(AXIS_DOF) >= 0.0, 1.0, -1.0)
    aside = (np.abs(step) < _CLOSE_DOF) & (count == 1)
    return Advice(
        step_dof=np.where(aside, -side * rules.probe_dof, step),
        at_focus=at_focus,
        far=np.asarray(mass @ (np.abs(AXIS_DOF) >= rules.far_dof).astype(np.float32), np.float64),
        found=(at_focus >= sure_enough(count, rules))
        & (np.abs(step) <= rules.near_dof)
        & (count >= rules.fewest_readings),
        scale=np.asarray(np.exp(belief.odds @ np.log(SCALES)), np.float64),
    )


def sure_enough(count: NDArray[np.int64] | int, rules: FastProfile) -> Array:
    """The probability of being in focus that suffices after so many readings (n,)."""
    more = np.maximum(np.asarray(count) - READINGS, 0)
    least = min(rules.least_sure, rules.sure)
    return np.asarray(np.maximum(rules.sure - rules.sure_drop * more, least), np.float64)


def _at_focus(belief: Belief, left_dof: Array) -> Array:
    """Probability (n,) that of the distances left (n, 161) the true one is within 1 true DoF."""
    within = [(belief.mass * (left_dof <= scale * _CLOSE_DOF)).sum(axis=1) for scale in SCALES]
    return np.asarray((np.stack(within, axis=1) * belief.odds).sum(axis=1), np.float64)
