"""The published autofocus procedure (Lee et al. 2021) as a pure state machine.

Theory of operation
-------------------
A job is a conversation. The loop tells what happened (an event), the machine answers what to do
next (a command), and never is more than one command under way. `step` is a pure function: no time,
no input or output, so a journal of the events replays to the very same commands.

    PREPARE   Started: the instrument stands at the start WD. Take a reading there, or at the WD
              that the job was told to begin at.
    SEARCH    Sweep by a third of A_max(m) until a score exceeds 2 (afdaemon.control.search).
    SERVO     The step law proposes, the step is clipped to A_max(m), a reading is taken; until the
              score is 9, or five readings brought no new best, or twenty were taken. The law's
              memory holds the servo's readings and the last two of the search.
    FINISH    Go to the best WD seen and read once more: success is what the verifying reading says.
              Below 3, or far below what it should confirm, the attempt has failed: SERVO once again
              from the best WD seen. If the start turns out to be as good, the job ends there.
    RESTORE   Every failure, the loop's included, leads here: back to the start WD.
    DONE      Concluded. No further event is legal.

`LEADS_TO` is the whole table. A pair that is not in it, or an event that does not answer the
command under way, is a bug of the caller and raises `IllegalEventError`.

A job never ends elsewhere than at the WD it verified or at its start, unless the instrument is lost
on the way back; then the outcome says `restored=False` with the reason of the first failure.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from afdaemon.control import search, servo, stop
from afdaemon.control.limits import Limits
from afdaemon.control.profile import PAPER, PaperProfile
from afdaemon.control.servo import StepLaw
from afdaemon.control.stop import Stop
from afdaemon.control.values import (
    Command,
    Conclude,
    Event,
    Failed,
    Moved,
    MoveWd,
    Observed,
    Outcome,
    Phase,
    Reading,
    ReadingKind,
    Reason,
    Started,
    TakeReading,
    TracePoint,
)
from afdaemon.models.state import MEMORY

LEADS_TO: Mapping[tuple[Phase, type[Event]], frozenset[Phase]] = MappingProxyType(
    {
        (Phase.PREPARE, Started): frozenset({Phase.SEARCH, Phase.DONE}),
        (Phase.PREPARE, Failed): frozenset({Phase.DONE}),
        (Phase.SEARCH, Moved): frozenset({Phase.SEARCH}),
        (Phase.SEARCH, Observed): frozenset(
            {Phase.SEARCH, Phase.SERVO, Phase.FINISH, Phase.RESTORE, Phase.DONE}
        ),
        (Phase.SEARCH, Failed): frozenset({Phase.RESTORE, Phase.DONE}),
        (Phase.SERVO, Moved): frozenset({Phase.SERVO}),
        (Phase.SERVO, Observed): frozenset({Phase.SERVO, Phase.FINISH, Phase.RESTORE, Phase.DONE}),
        (Phase.SERVO, Failed): frozenset({Phase.RESTORE, Phase.DONE}),
        (Phase.FINISH, Moved): frozenset({Phase.FINISH}),
        (Phase.FINISH, Observed): frozenset({Phase.FINISH, Phase.SERVO, Phase.RESTORE, Phase.DONE}),
        (Phase.FINISH, Failed): frozenset({Phase.RESTORE, Phase.DONE}),
        (Phase.RESTORE, Moved): frozenset({Phase.DONE}),
        (Phase.RESTORE, Failed): frozenset({Phase.DONE}),
    }
)
"""Every legal (phase, event) and the phases it may lead to."""

_KIND_OF_PHASE = {
    Phase.SEARCH: ReadingKind.SEARCH,
    Phase.SERVO: ReadingKind.SERVO,
    Phase.FINISH: ReadingKind.VERIFY,
}


class IllegalEventError(RuntimeError):
    """An event that cannot happen in this phase, or that answers no command under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Where a job stands. Begin with `State(limits=..., law=...)`; only `step` makes others.

    `wd_um` is the last acknowledged WD. `trace` holds every reading in order; `memory_from` and
    `servo_from` say where in it the law's memory and the present attempt's servo readings begin.
    `pending` is the command under way. `proposal_um` is the law's unclipped answer if the last step
    asked it: with it a replay needs no network.
    """

    limits: Limits
    law: StepLaw = field(repr=False)
    rules: PaperProfile = PAPER
    phase: Phase = Phase.PREPARE
    pending: Command | None = None
    start: Started | None = None
    wd_um: float = math.nan
    plan: tuple[float, ...] = ()
    trace: tuple[TracePoint, ...] = ()
    attempt: int = 0
    memory_from: int = 0
    servo_from: int = 0
    proposal_um: float | None = None
    stopped: Stop | None = None
    failure: Failed | None = None

    @property
    def home_um(self) -> float:
        """The start WD in um; NaN before the job has started."""
        return self.start.wd_um if self.start is not None else math.nan

    @property
    def servo_trace(self) -> tuple[TracePoint, ...]:
        """The servo readings of the present attempt."""
        return tuple(p for p in self.trace[self.servo_from :] if p.kind is ReadingKind.SERVO)


_Answer = tuple[State, Command]


def step(state: State, event: Event) -> tuple[State, tuple[Command, ...]]:
    """The state after `event`, and the commands to carry out, in order (here always one).

    Raises IllegalEventError if the event is not in `LEADS_TO` or does not answer the command under
    way.
    """
    if (state.phase, type(event)) not in LEADS_TO:
        raise IllegalEventError(f"{type(event).__name__} is not legal in phase {state.phase}")
    if not _answers(event, state.pending):
        raise IllegalEventError(f"{event} does not answer {state.pending}")
    after, command = _react(replace(state, proposal_um=None), event)
    return replace(after, pending=command), (command,)


def _answers(event: Event, pending: Command | None) -> bool:
    match event:
        case Moved(wd_um=wd_um):
            return isinstance(pending, MoveWd) and pending.wd_um == wd_um
        case Observed():
            return isinstance(pending, TakeReading)
        case _:
            return True


def _react(state: State, event: Event) -> _Answer:
    match event:
        case Started():
            return _start(state, event)
        case Moved():
            return _arrive(replace(state, wd_um=event.wd_um))
        case Observed():
            return _observe(state, event.reading)
        case Failed():
            return _fail(state, event)


def _start(state: State, started: Started) -> _Answer:
    state = replace(state, start=started, wd_um=started.wd_um)
    if not state.limits.within(started.wd_um):
        detail = f"the present WD, {started.wd_um:g} um, is outside the limits ({state.limits})"
        return _give_up(state, Failed(reason=Reason.OUT_OF_RANGE, detail=detail), restored=True)
    if not (math.isfinite(started.magnification) and started.magnification > 0.0):
        detail = f"the instrument reports a magnification of {started.magnification:g}"
        return _give_up(state, Failed(reason=Reason.DEVICE, detail=detail), restored=True)
    begin_um = started.wd_um if started.begin_wd_um is None else started.begin_wd_um
    if not state.limits.within(begin_um):
        detail = f"the search would begin at {begin_um:g} um, outside the limits ({state.limits})"
        return _give_up(state, Failed(reason=Reason.OUT_OF_RANGE, detail=detail), restored=True)
    plan = search.plan(begin_um, started.magnification, state.limits, state.rules)
    return _go(replace(state, plan=plan), Phase.SEARCH, begin_um)


def _arrive(state: State) -> _Answer:
    if state.failure is not None:
        return _give_up(state, state.failure, restored=True)
    return _read(state)


def _observe(state: State, reading: Reading) -> _Answer:
    kind = _KIND_OF_PHASE[state.phase]
    if not _is_usable(reading):
        detail = f"a reading is not made of usable numbers: {reading}"
        return _fail(state, Failed(reason=Reason.NOT_CONVERGED, detail=detail))
    point = TracePoint(kind=kind, wd_um=state.wd_um, reading=reading)
    state = replace(state, trace=(*state.trace, point))
    match kind:
        case ReadingKind.SEARCH:
            return _search(state)
        case ReadingKind.SERVO:
            return _servo(state)
        case ReadingKind.VERIFY:
            return _judge(state)


def _is_usable(reading: Reading) -> bool:
    numbers = (reading.wd_um, reading.score, reading.variance, reading.entropy, reading.saturated)
    return all(map(math.isfinite, numbers)) and 0.0 < reading.magnification < math.inf


def _search(state: State) -> _Answer:
    used = len(state.trace)
    found = state.trace[-1].score > state.rules.search_score
    if found and used >= state.rules.min_search_readings:
        return _servo(replace(state, memory_from=max(0, used - 2), servo_from=used))
    if used <= len(state.plan):
        return _go(state, Phase.SEARCH, state.plan[used - 1])
    return _fail(state, _not_found(state))


def _servo(state: State) -> _Answer:
    opening = state.trace[state.memory_from : state.servo_from]
    stopped = stop.servo_stop(opening, state.servo_trace, state.rules)
    if stopped is not None:
        return _finish(replace(state, stopped=stopped))
    newest_first = [point.reading for point in reversed(state.trace[state.memory_from :])][:MEMORY]
    proposal_um = state.law(newest_first)
    state = replace(state, proposal_um=proposal_um, phase=Phase.SERVO)
    if not math.isfinite(proposal_um):
        detail = f"the step law proposed {proposal_um} um"
        return _fail(state, Failed(reason=Reason.NOT_CONVERGED, detail=detail))
    magnification = newest_first[0].magnification
    target_um = servo.target_um(state.wd_um, proposal_um, magnification, state.limits)
    if abs(target_um - state.wd_um) < state.rules.min_step_um:
        return _read(state)
    return _go(state, Phase.SERVO, target_um)


def _finish(state: State) -> _Answer:
    best = stop.best_seen(state.trace)
    home = stop.latest_at(state.trace, state.home_um)
    if home is not None and home.score >= best.score - state.rules.tie_margin:
        best = home
    return _go(state, Phase.FINISH, best.wd_um)


def _judge(state: State) -> _Answer:
    here = state.trace[-1]
    promised = stop.latest_at(state.trace[:-1], here.wd_um)
    drop = promised.score - here.score if promised is not None else 0.0
    if here.score < state.rules.fail_score or drop > state.rules.verify_drop:
        return _retry(state)
    if stop.is_flat(state.trace, state.rules):
        return _fail(state, _not_converged(state))
    home = stop.latest_at(state.trace, state.home_um)
    is_home = here.wd_um == state.home_um
    if home is not None and not is_home and home.score >= here.score - state.rules.tie_margin:
        return _go(state, Phase.FINISH, home.wd_um)
    return _succeed(state, here)


def _retry(state: State) -> _Answer:
    if state.attempt >= state.rules.retries:
        return _fail(state, _not_converged(state))
    best = stop.best_seen(state.trace)
    used = len(state.trace)
    state = replace(state, attempt=state.attempt + 1, servo_from=used)
    if best.wd_um == state.wd_um:
        return _servo(replace(state, memory_from=used - 1))
    return _go(replace(state, memory_from=used), Phase.SERVO, best.wd_um)


def _go(state: State, phase: Phase, wd_um: float) -> _Answer:
    """Move to `wd_um` and read there; just read if the instrument stands there already."""
    state = replace(state, phase=phase)
    return _read(state) if wd_um == state.wd_um else (state, MoveWd(wd_um=wd_um))


def _read(state: State) -> _Answer:
    return state, TakeReading(kind=_KIND_OF_PHASE[state.phase])


def _fail(state: State, failed: Failed) -> _Answer:
    first = state.failure
    if first is not None:
        detail = f"{first.detail}; the start WD could not be restored: {failed.detail}"
        return _give_up(state, Failed(reason=first.reason, detail=detail), restored=False)
    state = replace(state, failure=failed)
    # A move that has failed may have been carried out nevertheless.
    is_away = isinstance(state.pending, MoveWd) or state.wd_um != state.home_um
    if state.start is not None and is_away:
        return replace(state, phase=Phase.RESTORE), MoveWd(wd_um=state.home_um)
    return _give_up(state, failed, restored=True)


def _give_up(state: State, failed: Failed, *, restored: bool) -> _Answer:
    best = stop.best_seen(state.trace) if state.trace else None
    outcome = Outcome(
        converged=False,
        reason=failed.reason,
        detail=failed.detail,
        start_wd_um=_known(state.home_um),
        wd_um=_known(state.wd_um),
        best_wd_um=best.wd_um if best is not None else None,
        score=best.score if best is not None else None,
        readings=stop.count(state.trace),
        restored=restored,
    )
    return replace(state, phase=Phase.DONE), Conclude(outcome=outcome)


def _succeed(state: State, here: TracePoint) -> _Answer:
    outcome = Outcome(
        converged=True,
        reason=Reason.FOCUSED,
        detail=f"focused; the servo ended because of: {state.stopped}",
        start_wd_um=state.home_um,
        wd_um=state.wd_um,
        best_wd_um=here.wd_um,
        score=here.score,
        readings=stop.count(state.trace),
        restored=state.wd_um == state.home_um,
    )
    return replace(state, phase=Phase.DONE), Conclude(outcome=outcome)


def _known(wd_um: float) -> float | None:
    return wd_um if math.isfinite(wd_um) else None


def _not_found(state: State) -> Failed:
    visited = [point.wd_um for point in state.trace]
    detail = (
        f"no score above {state.rules.search_score:g} in {len(visited)} readings "
        f"between {min(visited):g} and {max(visited):g} um"
    )
    reason = stop.diagnose(state.trace, state.rules, Reason.NOT_FOUND)
    return Failed(reason=reason, detail=detail)


def _not_converged(state: State) -> Failed:
    detail = (
        f"the score at the best WD is {state.trace[-1].score:.2f} after {state.attempt + 1} "
        f"attempts; it must reach {state.rules.fail_score:g} and confirm what was read before"
    )
    reason = stop.diagnose(state.trace, state.rules, Reason.NOT_CONVERGED)
    return Failed(reason=reason, detail=detail)
