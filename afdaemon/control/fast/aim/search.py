"""Where a job looks that has seen nothing yet: lower magnifications, then the nearest places not yet read. Pure.

The lower the magnification, the longer is a depth of focus (DoF) in um, and the further a focus is seen. So with the
ladder a job that sees nothing goes down rung by rung until a frame shows something, and climbs back as soon as it knows
the focus well enough to see it there. If even the lowest rung shows nothing, it searches where it began.

ASSUMED: the best WD is the same at all magnifications, and so are brightness and contrast.
"""

import math

from afdaemon.control.answers import go
from afdaemon.control.fast.aim.profile import CAPTURE_DOF, AimProfile
from afdaemon.control.fast.search import next_unread
from afdaemon.control.state import Answer, State
from afdaemon.control.values import Phase, Proposal

_STRIDE = 1.8
"""Stride of the search in capture ranges: the two of neighbouring places overlap."""
_UNCALIBRATED = 0.5
"""Where the angle may be off by a factor of 2, so may the capture range."""
_FACTOR = 4.0
"""From rung to rung: the capture range is four times as long, with a sixteenth of the detail in the same area."""
_KNOWN = 0.8
"""Probability with which the focus must be in view after the climb."""

AimState = State[None]
"""All that the procedure remembers is in the trace."""
AimAnswer = Answer[None]


def look_elsewhere(state: AimState, rules: AimProfile, first: float) -> AimAnswer | None:
    """Down the ladder, to the nearest place not yet read (on the side of `first`), or back up; None if none is left."""
    down = _lower(state, rules)
    if down is not None:
        return go(state, Phase.SEARCH, state.wd_um, down)
    place_um = next_unread(
        [point.wd_um for point in state.rung],
        stride_um=_STRIDE * _capture_um(state.magnification, rules),
        first=first,
        limits=state.limits,
        guess_um=state.guess_um,
    )
    if place_um is not None:
        return go(state, Phase.SEARCH, place_um)
    if state.is_below:
        return go(state, Phase.SEARCH, state.home_um, state.home_magnification)
    return None


def climb(state: AimState, rules: AimProfile, proposal: Proposal) -> AimAnswer | None:
    """From below back to the start magnification, once the focus is known well enough to be seen there; None before."""
    if proposal.belief is None:
        return None
    target_um = state.limits.nearest(state.wd_um + proposal.step_um)
    reach_um = _capture_um(state.home_magnification, rules)
    is_known = proposal.belief.between(target_um - reach_um, target_um + reach_um) > _KNOWN
    return go(state, Phase.SERVO, target_um, state.home_magnification) if is_known else None


def _capture_um(magnification: float, rules: AimProfile) -> float:
    sure = 1.0 if rules.calibrated else _UNCALIBRATED
    return sure * CAPTURE_DOF * rules.dof_um(magnification)


def _lower(state: AimState, rules: AimProfile) -> float | None:
    """The next rung; None if there is none, or if the job has climbed back already."""
    if not rules.ladder or (state.rung_from > 0 and not state.is_below):
        return None
    down = max(math.floor(state.magnification / _FACTOR), rules.lowest_magnification)
    return down if down < state.magnification else None
