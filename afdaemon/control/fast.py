"""The fast procedure: a belief about the defocus, and moves that follow it. Pure; see `machine` for the whole.

Where a frame shows hardly anything, the job looks around first: at the nearest place that it has not seen yet, or at
lower magnifications (`ladder`). A belief is made of the readings at the present magnification alone. Then
each reading makes the belief narrower. The job moves to where the focus most likely is, and stops where the belief is
sure that it stands in focus and AENet agrees. Two readings at a known distance tell how far the focus is and on which
side; the third, there, verifies.
"""

import math
from dataclasses import replace

from afdaemon.control import ladder, search, stop
from afdaemon.control.drift import drift
from afdaemon.control.fast_profile import FastProfile
from afdaemon.control.job_state import Answer, State, adjust, fail, go, read, succeed
from afdaemon.control.servo import Proposal
from afdaemon.control.values import Failed, MoveWd, Phase, ReadingKind, Reason, Refused, TracePoint
from afdaemon.models.defocus_state import dof_um

_PROBABLY, _POSSIBLY = 0.8, 0.2
_BEYOND_HELP = 3
"""After so many readings, all of them saturated, looking elsewhere would not help."""
_AROUND_STRIDES = 1.5
"""How far a job looks around whose first reading told something."""
_LAST_STEP_DOF = 0.1
"""A last step that is shorter is not worth the command."""
_SEEN = 1.0
"""A score that AENet gives to no frame that shows nothing."""
_CLOSE_STRIDES = 3.0
"""How far a job looks closely, in steps of `close_dof`."""
_SAME_PLACE_DOF = 0.05
"""A shorter step is not sent: a reading is taken where the instrument stands."""


def begin(state: State, begin_um: float) -> Answer:
    """The first reading, at `begin_um`."""
    return go(state, Phase.SERVO, begin_um)


def observe(state: State, rules: FastProfile) -> Answer:
    """What follows from the newest reading."""
    here = state.trace[-1]
    if state.phase is Phase.FINISH:
        return _verify(state, rules, here)
    proposal = state.belief([point.reading for point in reversed(state.rung)])
    began_far = state.began_far
    if len(state.trace) == 1:
        began_far = proposal.far > _POSSIBLY and here.score < _SEEN
    state = replace(state, proposal=proposal, began_far=began_far)
    is_far = proposal.far > (_POSSIBLY if ladder.goes_on(state, rules) else _PROBABLY)
    if not proposal.is_finite:
        detail = f"the step law proposed {proposal.step_um} um"
        return fail(state, Failed(reason=Reason.NOT_CONVERGED, detail=detail))
    if ladder.is_below(state):
        if ladder.sees_focus(state, rules, proposal):
            return ladder.climb(state, proposal.step_um)
    elif _is_found(state, rules, proposal):
        return _settle(state, rules, proposal)
    if state.close_looks and here.kind is ReadingKind.SEARCH and here.score < _SEEN:
        return _look_closely(state, rules, proposal.step_um)
    led = _led(state)
    strayed = len(led) >= rules.stray_readings and stop.best_seen(led).score < rules.fail_score
    if is_far or strayed:
        return _search(state, rules, proposal.step_um)
    if len(led) >= rules.most_readings:
        return _give_up(state, rules, proposal.step_um)
    return _move(replace(state, phase=Phase.SERVO), rules, proposal.step_um)


def _is_found(state: State, rules: FastProfile, proposal: Proposal) -> bool:
    """Whether the belief is sure and AENet agrees: no low score, none much higher elsewhere, and something to see."""
    here, best = state.trace[-1], stop.best_seen(state.rung)
    return (
        proposal.at_focus >= rules.sure
        and abs(proposal.step_um) <= rules.near_dof * _unit_um(state, rules)
        and len(state.rung) >= rules.fewest_readings
        and here.score >= max(rules.fail_score, best.score - rules.agreed_drop)
        and stop.is_telling(here, rules)
    )


def _led(state: State) -> tuple[TracePoint, ...]:
    """The readings since the last look around, that one included: those that the belief led to."""
    looks = [n for n, point in enumerate(state.rung) if point.kind is ReadingKind.SEARCH]
    return state.rung[looks[-1] if looks else 0 :]


def refused(state: State, rules: FastProfile, event: Refused) -> Answer:
    """The instrument cannot go to another magnification: the search goes on at the present one."""
    pending = state.pending
    is_up = isinstance(pending, MoveWd) and (pending.magnification or 0.0) > state.magnification
    if is_up:
        return fail(state, Failed(reason=Reason.DEVICE, detail=event.detail))
    return _search(replace(state, descents_left=0), rules, first=0.0)


def _search(state: State, rules: FastProfile, first: float) -> Answer:
    """Look where the focus was the last time, further down the ladder, then at the nearest place not seen yet.

    A job whose first reading told something looks around there alone, and at few places: its focus is not at the other
    end of the range, and where noise hides it, more looks do not show it.
    """
    looks = sum(point.kind is ReadingKind.SEARCH for point in state.trace)
    guess_um, is_below = _guess_um(state), ladder.is_below(state)
    is_anywhere = state.began_far or is_below
    stride_um = rules.stride_dof * _unit_um(state, rules)
    place_um = search.next_unseen(
        [point.wd_um for point in state.rung],
        stride_um=stride_um if rules.calibrated else 0.5 * stride_um,
        first=first,
        reach_um=math.inf if is_anywhere else _AROUND_STRIDES * stride_um,
        limits=state.limits,
        guess_um=guess_um,
        halvings=ladder.halvings(state, rules),
    )
    most_looks = rules.most_search_readings if is_anywhere else rules.most_looks_around
    if _in_vain(state.trace, rules):
        return fail(state, _not_converged(state, rules))
    if looks >= most_looks:
        return _look_closely(state, rules, first)
    lower = ladder.descend(state, rules)
    if lower is not None and (place_um is None or place_um != guess_um):
        return lower
    if place_um is None or _in_vain(state.rung, rules):
        return _give_up(state, rules, first)
    return go(state, Phase.SEARCH, place_um)


def _guess_um(state: State) -> float | None:
    """Where the focus was the last time: for the readings before the ladder alone."""
    return state.start.guess_wd_um if state.start is not None and state.rung_from == 0 else None


def _in_vain(readings: stop.Trace, rules: FastProfile) -> bool:
    return len(readings) >= _BEYOND_HELP and stop.is_saturated(readings, rules)


def _give_up(state: State, rules: FastProfile, first: float) -> Answer:
    """The belief has nothing left to try at this magnification."""
    return ladder.ascend(state) or _look_closely(state, rules, first)


def _look_closely(state: State, rules: FastProfile, first: float) -> Answer:
    """The last resort: verify where AENet alone is sure, else look around where it saw most, or at the start.

    Where noise hides all that is not near focus, places far apart miss it. A focus that runs away is not where it was.
    """
    moved = drift(state.trace, rules.alpha_mrad)
    if ladder.is_below(state) or (moved is not None and moved.is_noticed):
        return fail(state, _not_converged(state, rules))
    best = stop.best_seen(state.rung)
    if best.score >= rules.trusted_score:
        return go(state, Phase.FINISH, best.wd_um)
    stride_um = rules.close_dof * _unit_um(state, rules)
    centre_um = best.wd_um if best.score >= _SEEN else state.home_um
    place_um = search.next_unseen(
        [centre_um, *(point.wd_um for point in state.rung)],
        stride_um=stride_um,
        first=first,
        reach_um=_CLOSE_STRIDES * stride_um,
        limits=state.limits,
        halvings=0,
    )
    if place_um is None or state.close_looks >= rules.most_close_looks:
        return fail(state, _not_converged(state, rules))
    return go(replace(state, close_looks=state.close_looks + 1), Phase.SEARCH, place_um)


def _unit_um(state: State, rules: FastProfile) -> float:
    return dof_um(state.trace[-1].reading.magnification, 1e-3 * rules.alpha_mrad)


def _settle(state: State, rules: FastProfile, proposal: Proposal) -> Answer:
    """End here, unless a place seen before scored clearly higher."""
    here, best = state.trace[-1], stop.best_seen(state.rung)
    if best.wd_um != here.wd_um and best.score > here.score + rules.settle_margin:
        return go(state, Phase.FINISH, best.wd_um)
    why = f"with a probability of {proposal.at_focus:.2f} within 1 DoF"
    target_um = state.limits.nearest(state.wd_um + proposal.step_um)
    if abs(target_um - state.wd_um) < _LAST_STEP_DOF * _unit_um(state, rules):
        return succeed(state, here, why)
    return adjust(state, target_um, why)


def _verify(state: State, rules: FastProfile, here: TracePoint) -> Answer:
    promised = stop.latest_at(state.trace[:-1], here.wd_um)
    least = rules.fail_score if promised is None else promised.score - rules.agreed_drop
    if here.score >= max(rules.fail_score, least) and stop.is_telling(here, rules):
        return succeed(state, here, "at the best score seen")
    return fail(state, _not_converged(state, rules))


def _move(state: State, rules: FastProfile, step_um: float) -> Answer:
    unit_um, step_um = _unit_um(state, rules), ladder.inward(state, step_um)
    most_um = rules.most_step_dof * unit_um
    target_um = state.limits.nearest(state.wd_um + min(max(step_um, -most_um), most_um))
    if abs(target_um - state.wd_um) < _SAME_PLACE_DOF * unit_um:
        return read(state)
    return go(state, Phase.SERVO, target_um)


def _not_converged(state: State, rules: FastProfile) -> Failed:
    best = stop.best_seen(state.rung)
    detail = (
        f"after {len(state.trace)} readings the focus is not certain; the best score was"
        f" {best.score:.2f} at {best.wd_um:g} um{stop.flaws(state.trace, rules)}"
    )
    otherwise = Reason.NOT_FOUND if best.score < rules.fail_score else Reason.NOT_CONVERGED
    return Failed(reason=stop.diagnose(state.rung, rules, otherwise), detail=detail)
