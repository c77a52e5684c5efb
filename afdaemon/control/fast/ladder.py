"""The magnification ladder of the fast procedure: the further down, the further a frame sees. Pure.

A depth of focus (DoF) in um is the longer, the lower the magnification. So a job that sees nothing goes down rung by
rung until a frame tells something, looks there for the focus as ever, and climbs to the highest magnification from
which that focus can still be seen. Where it is not seen after all, the job goes down once more, from there. A rung that
shows nothing is left upwards; the last one is where the job began, and there it is an ordinary search.
"""

from dataclasses import replace

from afdaemon.control.fast.profile import FastProfile
from afdaemon.control.published.search import HALVINGS
from afdaemon.control.published.servo import Proposal
from afdaemon.control.state import Answer, State, go
from afdaemon.control.values import Phase

_FACTOR = 4.0
"""From rung to rung."""
_CLIMB = 40.0
"""A focus known to 1 DoF is known to so many this much higher: less than `far_dof`."""
_FEWEST_READINGS = 2
"""One does not tell the sides."""


def is_below(state: State) -> bool:
    """Whether the job stands at a lower magnification than it began at."""
    return state.magnification < state.home_magnification


def goes_on(state: State, rules: FastProfile) -> bool:
    """Whether a job that sees little should look elsewhere at once: below, and on the way there, that costs little."""
    return is_below(state) or (state.began_far and _lower(state, rules) is not None)


def descend(state: State, rules: FastProfile) -> Answer | None:
    """One rung down, where the instrument stands; None where there is none that was not tried."""
    down = _lower(state, rules)
    return None if down is None else go(state, Phase.SEARCH, state.wd_um, down)


def _lower(state: State, rules: FastProfile) -> float | None:
    if not rules.ladder or state.descents_left == 0:
        return None
    down = max(float(round(state.magnification / _FACTOR)), rules.lowest_magnification)
    return down if down < state.magnification else None


def sees_focus(state: State, rules: FastProfile, proposal: Proposal) -> bool:
    """Whether this rung has told enough to climb from it."""
    return (
        len(state.rung) >= _FEWEST_READINGS
        and proposal.at_focus >= rules.sure
        and state.rung[-1].score >= rules.fail_score
    )


def climb(state: State, step_um: float) -> Answer:
    """To where the focus is believed to be, as high as it can still be seen."""
    up = min(float(round(state.magnification * _CLIMB)), state.home_magnification)
    target_um = state.limits.nearest(state.wd_um + step_um)
    return go(replace(state, descents_left=state.descents_left - 1), Phase.SERVO, target_um, up)


def ascend(state: State) -> Answer | None:
    """One rung up and back to the start WD, after this one showed nothing; None at the top."""
    if not is_below(state):
        return None
    up = min(float(round(state.magnification * _FACTOR)), state.home_magnification)
    return go(replace(state, descents_left=0), Phase.SEARCH, state.home_um, up)


def halvings(state: State, rules: FastProfile) -> int:
    """How fine a search is: coarse below, for there is a rung above; but few places are all that the lowest has."""
    is_between = is_below(state) and state.magnification > rules.lowest_magnification
    return 0 if is_between else HALVINGS


def inward(state: State, step_um: float) -> float:
    """The step; at an end of the range one that leads out is turned about: the focus is on the other side.

    Below alone: there the range is but a few steps wide.
    """
    is_stuck = state.limits.nearest(state.wd_um + step_um) == state.wd_um
    return -step_um if is_stuck and is_below(state) else step_um
