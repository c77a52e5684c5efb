"""From a posterior over the defocus to a move: where to go next, and when to stop. Pure.

A posterior is the probability of each bin of `AXIS_DOF`, the signed distance of the present WD from the best one, in
assumed depths of focus, and of each of `SCALES`, the length of a true one in these. All functions take any number of
posteriors at once, so that training follows exactly the rules by which the service moves.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afdaemon.control.fast.profile import FastProfile
from afdaemon.models.defocus.state import AXIS_DOF, READINGS, SCALES, Posterior

Array = NDArray[np.float64]

CLOSE_DOF = 1.0
"""In focus means within one depth of focus."""
_SHARE = 0.15
"""A place counts with what lies within 1 DoF of it, or within this share of its distance: distant bins are coarse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """For each of n posteriors, (n,): what to do.

    Attributes:
        step_dof: the step, in assumed depths of focus.
        confidence: probability that it ends within 1 true depth of focus of the best WD.
        out_of_capture: probability that the focus lies out of capture range.
        stop: whether to stop, with that step as the last one.
        scale: length of a true depth of focus in assumed ones.
    """

    step_dof: Array
    confidence: Array
    out_of_capture: Array
    stop: NDArray[np.bool_]
    scale: Array


def advise(posterior: Posterior, count: NDArray[np.int64], rules: FastProfile) -> Advice:
    """What n posteriors advise after `count` readings (n,).

    The step leads to the place with most probability around it. If that is the present place after the first reading,
    it leads aside: a second frame at the same place could not show on which side the focus lies either.
    """
    mass = posterior.mass
    step = most_likely(mass, AXIS_DOF, _AROUND)
    confidence = within_close(mass, posterior.odds, np.abs(AXIS_DOF + step[:, np.newaxis]))
    side = np.where(mass @ np.sign(AXIS_DOF) >= 0.0, 1.0, -1.0)
    aside = (np.abs(step) < CLOSE_DOF) & (count == 1)
    beyond = (np.abs(AXIS_DOF) >= rules.capture_range_dof).astype(np.float32)
    return Advice(
        step_dof=np.where(aside, -side * rules.probe_dof, step),
        confidence=confidence,
        out_of_capture=np.asarray(mass @ beyond, np.float64),
        stop=suffices(confidence, step, rules.near_dof, count, rules),
        scale=np.asarray(np.exp(posterior.odds @ np.log(SCALES)), np.float64),
    )


def suffices(
    confidence: Array | float,
    step: Array | float,
    near: float,
    count: NDArray[np.int64] | int,
    rules: FastProfile,
) -> NDArray[np.bool_]:
    """Whether a posterior allows a job to stop after `count` readings with `step` as the last one; (n,).

    `step` and `near`, the longest last step, are in the same unit. Training stops by this alone; a job of the service
    also checks its readings (`afdaemon.control.fast.procedure`).
    """
    is_sure = np.asarray(confidence) >= enough(count, rules)
    is_near = np.abs(step) <= near
    return np.asarray(is_sure & is_near & (np.asarray(count) >= rules.fewest_readings))


def enough(count: NDArray[np.int64] | int, rules: FastProfile) -> Array:
    """The confidence that suffices after `count` readings (n,)."""
    more = np.maximum(np.asarray(count) - READINGS, 0)
    least = min(rules.least_confidence, rules.confidence)
    return np.asarray(
        np.maximum(rules.confidence - rules.confidence_drop * more, least), np.float64
    )


def around(axis_dof: Array) -> NDArray[np.float32]:
    """For each place on an axis (n,), which ones count as there (n, n): distant ones are coarse."""
    apart = np.abs(axis_dof[:, None] - axis_dof[None, :])
    return np.asarray(reach_of(axis_dof)[:, None] >= apart, np.float32)


def reach_of(place_dof: Array) -> Array:
    """What lies within this distance of places (n,) counts as there."""
    return np.asarray(np.maximum(CLOSE_DOF, _SHARE * np.abs(place_dof)), np.float64)


def most_likely(mass: NDArray[np.floating], axis_dof: Array, there: NDArray[np.float32]) -> Array:
    """The step (n,) to the place with most probability around it (`around`): the mean of what lies there.

    The axis holds how far the WD is from the focus, so the focus lies the other way.
    """
    chosen = there[(mass @ there.T).argmax(axis=1)] * mass
    return np.asarray(-(chosen @ axis_dof) / np.maximum(chosen.sum(axis=1), 1e-9), np.float64)


def within_close(mass: NDArray[np.floating], odds: NDArray[np.floating], left_dof: Array) -> Array:
    """Probability (n,) that the true one of the remaining distances (n, bins) is within 1 true DoF."""
    within = [(mass * (left_dof <= scale * CLOSE_DOF)).sum(axis=1) for scale in SCALES]
    return np.asarray((np.stack(within, axis=1) * odds).sum(axis=1), np.float64)


_AROUND = around(AXIS_DOF)
