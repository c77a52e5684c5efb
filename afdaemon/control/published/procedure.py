"""The published procedure (Lee et al. 2021): search, servo, finish. Pure; see `machine` for the whole."""

import math
from dataclasses import dataclass, replace
from typing import Any, Self

from afdaemon.control import evidence
from afdaemon.control.answers import fail, go, read, succeed
from afdaemon.control.published import search, servo
from afdaemon.control.published.profile import PublishedProfile
from afdaemon.control.published.servo import StepLaw
from afdaemon.control.published.stop import Stop, servo_stop
from afdaemon.control.state import Answer, State
from afdaemon.control.values import (
    Failed,
    Phase,
    Proposal,
    ReadingKind,
    Reason,
    Refused,
    TracePoint,
)
from afdaemon.models.acnet.state import MEMORY


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedMemory:
    """What the published procedure remembers of a job.

    Attributes:
        plan: the WDs (um) that the search would visit after the start.
        attempt: how often the servo has begun again.
        searches_left: how often the search may go on where a servo found nothing.
        searched_until: length of the trace when it last did.
        memory_from: where in the trace the law's memory begins.
        servo_from: where in the trace the present attempt's servo readings begin.
        stopped: what ended the last servo.
    """

    plan: tuple[float, ...] = ()
    attempt: int = 0
    searches_left: int = 0
    searched_until: int = 0
    memory_from: int = 0
    servo_from: int = 0
    stopped: Stop | None = None


PublishedState = State[PublishedMemory]
PublishedAnswer = Answer[PublishedMemory]


def _remember(state: PublishedState, **changes: Any) -> PublishedState:
    return replace(state, own=replace(state.own, **changes))


@dataclass(frozen=True, slots=True)
class PublishedProcedure:
    """The published procedure with its parameters and its law; see `afdaemon.control.state.Procedure`."""

    profile: PublishedProfile
    law: StepLaw

    def fresh(self) -> PublishedMemory:
        """What it remembers of a job that has not begun."""
        return PublishedMemory()

    def begin(self, state: PublishedState, begin_um: float) -> PublishedAnswer:
        """The first reading, at `begin_um`."""
        plan = search.plan(begin_um, state.magnification, state.limits, self.profile)
        state = _remember(state, plan=plan, searches_left=self.profile.searches - 1)
        return go(state, Phase.SEARCH, begin_um)

    def observe(self, state: PublishedState) -> PublishedAnswer:
        """What follows from the newest reading."""
        match state.trace[-1].kind:
            case ReadingKind.SEARCH:
                return self._search(state)
            case ReadingKind.SERVO:
                return self._servo(state)
            case ReadingKind.VERIFY:
                return self._judge(state)

    def refused(self, state: PublishedState, event: Refused) -> PublishedAnswer:
        """It never changes the magnification, so a refusal is the instrument's failure."""
        return fail(state, Failed(reason=Reason.DEVICE, detail=event.detail))

    def most_readings(self, state: PublishedState) -> int:
        """The largest possible number of readings at the end of the present phase."""
        match state.phase:
            case Phase.SEARCH:
                return 1 + len(state.own.plan)
            case Phase.SERVO:
                return state.own.servo_from + self.profile.max_servo_readings
            case _:
                return len(state.trace) + (state.phase in (Phase.FINISH, Phase.CONFIRM))

    def lowest_magnification(self, home: float) -> float:
        """It never leaves the magnification at which a job began."""
        return home

    def answering(self, proposal: Proposal) -> Self:
        """The same with a law that gives this answer."""
        return replace(self, law=lambda _readings: proposal.step_um)

    def _search(self, state: PublishedState) -> PublishedAnswer:
        """Servo from a trace of focus that is better than those that led nowhere; else read at the next place."""
        rules, here, plan = self.profile, state.trace[-1], state.own.plan
        used, searched = len(state.trace), evidence.count(state.trace).search
        led_nowhere = max((p.score for p in state.trace[: state.own.searched_until]), default=0.0)
        is_trace = evidence.is_informative(here, rules)
        found = here.score > max(rules.search_score, led_nowhere) and is_trace
        if found and searched >= rules.min_search_readings:
            return self._servo(_remember(state, memory_from=max(0, used - 2), servo_from=used))
        if searched <= len(plan):
            return go(state, Phase.SEARCH, plan[searched - 1])
        failed = _not_converged if state.own.searched_until else _not_found
        return fail(state, failed(state, rules))

    def _servo(self, state: PublishedState) -> PublishedAnswer:
        rules, own = self.profile, state.own
        opening = state.trace[own.memory_from : own.servo_from]
        stopped = servo_stop(opening, _servo_trace(state), rules)
        if stopped is not None:
            return self._finish(_remember(state, stopped=stopped))
        memory = state.trace[own.memory_from :]
        newest_first = [point.reading for point in reversed(memory)][:MEMORY]
        proposal_um = self.law(newest_first)
        state = replace(state, proposal=Proposal(step_um=proposal_um), phase=Phase.SERVO)
        if not math.isfinite(proposal_um):
            detail = f"the step law proposed {proposal_um} um"
            return fail(state, Failed(reason=Reason.NOT_CONVERGED, detail=detail))
        most_um = rules.most_step_um(newest_first[0].magnification)
        target_um = servo.target_um(state.wd_um, proposal_um, most_um, state.limits)
        if abs(target_um - state.wd_um) < rules.min_step_um:
            return read(state)
        return go(state, Phase.SERVO, target_um)

    def _finish(self, state: PublishedState) -> PublishedAnswer:
        best = evidence.best_seen(state.trace)
        home = evidence.latest_at(state.trace, state.home_um)
        if home is not None and home.score >= best.score - self.profile.tie_margin:
            best = home
        return go(state, Phase.FINISH, best.wd_um)

    def _judge(self, state: PublishedState) -> PublishedAnswer:
        rules, here = self.profile, state.trace[-1]
        promised = evidence.latest_at(state.trace[:-1], here.wd_um)
        drop = promised.score - here.score if promised is not None else 0.0
        is_low = here.score < rules.fail_score or evidence.may_be_noise(here)
        if is_low or drop > rules.verify_drop:
            return self._retry(state)
        if not evidence.is_informative(here, rules):
            return fail(state, _not_converged(state, rules))
        home = evidence.latest_at(state.trace, state.home_um)
        is_home = here.wd_um == state.home_um
        if home is not None and not is_home and home.score >= here.score - rules.tie_margin:
            return go(state, Phase.FINISH, home.wd_um)
        return succeed(state, here, f"the servo ended with {state.own.stopped}")

    def _retry(self, state: PublishedState) -> PublishedAnswer:
        if state.own.attempt >= self.profile.retries:
            failed = _not_converged(state, self.profile)
            return self._search_on(state) or fail(state, failed)
        best = evidence.best_seen(state.trace)
        used = len(state.trace)
        state = _remember(state, attempt=state.own.attempt + 1, servo_from=used)
        if best.wd_um == state.wd_um:
            return self._servo(_remember(state, memory_from=used - 1))
        return go(_remember(state, memory_from=used), Phase.SERVO, best.wd_um)

    def _search_on(self, state: PublishedState) -> PublishedAnswer | None:
        """Go on searching if no score ever counted as focus: the servo had then begun from no real trace of it."""
        searched = evidence.count(state.trace).search
        best = evidence.best_informative(state.trace, self.profile)
        is_focus = best.score >= self.profile.fail_score
        is_seen = is_focus and evidence.is_informative(best, self.profile)
        if is_seen or state.own.searches_left == 0 or searched > len(state.own.plan):
            return None
        left, until = state.own.searches_left - 1, len(state.trace)
        state = _remember(state, attempt=0, searches_left=left, searched_until=until)
        return go(state, Phase.SEARCH, state.own.plan[searched - 1])


def _servo_trace(state: PublishedState) -> tuple[TracePoint, ...]:
    """The servo readings of the present attempt."""
    return tuple(p for p in state.trace[state.own.servo_from :] if p.kind is ReadingKind.SERVO)


def _not_found(state: PublishedState, rules: PublishedProfile) -> Failed:
    visited = [point.wd_um for point in state.trace]
    detail = (
        f"no score above {rules.search_score:g} in {len(visited)} readings "
        f"between {min(visited):g} and {max(visited):g} um{evidence.flaws(state.trace, rules)}"
    )
    reason = evidence.diagnose(state.trace, rules, Reason.NOT_FOUND)
    return Failed(reason=reason, detail=detail)


def _not_converged(state: PublishedState, rules: PublishedProfile) -> Failed:
    best = evidence.best_informative(state.trace, rules)
    detail = (
        f"the best score in {len(state.trace)} readings is {best.score:.2f} at {best.wd_um:g} um;"
        f" it must reach {rules.fail_score:g} and confirm what was read before"
        f"{evidence.flaws(state.trace, rules)}"
    )
    reason = evidence.diagnose(state.trace, rules, Reason.NOT_CONVERGED)
    return Failed(reason=reason, detail=detail)
