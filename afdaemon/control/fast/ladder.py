"""The magnification ladder of the fast procedure: the lower the magnification, the longer the capture range. Pure.

The lower the magnification, the longer is a depth of focus (DoF) in um. So a job that sees nothing goes down rung by
rung until a frame shows something, finds the focus there as usual, and climbs to the highest magnification at which
that focus should still be in capture range. If it is not, the job goes down once more, from there. From a rung that
shows nothing the job climbs to the next one up; back at the start magnification, it searches as without a ladder.

ASSUMED: the best WD is the same at all magnifications, and so are brightness and contrast.
"""

from afdaemon.control.answers import go
from afdaemon.control.fast.profile import FastProfile
from afdaemon.control.fast.search import HALVINGS
from afdaemon.control.fast.state import FastAnswer, FastState, remember
from afdaemon.control.values import Phase, Proposal

_FACTOR = 4.0
"""From rung to rung: the capture range is four times as long, with a sixteenth of the detail in the same area."""
_CLIMB = 40.0
"""A focus known to 1 DoF is known to this many DoF after the longest climb: less than the capture range."""
_FEWEST_READINGS = 2
"""A single one does not show on which side the focus lies."""


def goes_on(state: FastState, rules: FastProfile) -> bool:
    """Whether a job that sees little should search on at once: below, and on the way there, that costs little."""
    return state.is_below or (state.own.began_far and _lower(state, rules) is not None)


def descend(state: FastState, rules: FastProfile) -> FastAnswer | None:
    """One rung down, at the present WD; None if there is none left to try."""
    down = _lower(state, rules)
    return None if down is None else go(state, Phase.SEARCH, state.wd_um, down)


def _lower(state: FastState, rules: FastProfile) -> float | None:
    if not rules.ladder or state.own.descents_left == 0:
        return None
    down = max(float(round(state.magnification / _FACTOR)), rules.lowest_magnification)
    return down if down < state.magnification else None


def sees_focus(state: FastState, rules: FastProfile, proposal: Proposal) -> bool:
    """Whether this rung has shown enough to climb from it."""
    return (
        len(state.rung) >= _FEWEST_READINGS
        and proposal.confidence >= rules.confidence
        and state.rung[-1].score >= rules.fail_score
    )


def climb(state: FastState, step_um: float) -> FastAnswer:
    """To where the focus most likely lies, at the highest magnification at which it should be in capture range."""
    up = min(float(round(state.magnification * _CLIMB)), state.home_magnification)
    target_um = state.limits.nearest(state.wd_um + step_um)
    state = remember(state, descents_left=state.own.descents_left - 1)
    return go(state, Phase.SERVO, target_um, up)


def ascend(state: FastState) -> FastAnswer | None:
    """One rung up and back to the start WD, after this one showed nothing; None at the top."""
    if not state.is_below:
        return None
    up = min(float(round(state.magnification * _FACTOR)), state.home_magnification)
    return go(remember(state, descents_left=0), Phase.SEARCH, state.home_um, up)


def halvings(state: FastState, rules: FastProfile) -> int:
    """How fine a search is: coarse below, where more rungs follow, but fine on the lowest, which has few places."""
    is_between = state.is_below and state.magnification > rules.lowest_magnification
    return 0 if is_between else HALVINGS


def inward(state: FastState, step_um: float) -> float:
    """The step; at an end of the range, one that leads out is reversed: the focus is on the other side.

    Only below the start magnification: there the range is just a few steps wide.
    """
    is_stuck = state.limits.nearest(state.wd_um + step_um) == state.wd_um
    return -step_um if is_stuck and state.is_below else step_um
