"""Servo: from the newest readings to the next working distance.

A step law is any function from the readings in memory, newest first, to a proposed step in um. The
published one is ACNet's, which is handed in as a function.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from afdaemon.control.fast.posterior import advise
from afdaemon.control.fast.profile import FastProfile
from afdaemon.control.limits import Limits
from afdaemon.control.values import Reading
from afdaemon.models.defocus.state import Belief
from afdaemon.models.optics import dof_um, u_of_score

StepLaw = Callable[[Sequence[Reading]], float]
"""Readings (1 .. 20, newest first) -> step in um; called between two readings, so it must be quick.

A law that returns NaN or an infinity ends the job as not converged: there is no safe guess at what
it meant, and a zero step in its place would pass for patience.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What a law says: a step in um. The fast procedure's law says more.

    `at_focus`: how probably the step ends within 1 depth of focus of the best WD; `far`: and it is so
    far away that a frame shows hardly anything. `dof_scale`: what a true depth of focus measures in
    those of the assumed convergence angle.
    """

    step_um: float
    at_focus: float = 0.0
    far: float = 0.0
    dof_scale: float = 1.0

    @property
    def is_finite(self) -> bool:
        """Whether all of it are numbers that can be acted on."""
        return all(map(math.isfinite, (self.step_um, self.at_focus, self.far, self.dof_scale)))


FocusLaw = Callable[[Sequence[Reading]], Proposal]
"""Readings (at least one, newest first) -> what to do: the law of the fast procedure."""


def no_belief(_newest_first: Sequence[Reading]) -> Proposal:
    """The law of a job without the fast procedure's network: it proposes nothing."""
    return Proposal(step_um=math.nan)


class Believe(Protocol):
    """A belief from histories, newest first; see `afdaemon.models.defocus.network.Believer`."""

    def __call__(
        self,
        *,
        wd_dof: Sequence[float],
        bands: Sequence[Sequence[float]],
        u: Sequence[float],
        log_error: Sequence[float],
        calibrated: bool,
    ) -> Belief:
        """What is believed of one job."""
        ...


class Propose(Protocol):
    """A policy over histories, newest first; see `afdaemon.models.acnet.policy.StepPolicy.propose`."""

    def __call__(
        self,
        *,
        wd_um: Sequence[float],
        score: Sequence[float],
        variance: Sequence[float],
        entropy: Sequence[float],
        magnification: float,
    ) -> float:
        """Step in um."""
        ...


def acnet_law(propose: Propose) -> StepLaw:
    """The published law: what ACNet proposes from the readings in memory."""

    def law(newest_first: Sequence[Reading]) -> float:
        return propose(
            wd_um=[reading.wd_um for reading in newest_first],
            score=[reading.score for reading in newest_first],
            variance=[reading.variance for reading in newest_first],
            entropy=[reading.entropy for reading in newest_first],
            magnification=newest_first[0].magnification,
        )

    return law


def defocus_law(believe: Believe, profile: FastProfile) -> FocusLaw:
    """The fast procedure's law: what the defocus network believes of the readings, as a move."""

    def law(newest_first: Sequence[Reading]) -> Proposal:
        unit_um = dof_um(newest_first[0].magnification, 1e-3 * profile.alpha_mrad)
        belief = believe(
            wd_dof=[reading.wd_um / unit_um for reading in newest_first],
            bands=[reading.bands for reading in newest_first],
            u=[u_of_score(reading.score) for reading in newest_first],
            log_error=[math.log(reading.expected_error) for reading in newest_first],
            calibrated=profile.calibrated,
        )
        told = advise(belief, np.array([len(newest_first)]), profile)
        return Proposal(
            step_um=float(told.step_dof[0]) * unit_um,
            at_focus=float(told.at_focus[0]),
            far=float(told.far[0]),
            dof_scale=float(told.scale[0]),
        )

    return law


def target_um(wd_um: float, step_um: float, most_um: float, limits: Limits) -> float:
    """Where a proposed step leads: clipped to +-`most_um`, and shortened to end inside the limits.

    Shortening is planning, not guarding: the guard still rejects whatever it is given.
    """
    return limits.nearest(wd_um + min(max(step_um, -most_um), most_um))
