"""What the fast procedure tries before it gives up: a peak of the score, however low, and a close search. Pure.

AENet's score is an absolute criterion, and a smooth specimen never meets it. But a curve that falls off alike on both
sides still shows where the focus is (`afdaemon.control.fast.peak`).
"""

from afdaemon.control import evidence
from afdaemon.control.answers import fail, go, succeed
from afdaemon.control.drift import drift
from afdaemon.control.fast.peak import MEASURES, FocusMeasure, is_as_high, next_place, peak
from afdaemon.control.fast.profile import FastProfile
from afdaemon.control.fast.search import next_unread
from afdaemon.control.fast.state import FastAnswer, FastState, remember, unit_um
from afdaemon.control.values import Phase, TracePoint

_TRACE_SCORE = 1.0
"""Frames that show nothing seldom score as high."""
_CLOSE_STRIDES = 3.0
"""How far a close search reaches, in steps of `close_dof`: 24 DoF, about a quarter of the capture range."""


def seek_peak(state: FastState, rules: FastProfile) -> FastAnswer | None:
    """Read around a peak, however low, then go to its top; None if there is no peak."""
    return None if _is_hopeless(state, rules) else _to_peak(state, rules)


def _to_peak(state: FastState, rules: FastProfile) -> FastAnswer | None:
    """Go to the top of a clear peak; else read around the likeliest, as long as that may make it clear."""
    dof_um = unit_um(state, rules)
    seen = [(measure, peak(state.rung, dof_um, measure)) for measure in MEASURES]
    peaks = [(measure, top) for measure, top in seen if top is not None]
    for measure, top in peaks:
        if top.is_clear:
            state = remember(state, at_peak=measure)
            return go(state, Phase.FINISH, state.limits.nearest(top.wd_um))
    if state.own.peak_steps >= rules.most_close_steps:
        return None
    for measure, top in peaks:
        apart_um = measure.apart * rules.close_dof * dof_um
        place_um = next_place(
            state.rung, top, apart_um=apart_um, unit_um=dof_um, limits=state.limits
        )
        if place_um is not None:
            state = remember(state, at_peak=measure, peak_steps=state.own.peak_steps + 1)
            return go(state, Phase.SEARCH, place_um)
    return None


def verify(
    state: FastState, measure: FocusMeasure, rules: FastProfile, here: TracePoint
) -> FastAnswer:
    """The end of a job on top of a peak: success if the measure is about as high there as the best seen."""
    if is_as_high(state.rung, measure) and evidence.is_informative(here, rules):
        why = f"at a clear peak of the {measure.named}; the specimen allows no higher score"
        return succeed(state, here, why)
    return fail(state, evidence.not_converged(state.trace, state.rung, rules))


def search_closely(state: FastState, rules: FastProfile, first: float) -> FastAnswer:
    """The last resort: verify where AENet alone is sure, else search around the best reading, or around the start.

    Where noise hides all that is not near focus, a coarse search misses it. A drifting focus is not where it was seen.
    """
    if _is_hopeless(state, rules):
        return fail(state, evidence.not_converged(state.trace, state.rung, rules))
    best = evidence.best_informative(state.rung, rules)
    if best.score >= rules.trusted_score:
        return go(state, Phase.FINISH, best.wd_um)
    to_peak = _to_peak(state, rules)
    if to_peak is not None:
        return to_peak
    stride_um = rules.close_dof * unit_um(state, rules)
    centre_um = best.wd_um if is_trace_of_focus(best, rules) else state.home_um
    place_um = next_unread(
        [centre_um, *(point.wd_um for point in state.rung)],
        stride_um=stride_um,
        first=first,
        reach_um=_CLOSE_STRIDES * stride_um,
        limits=state.limits,
        halvings=0,
    )
    if place_um is None or state.own.close_steps >= rules.most_close_steps:
        return fail(state, evidence.not_converged(state.trace, state.rung, rules))
    state = remember(state, close_steps=state.own.close_steps + 1)
    return go(state, Phase.SEARCH, place_um)


def _is_hopeless(state: FastState, rules: FastProfile) -> bool:
    """Below the start magnification, or with a drifting focus, a curve does not locate the focus."""
    moved = drift(state.trace, rules)
    return state.is_below or (moved is not None and moved.is_noticed)


def is_trace_of_focus(point: TracePoint, rules: FastProfile) -> bool:
    """Whether a reading shows a trace of the focus."""
    return point.score >= _TRACE_SCORE and evidence.is_informative(point, rules)
