"""What the fast procedure remembers of a job. Pure."""

from dataclasses import dataclass, replace
from typing import Any

from afdaemon.control.fast.peak import FocusMeasure
from afdaemon.control.profile import Profile
from afdaemon.control.state import Answer, State
from afdaemon.control.values import TracePoint

_MOST_DESCENTS = 2
"""A second descent is for a focus that was not in view after the climb; a third would only repeat the search."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FastMemory:
    """What the fast procedure remembers.

    Attributes:
        began_far: the first reading showed hardly anything of the focus.
        descents_left: how often the job may still go down the ladder.
        close_steps: search steps close to the best place, before giving up.
        peak_steps: search steps around a peak.
        at_peak: the measure that peaks there, if the last move was for a peak.
    """

    began_far: bool = False
    descents_left: int = _MOST_DESCENTS
    close_steps: int = 0
    peak_steps: int = 0
    at_peak: FocusMeasure | None = None


FastState = State[FastMemory]
FastAnswer = Answer[FastMemory]


def remember(state: FastState, **changes: Any) -> FastState:
    """The state with parts of its memory changed."""
    return replace(state, own=replace(state.own, **changes))


def unit_um(state: FastState, profile: Profile) -> float:
    """A depth of focus at the last reading's magnification, for the assumed convergence angle."""
    return profile.dof_um(state.trace[-1].reading.magnification)


def within(state: FastState, profile: Profile, most_dof: float) -> list[TracePoint]:
    """The readings at this magnification that lie no further than that from the newest."""
    here_um, most_um = state.trace[-1].wd_um, most_dof * unit_um(state, profile)
    return [point for point in state.rung if abs(point.wd_um - here_um) <= most_um]
