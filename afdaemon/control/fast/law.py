"""The law of the fast procedure: from DefocusNet's posterior to a move. Pure."""

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from afdaemon.control.fast.posterior import advise
from afdaemon.control.fast.profile import FastProfile
from afdaemon.control.values import Proposal, Reading
from afdaemon.models.defocus.state import Posterior
from afdaemon.models.optics import u_of_score

FocusLaw = Callable[[Sequence[Reading]], Proposal]
"""Readings (at least one, newest first) -> what to do."""


class Infer(Protocol):
    """A posterior from histories, newest first; see `afdaemon.models.defocus.network.DefocusEstimator`."""

    def __call__(
        self,
        *,
        wd_dof: Sequence[float],
        bands: Sequence[Sequence[float]],
        u: Sequence[float],
        log_error: Sequence[float],
        calibrated: bool,
    ) -> Posterior:
        """The posterior of one job."""
        ...


def defocus_law(infer: Infer, profile: FastProfile) -> FocusLaw:
    """The fast procedure's law: the move that follows from DefocusNet's posterior."""

    def law(newest_first: Sequence[Reading]) -> Proposal:
        unit_um = profile.dof_um(newest_first[0].magnification)
        posterior = infer(
            wd_dof=[reading.wd_um / unit_um for reading in newest_first],
            bands=[reading.frame.bands for reading in newest_first],
            u=[u_of_score(reading.frame.score) for reading in newest_first],
            log_error=[math.log(reading.frame.expected_error) for reading in newest_first],
            calibrated=profile.calibrated,
        )
        advice = advise(posterior, np.array([len(newest_first)]), profile)
        return Proposal(
            step_um=float(advice.step_dof[0]) * unit_um,
            confidence=float(advice.confidence[0]),
            out_of_capture=float(advice.out_of_capture[0]),
            dof_scale=float(advice.scale[0]),
        )

    return law
