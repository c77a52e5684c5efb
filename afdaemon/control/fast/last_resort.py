"""What the fast procedure tries before it gives up: a peak of the score however low, and a closer look. Pure.

AENet's score is an absolute criterion, and a smooth specimen never meets it. But a curve that falls off alike on both
sides shows its focus nevertheless (`afdaemon.control.fast.peak`).
"""

from dataclasses import replace

from afdaemon.control import evidence
from afdaemon.control.drift import drift
from afdaemon.control.fast import ladder
from afdaemon.control.fast.peak import MEASURES, Measure, is_as_high, next_place, peak
from afdaemon.control.fast.profile import FastProfile
from afdaemon.control.published import search
from afdaemon.control.state import Answer, State, fail, go, succeed
from afdaemon.control.values import Failed, Phase, Reason, TracePoint
from afdaemon.models.optics import dof_um

_SEEN = 1.0
"""A score that frames which show nothing seldom get."""
_CLOSE_STRIDES = 3.0
"""How far a job looks closely, in steps of `close_dof`."""


def climb(state: State, rules: FastProfile) -> Answer | None:
    """Around a peak of the score, however low, and there to its top; None where there is no peak."""
    return None if _is_hopeless(state, rules) else _to_peak(state, rules)


def _to_peak(state: State, rules: FastProfile) -> Answer | None:
    """To the top of a clear peak; else around the likeliest, as long as that may make it clear."""
    unit_um = assumed_dof_um(state, rules)
    seen = [(measure, peak(state.rung, unit_um, measure)) for measure in MEASURES]
    peaks = [(measure, top) for measure, top in seen if top is not None]
    for measure, top in peaks:
        if top.is_clear:
            state = replace(state, at_peak=measure)
            return go(state, Phase.FINISH, state.limits.nearest(top.wd_um))
    if state.peak_looks >= rules.most_close_looks:
        return None
    for measure, top in peaks:
        apart_um = measure.apart * rules.close_dof * unit_um
        place_um = next_place(
            state.rung, top, apart_um=apart_um, unit_um=unit_um, limits=state.limits
        )
        if place_um is not None:
            state = replace(state, at_peak=measure, peak_looks=state.peak_looks + 1)
            return go(state, Phase.SEARCH, place_um)
    return None


def verify(state: State, measure: Measure, rules: FastProfile, here: TracePoint) -> Answer:
    """The end of a job on top of a peak: success where what peaks is about as high there as the best seen."""
    if is_as_high(state.rung, measure) and evidence.is_telling(here, rules):
        why = f"at a clear peak of the {measure.named}; the specimen allows no higher score"
        return succeed(state, here, why)
    return fail(state, not_converged(state, rules))


def look_closely(state: State, rules: FastProfile, first: float) -> Answer:
    """The last resort: verify where AENet alone is sure, else look around where it saw most, or at the start.

    Where noise hides all that is not near focus, places far apart miss it. A focus that runs away is not where it was.
    """
    if _is_hopeless(state, rules):
        return fail(state, not_converged(state, rules))
    best = evidence.best_telling(state.rung, rules)
    if best.score >= rules.trusted_score:
        return go(state, Phase.FINISH, best.wd_um)
    climbing = _to_peak(state, rules)
    if climbing is not None:
        return climbing
    stride_um = rules.close_dof * assumed_dof_um(state, rules)
    centre_um = best.wd_um if shows_something(best, rules) else state.home_um
    place_um = search.next_unseen(
        [centre_um, *(point.wd_um for point in state.rung)],
        stride_um=stride_um,
        first=first,
        reach_um=_CLOSE_STRIDES * stride_um,
        limits=state.limits,
        halvings=0,
    )
    if place_um is None or state.close_looks >= rules.most_close_looks:
        return fail(state, not_converged(state, rules))
    return go(replace(state, close_looks=state.close_looks + 1), Phase.SEARCH, place_um)


def _is_hopeless(state: State, rules: FastProfile) -> bool:
    """Below the start magnification, or with a focus that runs away, a curve places nothing."""
    moved = drift(state.trace, rules.alpha_mrad)
    return ladder.is_below(state) or (moved is not None and moved.is_noticed)


def shows_something(point: TracePoint, rules: FastProfile) -> bool:
    """Whether a reading is a trace of the focus."""
    return point.score >= _SEEN and evidence.is_telling(point, rules)


def not_converged(state: State, rules: FastProfile) -> Failed:
    """The failure of a job that has nothing left to try."""
    best = evidence.best_telling(state.rung, rules)
    detail = (
        f"after {len(state.trace)} readings the focus is not certain; the best score was"
        f" {best.score:.2f} at {best.wd_um:g} um{evidence.flaws(state.trace, rules)}"
    )
    otherwise = Reason.NOT_FOUND if best.score < rules.fail_score else Reason.NOT_CONVERGED
    return Failed(reason=evidence.diagnose(state.rung, rules, otherwise), detail=detail)


def assumed_dof_um(state: State, rules: FastProfile) -> float:
    """A depth of focus at the last reading's magnification, by the convergence angle that the rules assume."""
    return dof_um(state.trace[-1].reading.magnification, 1e-3 * rules.alpha_mrad)
