"""The procedures by name. Which one a job follows is decided here and nowhere else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from afdaemon.control.fast.aim.law import AimLaw
from afdaemon.control.fast.aim.procedure import AimProcedure
from afdaemon.control.fast.aim.profile import AimProfile
from afdaemon.control.fast.law import FocusLaw
from afdaemon.control.fast.procedure import FastProcedure
from afdaemon.control.fast.profile import FastProfile
from afdaemon.control.limits import Range
from afdaemon.control.profile import Profile
from afdaemon.control.published.procedure import PublishedProcedure
from afdaemon.control.published.profile import PublishedProfile
from afdaemon.control.published.servo import StepLaw
from afdaemon.control.state import Procedure
from afdaemon.control.values import Proposal, Reading

PROFILES: Mapping[str, type[Profile]] = MappingProxyType(
    {kind.name: kind for kind in (PublishedProfile, FastProfile)}
)
"""The parameters of each procedure, by its name in settings, requests and journals."""


def _no_step_law(_newest_first: Sequence[Reading]) -> float:
    """The law of a job without ACNet: it proposes nothing, which ends the job."""
    return float("nan")


def _no_focus_law(_newest_first: Sequence[Reading]) -> Proposal:
    """The law of a job without DefocusNet: it proposes nothing, which ends the job."""
    return Proposal(step_um=float("nan"))


def _no_aim_law(newest_first: Sequence[Reading], _allowed: Range) -> Proposal:
    """The law of a job without a posterior: it proposes nothing, which ends the job."""
    return _no_focus_law(newest_first)


@dataclass(frozen=True, slots=True, kw_only=True)
class Laws:
    """What the networks propose: a step for the published procedure, more for the others."""

    step: StepLaw = _no_step_law
    focus: FocusLaw = _no_focus_law
    aim: AimLaw = _no_aim_law


def procedure_of(profile: Profile, laws: Laws) -> Procedure[Any]:
    """The procedure with these parameters. Raises TypeError for any other profile."""
    match profile:
        case PublishedProfile():
            return PublishedProcedure(profile, laws.step)
        case FastProfile():
            return FastProcedure(profile, laws.focus)
        case AimProfile():
            return AimProcedure(profile, laws.aim)
        case _:
            raise TypeError(f"no procedure has the profile {profile}")
