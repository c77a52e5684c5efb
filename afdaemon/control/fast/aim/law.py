"""From a job's readings to what the posterior advises. Pure."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from afdaemon.control.fast.aim.profile import CAPTURE_DOF, AimProfile
from afdaemon.control.fast.aim.rule import Advice, advise
from afdaemon.control.limits import Range
from afdaemon.control.values import Belief, Proposal, Reading
from afdaemon.models.defocus.posterior.bank import FURTHEST_DOF
from afdaemon.models.defocus.posterior.tokens import AXIS_DOF, MOST_READINGS, Histories, Posterior
from afdaemon.models.optics import u_of_score

AimLaw = Callable[[Sequence[Reading], Range], Proposal]
"""Readings of one magnification (at least one, newest first), and where the lens may go -> what to do."""

_INSIDE = 1e-6
"""Less probability than this within the limits, and it counts as spread evenly over them."""
_WORTH_TELLING = 1e-5
"""Places less likely than this are left out of what is told."""


class Infer(Protocol):
    """A posterior from histories; see `afdaemon.models.defocus.posterior.network.PosteriorNet.infer`."""

    def __call__(self, seen: Histories) -> Posterior:
        """The posterior of each."""
        ...


def aim_law(infer: Infer, profile: AimProfile) -> AimLaw:
    """The law of least expected loss."""

    def law(newest_first: Sequence[Reading], allowed: Range) -> Proposal:
        here = newest_first[0]
        unit_um = profile.dof_um(here.magnification)
        near = [
            one for one in newest_first if abs(one.wd_um - here.wd_um) <= FURTHEST_DOF * unit_um
        ]
        told = infer(history_of(near, unit_um, calibrated=profile.calibrated))
        focus_um = here.wd_um - AXIS_DOF * unit_um
        holds = (focus_um >= allowed.lo_um) & (focus_um <= allowed.hi_um)
        inside = _within(told, holds)
        read_dof = np.array([[(one.wd_um - here.wd_um) / unit_um for one in near]])
        advice = advise(inside, read_dof, profile.miss_cost)
        can_be = float(told.mass[0] @ holds)
        return replace(
            _proposal(advice, inside, unit_um),
            confidence=(1.0 - float(advice.miss[0])) * can_be,
            belief=_belief(told, focus_um),
        )

    return law


def _within(told: Posterior, holds: NDArray[np.bool_]) -> Posterior:
    """The posterior of a focus that lies within the limits."""
    mass = np.where(holds, told.mass, 0.0)
    total = mass.sum(axis=1, keepdims=True)
    if float(total[0, 0]) < _INSIDE:
        mass = np.asarray(holds[None, :], np.float64) + _INSIDE
        total = mass.sum(axis=1, keepdims=True)
    return replace(told, mass=mass / total)


def _proposal(advice: Advice, inside: Posterior, unit_um: float) -> Proposal:
    far = np.abs(AXIS_DOF) > CAPTURE_DOF
    return Proposal(
        step_um=float(advice.best_dof[0]) * unit_um,
        out_of_capture=float(inside.mass[0] @ far),
        dof_scale=float(advice.scale[0]),
        read_step_um=float(advice.read_dof[0]) * unit_um,
        nothing=float(advice.nothing[0]),
    )


def _belief(told: Posterior, focus_um: NDArray[np.float64]) -> Belief:
    mass = told.mass[0]
    kept = mass >= _WORTH_TELLING
    return Belief(
        places_um=tuple(np.round(focus_um[kept], 2).tolist()),
        mass=tuple(np.round(mass[kept], 5).tolist()),
    )


def history_of(newest_first: Sequence[Reading], unit_um: float, *, calibrated: bool) -> Histories:
    """One job's readings as the network takes them; of more than it takes, the newest."""
    kept = newest_first[:MOST_READINGS]

    def each(values: Sequence[float]) -> NDArray[np.float32]:
        return np.array([values], np.float32)

    frames = [reading.frame for reading in kept]
    return Histories(
        wd_dof=np.array([[reading.wd_um / unit_um for reading in kept]], np.float64),
        bands=np.array([[frame.bands for frame in frames]], np.float32),
        u=each([u_of_score(frame.score) for frame in frames]),
        log_error=each([math.log(frame.expected_error) for frame in frames]),
        contrast=each([frame.contrast for frame in frames]),
        doubted=each([float(bool(frame.doubt)) for frame in frames]),
        masked=each([frame.masked for frame in frames]),
        ago=each([float(k) for k in range(len(kept))]),
        count=np.array([len(kept)]),
        calibrated=np.array([calibrated]),
    )
