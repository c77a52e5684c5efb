"""Whatever the scores, the step law, the limits and the failures: promises that always hold."""

import math
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from afdaemon.control.evidence import best_seen
from afdaemon.control.limits import Limits, Range
from afdaemon.control.machine import LEADS_TO, step
from afdaemon.control.procedures import Laws, procedure_of
from afdaemon.control.published.procedure import PublishedState
from afdaemon.control.published.profile import PUBLISHED, PublishedProfile
from afdaemon.control.published.search import plan
from afdaemon.control.state import new_job
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
    Place,
    Reading,
    ReadingKind,
    Reason,
    Started,
)
from afdaemon.models.acnet.state import a_max_um
from afdaemon.models.frames.measures import Measures


@dataclass
class Run:
    """One whole conversation."""

    state: PublishedState
    rules: PublishedProfile
    events: list[Event]
    commands: list[Command]
    answers: list[float]
    wd_um: float
    outcome: Outcome


@st.composite
def rules(draw: st.DrawFn) -> PublishedProfile:
    return PublishedProfile(
        search_window_a_max=draw(st.sampled_from([0.0, 1.0, 4.0])),
        halvings=draw(st.integers(0, 2)),
        both_directions=draw(st.booleans()),
        min_search_readings=draw(st.integers(1, 4)),
        max_search_readings=draw(st.integers(1, 60)),
        patience=draw(st.integers(1, 8)),
        max_servo_readings=draw(st.integers(1, 25)),
        retries=draw(st.integers(0, 2)),
        searches=draw(st.integers(1, 3)),
        tie_margin=draw(st.sampled_from([0.0, 0.5])),
        verify_drop=draw(st.sampled_from([0.0, 3.0, 9.0])),
    )


@st.composite
def runs(draw: st.DrawFn, *, failures: bool = True, nonsense: bool = True) -> Run:
    """A job to its end: hypothesis plays the instrument, the scorer and the step law."""
    start_um = draw(st.floats(5_000.0, 40_000.0))
    limits = Limits(
        hard=Range(
            lo_um=start_um - draw(st.floats(0.0, 5_000.0)),
            hi_um=start_um + draw(st.floats(0.0, 5_000.0)),
        )
    )
    magnification = draw(st.sampled_from([200.0, 500.0, 5_000.0, 9_000.0, 20_000.0]))
    levels = [0.0, 1.0, 2.5, 2.9, 3.5, 5.0, 8.0, 8.5, 9.0, *([math.nan] if nonsense else [])]
    scores = st.sampled_from(levels) if draw(st.booleans()) else st.floats(0.0, 9.0)
    steps = st.floats(-1_500.0, 1_500.0) | st.sampled_from(
        [0.0, 1e9, *([math.nan, math.inf] if nonsense else [])]
    )
    fails_after = draw(st.integers(0, 80)) if failures else 10_000
    answers: list[float] = []

    def law(readings: object) -> float:
        answers.append(draw(steps))
        return answers[-1]

    chosen = draw(rules())
    state = new_job(procedure_of(chosen, Laws(step=law)), limits)
    event: Event = Started(wd_um=start_um, magnification=magnification)
    events: list[Event] = []
    commands: list[Command] = []
    wd_um = start_um
    while True:
        before = state.phase
        state, (command,) = step(state, event)
        assert state.phase in LEADS_TO[before, type(event)]
        events.append(event)
        commands.append(command)
        if isinstance(command, Conclude):
            return Run(state, chosen, events, commands, answers, wd_um, command.outcome)
        assert len(events) <= most_steps(state, chosen), "a job must end"
        if len(events) > fails_after and draw(st.booleans()):
            if isinstance(command, MoveWd) and draw(st.booleans()):
                wd_um = command.wd_um  # carried out, but never acknowledged
            event = Failed(
                reason=draw(st.sampled_from([Reason.DEVICE, Reason.ABORTED])),
                found=draw(
                    st.sampled_from([None, Place(wd_um=wd_um, magnification=magnification)])
                ),
            )
            if draw(st.integers(0, 9)) == 0:
                wd_um = draw(st.floats(5_000.0, 40_000.0))  # somebody else
                event = Failed(
                    reason=Reason.TAKEN_OVER,
                    found=Place(wd_um=wd_um, magnification=magnification),
                )
        elif isinstance(command, MoveWd):
            wd_um = command.wd_um
            event = Moved(wd_um=wd_um)
        else:
            event = Observed(
                reading=Reading(
                    wd_um=wd_um,
                    magnification=magnification,
                    frame=Measures(
                        score=draw(scores),
                        contrast=draw(st.sampled_from([0.001, 0.3])),
                        entropy=7.0,
                    ),
                )
            )


def most_steps(state: PublishedState, rules: PublishedProfile) -> int:
    """Each reading costs a move and a grab; then the start, the way home and the conclusion."""
    assert state.start is not None
    spots = plan(state.start.wd_um, state.start.magnification, state.limits, rules)
    # An attempt's servo, its opening reading and two verifying ones (the best, then the start).
    attempt = rules.max_servo_readings + 3
    readings = 1 + len(spots) + rules.searches * (1 + rules.retries) * attempt
    return 2 * readings + 3


@given(runs())
def test_no_move_leaves_the_limits(run: Run) -> None:
    for command in run.commands:
        if isinstance(command, MoveWd):
            assert run.state.limits.within(command.wd_um)


@given(runs(failures=False))
def test_a_job_ends_at_the_best_it_verified_or_at_its_start(run: Run) -> None:
    outcome = run.outcome
    assert outcome.wd_um == run.wd_um
    if outcome.converged:
        verified = run.state.trace[-1]
        assert verified.kind is ReadingKind.VERIFY
        assert (verified.wd_um, verified.score) == (outcome.wd_um, outcome.score)
        assert verified.score >= run.rules.fail_score
        best = best_seen(run.state.trace[:-1])
        assert verified.wd_um in {best.wd_um, outcome.start_wd_um}
    else:
        assert outcome.restored
        assert run.wd_um == outcome.start_wd_um


@given(runs(failures=False))
def test_a_success_is_no_worse_than_the_start_was(run: Run) -> None:
    if run.outcome.converged and not run.outcome.restored:
        home = [point for point in run.state.trace if point.wd_um == run.outcome.start_wd_um]
        assert run.outcome.score is not None
        assert run.outcome.score > home[-1].score


@given(runs())
def test_the_outcome_tells_the_truth(run: Run) -> None:
    outcome = run.outcome
    assert outcome.converged is (outcome.reason is Reason.FOCUSED)
    assert outcome.readings.total == len(run.state.trace)
    assert run.state.phase is Phase.DONE
    if outcome.restored:
        assert run.wd_um == outcome.start_wd_um
    last = run.events[-1]
    if not isinstance(last, Failed) or last.found is not None:
        assert outcome.wd_um == run.wd_um


@given(runs())
def test_whoever_has_taken_the_instrument_over_keeps_it(run: Run) -> None:
    for event, command in zip(run.events, run.commands, strict=True):
        if isinstance(event, Failed) and event.reason is Reason.TAKEN_OVER:
            assert isinstance(command, Conclude)
            assert (command.outcome.reason, command.outcome.restored) == (Reason.TAKEN_OVER, False)


@given(runs())
def test_servo_steps_keep_to_the_action_limit(run: Run) -> None:
    here = run.outcome.start_wd_um
    assert here is not None
    assert run.state.start is not None
    most_um = a_max_um(run.state.start.magnification) * (1 + 1e-9)
    state = new_job(procedure_of(run.rules, Laws(step=lambda _: answers.pop(0))), run.state.limits)
    answers = list(run.answers)
    for event in run.events:
        state, (command,) = step(state, event)
        if isinstance(command, MoveWd):
            if state.proposal is not None and state.phase is Phase.SERVO:
                assert abs(command.wd_um - here) <= most_um
            here = command.wd_um


@given(runs())
def test_the_same_events_give_the_same_commands_again(run: Run) -> None:
    answers = list(run.answers)
    state = new_job(procedure_of(run.rules, Laws(step=lambda _: answers.pop(0))), run.state.limits)
    commands: list[Command] = []
    for event in run.events:
        state, answer = step(state, event)
        commands += answer
    assert repr(commands) == repr(run.commands)
    assert not answers


@settings(max_examples=30)
@given(
    offset_um=st.floats(-3_000.0, 3_000.0),
    half_width_um=st.floats(300.0, 1_500.0),
)
def test_an_oracle_as_step_law_always_converges(offset_um: float, half_width_um: float) -> None:
    """A law that knows the distance: what remains is the machine's own doing."""
    start_um, wd_um = 20_000.0, 20_000.0
    best_um = start_um + offset_um
    state = new_job(
        procedure_of(PUBLISHED, Laws(step=lambda readings: best_um - readings[0].wd_um)),
        Limits(hard=Range(lo_um=10_000.0, hi_um=30_000.0)),
    )
    event: Event = Started(wd_um=start_um, magnification=500.0)
    state, (command,) = step(state, event)
    while not isinstance(command, Conclude):
        if isinstance(command, MoveWd):
            wd_um = command.wd_um
            event = Moved(wd_um=wd_um)
        else:
            score = 9.0 / (1.0 + ((wd_um - best_um) / half_width_um) ** 2)
            event = Observed(
                reading=Reading(
                    wd_um=wd_um,
                    magnification=500.0,
                    frame=Measures(score=score, contrast=0.3, entropy=7.0),
                )
            )
        state, (command,) = step(state, event)
    assert command.outcome.converged
    assert abs(wd_um - best_um) < 0.02
    assert command.outcome.readings.servo <= 7
