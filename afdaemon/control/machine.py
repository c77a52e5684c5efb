"""A job as a pure state machine: the published procedure (Lee et al. 2021) and the fast one.

Theory of operation
-------------------
A job is a conversation. The loop reports what happened (an event), the machine answers with what to
do next (a command), and never is more than one command under way. `step` is a pure function: no time,
no input or output, so a journal of the events replays to exactly the same commands. What is the same in
every job is decided here; the rest is left to the job's `Procedure` (afdaemon.control.state).

    PREPARE   Started: the instrument stands at the start WD. Take a reading there, or at the WD
              where the job was asked to begin.
    RESTORE   Every failure, the loop's included, leads here: back to the start WD. Only where somebody else
              has taken over the instrument, it is left to them.
    DONE      Concluded. No further event is legal.

The published procedure (afdaemon.control.published.procedure):

    SEARCH    Sweep by a third of A_max(m) until a score exceeds 2 (afdaemon.control.published.search).
    SERVO     The step law proposes, the step is clipped to A_max(m), a reading is taken; until the
              score is 9, or five readings brought no new best, or twenty were taken. The law's
              memory holds the servo's readings and the last two of the search.
    FINISH    Go to the best WD seen and read once more: this verifying reading decides. If it is below
              3, or far below what it should confirm, the attempt has failed: SERVO once more from the
              best WD seen, then, if no score ever reached 3, SEARCH on. If the start turns out to be as
              good, the job ends there.

The fast procedure (afdaemon.control.fast.procedure):

    SEARCH    Where a frame shows hardly anything, stride to the nearest place not yet read.
    SERVO     The posterior over the defocus says where to go, until it is confident that this is
              focus and the score agrees. That reading verifies.
    FINISH    If an earlier place scored clearly higher, or the score or the contrast has a clear peak,
              however low, the job goes there and verifies. If that place is blurred by now, because
              the focus moved, the job goes back to SERVO.
    ADJUST    The last step, by part of a depth of focus, to where the focus most likely lies. No
              reading follows.

Where the job must confirm, a success of either first leads to

    CONFIRM   A second frame at the same place. If it shows something else, frames come one behind their texts, and
              the job has failed.

With the magnification ladder (afdaemon.control.fast.ladder) a SEARCH first goes down to magnifications
with a longer capture range, and from there up again. Only a reading at the
start magnification verifies. RESTORE brings the start magnification back with the WD.

`LEADS_TO` is the whole table. A pair that is not in it, or an event that does not answer the
command under way, is a bug in the caller and raises `IllegalEventError`.

A job always ends at the WD it verified, or within `near_dof` of it, or at its start, unless the
instrument is lost on the way back; then the outcome says `restored=False` with the reason of the first
failure.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from afdaemon.control.answers import confirmed, fail, give_up, read, succeed
from afdaemon.control.state import KIND_OF_PHASE, Answer, Own, State
from afdaemon.control.values import (
    Command,
    Correction,
    Event,
    Failed,
    Moved,
    MoveWd,
    Observed,
    Phase,
    Place,
    Reading,
    Reason,
    Refused,
    Started,
    TakeReading,
    TracePoint,
)

_AFTER_A_READING = frozenset(
    {
        Phase.SEARCH,
        Phase.SERVO,
        Phase.FINISH,
        Phase.CONFIRM,
        Phase.ADJUST,
        Phase.RESTORE,
        Phase.DONE,
    }
)
LEADS_TO: Mapping[tuple[Phase, type[Event]], frozenset[Phase]] = MappingProxyType(
    {
        (Phase.PREPARE, Started): frozenset({Phase.SEARCH, Phase.SERVO, Phase.DONE}),
        (Phase.PREPARE, Failed): frozenset({Phase.DONE}),
        (Phase.SEARCH, Moved): frozenset({Phase.SEARCH}),
        (Phase.SEARCH, Refused): frozenset({Phase.SEARCH, Phase.RESTORE}),
        (Phase.SEARCH, Observed): _AFTER_A_READING,
        (Phase.SEARCH, Failed): frozenset({Phase.RESTORE, Phase.DONE}),
        (Phase.SERVO, Moved): frozenset({Phase.SERVO}),
        (Phase.SERVO, Refused): frozenset({Phase.RESTORE}),
        (Phase.SERVO, Observed): _AFTER_A_READING,
        (Phase.SERVO, Failed): frozenset({Phase.RESTORE, Phase.DONE}),
        (Phase.FINISH, Moved): frozenset({Phase.FINISH}),
        (Phase.FINISH, Observed): _AFTER_A_READING,
        (Phase.FINISH, Failed): frozenset({Phase.RESTORE, Phase.DONE}),
        (Phase.CONFIRM, Observed): frozenset({Phase.ADJUST, Phase.RESTORE, Phase.DONE}),
        (Phase.CONFIRM, Failed): frozenset({Phase.RESTORE, Phase.DONE}),
        (Phase.ADJUST, Moved): frozenset({Phase.DONE}),
        (Phase.ADJUST, Failed): frozenset({Phase.RESTORE, Phase.DONE}),
        (Phase.RESTORE, Moved): frozenset({Phase.DONE}),
        (Phase.RESTORE, Failed): frozenset({Phase.DONE}),
    }
)
"""Every legal (phase, event) and the phases it may lead to."""


class IllegalEventError(RuntimeError):
    """An event that cannot happen in this phase, or that answers no command under way."""


def step(state: State[Own], event: Event) -> tuple[State[Own], tuple[Command, ...]]:
    """The state after `event`, and the commands to carry out, in order (here always one).

    Raises IllegalEventError if the event is not in `LEADS_TO` or does not answer the command under
    way.
    """
    if (state.phase, type(event)) not in LEADS_TO:
        raise IllegalEventError(f"{type(event).__name__} is not legal in phase {state.phase}")
    if not _answers(event, state.pending):
        raise IllegalEventError(f"{event} does not answer {state.pending}")
    after, command = _react(replace(state, proposal=None), event)
    return replace(after, pending=command), (command,)


def _answers(event: Event, pending: Command | None) -> bool:
    match event:
        case Moved(wd_um=wd_um, magnification=magnification):
            return pending == MoveWd(wd_um=wd_um, magnification=magnification)
        case Refused():
            return isinstance(pending, MoveWd) and pending.magnification is not None
        case Observed():
            return isinstance(pending, TakeReading)
        case _:
            return True


def _react(state: State[Own], event: Event) -> Answer[Own]:
    match event:
        case Started():
            return _start(state, event)
        case Moved():
            return _arrive(state, event)
        case Refused():
            return state.procedure.refused(state, event)
        case Observed():
            return _observe(state, event.reading)
        case Failed():
            return (
                fail(state, event) if event.found is None else _fail_at(state, event, event.found)
            )


def _start(state: State[Own], started: Started) -> Answer[Own]:
    state = replace(state, start=started, wd_um=started.wd_um, magnification=started.magnification)
    if not state.limits.within(started.wd_um):
        detail = f"the present WD, {started.wd_um:g} um, is outside the limits ({state.limits})"
        return give_up(state, Failed(reason=Reason.OUT_OF_RANGE, detail=detail), restored=True)
    if not (math.isfinite(started.magnification) and started.magnification > 0.0):
        detail = f"the instrument reports a magnification of {started.magnification:g}"
        return give_up(state, Failed(reason=Reason.DEVICE, detail=detail), restored=True)
    begin_um = started.wd_um if started.begin_wd_um is None else started.begin_wd_um
    if not state.limits.within(begin_um):
        detail = f"the search would begin at {begin_um:g} um, outside the limits ({state.limits})"
        return give_up(state, Failed(reason=Reason.OUT_OF_RANGE, detail=detail), restored=True)
    return state.procedure.begin(state, begin_um)


def _arrive(state: State[Own], moved: Moved) -> Answer[Own]:
    state = replace(state, wd_um=moved.wd_um)
    if moved.magnification is not None:
        state = replace(state, magnification=moved.magnification, rung_from=len(state.trace))
    if state.failure is not None:
        return give_up(state, state.failure, restored=True)
    if state.phase is Phase.ADJUST:
        return succeed(state, state.trace[-1], state.verdict)
    return read(state)


def _fail_at(state: State[Own], failed: Failed, found: Place) -> Answer[Own]:
    """The same after a look at where the instrument stands."""
    verified = state.trace[-1] if state.trace else None
    pending = state.pending
    state = replace(
        state, pending=None, wd_um=_number(found.wd_um), magnification=_number(found.magnification)
    )
    if failed.reason is Reason.DEVICE and state.phase is Phase.ADJUST and verified is not None:
        # The last step counts as part of a depth of focus: any place up to its length away is as good.
        longest_um = abs(pending.wd_um - verified.wd_um) if isinstance(pending, MoveWd) else 0.0
        if abs(state.wd_um - verified.wd_um) <= longest_um:
            return succeed(state, verified, f"{state.verdict}; its last step was not carried out")
    return fail(state, failed)


def _number(known: float | None) -> float:
    return math.nan if known is None else known


def _corrected(
    trace: tuple[TracePoint, ...], corrections: tuple[Correction, ...]
) -> tuple[TracePoint, ...]:
    now = {correction.was: correction.now for correction in corrections}
    return tuple(
        replace(point, reading=replace(point.reading, frame=now.get(point.frame, point.frame)))
        for point in trace
    )


def _observe(state: State[Own], reading: Reading) -> Answer[Own]:
    if not reading.is_usable:
        detail = f"a reading has unusable numbers: {reading}"
        return fail(state, Failed(reason=Reason.NOT_CONVERGED, detail=detail))
    point = TracePoint(kind=KIND_OF_PHASE[state.phase], wd_um=state.wd_um, reading=reading)
    state = replace(state, trace=(*_corrected(state.trace, reading.corrections), point))
    return confirmed(state) if state.phase is Phase.CONFIRM else state.procedure.observe(state)
