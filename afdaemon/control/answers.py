"""The answers that every procedure gives: go, read, fail, succeed. Pure."""

import math
from dataclasses import replace

from afdaemon.control import evidence
from afdaemon.control.drift import Drift, drift
from afdaemon.control.state import KIND_OF_PHASE, Answer, Own, State
from afdaemon.control.values import (
    Conclude,
    Failed,
    MoveWd,
    Outcome,
    Phase,
    Reason,
    TakeReading,
    TracePoint,
)

_SAME_MAGNIFICATION = 0.01
"""Relative tolerance of a magnification that is read back; the next rung of a ladder is much further away."""
_SAME_SCORE = 1.0
"""Two frames of one place differ by less: 160 pairs from the simulator by .05 in the median, .44 in 99 of 100, .84 at
most."""
_SAME_CONTRAST = 0.3
"""The same for the natural logarithm of the contrast, where no score tells anything."""
_NO_CONTRAST = 1e-6


def go(
    state: State[Own], phase: Phase, wd_um: float, magnification: float | None = None
) -> Answer[Own]:
    """Move to `wd_um`, at `magnification` if one is given, and read; just read if it is there already."""
    state = replace(state, phase=phase)
    if magnification == state.magnification:
        magnification = None
    if magnification is None and wd_um == state.wd_um:
        return read(state)
    move = MoveWd(wd_um=wd_um, magnification=magnification)
    return _over_dose(state, magnification) or (state, move)


def read(state: State[Own]) -> Answer[Own]:
    """Take a reading where the instrument stands."""
    return _over_dose(state) or (state, TakeReading(kind=KIND_OF_PHASE[state.phase]))


def _over_dose(state: State[Own], magnification: float | None = None) -> Answer[Own] | None:
    """The end of the job, if another reading like the last one would exceed its dose limit.

    At another magnification the dose is spread over another area.
    """
    most = state.start.dose_limit_e_nm2 if state.start is not None else None
    if most is None or not state.trace:
        return None
    last = state.trace[-1].reading
    spent, next_one = _dose(state), last.dose_e_nm2
    ratio = (magnification or state.magnification) / last.magnification
    if not math.isclose(ratio, 1.0, rel_tol=_SAME_MAGNIFICATION):
        next_one *= ratio**2
    if spent + next_one <= most:
        return None
    detail = (
        f"{len(state.trace)} readings took {spent:.3g} e/nm2, another would take {next_one:.3g};"
        f" the limit is {most:g}"
    )
    return fail(state, Failed(reason=Reason.DOSE_LIMIT, detail=detail))


def _dose(state: State[Own]) -> float:
    return sum(point.reading.dose_e_nm2 for point in state.trace)


def fail(state: State[Own], failed: Failed) -> Answer[Own]:
    """The job fails: move back to the start WD, or end if that has failed too."""
    first = state.failure
    if failed.reason is Reason.TAKEN_OVER:
        before = f"; before that: {first.detail}" if first is not None else ""
        left = replace(failed, detail=f"{failed.detail}; it is left as it is{before}")
        return give_up(state, left, restored=False)
    if first is not None:
        detail = f"{first.detail}; the start WD could not be restored: {failed.detail}"
        return give_up(state, Failed(reason=first.reason, detail=detail), restored=False)
    state = replace(state, failure=failed)
    way_home = _way_home(state)
    if way_home is not None:
        return replace(state, phase=Phase.RESTORE), way_home
    return give_up(state, failed, restored=True)


def _way_home(state: State[Own]) -> MoveWd | None:
    """The move back to the start; None if the instrument stands there."""
    if state.start is None:
        return None
    # A move that has failed may have been carried out nevertheless.
    failed = state.pending if isinstance(state.pending, MoveWd) else None
    is_other = state.magnification != state.home_magnification
    if is_other or (failed is not None and failed.magnification is not None):
        return MoveWd(wd_um=state.home_um, magnification=state.home_magnification)
    is_away = failed is not None or state.wd_um != state.home_um
    return MoveWd(wd_um=state.home_um) if is_away else None


def give_up(state: State[Own], failed: Failed, *, restored: bool) -> Answer[Own]:
    """The job ends without focus."""
    at_home = _at_home(state)
    best = evidence.best_informative(at_home, state.profile) if at_home else None
    moved = drift(state.trace, state.profile)
    outcome = Outcome(
        converged=False,
        reason=failed.reason,
        detail=_explained(failed, moved),
        start_wd_um=_known(state.home_um),
        wd_um=_known(state.wd_um),
        best_wd_um=best.wd_um if best is not None else None,
        score=best.score if best is not None else None,
        readings=evidence.count(state.trace),
        restored=restored,
        dose_e_nm2=_dose(state),
        start_magnification=_known(state.home_magnification),
        magnification=_known(state.magnification),
    )
    return _concluded(state, outcome, moved)


def adjust(state: State[Own], wd_um: float, why: str) -> Answer[Own]:
    """The last reading verified the focus: step on to `wd_um`, close by, and read no more."""
    if _must_confirm(state):
        return _confirm(replace(state, verdict=why, last_um=wd_um))
    return replace(state, phase=Phase.ADJUST, verdict=why), MoveWd(wd_um=wd_um)


def _must_confirm(state: State[Own]) -> bool:
    """A success that no dose is left to confirm counts without."""
    is_asked = state.start is not None and state.start.confirm
    is_verified = state.phase in (Phase.SEARCH, Phase.SERVO, Phase.FINISH)
    return is_asked and is_verified and _over_dose(state) is None


def _confirm(state: State[Own]) -> Answer[Own]:
    return read(replace(state, phase=Phase.CONFIRM))


def confirmed(state: State[Own]) -> Answer[Own]:
    """The success, if the second frame at its place shows the same as the first."""
    first, second = state.trace[-2:]
    changed = abs(second.score - first.score)
    brighter = second.frame.contrast / first.frame.contrast if first.frame.contrast else math.inf
    if changed > _SAME_SCORE or abs(math.log(max(brighter, _NO_CONTRAST))) > _SAME_CONTRAST:
        detail = (
            f"the picture changed although nothing moved (score {first.score:.1f}, then {second.score:.1f}): frames may"
            " come one behind their WD; check the link to the instrument"
        )
        return fail(state, Failed(reason=Reason.DEVICE, detail=detail))
    if state.last_um is not None:
        return adjust(state, state.last_um, state.verdict)
    return succeed(state, second, state.verdict)


def succeed(state: State[Own], here: TracePoint, why: str) -> Answer[Own]:
    """The job ends in focus, where it stands."""
    if _must_confirm(state):
        return _confirm(replace(state, verdict=why))
    moved = drift(state.trace, state.profile)
    outcome = Outcome(
        converged=True,
        reason=Reason.FOCUSED,
        detail=why + (f"; {moved}" if _is_noticed(moved) else ""),
        start_wd_um=state.home_um,
        wd_um=state.wd_um,
        best_wd_um=state.wd_um,
        score=here.score,
        readings=evidence.count(state.trace),
        restored=state.wd_um == state.home_um,
        dose_e_nm2=_dose(state),
        start_magnification=state.home_magnification,
        magnification=state.magnification,
    )
    return _concluded(state, outcome, moved)


def _concluded(state: State[Own], outcome: Outcome, moved: Drift | None) -> Answer[Own]:
    """The end, and how the focus moved meanwhile."""
    if moved is not None:
        outcome = replace(
            outcome,
            drift_um_per_min=moved.um_per_min,
            drift_error_um_per_min=moved.error_um_per_min,
            drift_noticed=moved.is_noticed,
        )
    return replace(state, phase=Phase.DONE), Conclude(outcome=outcome)


def _at_home(state: State[Own]) -> tuple[TracePoint, ...]:
    """The readings at the start magnification: scores at other magnifications are not comparable."""
    if state.rung_from == 0:
        return state.trace
    home = state.home_magnification
    return tuple(
        p
        for p in state.trace
        if math.isclose(p.reading.magnification, home, rel_tol=_SAME_MAGNIFICATION)
    )


def _is_noticed(moved: Drift | None) -> bool:
    return moved is not None and moved.is_noticed


def _explained(failed: Failed, moved: Drift | None) -> str:
    """The detail of a failure; a focus that moved explains one that was not found or not verified."""
    if not _is_noticed(moved):
        return failed.detail
    is_why = failed.reason in (Reason.NOT_CONVERGED, Reason.NOT_FOUND)
    return f"{failed.detail}; {'probably because ' if is_why else ''}{moved}"


def _known(number: float) -> float | None:
    return number if math.isfinite(number) else None
