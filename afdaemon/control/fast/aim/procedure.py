"""The procedure with one posterior: everything read is one set, one rule decides what follows. Pure; see `machine`.

A reading is added to the set; the posterior over the whole range says where the focus lies, and the rule of least
expected loss (see `rule`) where to read next, or that the job may end. What the posterior does not decide: limits,
dose, frames that show nothing or are hidden, and that a success rests on a reading that is trusted, shows something,
and has about as much contrast as any other of the job.
"""

import math
from dataclasses import dataclass, replace
from typing import Self

from afdaemon.control import evidence
from afdaemon.control.answers import adjust, fail, go, read, succeed
from afdaemon.control.fast.aim.law import AimLaw
from afdaemon.control.fast.aim.profile import AimProfile
from afdaemon.control.fast.aim.rivals import unseen_rival
from afdaemon.control.fast.aim.rule import VERIFIED_DOF
from afdaemon.control.fast.aim.search import AimAnswer, AimState, climb, look_elsewhere
from afdaemon.control.fast.procedure import BEYOND_HELP, LAST_STEP_DOF, SAME_PLACE_DOF
from afdaemon.control.values import Failed, Phase, Proposal, Reason, Refused, TracePoint
from afdaemon.words import probability

_PROBABLY = 0.8
"""Probability above which something is said to be so."""
_READINGS_PER_MISS = 1.5
"""After this many times `miss_cost` readings that showed something, a job has lost more than a miss costs."""


@dataclass(frozen=True, slots=True)
class AimProcedure:
    """The procedure with its parameters and its law; see `afdaemon.control.state.Procedure`."""

    profile: AimProfile
    law: AimLaw

    def fresh(self) -> None:
        """Nothing."""

    def begin(self, state: AimState, begin_um: float) -> AimAnswer:
        """The first reading, at `begin_um`."""
        return go(state, Phase.SERVO, begin_um)

    def observe(self, state: AimState) -> AimAnswer:
        """What follows from the newest reading."""
        rules = self.profile
        newest_first = [point.reading for point in reversed(state.rung)]
        proposal = self.law(newest_first, state.limits.allowed)
        state = replace(state, proposal=proposal)
        if not proposal.is_finite:
            detail = f"the law proposed {proposal}"
            return fail(state, Failed(reason=Reason.NOT_CONVERGED, detail=detail))
        why_not = _gives_up(state, rules)
        if why_not is not None:
            return fail(state, why_not)
        if state.is_below:
            return climb(state, rules, proposal) or _read_on(state, rules, proposal)
        return (
            _settled(state, rules, proposal)
            or _out_of_range(state, rules, proposal)
            or _read_on(state, rules, proposal)
        )

    def refused(self, state: AimState, event: Refused) -> AimAnswer:
        """The instrument cannot go to another magnification: the search goes on at the present one."""
        if state.is_climbing:
            return fail(state, Failed(reason=Reason.DEVICE, detail=event.detail))
        here = replace(self, profile=replace(self.profile, ladder=False))
        return _look_elsewhere(replace(state, procedure=here), here.profile, 0.0)

    def most_readings(self, state: AimState) -> int:
        """The largest possible number of readings of a job."""
        return self.profile.most_search_readings + _most_telling(self.profile)

    def lowest_magnification(self, home: float) -> float:
        """The end of the ladder."""
        return min(self.profile.lowest_magnification, home)

    def answering(self, proposal: Proposal) -> Self:
        """The same with a law that gives this answer."""
        return replace(self, law=lambda _readings, _allowed: proposal)


def _most_telling(rules: AimProfile) -> int:
    return round(_READINGS_PER_MISS * rules.miss_cost)


def _gives_up(state: AimState, rules: AimProfile) -> Failed | None:
    """Why a job ends without focus; None if it goes on. One that began with something to see never wanders far."""
    tells = [_tells(point, rules) for point in state.trace]
    most_silent = _most_telling(rules) if tells[0] else rules.most_search_readings
    too_many = sum(tells) > _most_telling(rules) or len(tells) - sum(tells) >= most_silent
    is_hidden = evidence.hidden_by(state.trace, rules) is not None
    in_vain = len(state.trace) >= BEYOND_HELP and is_hidden
    return evidence.not_converged(state.trace, state.rung, rules) if in_vain or too_many else None


def _tells(point: TracePoint, rules: AimProfile) -> bool:
    return evidence.is_informative(point, rules) and not evidence.may_be_noise(point)


def _settled(state: AimState, rules: AimProfile, proposal: Proposal) -> AimAnswer | None:
    """The end in focus; None where one more reading is worth its cost, or what was read forbids it."""
    if rules.miss_cost * (1.0 - proposal.confidence) > 1.0:
        return None
    unit_um = rules.dof_um(state.magnification)
    target_um = state.limits.nearest(state.wd_um + proposal.step_um)
    close = [
        point for point in state.rung if abs(point.wd_um - target_um) <= VERIFIED_DOF * unit_um
    ]
    if not close or not _holds(close[-1], state, rules):
        return None
    rival_um = unseen_rival(state.rung, close[-1], unit_um * proposal.dof_scale, state.limits)
    if rival_um is not None:
        return go(state, Phase.FINISH, rival_um)
    if abs(target_um - state.wd_um) > VERIFIED_DOF * unit_um:
        return go(state, Phase.FINISH, target_um)
    why = f"within 1 depth of focus, {probability(proposal.confidence)}"
    if abs(target_um - state.wd_um) < LAST_STEP_DOF * unit_um:
        return succeed(state, close[-1], why)
    return adjust(state, target_um, why)


def _holds(point: TracePoint, state: AimState, rules: AimProfile) -> bool:
    """Whether a success may rest on a reading."""
    return point in evidence.may_be_in_focus(state.rung, rules) and point.score >= rules.fail_score


def _out_of_range(state: AimState, rules: AimProfile, proposal: Proposal) -> AimAnswer | None:
    """The end of a job that has looked at a limit, and is led beyond it."""
    belief, allowed = proposal.belief, state.limits.allowed
    if belief is None:
        return None
    sides = (
        ("lower", allowed.lo_um, (-math.inf, allowed.lo_um)),
        ("upper", allowed.hi_um, (allowed.hi_um, math.inf)),
    )
    for named, limit_um, beyond in sides:
        has_looked = any(
            abs(point.wd_um - limit_um) <= rules.dof_um(state.magnification) for point in state.rung
        )
        if has_looked and belief.between(*beyond) > _PROBABLY:
            away_um = abs(belief.mean_um(*beyond) - limit_um)
            detail = (
                f"the focus probably lies about {away_um:.0f} um beyond the {named} limit, {limit_um:g} um: move the"
                " specimen or the limit"
            )
            return fail(state, Failed(reason=Reason.OUT_OF_RANGE, detail=detail))
    return None


def _read_on(state: AimState, rules: AimProfile, proposal: Proposal) -> AimAnswer:
    if proposal.out_of_capture > _PROBABLY:
        return _look_elsewhere(state, rules, proposal.step_um)
    unit_um = rules.dof_um(state.magnification)
    target_um = state.limits.nearest(state.wd_um + proposal.read_step_um)
    state = replace(state, phase=Phase.SERVO)
    if abs(target_um - state.wd_um) < SAME_PLACE_DOF * unit_um:
        return read(state)
    return go(state, Phase.SERVO, target_um)


def _look_elsewhere(state: AimState, rules: AimProfile, first: float) -> AimAnswer:
    there = look_elsewhere(state, rules, first)
    return there or fail(state, evidence.not_converged(state.trace, state.rung, rules))
