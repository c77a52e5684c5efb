"""Where a job stands, and the answers that every procedure gives: go, read, fail, succeed. Pure."""

import math
from dataclasses import dataclass, field, replace

from afdaemon.control import evidence
from afdaemon.control.drift import Drift, drift
from afdaemon.control.fast.peak import Measure
from afdaemon.control.fast.profile import FastProfile
from afdaemon.control.limits import Limits
from afdaemon.control.published.profile import PAPER, PaperProfile
from afdaemon.control.published.servo import FocusLaw, Proposal, StepLaw, no_belief
from afdaemon.control.values import (
    Command,
    Conclude,
    Failed,
    MoveWd,
    Outcome,
    Phase,
    ReadingKind,
    Reason,
    Started,
    TakeReading,
    TracePoint,
)

Profile = PaperProfile | FastProfile
"""Which procedure, and its numbers."""

KIND_OF_PHASE = {
    Phase.SEARCH: ReadingKind.SEARCH,
    Phase.SERVO: ReadingKind.SERVO,
    Phase.FINISH: ReadingKind.VERIFY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Where a job stands. Begin with `State(limits=..., law=...)`; only `step` makes others.

    `wd_um` is the last acknowledged WD. `trace` holds every reading in order; `memory_from` and
    `servo_from` say where in it the law's memory and the present attempt's servo readings begin.
    `pending` is the command under way. `proposal` is the law's unclipped answer if the last step
    asked it: with it a replay needs no network. `searches_left`: how often the published search may go on where a
    servo found nothing, and `searched_until`: how long the trace was when it did last. `began_far`: the first
    reading showed hardly anything. `magnification` is the last acknowledged, and `rung_from` says where in the
    trace its readings begin. `descents_left`: how often the job may still go down the ladder. `close_looks`: how
    often it has looked closely before giving up; `peak_looks`: how often around a peak,
    and `at_peak`: of what, if the last move was for one. `verdict`: why it is a success, once only the last
    step is left.
    """

    limits: Limits
    law: StepLaw = field(repr=False)
    rules: Profile = PAPER
    belief: FocusLaw = field(default=no_belief, repr=False)
    phase: Phase = Phase.PREPARE
    pending: Command | None = None
    start: Started | None = None
    wd_um: float = math.nan
    magnification: float = math.nan
    plan: tuple[float, ...] = ()
    trace: tuple[TracePoint, ...] = ()
    attempt: int = 0
    searches_left: int = 0
    searched_until: int = 0
    memory_from: int = 0
    servo_from: int = 0
    proposal: Proposal | None = None
    began_far: bool = False
    rung_from: int = 0
    descents_left: int = 2
    close_looks: int = 0
    peak_looks: int = 0
    at_peak: Measure | None = None
    stopped: evidence.Stop | None = None
    verdict: str = ""
    failure: Failed | None = None

    @property
    def home_um(self) -> float:
        """The start WD in um; NaN before the job has started."""
        return self.start.wd_um if self.start is not None else math.nan

    @property
    def home_magnification(self) -> float:
        """The start magnification; NaN before the job has started."""
        return self.start.magnification if self.start is not None else math.nan

    @property
    def rung(self) -> tuple[TracePoint, ...]:
        """The readings since the magnification was changed last: no others compare with them."""
        return self.trace[self.rung_from :]

    @property
    def servo_trace(self) -> tuple[TracePoint, ...]:
        """The servo readings of the present attempt."""
        return tuple(p for p in self.trace[self.servo_from :] if p.kind is ReadingKind.SERVO)


Answer = tuple[State, Command]

_READ_BACK = 0.01
"""How far a magnification read back may be off; a rung is much further away."""


def go(state: State, phase: Phase, wd_um: float, magnification: float | None = None) -> Answer:
    """Move to `wd_um`, at `magnification` if one is given, and read; just read if it stands so already."""
    state = replace(state, phase=phase)
    if magnification == state.magnification:
        magnification = None
    if magnification is None and wd_um == state.wd_um:
        return read(state)
    move = MoveWd(wd_um=wd_um, magnification=magnification)
    return _too_dear(state, magnification) or (state, move)


def read(state: State) -> Answer:
    """Take a reading where the instrument stands."""
    return _too_dear(state) or (state, TakeReading(kind=KIND_OF_PHASE[state.phase]))


def _too_dear(state: State, magnification: float | None = None) -> Answer | None:
    """The end of the job, if another reading like the last one would exceed its dose.

    At another magnification it is spread over another area.
    """
    most = state.start.dose_limit_e_nm2 if state.start is not None else None
    if most is None or not state.trace:
        return None
    last = state.trace[-1].reading
    spent, next_one = _dose(state), last.dose_e_nm2
    ratio = (magnification or state.magnification) / last.magnification
    if not math.isclose(ratio, 1.0, rel_tol=_READ_BACK):
        next_one *= ratio**2
    if spent + next_one <= most:
        return None
    detail = (
        f"{len(state.trace)} readings took {spent:.3g} e/nm2, another would take {next_one:.3g};"
        f" the limit is {most:g}"
    )
    return fail(state, Failed(reason=Reason.DOSE_LIMIT, detail=detail))


def _dose(state: State) -> float:
    return sum(point.reading.dose_e_nm2 for point in state.trace)


def fail(state: State, failed: Failed) -> Answer:
    """The job fails: back to the start WD, or to the end if that has failed too."""
    first = state.failure
    if first is not None:
        detail = f"{first.detail}; the start WD could not be restored: {failed.detail}"
        return give_up(state, Failed(reason=first.reason, detail=detail), restored=False)
    state = replace(state, failure=failed)
    way_home = _way_home(state)
    if way_home is not None:
        return replace(state, phase=Phase.RESTORE), way_home
    return give_up(state, failed, restored=True)


def _way_home(state: State) -> MoveWd | None:
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


def give_up(state: State, failed: Failed, *, restored: bool) -> Answer:
    """The job ends without focus."""
    told = _at_home(state)
    best = evidence.best_telling(told, state.rules) if told else None
    moved = drift(state.trace, state.rules.alpha_mrad)
    outcome = Outcome(
        converged=False,
        reason=failed.reason,
        detail=_blamed(failed, moved),
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


def adjust(state: State, wd_um: float, why: str) -> Answer:
    """The last reading verified the focus: step on to `wd_um`, close by, and read no more."""
    return replace(state, phase=Phase.ADJUST, verdict=why), MoveWd(wd_um=wd_um)


def succeed(state: State, here: TracePoint, why: str) -> Answer:
    """The job ends in focus, where it stands."""
    moved = drift(state.trace, state.rules.alpha_mrad)
    outcome = Outcome(
        converged=True,
        reason=Reason.FOCUSED,
        detail=f"focused; {why}" + (f"; {moved}" if _is_noticed(moved) else ""),
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


def _concluded(state: State, outcome: Outcome, moved: Drift | None) -> Answer:
    """The end, and how the focus moved meanwhile."""
    if moved is not None:
        outcome = replace(
            outcome,
            drift_um_per_min=moved.um_per_min,
            drift_error_um_per_min=moved.error_um_per_min,
            drift_noticed=moved.is_noticed,
        )
    return replace(state, phase=Phase.DONE), Conclude(outcome=outcome)


def _at_home(state: State) -> tuple[TracePoint, ...]:
    """The readings at the start magnification: scores of others do not compare with theirs."""
    if state.rung_from == 0:
        return state.trace
    home = state.home_magnification
    return tuple(
        p for p in state.trace if math.isclose(p.reading.magnification, home, rel_tol=_READ_BACK)
    )


def _is_noticed(moved: Drift | None) -> bool:
    return moved is not None and moved.is_noticed


def _blamed(failed: Failed, moved: Drift | None) -> str:
    """The detail of a failure; a focus that moved explains one that was not found or not verified."""
    if not _is_noticed(moved):
        return failed.detail
    is_why = failed.reason in (Reason.NOT_CONVERGED, Reason.NOT_FOUND)
    return f"{failed.detail}; {'probably because ' if is_why else ''}{moved}"


def _known(wd_um: float) -> float | None:
    return wd_um if math.isfinite(wd_um) else None
