"""The published procedure (Lee et al. 2021): search, servo, finish. Pure; see `machine` for the whole."""

import math
from dataclasses import replace

from afdaemon.control import evidence
from afdaemon.control.published import search, servo
from afdaemon.control.published.profile import PaperProfile
from afdaemon.control.state import Answer, State, fail, go, read, succeed
from afdaemon.control.values import Failed, Phase, ReadingKind, Reason
from afdaemon.models.acnet.state import MEMORY


def begin(state: State, rules: PaperProfile, magnification: float, begin_um: float) -> Answer:
    """The first reading, at `begin_um`."""
    plan = search.plan(begin_um, magnification, state.limits, rules)
    state = replace(state, plan=plan, searches_left=rules.searches - 1)
    return go(state, Phase.SEARCH, begin_um)


def observe(state: State, rules: PaperProfile, kind: ReadingKind) -> Answer:
    """What follows from the newest reading."""
    match kind:
        case ReadingKind.SEARCH:
            return _search(state, rules)
        case ReadingKind.SERVO:
            return _servo(state, rules)
        case ReadingKind.VERIFY:
            return _judge(state, rules)


def _search(state: State, rules: PaperProfile) -> Answer:
    """Servo from a trace of focus, a better one than led nowhere before; else look at the next place."""
    here = state.trace[-1]
    used, searched = len(state.trace), evidence.count(state.trace).search
    led_nowhere = max((p.score for p in state.trace[: state.searched_until]), default=0.0)
    found = here.score > max(rules.search_score, led_nowhere) and evidence.is_telling(here, rules)
    if found and searched >= rules.min_search_readings:
        return _servo(replace(state, memory_from=max(0, used - 2), servo_from=used), rules)
    if searched <= len(state.plan):
        return go(state, Phase.SEARCH, state.plan[searched - 1])
    failed = _not_converged if state.searched_until else _not_found
    return fail(state, failed(state, rules))


def _servo(state: State, rules: PaperProfile) -> Answer:
    opening = state.trace[state.memory_from : state.servo_from]
    stopped = evidence.servo_stop(opening, state.servo_trace, rules)
    if stopped is not None:
        return _finish(replace(state, stopped=stopped), rules)
    newest_first = [point.reading for point in reversed(state.trace[state.memory_from :])][:MEMORY]
    proposal_um = state.law(newest_first)
    state = replace(state, proposal=servo.Proposal(step_um=proposal_um), phase=Phase.SERVO)
    if not math.isfinite(proposal_um):
        detail = f"the step law proposed {proposal_um} um"
        return fail(state, Failed(reason=Reason.NOT_CONVERGED, detail=detail))
    most_um = rules.most_step_um(newest_first[0].magnification)
    target_um = servo.target_um(state.wd_um, proposal_um, most_um, state.limits)
    if abs(target_um - state.wd_um) < rules.min_step_um:
        return read(state)
    return go(state, Phase.SERVO, target_um)


def _finish(state: State, rules: PaperProfile) -> Answer:
    best = evidence.best_seen(state.trace)
    home = evidence.latest_at(state.trace, state.home_um)
    if home is not None and home.score >= best.score - rules.tie_margin:
        best = home
    return go(state, Phase.FINISH, best.wd_um)


def _judge(state: State, rules: PaperProfile) -> Answer:
    here = state.trace[-1]
    promised = evidence.latest_at(state.trace[:-1], here.wd_um)
    drop = promised.score - here.score if promised is not None else 0.0
    is_low = here.score < rules.fail_score or evidence.may_be_noise(here)
    if is_low or drop > rules.verify_drop:
        return _retry(state, rules)
    if not evidence.is_telling(here, rules):
        return fail(state, _not_converged(state, rules))
    home = evidence.latest_at(state.trace, state.home_um)
    is_home = here.wd_um == state.home_um
    if home is not None and not is_home and home.score >= here.score - rules.tie_margin:
        return go(state, Phase.FINISH, home.wd_um)
    return succeed(state, here, f"the servo ended because of: {state.stopped}")


def _retry(state: State, rules: PaperProfile) -> Answer:
    if state.attempt >= rules.retries:
        return _search_on(state, rules) or fail(state, _not_converged(state, rules))
    best = evidence.best_seen(state.trace)
    used = len(state.trace)
    state = replace(state, attempt=state.attempt + 1, servo_from=used)
    if best.wd_um == state.wd_um:
        return _servo(replace(state, memory_from=used - 1), rules)
    return go(replace(state, memory_from=used), Phase.SERVO, best.wd_um)


def _search_on(state: State, rules: PaperProfile) -> Answer | None:
    """Where no score was ever that of a focus, the servo began from no trace of one: the search goes on, if it may."""
    searched = evidence.count(state.trace).search
    best = evidence.best_telling(state.trace, rules)
    is_seen = best.score >= rules.fail_score and evidence.is_telling(best, rules)
    if is_seen or state.searches_left == 0 or searched > len(state.plan):
        return None
    left, until = state.searches_left - 1, len(state.trace)
    state = replace(state, attempt=0, searches_left=left, searched_until=until)
    return go(state, Phase.SEARCH, state.plan[searched - 1])


def _not_found(state: State, rules: PaperProfile) -> Failed:
    visited = [point.wd_um for point in state.trace]
    detail = (
        f"no score above {rules.search_score:g} in {len(visited)} readings "
        f"between {min(visited):g} and {max(visited):g} um{evidence.flaws(state.trace, rules)}"
    )
    reason = evidence.diagnose(state.trace, rules, Reason.NOT_FOUND)
    return Failed(reason=reason, detail=detail)


def _not_converged(state: State, rules: PaperProfile) -> Failed:
    best = evidence.best_telling(state.trace, rules)
    detail = (
        f"the best score in {len(state.trace)} readings is {best.score:.2f} at {best.wd_um:g} um;"
        f" it must reach {rules.fail_score:g} and confirm what was read before"
        f"{evidence.flaws(state.trace, rules)}"
    )
    reason = evidence.diagnose(state.trace, rules, Reason.NOT_CONVERGED)
    return Failed(reason=reason, detail=detail)
