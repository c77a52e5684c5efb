"""The fast procedure: a posterior over the defocus, and moves that follow it. Pure; see `machine` for the whole.

Where a frame shows hardly anything, the job searches first: at the nearest place that it has not read yet, or at lower
magnifications (`ladder`). The posterior uses only the readings at the present magnification, and each one narrows it.
The job moves to where the focus most likely is, and stops once the posterior is confident that this is focus and AENet
agrees. Two readings a known distance apart show how far away the focus is and on which side; the third, there,
verifies.
"""

import math
from dataclasses import dataclass, replace
from typing import Self

from afdaemon.control import evidence
from afdaemon.control.answers import adjust, fail, go, read, succeed
from afdaemon.control.fast import ladder, last_resort
from afdaemon.control.fast.last_resort import is_trace_of_focus
from afdaemon.control.fast.law import FocusLaw
from afdaemon.control.fast.posterior import enough, suffices
from afdaemon.control.fast.profile import FastProfile
from afdaemon.control.fast.search import next_unread
from afdaemon.control.fast.state import (
    FastAnswer,
    FastMemory,
    FastState,
    remember,
    unit_um,
    within,
)
from afdaemon.control.values import (
    Failed,
    Phase,
    Proposal,
    ReadingKind,
    Reason,
    Refused,
    TracePoint,
)
from afdaemon.words import probability

_PROBABLY, _EVENLY, _POSSIBLY = 0.8, 0.5, 0.2
"""Probability of a focus out of capture range above which a job searches instead of following the posterior.

After a frame that shows something; after a blank one; and where a search costs little, on a ladder. Searching too soon
costs readings; searching too late means following an uninformed posterior (ADR 0010, ADR 0015).
"""
BEYOND_HELP = 3
"""After this many readings, all of them saturated or covered, searching elsewhere would not help."""
_LOOKS = 2
"""So many doubted readings in a row, and another look would be doubted too."""
_LOCAL_STRIDES = 1.5
"""How far a job searches whose first reading was informative: its focus is not at the other end of the range."""
LAST_STEP_DOF = 0.1
"""A last step shorter than this is not worth the command: it sharpens nothing, and the lens has hysteresis."""
SAME_PLACE_DOF = 0.05
"""A step shorter than this is not sent: a reading is taken where the instrument stands."""
_NEARBY_DOF, _BESIDE_DOF = 0.3, 2.0
"""Another frame within .3 DoF adds little to the last one, so it is taken 2 DoF to the side instead."""
_INFORMATIVE_DOF = 4.0
"""Readings within this distance say most about where the focus lies: the score is above a fifth of its maximum."""


@dataclass(frozen=True, slots=True)
class FastProcedure:
    """The fast procedure with its parameters and its law; see `afdaemon.control.state.Procedure`."""

    profile: FastProfile
    law: FocusLaw

    def fresh(self) -> FastMemory:
        """What it remembers of a job that has not begun."""
        return FastMemory()

    def begin(self, state: FastState, begin_um: float) -> FastAnswer:
        """The first reading, at `begin_um`."""
        return go(state, Phase.SERVO, begin_um)

    def observe(self, state: FastState) -> FastAnswer:
        """What follows from the newest reading."""
        rules, here = self.profile, state.trace[-1]
        verdict = _verify(state, rules, here) if state.phase is Phase.FINISH else None
        if verdict is not None:
            return verdict
        # readings further away say nothing about this place
        told = within(state, rules, rules.most_step_dof)
        proposal = self.law([point.reading for point in reversed(told)])
        was_at_peak = state.own.at_peak is not None
        state = remember(replace(state, proposal=proposal), at_peak=None)
        if len(state.trace) == 1:
            state = remember(state, began_far=_is_far(here, proposal, rules))
        if not proposal.is_finite:
            detail = f"the step law proposed {proposal.step_um} um"
            return fail(state, Failed(reason=Reason.NOT_CONVERGED, detail=detail))
        return _decide(state, rules, proposal, was_at_peak=was_at_peak)

    def refused(self, state: FastState, event: Refused) -> FastAnswer:
        """The instrument cannot go to another magnification: the search goes on at the present one."""
        if state.is_climbing:
            return fail(state, Failed(reason=Reason.DEVICE, detail=event.detail))
        return _search(remember(state, descents_left=0), self.profile, first=0.0)

    def most_readings(self, state: FastState) -> int:
        """The largest possible number of readings at the end of the present phase."""
        match state.phase:
            case Phase.SEARCH:
                return 1
            case Phase.SERVO:
                return state.rung_from + self.profile.most_readings
            case _:
                return len(state.trace) + (state.phase in (Phase.FINISH, Phase.CONFIRM))

    def lowest_magnification(self, home: float) -> float:
        """The end of the ladder."""
        return min(self.profile.lowest_magnification, home)

    def answering(self, proposal: Proposal) -> Self:
        """The same with a law that gives this answer."""
        return replace(self, law=lambda _readings: proposal)


def _decide(
    state: FastState, rules: FastProfile, proposal: Proposal, *, was_at_peak: bool
) -> FastAnswer:
    """What follows from a reading that does not end the job by itself."""
    here = state.trace[-1]
    if state.is_below:
        if ladder.sees_focus(state, rules, proposal):
            return ladder.climb(state, proposal.step_um)
    elif _is_found(state, rules, proposal):
        return _settle(state, rules, proposal)
    elif _is_found_in_doubt(state, rules, proposal):
        return fail(state, evidence.not_converged(state.trace, state.rung, rules))
    if was_at_peak and here.score < rules.fail_score:
        to_peak = last_resort.seek_peak(state, rules)
        return to_peak or _search(state, rules, proposal.step_um)
    is_search_step = here.kind is ReadingKind.SEARCH and not was_at_peak
    if is_search_step and state.own.close_steps and not is_trace_of_focus(here, rules):
        return last_resort.search_closely(state, rules, proposal.step_um)
    return _follow(state, rules, proposal)


def _is_far(here: TracePoint, proposal: Proposal, rules: FastProfile) -> bool:
    """Whether a first reading shows hardly anything of the focus, by spectrum and by score, which may be uncertain."""
    if proposal.out_of_capture > _PROBABLY and evidence.may_be_noise(here):
        return True
    is_empty = proposal.out_of_capture > _POSSIBLY or not evidence.is_informative(here, rules)
    return is_empty and not is_trace_of_focus(here, rules)


def _follow(state: FastState, rules: FastProfile, proposal: Proposal) -> FastAnswer:
    """Go where the posterior leads, unless it has led astray."""
    most_far = _PROBABLY if evidence.is_informative(state.trace[-1], rules) else _EVENLY
    is_far = proposal.out_of_capture > (_POSSIBLY if ladder.goes_on(state, rules) else most_far)
    led = _led(state)
    strayed = len(led) >= rules.stray_readings and all(
        point.score < rules.fail_score or not evidence.is_informative(point, rules) for point in led
    )
    to_peak = last_resort.seek_peak(state, rules) if strayed and not is_far else None
    if to_peak is not None:
        return to_peak
    if is_far or strayed:
        return _search(state, rules, proposal.step_um)
    if len(led) >= rules.most_readings:
        return _give_up(state, rules, proposal.step_um)
    return _move(replace(state, phase=Phase.SERVO), rules, proposal)


def _is_found(state: FastState, rules: FastProfile, proposal: Proposal) -> bool:
    """Whether the posterior is sure and AENet agrees: no low score, none much higher elsewhere, and detail to see."""
    here, informative = state.trace[-1], evidence.may_be_in_focus(state.rung, rules)
    if here not in informative or not _is_sure(state, rules, proposal):
        return False
    best = evidence.best_seen(informative)
    return here.score >= max(rules.fail_score, best.score - rules.agreed_drop)


def _is_found_in_doubt(state: FastState, rules: FastProfile, proposal: Proposal) -> bool:
    """Whether this would be the focus, if one could believe it: a third look at it would tell no more than two."""
    is_believed = any(evidence.is_trusted(point) for point in state.rung[-_LOOKS:])
    is_high = state.trace[-1].score >= rules.fail_score
    return not is_believed and is_high and _is_sure(state, rules, proposal)


def _is_sure(state: FastState, rules: FastProfile, proposal: Proposal) -> bool:
    """Whether the posterior is confident that the focus is here.

    Readings out of capture range do not count: they do not show on which side the focus lies.
    """
    near_um = rules.near_dof * unit_um(state, rules)
    near = within(state, rules, rules.capture_range_dof)
    is_seen_twice = len(within(state, rules, _INFORMATIVE_DOF)) > 1
    is_confident = suffices(proposal.confidence, proposal.step_um, near_um, len(near), rules)
    return bool(is_confident) and (is_seen_twice or not state.own.began_far)


def _led(state: FastState) -> tuple[TracePoint, ...]:
    """The readings since the last search step, that one included: those that the posterior led to."""
    steps = [n for n, point in enumerate(state.rung) if point.kind is ReadingKind.SEARCH]
    return state.rung[steps[-1] if steps else 0 :]


def _search(state: FastState, rules: FastProfile, first: float) -> FastAnswer:
    """Read where the focus was last time, then further down the ladder, then at the nearest place not yet read.

    A job whose first reading was informative searches only near it, and at few places: its focus is not at the other
    end of the range, and if noise hides it, more search steps would not reveal it.
    """
    steps = sum(p.kind is ReadingKind.SEARCH for p in state.trace) - state.own.peak_steps
    guess_um, is_below = state.guess_um, state.is_below
    is_anywhere = state.own.began_far or is_below
    stride_um = rules.stride_dof * unit_um(state, rules)
    place_um = next_unread(
        [point.wd_um for point in state.rung],
        stride_um=stride_um if rules.calibrated else 0.5 * stride_um,
        first=first,
        reach_um=math.inf if is_anywhere else _LOCAL_STRIDES * stride_um,
        limits=state.limits,
        guess_um=guess_um,
        halvings=ladder.halvings(state, rules),
    )
    most_steps = rules.most_search_readings if is_anywhere else rules.most_local_steps
    if _in_vain(state.trace, rules):
        return fail(state, evidence.not_converged(state.trace, state.rung, rules))
    if steps >= most_steps:
        return last_resort.search_closely(state, rules, first)
    lower = ladder.descend(state, rules)
    if lower is not None and (place_um is None or place_um != guess_um):
        return lower
    if place_um is None or _in_vain(state.rung, rules):
        return _give_up(state, rules, first)
    return go(state, Phase.SEARCH, place_um)


def _in_vain(readings: evidence.Trace, rules: FastProfile) -> bool:
    return len(readings) >= BEYOND_HELP and evidence.hidden_by(readings, rules) is not None


def _give_up(state: FastState, rules: FastProfile, first: float) -> FastAnswer:
    """The posterior leads nowhere else at this magnification."""
    return ladder.ascend(state) or last_resort.search_closely(state, rules, first)


def _settle(state: FastState, rules: FastProfile, proposal: Proposal) -> FastAnswer:
    """End here, unless an earlier place scored clearly higher, or the start is as good and as close."""
    here, best = state.trace[-1], evidence.best_informative(state.rung, rules)
    if best.wd_um != here.wd_um and best.score > here.score + rules.settle_margin:
        return go(state, Phase.FINISH, best.wd_um)
    why = f"within 1 depth of focus, {probability(proposal.confidence)}"
    target_um = state.limits.nearest(state.wd_um + proposal.step_um)
    home = evidence.latest_at(state.rung, state.home_um)
    if home is not None and home.score >= here.score - rules.settle_margin:
        tie_um = unit_um(state, rules) * proposal.dof_scale
        target_um = home.wd_um if abs(target_um - home.wd_um) <= tie_um else target_um
    if abs(target_um - state.wd_um) < LAST_STEP_DOF * unit_um(state, rules):
        return succeed(state, here, why)
    return adjust(state, target_um, why)


def _verify(state: FastState, rules: FastProfile, here: TracePoint) -> FastAnswer | None:
    """The end; None if the best place seen is blurred by now and the posterior, which had led close by, may go on."""
    if state.own.at_peak is not None:
        return last_resort.verify(state, state.own.at_peak, rules, here)
    promised = evidence.latest_at(state.trace[:-1], here.wd_um)
    least = rules.fail_score if promised is None else promised.score - rules.agreed_drop
    may_be = here in evidence.may_be_in_focus(state.rung, rules)
    if here.score >= max(rules.fail_score, least) and may_be:
        return succeed(state, here, "at the best score seen")
    was_close = state.trace[-2] in within(state, rules, _INFORMATIVE_DOF)
    if was_close and len(_led(state)) < rules.most_readings:
        return None
    return fail(state, evidence.not_converged(state.trace, state.rung, rules))


def _move(state: FastState, rules: FastProfile, proposal: Proposal) -> FastAnswer:
    dof_um, step_um = unit_um(state, rules), ladder.inward(state, proposal.step_um)
    if abs(step_um) < _NEARBY_DOF * dof_um and _needs_another_view(state, rules, proposal):
        step_um = _beside(state, dof_um)
    most_um = rules.most_step_dof * dof_um
    target_um = state.limits.nearest(state.wd_um + min(max(step_um, -most_um), most_um))
    if abs(target_um - state.wd_um) < SAME_PLACE_DOF * dof_um:
        return read(state)
    return go(state, Phase.SERVO, target_um)


def _needs_another_view(state: FastState, rules: FastProfile, proposal: Proposal) -> bool:
    """Whether a lack of confidence keeps the job from stopping, not just the number of readings."""
    near = within(state, rules, rules.capture_range_dof)
    is_unsure = proposal.confidence < float(enough(len(near), rules))
    return len(near) > 1 and (state.own.began_far or is_unsure)


def _beside(state: FastState, dof_um: float) -> float:
    """A step to the side with fewer readings, or the one that the limits leave (um)."""
    apart = [p.wd_um - state.wd_um for p in state.rung]
    near = [a for a in apart if 0.5 * dof_um < abs(a) < 2.0 * _INFORMATIVE_DOF * dof_um]
    step_um = -math.copysign(_BESIDE_DOF * dof_um, sum(math.copysign(1.0, a) for a in near))
    return step_um if state.limits.within(state.wd_um + step_um) else -step_um
