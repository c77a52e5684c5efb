"""The fast procedure: a belief about the defocus, and moves that follow it. Pure; see `machine` for the whole.

Where a frame shows hardly anything, the job looks around first: at the nearest place that it has not seen yet, or at
lower magnifications (`ladder`). A belief is made of the readings at the present magnification alone. Then
each reading makes the belief narrower. The job moves to where the focus most likely is, and stops where the belief is
sure that it stands in focus and AENet agrees. Two readings at a known distance tell how far the focus is and on which
side; the third, there, verifies.
"""

import math
from dataclasses import replace

from afdaemon.control import evidence
from afdaemon.control.fast import ladder, last_resort
from afdaemon.control.fast.last_resort import assumed_dof_um, not_converged, shows_something
from afdaemon.control.fast.posterior import sure_enough
from afdaemon.control.fast.profile import FastProfile
from afdaemon.control.published import search
from afdaemon.control.published.servo import Proposal
from afdaemon.control.state import Answer, State, adjust, fail, go, read, succeed
from afdaemon.control.values import (
    Failed,
    MoveWd,
    Phase,
    ReadingKind,
    Reason,
    Refused,
    TracePoint,
)

_PROBABLY, _EVENLY, _POSSIBLY = 0.8, 0.5, 0.2
_BEYOND_HELP = 3
"""After so many readings, all of them saturated, looking elsewhere would not help."""
_AROUND_STRIDES = 1.5
"""How far a job looks around whose first reading told something."""
_LAST_STEP_DOF = 0.1
"""A last step that is shorter is not worth the command."""
_SAME_PLACE_DOF = 0.05
"""A shorter step is not sent: a reading is taken where the instrument stands."""
_NEARBY_DOF, _BESIDE_DOF = 0.3, 2.0
"""A belief that is not sure here learns little from another frame within the one; so it reads the other away."""
_TELLING_DOF = 4.0
"""Within it readings tell most of the place of the focus."""


def begin(state: State, begin_um: float) -> Answer:
    """The first reading, at `begin_um`."""
    return go(state, Phase.SERVO, begin_um)


def observe(state: State, rules: FastProfile) -> Answer:
    """What follows from the newest reading."""
    here = state.trace[-1]
    verdict = _verify(state, rules, here) if state.phase is Phase.FINISH else None
    if verdict is not None:
        return verdict
    # looks further away say nothing of this place
    told = _within(state, rules, rules.most_step_dof)
    proposal = state.belief([point.reading for point in reversed(told)])
    began_far = state.began_far
    if len(state.trace) == 1:
        began_far = _is_far(here, proposal, rules)
    was_at_peak = state.at_peak is not None
    state = replace(state, proposal=proposal, began_far=began_far, at_peak=None)
    if not proposal.is_finite:
        detail = f"the step law proposed {proposal.step_um} um"
        return fail(state, Failed(reason=Reason.NOT_CONVERGED, detail=detail))
    if ladder.is_below(state):
        if ladder.sees_focus(state, rules, proposal):
            return ladder.climb(state, proposal.step_um)
    elif _is_found(state, rules, proposal):
        return _settle(state, rules, proposal)
    if was_at_peak and here.score < rules.fail_score:
        return last_resort.climb(state, rules) or _search(state, rules, proposal.step_um)
    is_look = here.kind is ReadingKind.SEARCH and not was_at_peak
    if is_look and state.close_looks and not shows_something(here, rules):
        return last_resort.look_closely(state, rules, proposal.step_um)
    return _follow(state, rules, proposal)


def _is_far(here: TracePoint, proposal: Proposal, rules: FastProfile) -> bool:
    """Whether a first reading shows hardly anything of the focus: by spectrum and score, which may be unsure."""
    if proposal.far > _PROBABLY and evidence.may_be_noise(here):
        return True
    is_empty = proposal.far > _POSSIBLY or not evidence.is_telling(here, rules)
    return is_empty and not shows_something(here, rules)


def _within(state: State, rules: FastProfile, most_dof: float) -> list[TracePoint]:
    """The readings at this magnification that lie no further than that from the newest."""
    here_um, most_um = state.trace[-1].wd_um, most_dof * assumed_dof_um(state, rules)
    return [point for point in state.rung if abs(point.wd_um - here_um) <= most_um]


def _follow(state: State, rules: FastProfile, proposal: Proposal) -> Answer:
    """Where the belief leads, unless it has led astray."""
    most_far = _PROBABLY if evidence.is_telling(state.trace[-1], rules) else _EVENLY
    is_far = proposal.far > (_POSSIBLY if ladder.goes_on(state, rules) else most_far)
    led = _led(state)
    strayed = len(led) >= rules.stray_readings and all(
        point.score < rules.fail_score or not evidence.is_telling(point, rules) for point in led
    )
    climbing = last_resort.climb(state, rules) if strayed and not is_far else None
    if climbing is not None:
        return climbing
    if is_far or strayed:
        return _search(state, rules, proposal.step_um)
    if len(led) >= rules.most_readings:
        return _give_up(state, rules, proposal.step_um)
    return _move(replace(state, phase=Phase.SERVO), rules, proposal)


def _is_found(state: State, rules: FastProfile, proposal: Proposal) -> bool:
    """Whether the belief is sure and AENet agrees: no low score, none much higher elsewhere, and something to see.

    Readings too far away to show anything do not count: they cannot tell the sides.
    """
    here, telling = state.trace[-1], evidence.may_be_in_focus(state.rung, rules)
    if here not in telling:
        return False
    unit_um = assumed_dof_um(state, rules)
    near = _within(state, rules, rules.far_dof)
    is_seen_twice = len(_within(state, rules, _TELLING_DOF)) > 1
    return (
        _is_sure(proposal, near, rules)
        and abs(proposal.step_um) <= rules.near_dof * unit_um
        and len(near) >= rules.fewest_readings
        and (is_seen_twice or not state.began_far)
        and here.score
        >= max(rules.fail_score, evidence.best_seen(telling).score - rules.agreed_drop)
    )


def _is_sure(proposal: Proposal, near: list[TracePoint], rules: FastProfile) -> bool:
    return proposal.at_focus >= float(sure_enough(len(near), rules))


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
    looks = sum(p.kind is ReadingKind.SEARCH for p in state.trace) - state.peak_looks
    guess_um, is_below = _guess_um(state), ladder.is_below(state)
    is_anywhere = state.began_far or is_below
    stride_um = rules.stride_dof * assumed_dof_um(state, rules)
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
        return fail(state, not_converged(state, rules))
    if looks >= most_looks:
        return last_resort.look_closely(state, rules, first)
    lower = ladder.descend(state, rules)
    if lower is not None and (place_um is None or place_um != guess_um):
        return lower
    if place_um is None or _in_vain(state.rung, rules):
        return _give_up(state, rules, first)
    return go(state, Phase.SEARCH, place_um)


def _guess_um(state: State) -> float | None:
    """Where the focus was the last time: for the readings before the ladder alone."""
    return state.start.guess_wd_um if state.start is not None and state.rung_from == 0 else None


def _in_vain(readings: evidence.Trace, rules: FastProfile) -> bool:
    return len(readings) >= _BEYOND_HELP and evidence.is_saturated(readings, rules)


def _give_up(state: State, rules: FastProfile, first: float) -> Answer:
    """The belief has nothing left to try at this magnification."""
    return ladder.ascend(state) or last_resort.look_closely(state, rules, first)


def _settle(state: State, rules: FastProfile, proposal: Proposal) -> Answer:
    """End here, unless a place seen before scored clearly higher, or the start is as good and as close."""
    here, best = state.trace[-1], evidence.best_telling(state.rung, rules)
    if best.wd_um != here.wd_um and best.score > here.score + rules.settle_margin:
        return go(state, Phase.FINISH, best.wd_um)
    why = f"with a probability of {proposal.at_focus:.2f} within 1 DoF"
    target_um = state.limits.nearest(state.wd_um + proposal.step_um)
    home = evidence.latest_at(state.rung, state.home_um)
    if home is not None and home.score >= here.score - rules.settle_margin:
        tie_um = assumed_dof_um(state, rules) * proposal.dof_scale
        target_um = home.wd_um if abs(target_um - home.wd_um) <= tie_um else target_um
    if abs(target_um - state.wd_um) < _LAST_STEP_DOF * assumed_dof_um(state, rules):
        return succeed(state, here, why)
    return adjust(state, target_um, why)


def _verify(state: State, rules: FastProfile, here: TracePoint) -> Answer | None:
    """The end; None where the best place seen is blurred by now and the belief, which led close by, may go on."""
    if state.at_peak is not None:
        return last_resort.verify(state, state.at_peak, rules, here)
    promised = evidence.latest_at(state.trace[:-1], here.wd_um)
    least = rules.fail_score if promised is None else promised.score - rules.agreed_drop
    may_be = here in evidence.may_be_in_focus(state.rung, rules)
    if here.score >= max(rules.fail_score, least) and may_be:
        return succeed(state, here, "at the best score seen")
    was_close = state.trace[-2] in _within(state, rules, _TELLING_DOF)
    if was_close and len(_led(state)) < rules.most_readings:
        return None
    return fail(state, not_converged(state, rules))


def _move(state: State, rules: FastProfile, proposal: Proposal) -> Answer:
    unit_um, step_um = assumed_dof_um(state, rules), ladder.inward(state, proposal.step_um)
    if abs(step_um) < _NEARBY_DOF * unit_um and _needs_another_view(state, rules, proposal):
        step_um = _beside(state, unit_um)
    most_um = rules.most_step_dof * unit_um
    target_um = state.limits.nearest(state.wd_um + min(max(step_um, -most_um), most_um))
    if abs(target_um - state.wd_um) < _SAME_PLACE_DOF * unit_um:
        return read(state)
    return go(state, Phase.SERVO, target_um)


def _needs_another_view(state: State, rules: FastProfile, proposal: Proposal) -> bool:
    """Whether what keeps the belief from stopping is that it is not sure, rather than the number of readings alone."""
    near = _within(state, rules, rules.far_dof)
    return len(near) > 1 and (state.began_far or not _is_sure(proposal, near, rules))


def _beside(state: State, unit_um: float) -> float:
    """A step to the side with fewer readings, or the one that the limits leave (um)."""
    apart = [p.wd_um - state.wd_um for p in state.rung]
    near = [a for a in apart if 0.5 * unit_um < abs(a) < 2.0 * _TELLING_DOF * unit_um]
    step_um = -math.copysign(_BESIDE_DOF * unit_um, sum(math.copysign(1.0, a) for a in near))
    return step_um if state.limits.within(state.wd_um + step_um) else -step_um
