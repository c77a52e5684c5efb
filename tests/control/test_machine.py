"""The published procedure, rule by rule, as conversations with a scripted instrument."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest

from afdaemon.control.limits import Limits, Range
from afdaemon.control.machine import LEADS_TO, IllegalEventError, step
from afdaemon.control.procedures import Laws, procedure_of
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
    ReadingCount,
    ReadingKind,
    Reason,
    Started,
    TakeReading,
)
from afdaemon.models.frames.measures import Measures

START_UM = 12_000.0
LIMITS = Limits(hard=Range(lo_um=5_000.0, hi_um=30_000.0))


@dataclass
class Bench:
    """An instrument whose score is a function of WD, or a list that is read off in order."""

    score: Callable[[float], float] | Sequence[float]
    law: Callable[[Sequence[Reading]], float] = lambda readings: 50.0
    rules: PublishedProfile = PUBLISHED
    limits: Limits = LIMITS
    magnification: float = 500.0
    variance: float = 0.3
    saturated: float = 0.0
    doubt: str = ""
    expected_error: float = 0.5
    fail_at: Callable[[Command, int], Failed | None] = lambda command, index: None
    wd_um: float = START_UM
    begin_um: float | None = None
    confirm: bool = False
    contrasts: list[float] = field(default_factory=list)
    dose_e_nm2: float = 0.0
    dose_limit_e_nm2: float | None = None
    commands: list[Command] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)
    memories: list[list[float]] = field(default_factory=list)

    def run(self) -> Outcome:
        self.state = new_job(procedure_of(self.rules, Laws(step=self._law)), self.limits)
        event: Event = Started(
            wd_um=self.wd_um,
            magnification=self.magnification,
            begin_wd_um=self.begin_um,
            dose_limit_e_nm2=self.dose_limit_e_nm2,
            confirm=self.confirm,
        )
        for index in range(1_000):
            self.events.append(event)
            self.state, (command,) = step(self.state, event)
            self.commands.append(command)
            self.phases.append(self.state.phase)
            if isinstance(command, Conclude):
                return command.outcome
            event = self.fail_at(command, index) or self._carry_out(command)
        raise AssertionError("the job does not end")

    def _law(self, readings: Sequence[Reading]) -> float:
        self.memories.append([reading.wd_um for reading in readings])
        return self.law(readings)

    def _carry_out(self, command: Command) -> Event:
        if isinstance(command, MoveWd):
            self.wd_um = command.wd_um
            return Moved(wd_um=command.wd_um)
        used = sum(isinstance(command, TakeReading) for command in self.commands) - 1
        score = self.score(self.wd_um) if callable(self.score) else self.score[used]
        reading = Reading(
            wd_um=self.wd_um,
            magnification=self.magnification,
            frame=Measures(
                score=score,
                contrast=self.contrasts[used] if self.contrasts else self.variance,
                entropy=7.0,
                saturated=self.saturated,
                doubt=self.doubt,
                expected_error=self.expected_error,
            ),
            dose_e_nm2=self.dose_e_nm2,
        )
        return Observed(reading=reading)

    @property
    def moves(self) -> list[float]:
        return [command.wd_um for command in self.commands if isinstance(command, MoveWd)]

    @property
    def kinds(self) -> list[ReadingKind]:
        return [command.kind for command in self.commands if isinstance(command, TakeReading)]


def curve(best_um: float, half_width_um: float = 640.0) -> Callable[[float], float]:
    return lambda wd_um: 9.0 / (1.0 + ((wd_um - best_um) / half_width_um) ** 2)


def climb_to(best_um: float) -> Callable[[Sequence[Reading]], float]:
    return lambda readings: best_um - readings[0].wd_um


def climb(readings: Sequence[Reading]) -> float:
    """A simple law: go on in the direction that helped, half as far when it did not."""
    if len(readings) < 2 or readings[0].wd_um == readings[1].wd_um:
        return 150.0
    stride = readings[0].wd_um - readings[1].wd_um
    return stride if readings[0].frame.score > readings[1].frame.score else -0.5 * stride


# Search


def test_a_start_in_sight_of_focus_needs_no_search() -> None:
    bench = Bench(score=[2.01, 9.0, 9.0])
    outcome = bench.run()
    assert outcome.readings == ReadingCount(search=1, servo=1, verify=1)
    assert bench.memories == [[START_UM]]
    assert outcome.reason is Reason.FOCUSED
    assert outcome.wd_um == START_UM + 50.0


def test_a_score_of_two_is_not_yet_enough() -> None:
    bench = Bench(score=[2.0, 2.01, 9.0, 9.0])
    bench.run()
    assert bench.moves[0] == pytest.approx(START_UM + 400.0, abs=1e-3)
    assert bench.kinds[:3] == [ReadingKind.SEARCH, ReadingKind.SEARCH, ReadingKind.SERVO]


def test_the_last_two_search_readings_stand_in_the_memory() -> None:
    bench = Bench(score=[0.0, 0.0, 0.0, 2.5, 4.0, 9.0, 9.0])
    bench.run()
    first, second = bench.memories
    assert first == pytest.approx([START_UM + 1_200.0, START_UM + 800.0], abs=1e-2)
    assert second == pytest.approx([first[0] + 50.0, *first], abs=1e-2)


@pytest.mark.parametrize("best_um", [START_UM + 3_900.0, START_UM - 3_900.0])
def test_the_search_looks_in_both_directions(best_um: float) -> None:
    outcome = Bench(score=curve(best_um), law=climb).run()
    assert outcome.converged
    assert outcome.wd_um == pytest.approx(best_um, abs=200.0)


def test_a_narrow_peak_between_two_strides_is_found_with_a_finer_one() -> None:
    bench = Bench(score=curve(START_UM + 100.0, half_width_um=30.0), law=lambda readings: 1.0)
    outcome = bench.run()
    assert outcome.converged
    assert outcome.readings.search > 49


def test_an_exhausted_search_restores_the_start() -> None:
    bench = Bench(score=lambda wd_um: 0.5)
    outcome = bench.run()
    assert (outcome.reason, outcome.restored, outcome.wd_um) == (Reason.NOT_FOUND, True, START_UM)
    assert bench.wd_um == START_UM
    assert outcome.readings == ReadingCount(search=97)
    assert "no score above 2 in 97 readings" in outcome.detail


def test_the_search_gives_up_at_its_cap() -> None:
    outcome = Bench(score=lambda wd_um: 0.5, rules=PublishedProfile(max_search_readings=7)).run()
    assert outcome.readings.search == 7


def test_a_search_told_where_to_begin_goes_there_first_and_home_if_it_fails() -> None:
    bench = Bench(score=curve(20_000.0), begin_um=19_900.0, law=climb_to(20_000.0))
    outcome = bench.run()
    assert bench.moves[0] == 19_900.0
    assert (outcome.converged, outcome.start_wd_um, outcome.best_wd_um) == (
        True,
        START_UM,
        20_000.0,
    )
    lost = Bench(score=lambda wd_um: 1.0, begin_um=19_900.0)
    outcome = lost.run()
    assert (outcome.reason, outcome.restored, lost.moves[-1]) == (Reason.NOT_FOUND, True, START_UM)


@pytest.mark.parametrize("begin_um", [4_999.0, 30_001.0, float("nan"), float("inf")])
def test_a_search_told_to_begin_outside_the_limits_moves_nothing(begin_um: float) -> None:
    bench = Bench(score=curve(START_UM), begin_um=begin_um)
    assert bench.run().reason is Reason.OUT_OF_RANGE
    assert bench.moves == []


def test_a_minimum_of_search_readings_is_kept() -> None:
    bench = Bench(score=[5.0] * 4 + [9.0, 9.0], rules=PublishedProfile(min_search_readings=4))
    assert bench.run().readings.search == 4


@pytest.mark.parametrize(
    ("variance", "saturated", "expected"),
    [(0.001, 0.0, Reason.NO_CONTRAST), (0.1, 0.8, Reason.SATURATED)],
)
@pytest.mark.parametrize("score", [lambda _: 0.5, curve(START_UM + 300.0)], ids=["low", "high"])
def test_frames_that_show_nothing_are_a_failure_whatever_the_score(
    score: Callable[[float], float], variance: float, saturated: float, expected: Reason
) -> None:
    doubt = "saturated" if saturated else ""
    outcome = Bench(score=score, variance=variance, saturated=saturated, doubt=doubt).run()
    assert outcome.reason is expected
    assert outcome.restored


# Servo


def test_steps_are_clipped_to_the_action_limit() -> None:
    bench = Bench(score=[3.0, 4.0, 9.0, 9.0], law=lambda readings: -5_000.0)
    bench.run()
    assert bench.moves[0] == pytest.approx(START_UM - 1_200.0, abs=1e-3)


def test_the_servo_goes_to_the_best_working_distance_it_saw() -> None:
    scores = [3.0, 4.0, 6.0, 5.0, 5.0, 5.0, 5.0, 5.0, 6.1]
    bench = Bench(score=scores)
    outcome = bench.run()
    assert outcome.readings == ReadingCount(search=1, servo=7, verify=1)
    assert bench.moves[-1] == outcome.best_wd_um == outcome.wd_um == START_UM + 100.0
    assert outcome.score == 6.1
    assert "no new best score" in outcome.detail


def test_twenty_servo_readings_are_the_most() -> None:
    rising = [3.0 + 0.1 * index for index in range(21)]
    outcome = Bench(score=[*rising, rising[-1]]).run()
    assert outcome.readings.servo == 20


def test_a_zero_step_takes_a_reading_where_it_stands() -> None:
    bench = Bench(score=[3.0] * 7, law=lambda readings: 0.0)
    outcome = bench.run()
    assert bench.moves == []
    assert outcome.readings == ReadingCount(search=1, servo=5, verify=1)


@pytest.mark.parametrize("proposal_um", [float("nan"), float("inf"), float("-inf")])
def test_a_law_that_returns_no_number_ends_the_job(proposal_um: float) -> None:
    bench = Bench(score=[0.0, 3.0], law=lambda readings: proposal_um)
    outcome = bench.run()
    assert (outcome.reason, outcome.restored) == (Reason.NOT_CONVERGED, True)
    assert str(proposal_um) in outcome.detail
    assert bench.wd_um == START_UM


def test_a_reading_that_is_no_number_ends_the_job() -> None:
    bench = Bench(score=[0.0, float("nan")])
    outcome = bench.run()
    assert (outcome.reason, outcome.restored) == (Reason.NOT_CONVERGED, True)
    assert outcome.readings.total == 1


# Verdict


def test_below_three_the_servo_tries_once_more_from_the_best() -> None:
    first = [2.5, 2.6, 2.0, 2.0, 2.0, 2.0, 2.0, 2.6]
    bench = Bench(score=[*first, 9.0, 9.0])
    outcome = bench.run()
    assert bench.memories[6:] == [[START_UM + 50.0]]
    assert outcome.converged
    assert outcome.readings == ReadingCount(search=1, servo=7, verify=2)
    assert outcome.wd_um == START_UM + 100.0


def test_below_three_twice_restores_the_start() -> None:
    rules = replace(PUBLISHED, searches=1)
    bench = Bench(score=lambda wd_um: 2.5 if wd_um == START_UM else 2.6, rules=rules)
    outcome = bench.run()
    assert (outcome.reason, outcome.restored) == (Reason.NOT_CONVERGED, True)
    assert outcome.wd_um == bench.wd_um == START_UM
    assert outcome.readings == ReadingCount(search=1, servo=6 + 5, verify=2)
    assert outcome.best_wd_um == START_UM + 50.0
    assert "must reach 3" in outcome.detail


@pytest.mark.parametrize(("expected_error", "converged"), [(0.9, True), (1.1, False)])
def test_no_success_rests_on_a_score_that_noise_may_have_made(
    expected_error: float, converged: bool
) -> None:
    bench = Bench(score=lambda _: 4.0, expected_error=expected_error)
    assert bench.run().converged is converged
    assert converged or bench.wd_um == START_UM


def test_a_trace_that_led_nowhere_does_not_end_the_search() -> None:
    """Something scores 2.5 at the start; the focus is three strides away."""
    best_um = START_UM + 1_250.0

    def score(wd_um: float) -> float:
        return 2.5 if abs(wd_um - START_UM) < 300.0 else 9.0 - abs(wd_um - best_um) / 40.0

    def law(readings: Sequence[Reading]) -> float:
        away_um = best_um - readings[0].wd_um
        return away_um if abs(away_um) < 300.0 else 50.0

    bench = Bench(score=lambda wd_um: max(0.0, score(wd_um)), law=law)
    outcome = bench.run()
    assert outcome.converged
    assert outcome.readings.search > 1
    assert bench.wd_um == pytest.approx(best_um, abs=100.0)


def test_a_focus_that_was_seen_and_lost_is_not_searched_for_elsewhere() -> None:
    bench = Bench(score=lambda _: 2.0 if bench.kinds[-1] is ReadingKind.VERIFY else 6.0)
    outcome = bench.run()
    assert outcome.reason is Reason.NOT_CONVERGED
    assert outcome.restored
    assert (outcome.readings.search, outcome.readings.verify) == (1, 2)


def test_a_verifying_reading_far_below_its_promise_fails_the_attempt() -> None:
    freak = [3.5, 4.0, 8.0, 4.0, 4.0, 4.0, 4.0, 4.0]
    bench = Bench(score=[*freak, 4.9, *[4.0] * 20])
    outcome = bench.run()
    assert outcome.readings.verify == 2
    assert bench.state.own.attempt == 1


def test_the_start_wins_if_nothing_is_better() -> None:
    bench = Bench(score=[5.0, 4.0, 4.5, 5.0, 4.0, 4.0, 5.0])
    outcome = bench.run()
    assert outcome.converged
    assert outcome.wd_um == START_UM
    assert outcome.restored


SLIGHTLY_BETTER = [5.0, 5.2, 4.5, 4.0, 4.0, 4.0, 4.0]


def test_the_start_wins_if_the_best_does_not_hold_what_it_promised() -> None:
    bench = Bench(score=[*SLIGHTLY_BETTER, 4.9, 5.1])
    outcome = bench.run()
    assert (outcome.wd_um, outcome.score, outcome.restored) == (START_UM, 5.1, True)
    assert outcome.readings.verify == 2


def test_the_start_wins_within_the_margin() -> None:
    assert Bench(score=[*SLIGHTLY_BETTER, 5.1]).run().wd_um == START_UM + 50.0
    outcome = Bench(score=[*SLIGHTLY_BETTER, 5.1], rules=PublishedProfile(tie_margin=0.3)).run()
    assert (outcome.wd_um, outcome.readings.verify) == (START_UM, 1)


def test_a_flat_specimen_is_never_a_success() -> None:
    outcome = Bench(score=lambda wd_um: 9.0, variance=0.001).run()
    assert (outcome.converged, outcome.reason) == (False, Reason.NO_CONTRAST)


# Failures of the instrument, limits


@pytest.mark.parametrize("reason", [Reason.DEVICE, Reason.ABORTED, Reason.TIMEOUT])
def test_a_failure_before_any_move_needs_no_restoring(reason: Reason) -> None:
    bench = Bench(score=[1.0], fail_at=lambda command, index: Failed(reason=reason, detail="why"))
    outcome = bench.run()
    assert (outcome.reason, outcome.restored, outcome.detail) == (reason, True, "why")
    assert bench.moves == []


def test_a_failure_before_the_start_is_known_is_concluded() -> None:
    state = new_job(procedure_of(PUBLISHED, Laws(step=climb)), LIMITS)
    _, (command,) = step(state, Failed(reason=Reason.DEVICE, detail="no answer"))
    assert isinstance(command, Conclude)
    assert command.outcome.start_wd_um is None
    assert command.outcome.wd_um is None
    assert command.outcome.restored


def test_a_move_that_failed_may_have_happened_and_is_taken_back() -> None:
    lost = Failed(reason=Reason.DEVICE, detail="no answer")
    bench = Bench(score=[1.0], fail_at=lambda command, index: lost if index == 1 else None)
    outcome = bench.run()
    assert bench.moves[-1] == START_UM
    assert (outcome.reason, outcome.restored) == (Reason.DEVICE, True)


def test_a_second_failure_says_that_the_start_is_not_restored() -> None:
    def fail_at(command: Command, index: int) -> Failed | None:
        if index < 3:
            return None
        return Failed(reason=(Reason.ABORTED, Reason.DEVICE)[index - 3], detail=f"fault {index}")

    outcome = Bench(score=[1.0] * 5, fail_at=fail_at).run()
    assert (outcome.reason, outcome.restored) == (Reason.ABORTED, False)
    assert outcome.detail == "fault 3; the start WD could not be restored: fault 4"
    assert outcome.wd_um == pytest.approx(START_UM + 400.0, abs=1e-3)


TAKEN = Failed(
    reason=Reason.TAKEN_OVER, detail="taken", found=Place(wd_um=15_000.0, magnification=700.0)
)


def test_whoever_takes_the_instrument_over_keeps_it() -> None:
    bench = Bench(score=[1.0] * 5, fail_at=lambda command, index: TAKEN if index == 2 else None)
    outcome = bench.run()
    assert (outcome.reason, outcome.restored) == (Reason.TAKEN_OVER, False)
    assert (outcome.wd_um, outcome.magnification) == (15_000.0, 700.0)
    assert outcome.detail == "taken; it is left as it is"
    assert isinstance(bench.commands[-1], Conclude)


def test_a_way_home_that_is_taken_over_tells_both() -> None:
    def fail_at(command: Command, index: int) -> Failed | None:
        if command == MoveWd(wd_um=START_UM):
            return TAKEN
        return Failed(reason=Reason.TIMEOUT, detail="too late") if index == 4 else None

    outcome = Bench(score=[1.0] * 5, fail_at=fail_at).run()
    assert outcome.reason is Reason.TAKEN_OVER
    assert outcome.detail == "taken; it is left as it is; before that: too late"


@pytest.mark.parametrize("found", [Place(), Place(wd_um=12_345.0, magnification=500.0)])
def test_a_restore_that_fails_says_where_the_instrument_was_found(found: Place) -> None:
    def fail_at(command: Command, index: int) -> Failed | None:
        if command == MoveWd(wd_um=START_UM):
            return Failed(reason=Reason.DEVICE, detail="stuck", found=found)
        return Failed(reason=Reason.TIMEOUT, detail="too late") if index == 4 else None

    outcome = Bench(score=[1.0] * 5, fail_at=fail_at).run()
    assert (outcome.reason, outcome.restored) == (Reason.TIMEOUT, False)
    assert Place(wd_um=outcome.wd_um, magnification=outcome.magnification) == found


def test_a_move_that_was_not_sent_leaves_nothing_to_restore() -> None:
    home = Place(wd_um=START_UM, magnification=500.0)
    failed = Failed(reason=Reason.DEVICE, detail="the link is down", found=home)
    bench = Bench(
        score=[1.0],
        fail_at=lambda command, index: failed if isinstance(command, MoveWd) else None,
    )
    outcome = bench.run()
    assert (outcome.restored, outcome.wd_um, len(bench.moves)) == (True, START_UM, 1)


@pytest.mark.parametrize(
    ("wd_um", "magnification", "expected"),
    [
        (1_000.0, 500.0, Reason.OUT_OF_RANGE),
        (float("nan"), 500.0, Reason.OUT_OF_RANGE),
        (START_UM, 0.0, Reason.DEVICE),
        (START_UM, float("nan"), Reason.DEVICE),
    ],
)
def test_a_start_that_cannot_be_ends_the_job_without_a_move(
    wd_um: float, magnification: float, expected: Reason
) -> None:
    bench = Bench(score=[1.0], wd_um=wd_um, magnification=magnification)
    outcome = bench.run()
    assert outcome.reason is expected
    assert outcome.restored, "nothing moved"
    assert len(bench.commands) == 1


def test_a_search_that_would_begin_outside_the_limits_moves_nothing() -> None:
    bench = Bench(score=[1.0], begin_um=1_000.0)
    outcome = bench.run()
    assert (outcome.reason, outcome.restored) == (Reason.OUT_OF_RANGE, True)
    assert len(bench.commands) == 1


@pytest.mark.parametrize(
    ("magnification", "is_usable"),
    [(0.5, True), (1.0, True), (0.0, False), (-1.0, False), (math.inf, False), (math.nan, False)],
)
def test_a_reading_is_usable_at_a_magnification_that_can_be(
    magnification: float, *, is_usable: bool
) -> None:
    told = Reading(
        wd_um=START_UM,
        magnification=magnification,
        frame=Measures(score=1.0, contrast=0.3, entropy=7.0),
    )
    assert told.is_usable is is_usable


def test_how_many_readings_there_may_be_by_the_end_of_a_phase() -> None:
    bench = Bench(score=[1.0] * 3 + [5.0] * 30, law=lambda readings: 10.0)
    procedure = procedure_of(bench.rules, Laws(step=bench.law))
    state = new_job(procedure, bench.limits)
    event: Event = Started(wd_um=START_UM, magnification=bench.magnification)
    most: dict[Phase, set[tuple[int, int]]] = {}
    while state.phase is not Phase.DONE:
        state, (command,) = step(state, event)
        told = (len(state.trace), procedure.most_readings(state))
        most.setdefault(state.phase, set()).add(told)
        bench.commands.append(command)
        if not isinstance(command, Conclude):
            event = bench._carry_out(command)
    places = len(plan(START_UM, bench.magnification, bench.limits, bench.rules))
    assert {told for _, told in most[Phase.SEARCH]} == {1 + places}
    assert {told for _, told in most[Phase.SERVO]} == {4 + bench.rules.max_servo_readings}
    assert all(told == taken + 1 for taken, told in most[Phase.FINISH])
    assert all(told == taken for taken, told in most[Phase.DONE])


def test_every_event_outside_the_table_is_illegal() -> None:
    events: list[Event] = [
        Started(wd_um=START_UM, magnification=500.0),
        Moved(wd_um=START_UM),
        Observed(
            reading=Reading(
                wd_um=0, magnification=1, frame=Measures(score=0, contrast=0, entropy=0)
            )
        ),
        Failed(reason=Reason.DEVICE),
    ]
    for phase in Phase:
        for event in events:
            if (phase, type(event)) not in LEADS_TO:
                with pytest.raises(IllegalEventError, match=phase.value):
                    step(
                        replace(
                            new_job(procedure_of(PUBLISHED, Laws(step=climb)), LIMITS), phase=phase
                        ),
                        event,
                    )


def test_an_event_must_answer_the_command_under_way() -> None:
    state, _ = step(
        new_job(procedure_of(PUBLISHED, Laws(step=climb)), LIMITS),
        Started(wd_um=START_UM, magnification=500.0),
    )
    with pytest.raises(IllegalEventError, match="does not answer"):
        step(state, Moved(wd_um=START_UM))
    nothing = Reading(
        wd_um=START_UM, magnification=500.0, frame=Measures(score=1.0, contrast=0.3, entropy=7.0)
    )
    moving, (command,) = step(state, Observed(reading=nothing))
    assert isinstance(command, MoveWd)
    with pytest.raises(IllegalEventError, match="does not answer"):
        step(moving, Moved(wd_um=command.wd_um + 1.0))


# A second look


AT_FOCUS = [9.0, 9.0]
"""In focus at the start, and the reading that verifies it."""


def test_a_second_frame_of_the_same_place_confirms_a_success() -> None:
    plain = Bench(score=[*AT_FOCUS])
    bench = Bench(score=[*AT_FOCUS, 8.0], confirm=True)
    assert plain.run().converged
    outcome = bench.run()
    assert outcome.converged
    assert outcome.readings.total == len(plain.kinds) + 1
    assert bench.kinds == [*plain.kinds, ReadingKind.VERIFY]
    assert bench.moves == plain.moves
    assert bench.phases.count(Phase.CONFIRM) == 1
    assert outcome.score == 8.0


@pytest.mark.parametrize(
    ("score", "contrast", "is_same"),
    [
        (8.0, 0.3, True),
        (7.99, 0.3, False),
        (9.0, 0.3 * 1.34, True),
        (9.0, 0.3 * 1.36, False),
        (9.0, 0.3 / 1.34, True),
        (9.0, 0.3 / 1.36, False),
        (9.0, 0.0, False),
    ],
)
def test_a_picture_that_changes_though_nothing_moves_is_no_success(
    score: float, contrast: float, is_same: bool
) -> None:
    bench = Bench(
        score=[*AT_FOCUS, score], contrasts=[0.3, 0.3, contrast], confirm=True, begin_um=12_100.0
    )
    outcome = bench.run()
    assert outcome.converged is is_same
    if not is_same:
        assert (outcome.reason, outcome.restored) == (Reason.DEVICE, True)
        assert "although nothing moved" in outcome.detail
        assert bench.moves == [12_100.0, START_UM]


def test_a_failure_while_confirming_restores_the_start() -> None:
    broken = Failed(reason=Reason.DEVICE, detail="no frame")
    bench = Bench(
        score=AT_FOCUS,
        confirm=True,
        begin_um=12_100.0,
        fail_at=lambda command, index: broken if bench.phases[-1] is Phase.CONFIRM else None,
    )
    outcome = bench.run()
    assert (outcome.reason, outcome.restored) == (Reason.DEVICE, True)


@pytest.mark.parametrize(("limit_e_nm2", "looks"), [(30.0, 3), (29.0, 2)])
def test_without_dose_for_a_second_look_the_success_counts(limit_e_nm2: float, looks: int) -> None:
    bench = Bench(
        score=[*AT_FOCUS, 9.0], confirm=True, dose_e_nm2=10.0, dose_limit_e_nm2=limit_e_nm2
    )
    outcome = bench.run()
    assert outcome.converged
    assert outcome.readings.total == looks


@pytest.mark.parametrize("offset_um", [-3_500.0, -900.0, -300.0, 300.0, 1_000.0, 3_500.0])
def test_of_pictures_that_come_one_behind_the_score_told_is_that_of_the_place(
    offset_um: float,
) -> None:
    best_um = START_UM + offset_um
    shown = [START_UM]

    def behind(wd_um: float) -> float:
        shown.append(wd_um)
        return curve(best_um)(shown[-2])

    outcome = Bench(score=behind, law=climb, confirm=True).run()
    assert outcome.wd_um is not None
    assert outcome.converged or outcome.reason is Reason.DEVICE
    assert not outcome.converged or outcome.score == curve(best_um)(outcome.wd_um)


# Closed loop


@pytest.mark.parametrize("offset_um", [-3_500.0, -900.0, -50.0, 0.0, 60.0, 1_000.0, 3_500.0])
def test_the_loop_closes_on_the_analytic_curve(offset_um: float) -> None:
    best_um = START_UM + offset_um
    bench = Bench(score=curve(best_um), law=climb)
    outcome = bench.run()
    assert outcome.converged
    assert outcome.wd_um is not None
    assert abs(outcome.wd_um - best_um) <= min(150.0, max(abs(offset_um), 1.0))
    assert all(LIMITS.within(wd_um) for wd_um in bench.moves)
