"""From a belief about the defocus to a move: where to go next, and when to stop.

A belief is the probability of each bin of `AXIS_DOF`, the signed distance of the present WD from the best one. All
functions take any number of beliefs at once, so that training plays by the very rules that the service moves by.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afdaemon.control.fast_profile import FastProfile
from afdaemon.models.defocus_state import AXIS_DOF

Array = NDArray[np.float64]

_CLOSE_DOF = 1.0
_SHARE = 0.15
"""A place is tried with what lies within 1 DoF of it, or within this share of its distance: far ones are coarse."""

_APART = np.abs(AXIS_DOF[:, None] - AXIS_DOF[None, :])
_AROUND = (np.maximum(_CLOSE_DOF, _SHARE * np.abs(AXIS_DOF))[:, None] >= _APART).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """For each belief, (n,): the step in DoF; how probably it ends within 1 DoF of the focus, and this is far away.

    And whether to stop, with that step as the last one.
    """

    step_dof: Array
    at_focus: Array
    far: Array
    found: NDArray[np.bool_]


def advise(mass: NDArray[np.float32], count: NDArray[np.int64], rules: FastProfile) -> Advice:
    """What beliefs (n, 161) after so many readings (n,) advise.

    The step leads to where most probability lies around. Where that is here already after the first reading, it leads
    aside: a second frame at the same place would not tell the sides either.
    """
    around = mass @ _AROUND.T
    chosen = _AROUND[around.argmax(axis=1)] * mass
    step = -(chosen @ AXIS_DOF) / np.maximum(chosen.sum(axis=1), 1e-9)
    there = np.abs(AXIS_DOF + step[:, np.newaxis]) <= _CLOSE_DOF
    at_focus = np.asarray((mass * there).sum(axis=1), np.float64)
    side = np.where(mass @ np.sign(AXIS_DOF) >= 0.0, 1.0, -1.0)
    aside = (np.abs(step) < _CLOSE_DOF) & (count == 1)
    return Advice(
        step_dof=np.where(aside, -side * rules.probe_dof, step),
        at_focus=at_focus,
        far=np.asarray(mass @ (np.abs(AXIS_DOF) >= rules.far_dof).astype(np.float32), np.float64),
        found=(at_focus >= rules.sure)
        & (np.abs(step) <= rules.near_dof)
        & (count >= rules.fewest_readings),
    )
