"""The procedure with one posterior: everything read is one set, one rule decides what follows. Pure; see `machine`.

A reading is added to the set; the posterior over the whole range says where the focus lies, and the rule of least
expected loss (see `rule`) where to read next, or that the job may end. What the posterior does not decide: limits,
dose, frames that show nothing or are hidden, and that a success rests on a reading that is trusted, shows something,
and has about as much contrast as any other of the job.
"""

from dataclasses import dataclass, replace
from typing import Self

from afdaemon.control import evidence
from afdaemon.control.answers import adjust, fail, go, read, succeed
from afdaemon.control.fast.aim.law import AimLaw
from afdaemon.control.fast.aim.profile import AimProfile
from afdaemon.control.fast.aim.rivals import unseen_rival
from afdaemon.control.fast.aim.rule import VERIFIED_DOF
from afdaemon.control.fast.procedure import BEYOND_HELP, LAST_STEP_DOF, SAME_PLACE_DOF
from afdaemon.control.state import Answer, State
from afdaemon.control.values import Failed, Phase, Proposal, Reason, Refused, TracePoint
from afdaemon.words import probability

_PROBABLY = 0.8
"""Probability above which something is said to be so."""
_READINGS_PER_MISS = 1.5
"""After this many times `miss_cost` readings that showed something, a job has lost more than a miss costs."""


AimState = State[None]
"""All that it remembers is in the trace."""
AimAnswer = Answer[None]


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
        return _settled(state, rules, proposal) or _read_on(state, rules, proposal)

    def refused(self, state: AimState, event: Refused) -> AimAnswer:
        """It never changes the magnification."""
        return fail(state, Failed(reason=Reason.DEVICE, detail=event.detail))

    def most_readings(self, state: AimState) -> int:
        """The largest possible number of readings of a job."""
        return self.profile.most_search_readings + _most_telling(self.profile)

    def lowest_magnification(self, home: float) -> float:
        """It stays at the magnification that it began at."""
        return home

    def answering(self, proposal: Proposal) -> Self:
        """The same with a law that gives this answer."""
        return replace(self, law=lambda _readings, _allowed: proposal)


def _most_telling(rules: AimProfile) -> int:
    return round(_READINGS_PER_MISS * rules.miss_cost)


def _gives_up(state: AimState, rules: AimProfile) -> Failed | None:
    """Why a job ends without focus; None if it goes on."""
    telling = sum(evidence.is_informative(point, rules) for point in state.trace)
    silent = len(state.trace) - telling
    is_hidden = evidence.hidden_by(state.trace, rules) is not None
    in_vain = len(state.trace) >= BEYOND_HELP and is_hidden
    too_many = telling > _most_telling(rules) or silent >= rules.most_search_readings
    return evidence.not_converged(state.trace, state.rung, rules) if in_vain or too_many else None


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


def _read_on(state: AimState, rules: AimProfile, proposal: Proposal) -> AimAnswer:
    unit_um = rules.dof_um(state.magnification)
    target_um = state.limits.nearest(state.wd_um + proposal.read_step_um)
    is_search = proposal.out_of_capture > _PROBABLY
    state = replace(state, phase=Phase.SEARCH if is_search else Phase.SERVO)
    if abs(target_um - state.wd_um) < SAME_PLACE_DOF * unit_um:
        return read(state)
    return go(state, state.phase, target_um)
