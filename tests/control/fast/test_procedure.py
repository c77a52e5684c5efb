"""The fast procedure: what it does with a belief, and what it never does whatever the belief."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.control import evidence
from afdaemon.control.fast.law import FocusLaw
from afdaemon.control.fast.profile import FAST, FastProfile
from afdaemon.control.limits import Limits, Range
from afdaemon.control.machine import LEADS_TO, step
from afdaemon.control.procedures import Laws, procedure_of
from afdaemon.control.state import AnyState, new_job
from afdaemon.control.values import (
    Conclude,
    Event,
    Failed,
    Moved,
    MoveWd,
    Observed,
    Outcome,
    Phase,
    Place,
    Proposal,
    Reading,
    ReadingKind,
    Reason,
    Started,
    TracePoint,
)
from afdaemon.errors import ConfigError
from afdaemon.models.frames.measures import Measures
from afdaemon.models.optics import dof_um

START_UM, MAGNIFICATION = 12_000.0, 2_000.0


def told(reading: Reading, **measures: Any) -> Reading:
    """The reading of a frame that told otherwise."""
    return replace(reading, frame=replace(reading.frame, **measures))


UNIT_UM = dof_um(MAGNIFICATION, 5e-3)
LIMITS = Limits(hard=Range(lo_um=5_000.0, hi_um=50_000.0))


def score_at(wd_um: float, best_um: float) -> float:
    return 9.0 / (1.0 + (0.5 * (wd_um - best_um) / UNIT_UM) ** 2)


def reading(
    wd_um: float, score: float, *, variance: float = 0.3, saturated: float = 0.0
) -> Reading:
    return Reading(
        wd_um=wd_um,
        magnification=MAGNIFICATION,
        frame=Measures(score=score, contrast=variance, entropy=7.0, saturated=saturated),
    )


def oracle(best_um: float) -> FocusLaw:
    """Knows nothing after one reading but the distance, and guesses the wrong side; then it knows."""

    def law(newest_first: Sequence[Reading]) -> Proposal:
        away_um = newest_first[0].wd_um - best_um
        if len(newest_first) == 1:
            return Proposal(step_um=away_um or 4.0 * UNIT_UM, confidence=0.0)
        return Proposal(step_um=-away_um, confidence=1.0 if abs(away_um) < UNIT_UM else 0.0)

    return law


def answering(answer: Callable[[Sequence[Reading]], tuple[float, float]]) -> FocusLaw:
    """A law of a step and how sure it is."""

    def law(newest_first: Sequence[Reading]) -> Proposal:
        step_um, at_focus = answer(newest_first)
        return Proposal(step_um=step_um, confidence=at_focus)

    return law


@dataclass
class Played:
    """A job to its end: where it went, what it read, and how it ended."""

    outcome: Outcome
    visited: list[float] = field(default_factory=list)
    kinds: list[ReadingKind] = field(default_factory=list)


def play(
    law: FocusLaw,
    look: Callable[[float, int], Reading],
    rules: FastProfile = FAST,
    limits: Limits = LIMITS,
    start_um: float = START_UM,
    guess_um: float | None = None,
    confirm: bool = False,
) -> Played:
    state = new_job(procedure_of(rules, Laws(step=lambda _: math.nan, focus=law)), limits)
    event: Event = Started(
        wd_um=start_um, magnification=MAGNIFICATION, guess_wd_um=guess_um, confirm=confirm
    )
    wd_um = start_um
    visited: list[float] = []
    kinds: list[ReadingKind] = []
    for _ in range(1_000):
        before = state.phase
        state, (command,) = step(state, event)
        assert state.phase in LEADS_TO[before, type(event)]
        match command:
            case Conclude(outcome=outcome):
                assert outcome.wd_um == wd_um
                return Played(outcome, visited, kinds)
            case MoveWd():
                assert limits.within(command.wd_um)
                wd_um, event = command.wd_um, Moved(wd_um=command.wd_um)
            case _:
                event = Observed(reading=look(wd_um, len(visited)))
                visited.append(wd_um)
                kinds.append(command.kind)
    raise AssertionError("the job does not end")


@given(away_dof=st.floats(-70.0, 70.0))
def test_three_readings_are_enough_for_who_knows(away_dof: float) -> None:
    best_um = START_UM + away_dof * UNIT_UM
    limits = Limits(hard=Range(lo_um=-1e5, hi_um=1e5))
    played = play(oracle(best_um), lambda wd, _: reading(wd, score_at(wd, best_um)), limits=limits)
    assert played.outcome.converged
    assert played.outcome.readings.total == len(played.visited) <= 4
    assert abs(played.visited[-1] - best_um) <= UNIT_UM


@given(away_dof=st.floats(-1.2, 1.2))
def test_the_last_step_ends_where_the_focus_is_and_is_not_read(away_dof: float) -> None:
    best_um = START_UM + 9.0 * UNIT_UM
    beside_um = best_um + away_dof * UNIT_UM
    law = answering(
        lambda r: ((beside_um if len(r) == 1 else best_um) - r[0].wd_um, float(len(r) >= 3))
    )
    played = play(law, lambda wd, _: reading(wd, score_at(wd, best_um)), FastProfile(near_dof=0.5))
    assert played.outcome.converged
    assert played.outcome.wd_um == pytest.approx(best_um, abs=0.1 * UNIT_UM)
    assert played.outcome.wd_um == pytest.approx(played.visited[-1], abs=0.5 * UNIT_UM)
    assert played.outcome.best_wd_um == played.outcome.wd_um
    assert played.outcome.score == score_at(played.visited[-1], best_um)


@given(away_dof=st.floats(-1.2, 1.2))
def test_a_second_look_comes_before_the_last_step(away_dof: float) -> None:
    best_um = START_UM + 9.0 * UNIT_UM
    beside_um = best_um + away_dof * UNIT_UM
    law = answering(
        lambda r: ((beside_um if len(r) == 1 else best_um) - r[0].wd_um, float(len(r) >= 3))
    )
    rules = FastProfile(near_dof=0.5)
    look = lambda wd, _: reading(wd, score_at(wd, best_um))  # noqa: E731
    plain, twice = play(law, look, rules), play(law, look, rules, confirm=True)
    assert twice.visited == [*plain.visited, plain.visited[-1]]
    assert twice.outcome.wd_um == plain.outcome.wd_um
    assert twice.kinds[-1] is ReadingKind.VERIFY


@pytest.mark.parametrize(
    ("away_dof", "score_there", "dof_scale", "stays"),
    [
        (0.9, 8.3, 1.0, True),
        (1.1, 8.3, 1.0, False),
        (0.9, 8.6, 1.0, False),
        (0.4, 8.3, 0.5, True),
        (0.6, 8.3, 0.5, False),
        (1.8, 8.3, 2.0, True),
    ],
)
def test_a_start_that_is_as_good_and_as_close_is_kept(
    away_dof: float, score_there: float, dof_scale: float, stays: bool
) -> None:
    """Close is 1 true depth of focus, which the belief tells in assumed ones."""
    there_um = START_UM + away_dof * UNIT_UM
    law = answering(lambda r: (there_um - r[0].wd_um, float(len(r) >= 3)))
    outcome = play(
        lambda r: replace(law(r), dof_scale=dof_scale),
        lambda wd, _: reading(wd, 8.0 if wd == START_UM else score_there),
    ).outcome
    assert outcome.converged
    assert outcome.wd_um == (START_UM if stays else there_um)
    assert outcome.restored == stays


def test_a_last_step_is_not_made_for_a_tenth_of_a_depth_of_focus() -> None:
    law = answering(lambda r: (0.09 * UNIT_UM, float(len(r) >= 3)))
    played = play(law, lambda wd, _: reading(wd, 7.0 + (wd != START_UM)))
    assert played.outcome.wd_um == played.visited[-1]


def test_the_last_step_stays_inside_the_limits() -> None:
    law = answering(lambda r: (0.6 * UNIT_UM, float(len(r) >= 3)))
    limits = Limits(hard=Range(lo_um=5_000.0, hi_um=START_UM + 0.3 * UNIT_UM))
    outcome = play(law, lambda wd, _: reading(wd, 7.0 + (wd != START_UM)), limits=limits).outcome
    assert outcome.converged
    assert outcome.wd_um == limits.hard.hi_um


def before_the_last_step() -> tuple[AnyState, MoveWd]:
    """A job that has verified at `START_UM` and steps on by .6 DoF."""
    law = answering(lambda r: (0.6 * UNIT_UM, float(len(r) >= 3)))
    scores = iter([7.0, 8.0, 8.0])
    state = new_job(procedure_of(FAST, Laws(step=lambda _: math.nan, focus=law)), LIMITS)
    event: Event = Started(wd_um=START_UM, magnification=MAGNIFICATION)
    while True:
        state, (command,) = step(state, event)
        if isinstance(command, MoveWd):
            if state.phase is Phase.ADJUST:
                return state, command
            event = Moved(wd_um=command.wd_um)
        else:
            event = Observed(reading=reading(START_UM, next(scores)))


def test_a_last_step_that_fails_ends_at_the_start() -> None:
    state, _ = before_the_last_step()
    lost = Failed(reason=Reason.DEVICE, detail="the cable is out")
    state, (command,) = step(state, lost)
    assert command == MoveWd(wd_um=START_UM)
    state, (command,) = step(state, Moved(wd_um=START_UM))
    assert isinstance(command, Conclude)
    assert command.outcome.reason is Reason.DEVICE
    assert command.outcome.restored


@pytest.mark.parametrize("share", [-1.0, 0.0, 0.4, 1.0])
def test_a_last_step_that_was_not_made_in_full_is_still_in_focus(share: float) -> None:
    """The lens stands no further from the verified place than it was sent."""
    state, move = before_the_last_step()
    verified_um = state.trace[-1].wd_um
    found_um = verified_um + share * (move.wd_um - verified_um)
    found = Place(wd_um=found_um, magnification=MAGNIFICATION)
    _, (end,) = step(state, Failed(reason=Reason.DEVICE, detail="stands elsewhere", found=found))
    assert isinstance(end, Conclude)
    assert (end.outcome.reason, end.outcome.wd_um) == (Reason.FOCUSED, found_um)
    assert "last step was not carried out" in end.outcome.detail


@pytest.mark.parametrize(
    ("reason", "share"), [(Reason.DEVICE, 1.1), (Reason.DEVICE, -1.1), (Reason.ABORTED, 0.0)]
)
def test_a_last_step_that_led_too_far_or_was_aborted_leads_home(
    reason: Reason, share: float
) -> None:
    state, move = before_the_last_step()
    verified_um = state.trace[-1].wd_um
    found = Place(
        wd_um=verified_um + share * (move.wd_um - verified_um) + 0.001, magnification=MAGNIFICATION
    )
    _, (home,) = step(state, Failed(reason=reason, detail="elsewhere", found=found))
    assert home == MoveWd(wd_um=START_UM)


def test_a_belief_that_aenet_does_not_share_is_no_success() -> None:
    played = play(answering(lambda _: (0.0, 1.0)), lambda wd, _: reading(wd, 1.2))
    assert played.outcome.reason is Reason.NOT_FOUND
    assert played.outcome.restored
    assert ReadingKind.SEARCH in played.kinds


def test_where_it_scored_clearly_higher_it_ends_and_verifies() -> None:
    steps = iter([UNIT_UM, UNIT_UM, 0.0])
    law = answering(lambda r: (next(steps), float(len(r) >= 3)))
    scores = [8.5, 7.0, 7.2, 8.4]
    played = play(law, lambda wd, n: reading(wd, scores[n]))
    assert played.outcome.converged
    assert played.outcome.wd_um == START_UM
    assert played.outcome.restored
    assert played.kinds[-1] is ReadingKind.VERIFY


@pytest.mark.parametrize(
    ("look", "reason"),
    [
        (lambda wd, _: reading(wd, 6.0, variance=0.001), Reason.NO_CONTRAST),
        (
            lambda wd, _: told(reading(wd, 6.0), doubt="blank: nothing but noise"),
            Reason.NO_CONTRAST,
        ),
        (lambda wd, _: reading(wd, 6.0, saturated=0.9), Reason.SATURATED),
        (lambda wd, _: told(reading(wd, 6.0), doubt="covered: 70%"), Reason.COVERED),
        (lambda wd, _: told(reading(wd, 6.0), doubt="unlike all"), Reason.DOUBTED),
        (lambda wd, _: reading(wd, 0.5), Reason.NOT_FOUND),
        (lambda wd, n: reading(wd, 8.0 if n == 0 else 4.0), Reason.NOT_CONVERGED),
    ],
)
def test_failures_have_their_reason_and_end_at_the_start(
    look: Callable[[float, int], Reading], reason: Reason
) -> None:
    law = answering(lambda r: (3.0 * UNIT_UM, float(len(r) > 1)))
    outcome = play(law, look).outcome
    assert outcome.reason is reason
    assert outcome.restored
    assert outcome.wd_um == START_UM


@pytest.mark.parametrize(
    "spoilt",
    [
        {"doubt": "saturated: 90% of the pixels are black or white"},
        {"contrast": 0.001},
        {"doubt": "blank: nothing but noise"},
    ],
)
def test_no_success_rests_on_a_frame_that_shows_little(spoilt: dict[str, Any]) -> None:
    """Frames on the way were sound, the last one is not."""
    best_um = START_UM + 6.0 * UNIT_UM

    def look(wd_um: float, _number: int) -> Reading:
        sound = reading(wd_um, score_at(wd_um, best_um))
        return told(sound, **spoilt) if abs(wd_um - best_um) < UNIT_UM else sound

    outcome = play(oracle(best_um), look).outcome
    assert outcome.reason in (Reason.NOT_CONVERGED, Reason.NOT_FOUND, Reason.DOUBTED)
    assert outcome.restored


def test_a_focus_that_is_doubted_twice_is_not_looked_for_further() -> None:
    best_um = START_UM + 6.0 * UNIT_UM
    played = play(
        oracle(best_um), lambda wd, _: told(reading(wd, score_at(wd, best_um)), doubt="unlike all")
    )
    assert (played.outcome.reason, played.outcome.restored) == (Reason.DOUBTED, True)
    assert played.outcome.readings.total <= 5


def test_a_frame_that_is_half_black_holes_may_be_in_focus() -> None:
    best_um = START_UM + 6.0 * UNIT_UM
    played = play(oracle(best_um), lambda wd, _: reading(wd, score_at(wd, best_um), saturated=0.6))
    assert played.outcome.converged


def test_a_failure_tells_what_was_wrong_with_its_frames() -> None:
    law = answering(lambda r: (3.0 * UNIT_UM, 0.0))
    sound = play(law, lambda wd, _: reading(wd, 6.0)).outcome.detail
    assert "frames" not in sound
    streaked = play(law, lambda wd, n: told(reading(wd, 6.0), streaked=n > 0)).outcome
    used = streaked.readings.total
    assert (
        streaked.detail
        == f"{sound}; {used - 1} of {used} frames are streaked: the specimen charges"
    )
    white = play(law, lambda wd, n: reading(wd, 6.0, saturated=0.9 * (n == 0))).outcome
    assert f"; 1 of {used} frames are mostly black or white" in white.detail


@pytest.mark.parametrize("step_um", [math.nan, math.inf])
def test_a_belief_that_is_no_number_ends_the_job(step_um: float) -> None:
    outcome = play(
        lambda _: Proposal(step_um=step_um, confidence=0.5), lambda wd, _: reading(wd, 5.0)
    )
    assert outcome.outcome.reason is Reason.NOT_CONVERGED


@given(
    steps=st.lists(st.floats(-1e7, 1e7) | st.just(0.0), min_size=16, max_size=16),
    confidence=st.lists(st.floats(0.0, 1.0), min_size=16, max_size=16),
    far=st.lists(st.floats(0.0, 1.0), min_size=16, max_size=16),
    scores=st.lists(st.floats(0.0, 9.0), min_size=40, max_size=40),
    width_um=st.floats(0.0, 3_000.0),
)
def test_whatever_the_belief_the_promises_hold(
    steps: list[float],
    confidence: list[float],
    far: list[float],
    scores: list[float],
    width_um: float,
) -> None:
    """Inside the limits, at most so many readings, no step too long, and home unless it was verified."""
    limits = Limits(hard=Range(lo_um=START_UM - width_um, hi_um=START_UM + 2.0 * width_um))

    def law(newest_first: Sequence[Reading]) -> Proposal:
        n = (len(newest_first) - 1) % 16
        return Proposal(step_um=steps[n], confidence=confidence[n], out_of_capture=far[n])

    rules = replace(FAST, most_search_readings=8)
    played = play(law, lambda wd, n: reading(wd, scores[n % 40]), rules, limits)
    most_looks = 8 + 2 * FAST.most_close_steps  # around a peak, and before it gives up
    assert played.kinds.count(ReadingKind.SEARCH) <= most_looks
    assert len(played.visited) <= (most_looks + 1) * FAST.most_readings + 1
    assert played.outcome.readings.total == len(played.visited)
    if played.outcome.converged:
        assert played.outcome.wd_um is not None
        last_step_um = abs(played.outcome.wd_um - played.visited[-1])
        assert last_step_um <= FAST.near_dof * UNIT_UM or played.outcome.wd_um == START_UM
        seen = {wd: scores[n % 40] for n, wd in enumerate(played.visited)}
        is_peak = "peak" in played.outcome.detail
        assert seen[played.visited[-1]] >= (
            0.6 * max(seen.values()) if is_peak else FAST.fail_score
        )
        if played.kinds[-1] is not ReadingKind.VERIFY:
            assert max(seen.values()) <= seen[played.visited[-1]] + FAST.settle_margin
    else:
        assert played.outcome.restored
        assert played.outcome.wd_um == START_UM


def test_a_step_is_cut_to_the_longest() -> None:
    rules = FastProfile(most_step_dof=10.0)
    law = answering(lambda _: (1e6, 0.0))
    visited = play(law, lambda wd, _: reading(wd, 1.0), rules).visited
    assert visited[1] - visited[0] == pytest.approx(10.0 * UNIT_UM)


def test_an_abort_on_the_way_leads_home() -> None:
    law = answering(lambda _: (100.0, 0.0))
    state = new_job(procedure_of(FAST, Laws(step=lambda _: 0.0, focus=law)), LIMITS)
    state, _ = step(state, Started(wd_um=START_UM, magnification=MAGNIFICATION))
    state, (move,) = step(state, Observed(reading=reading(START_UM, 5.0)))
    assert isinstance(move, MoveWd)
    state, _ = step(state, Moved(wd_um=move.wd_um))
    state, (home,) = step(state, Failed(reason=Reason.ABORTED, detail="enough"))
    assert home == MoveWd(wd_um=START_UM)
    state, (end,) = step(state, Moved(wd_um=START_UM))
    assert isinstance(end, Conclude)
    assert end.outcome.restored
    assert state.phase is Phase.DONE


@pytest.mark.parametrize(
    ("name", "value"),
    [("confidence", 0.2), ("probe_dof", 0.0), ("alpha_mrad", 0.0), ("most_readings", 2)],
)
def test_numbers_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        FastProfile(**{name: value})  # type: ignore[arg-type]  # the names differ in type


def sees_within(reach_um: float, best_um: float) -> FocusLaw:
    """Knows where the focus is from within this distance, else that it is far."""

    def law(newest_first: Sequence[Reading]) -> Proposal:
        away_um = newest_first[0].wd_um - best_um
        if abs(away_um) > reach_um:
            return Proposal(step_um=60.0 * UNIT_UM, out_of_capture=1.0)
        return Proposal(step_um=-away_um, confidence=float(abs(away_um) < UNIT_UM))

    return law


@given(
    start_um=st.floats(5_000.0, 50_000.0),
    best_um=st.floats(5_000.0, 50_000.0),
    calibrated=st.booleans(),
)
def test_a_focus_anywhere_is_found_in_few_looks(
    start_um: float, best_um: float, calibrated: bool
) -> None:
    """However far it is, if it can be seen from half a stride."""
    rules = replace(FAST, calibrated=calibrated)
    stride_um = rules.stride_dof * UNIT_UM * (1.0 if calibrated else 0.5)
    law = sees_within(0.5 * stride_um + 0.001, best_um)
    played = play(law, lambda wd, _: reading(wd, score_at(wd, best_um)), rules, start_um=start_um)
    assert played.outcome.converged
    assert abs(played.visited[-1] - best_um) <= UNIT_UM
    near = [
        wd
        for wd in played.visited
        if abs(wd - best_um) <= (rules.capture_range_dof + 1.0) * UNIT_UM
    ]
    assert len(near) >= rules.fewest_readings
    looks = played.kinds.count(ReadingKind.SEARCH)
    assert looks <= 4.0 * abs(start_um - best_um) / stride_um + 6.0
    assert looks <= 2.0 * 45_000.0 / stride_um + 6.0


def test_where_nothing_is_to_be_seen_the_search_ends_at_home() -> None:
    law = sees_within(0.0, -1.0)
    outcome = play(law, lambda wd, _: reading(wd, 0.3)).outcome
    assert outcome.reason is Reason.NOT_FOUND
    assert outcome.restored
    range_strides = 45_000.0 / (0.5 * FAST.stride_dof * UNIT_UM)
    assert range_strides <= outcome.readings.search <= 4.0 * range_strides + 6.0


def test_the_search_ends_when_its_looks_are_used() -> None:
    rules = replace(FAST, most_search_readings=2, most_close_steps=0)
    outcome = play(sees_within(0.0, -1.0), lambda wd, _: reading(wd, 0.3), rules).outcome
    assert outcome.readings.search == 2
    assert outcome.restored


@pytest.mark.parametrize("away_dof", [-17.0, -8.0, 9.0, 22.0])
def test_before_it_gives_up_it_looks_closely_around_the_start(away_dof: float) -> None:
    """Noise hides all that is not within 5 DoF of the focus, and the belief is lost until then."""
    best_um = START_UM + away_dof * UNIT_UM

    def law(newest_first: Sequence[Reading]) -> Proposal:
        away_um = newest_first[0].wd_um - best_um
        if abs(away_um) > 5.0 * UNIT_UM:
            return Proposal(step_um=300.0 * UNIT_UM, out_of_capture=1.0)
        return Proposal(step_um=-away_um, confidence=1.0)

    def look(wd_um: float, _number: int) -> Reading:
        is_seen = abs(wd_um - best_um) <= 5.0 * UNIT_UM
        return reading(wd_um, score_at(wd_um, best_um) if is_seen else 0.2)

    rules = FastProfile(most_search_readings=3)
    outcome = play(law, look, rules).outcome
    assert outcome.converged
    assert outcome.readings.search <= 3 + rules.most_close_steps
    assert not play(law, look, replace(rules, most_close_steps=0)).outcome.converged


def low_score_at(wd_um: float, best_um: float) -> float:
    """Of a specimen without fine detail: never above 2."""
    return 0.05 + 2.0 / (1.0 + (0.4 * (wd_um - best_um) / UNIT_UM) ** 2)


@pytest.mark.parametrize("away_dof", [-6.0, -2.0, 0.0, 3.0, 9.0])
@pytest.mark.parametrize("beside_dof", [-2.0, 0.0, 1.0])
def test_a_clear_peak_of_the_score_is_the_focus_however_low_it_is(
    away_dof: float, beside_dof: float
) -> None:
    """The belief leads to it, or beside, and AENet alone would never agree."""
    best_um = START_UM + away_dof * UNIT_UM
    law = answering(lambda r: (best_um + beside_dof * UNIT_UM - r[0].wd_um, 1.0))
    played = play(law, lambda wd, _: reading(wd, low_score_at(wd, best_um)))
    assert played.outcome.converged
    assert "peak" in played.outcome.detail
    assert played.outcome.wd_um == pytest.approx(best_um, abs=0.6 * UNIT_UM)
    assert played.kinds[-1] is ReadingKind.VERIFY
    assert played.outcome.readings.total <= 2 * FAST.stray_readings


@pytest.mark.parametrize("away_dof", [-12.0, 0.0, 15.0])
def test_a_clear_peak_of_the_contrast_is_the_focus_where_no_score_is_a_trace(
    away_dof: float,
) -> None:
    """The belief leads to within 3 DoF of it, to and fro, and AENet sees nothing anywhere."""
    best_um = START_UM + away_dof * UNIT_UM

    def law(newest_first: Sequence[Reading]) -> Proposal:
        about_um = best_um + 3.0 * UNIT_UM * (-1) ** len(newest_first)
        return Proposal(step_um=about_um - newest_first[0].wd_um, confidence=0.7)

    def look(wd_um: float, _number: int) -> Reading:
        away = (wd_um - best_um) / UNIT_UM
        return told(reading(wd_um, 0.1), contrast=0.3 * math.hypot(0.5, 30.0 / (30.0 + abs(away))))

    played = play(law, look)
    assert played.outcome.converged
    assert "peak of the contrast" in played.outcome.detail
    assert played.outcome.wd_um == pytest.approx(best_um, abs=UNIT_UM)
    assert played.kinds[-1] is ReadingKind.VERIFY


def test_a_contrast_that_is_not_there_again_is_no_success() -> None:
    def look(wd_um: float, number: int) -> Reading:
        away = (wd_um - START_UM) / UNIT_UM
        share = 0.3 / (1.0 + (away / 30.0) ** 2)
        return told(reading(wd_um, 0.1), contrast=share * 0.97**number)

    outcome = play(answering(lambda r: (START_UM - r[0].wd_um, 0.7)), look).outcome
    assert not outcome.converged
    assert outcome.restored


def test_an_unsure_belief_reads_beside_where_it_stands() -> None:
    """Another frame at the same place would tell nothing new; the second step beside goes to the other side."""
    best_um = START_UM + 1.0 * UNIT_UM
    law = answering(lambda r: (best_um - r[0].wd_um, 0.5))
    visited = play(law, lambda wd, _: reading(wd, score_at(wd, best_um))).visited
    places = [round((wd - best_um) / UNIT_UM, 3) for wd in visited[1:6]]
    assert places[0] == 0.0
    assert abs(places[1]) == 2.0
    assert places[2] == 0.0
    assert places[3] == -places[1]


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_at_an_end_of_the_range_it_reads_beside_on_the_other_side(side: float) -> None:
    best_um = START_UM + side * 1.0 * UNIT_UM
    ends = sorted((best_um, best_um - side * 1_000.0))
    limits = Limits(hard=Range(lo_um=ends[0], hi_um=ends[1]))
    law = answering(lambda r: (best_um - r[0].wd_um, 0.5))
    visited = play(law, lambda wd, _: reading(wd, score_at(wd, best_um)), limits=limits).visited
    places = {round((wd - best_um) / UNIT_UM * side, 3) for wd in visited[1:]}
    assert -2.0 in places
    assert max(places) == 0.0


def test_a_job_that_began_far_sees_its_focus_twice() -> None:
    best_um = START_UM + 400.0 * UNIT_UM
    visited = play(
        sees_within(80.0, best_um), lambda wd, _: reading(wd, score_at(wd, best_um))
    ).visited
    near = [wd for wd in visited if abs(wd - visited[-1]) <= 4.0 * UNIT_UM]
    assert len(near) >= 2


def test_a_curve_that_rises_without_end_is_no_peak() -> None:
    law = answering(lambda _: (0.0, 1.0))
    played = play(law, lambda wd, _: reading(wd, 1.5 + (wd - START_UM) / UNIT_UM * 0.002))
    assert played.outcome.reason is Reason.NOT_FOUND
    assert played.outcome.restored


def test_a_peak_that_is_not_there_again_is_no_success() -> None:
    best_um = START_UM + 2.0 * UNIT_UM
    law = answering(lambda r: (best_um - r[0].wd_um, 1.0))
    number_of_looks = play(law, lambda wd, _: reading(wd, low_score_at(wd, best_um)))
    last = number_of_looks.outcome.readings.total - 1

    def look(wd_um: float, number: int) -> Reading:
        return reading(wd_um, 0.3 if number == last else low_score_at(wd_um, best_um))

    outcome = play(law, look).outcome
    assert outcome.reason is Reason.NOT_FOUND
    assert outcome.restored


def test_around_a_peak_a_belief_leads_again_once_a_score_is_no_failure() -> None:
    """What is to be seen ends 5 DoF from the focus; beyond, the belief knows nothing."""
    best_um = START_UM + 8.0 * UNIT_UM

    def look(wd_um: float, _number: int) -> Reading:
        away_dof = abs(wd_um - best_um) / UNIT_UM
        return reading(wd_um, score_at(wd_um, best_um) if away_dof < 5.0 else 0.9 - 0.01 * away_dof)

    def law(newest_first: Sequence[Reading]) -> Proposal:
        away_um = newest_first[0].wd_um - best_um
        is_lost = abs(away_um) >= 5.0 * UNIT_UM
        return Proposal(
            step_um=0.0 if is_lost else -away_um,
            confidence=0.0 if is_lost else float(away_um == 0.0),
        )

    outcome = play(law, look).outcome
    assert outcome.converged
    assert outcome.wd_um == best_um


def test_a_blank_frame_that_scores_is_no_trace_of_focus() -> None:
    """Noise may score, and the job looks for the focus anywhere in the range all the same."""
    best_um = START_UM + 900.0 * UNIT_UM

    def look(wd_um: float, _number: int) -> Reading:
        if abs(wd_um - best_um) < 80.0 * UNIT_UM:
            return reading(wd_um, score_at(wd_um, best_um))
        return told(reading(wd_um, 5.0), doubt="blank: nothing but noise")

    limits = Limits(hard=Range(lo_um=START_UM - 1e5, hi_um=START_UM + 1e5))
    law = sees_within(80.0, best_um)
    for believes_far in (True, False):
        far = law if believes_far else lambda r: replace(law(r), out_of_capture=0.0)
        outcome = play(far, look, limits=limits).outcome
        assert outcome.converged
        assert outcome.wd_um == pytest.approx(best_um, abs=UNIT_UM)


def test_the_belief_compares_no_readings_further_apart_than_a_step() -> None:
    best_um = 30_000.0
    law, most_um = sees_within(80.0, best_um), FAST.most_step_dof * UNIT_UM
    told: list[int] = []

    def watched(newest_first: Sequence[Reading]) -> Proposal:
        here_um = newest_first[0].wd_um
        assert all(abs(seen.wd_um - here_um) <= most_um for seen in newest_first)
        told.append(len(newest_first))
        return law(newest_first)

    played = play(watched, lambda wd, _: reading(wd, score_at(wd, best_um)))
    assert played.outcome.converged
    assert len(played.visited) > max(told) >= 3


@pytest.mark.parametrize(("is_blank", "looks"), [(True, 1), (False, 0)])
def test_a_blank_frame_is_left_sooner(is_blank: bool, looks: int) -> None:
    """The belief is of two minds whether the focus is far away: of a blank frame it is not followed."""
    best_um = START_UM + 40.0 * UNIT_UM

    def law(newest_first: Sequence[Reading]) -> Proposal:
        here = newest_first[0]
        far = 0.6 if here.wd_um == START_UM else 0.0
        return replace(oracle(best_um)(newest_first), out_of_capture=far)

    def look(wd_um: float, _number: int) -> Reading:
        seen = reading(wd_um, score_at(wd_um, best_um))
        return (
            told(seen, doubt="blank: nothing but noise") if is_blank and wd_um == START_UM else seen
        )

    played = play(law, look)
    assert played.outcome.converged
    assert sum(kind is ReadingKind.SEARCH for kind in played.kinds) == looks


def test_a_blank_frame_is_never_the_best_seen() -> None:
    best_um = START_UM + 60.0 * UNIT_UM

    def look(wd_um: float, _number: int) -> Reading:
        if abs(wd_um - best_um) > 30.0 * UNIT_UM:
            return told(reading(wd_um, 8.9), doubt="blank: nothing but noise")
        return reading(wd_um, 0.7 * score_at(wd_um, best_um))

    outcome = play(oracle(best_um), look).outcome
    assert outcome.converged
    assert outcome.wd_um == pytest.approx(best_um, abs=UNIT_UM)


@pytest.mark.parametrize("contrast", [0.1, 0.3])
def test_a_frame_of_far_less_contrast_is_never_the_best_seen(contrast: float) -> None:
    """Streaks of charging score where nothing is in focus. In focus the contrast is highest, whatever scores."""
    best_um = START_UM + 60.0 * UNIT_UM

    def look(wd_um: float, _number: int) -> Reading:
        if abs(wd_um - best_um) > 30.0 * UNIT_UM:
            return reading(wd_um, 8.9, variance=contrast)
        return reading(wd_um, 0.7 * score_at(wd_um, best_um))

    outcome = play(oracle(best_um), look).outcome
    assert outcome.converged
    is_told = contrast < 0.3
    assert outcome.wd_um == pytest.approx(best_um if is_told else START_UM, abs=UNIT_UM)


def test_a_belief_is_not_followed_into_a_frame_of_far_less_contrast() -> None:
    law = answering(lambda r: (9.0 * UNIT_UM if len(r) < 2 else 0.0, float(len(r) > 1)))
    sharp = play(law, lambda wd, n: reading(wd, 8.0)).outcome
    faint = play(law, lambda wd, n: reading(wd, 8.0, variance=0.1 if n else 0.3)).outcome
    assert sharp.converged
    assert faint.wd_um == START_UM


def test_a_failure_tells_the_best_score_of_a_frame_that_shows_something() -> None:
    def look(wd_um: float, number: int) -> Reading:
        blank = told(reading(wd_um, 6.0), doubt="blank: nothing but noise")
        return blank if number % 2 else reading(wd_um, 0.5)

    outcome = play(answering(lambda _: (3.0 * UNIT_UM, 0.0)), look).outcome
    assert outcome.reason is Reason.NOT_FOUND
    assert outcome.score == 0.5
    assert "the best score was 0.50" in outcome.detail


def test_where_it_would_give_up_a_high_score_seen_is_verified() -> None:
    """The belief is never sure, AENet was: once."""
    law = answering(lambda r: (3.0 * UNIT_UM * (-1.0) ** len(r), 0.0))
    seen = [4.0, 8.2, *[4.0] * 30]

    def look(wd_um: float, number: int) -> Reading:
        return reading(
            wd_um, 8.0 if number > 2 and wd_um == START_UM - 3.0 * UNIT_UM else seen[number]
        )

    played = play(law, look)
    assert played.outcome.converged
    assert played.kinds[-1] is ReadingKind.VERIFY


def test_a_high_score_that_is_not_confirmed_is_no_success() -> None:
    law = answering(lambda r: (3.0 * UNIT_UM, 0.0))
    outcome = play(law, lambda wd, n: reading(wd, 8.2 if n == 1 else 4.0)).outcome
    assert outcome.reason is Reason.NOT_CONVERGED
    assert outcome.restored


def test_a_first_frame_that_scored_is_not_taken_for_a_far_one() -> None:
    """AENet sees what the belief does not: the focus is near."""

    def law(_newest_first: Sequence[Reading]) -> Proposal:
        return Proposal(step_um=300.0 * UNIT_UM, out_of_capture=1.0)

    def looks_after(first: float, error: float = 0.5) -> int:
        begun = told(reading(START_UM, first), expected_error=error)
        played = play(law, lambda wd, n: begun if n == 0 else reading(wd, 0.2))
        return played.outcome.readings.search

    most = FAST.most_local_steps + 2 * FAST.most_close_steps
    assert looks_after(2.4) <= most < looks_after(0.2)
    assert looks_after(5.0, error=1.6) > most  # so noise scores


@pytest.mark.parametrize("is_held", [True, False])
def test_where_the_best_place_seen_is_blurred_by_now_the_belief_goes_on(is_held: bool) -> None:
    """The focus ran away by 3 DoF before the last readings."""
    best_um, moved_um = START_UM, START_UM + 3.0 * UNIT_UM

    def look(wd_um: float, count: int) -> Reading:
        return reading(wd_um, score_at(wd_um, best_um if is_held or count < 3 else moved_um))

    def law(newest_first: Sequence[Reading]) -> Proposal:
        count, wd_um = len(newest_first), newest_first[0].wd_um
        if count < 3:
            return Proposal(step_um=UNIT_UM, confidence=0.0)
        target_um = wd_um if count == 3 else moved_um
        return Proposal(step_um=target_um - wd_um, confidence=float(wd_um == target_um))

    played = play(law, look, FastProfile(agreed_drop=9.0, settle_margin=0.5))
    assert played.visited[3] == START_UM
    assert played.outcome.converged
    assert played.outcome.wd_um == (best_um if is_held else moved_um)
    assert played.outcome.readings.total == (4 if is_held else 5)


def test_a_place_that_is_blurred_by_now_may_still_be_next_to_the_focus() -> None:
    scores = [1.0, 8.5, 6.6, 6.4]
    law = answering(lambda r: (UNIT_UM if len(r) < 3 else 0.3 * UNIT_UM, float(len(r) >= 3)))
    played = play(law, lambda wd, n: reading(wd, scores[n]))
    assert played.kinds[-1] is ReadingKind.VERIFY
    assert played.outcome.converged
    assert played.outcome.wd_um == pytest.approx(START_UM + 1.3 * UNIT_UM)


def test_a_place_far_from_where_the_belief_led_is_verified_once_and_no_more() -> None:
    """Else noise would be asked until it agrees."""
    scores = [8.5, 6.6, 6.6, 6.4, 9.0, 9.0]
    law = answering(lambda r: (5.0 * UNIT_UM if len(r) < 3 else 0.0, float(len(r) >= 3)))
    played = play(law, lambda wd, n: reading(wd, scores[n]))
    assert played.kinds[-1] is ReadingKind.VERIFY
    assert played.visited[-1] == START_UM
    assert (played.outcome.converged, played.outcome.readings.total) == (False, 4)


@pytest.mark.parametrize(
    ("hidden", "reason"),
    [({"saturated": 0.9}, Reason.SATURATED), ({"doubt": "covered: 70%"}, Reason.COVERED)],
)
def test_frames_that_hide_the_specimen_are_not_searched_with(
    hidden: dict[str, Any], reason: Reason
) -> None:
    law = sees_within(0.0, -1.0)
    outcome = play(law, lambda wd, _: told(reading(wd, 0.3), **hidden)).outcome
    assert outcome.reason is reason
    assert outcome.readings.total == 3


@given(start_um=st.floats(5_000.0, 50_000.0), guess_um=st.floats(0.0, 60_000.0))
def test_where_the_focus_was_the_last_time_is_looked_at_first(
    start_um: float, guess_um: float
) -> None:
    """If the start shows nothing; a guess that may not be commanded is passed over."""
    stride_um = 0.5 * FAST.stride_dof * UNIT_UM
    best_um = LIMITS.nearest(guess_um)
    law = sees_within(0.5 * stride_um + 0.001, best_um)
    played = play(
        law, lambda wd, _: reading(wd, score_at(wd, best_um)), start_um=start_um, guess_um=guess_um
    )
    assert played.outcome.converged
    if abs(start_um - best_um) > 0.51 * stride_um and best_um == guess_um:
        assert played.visited[1] == guess_um
        assert played.kinds.count(ReadingKind.SEARCH) == 1


def test_how_many_readings_there_may_be_by_the_end_of_a_phase() -> None:
    law = answering(lambda r: (0.6 * UNIT_UM, float(len(r) >= 3)))
    procedure = procedure_of(FAST, Laws(step=lambda _: math.nan, focus=law))
    state = new_job(procedure, LIMITS)
    scores = iter([7.0, 8.0, 8.0])
    event: Event = Started(wd_um=START_UM, magnification=MAGNIFICATION)
    while state.phase is not Phase.DONE:
        state, (command,) = step(state, event)
        most = procedure.most_readings(state)
        if state.phase is Phase.SERVO:
            assert most == FAST.most_readings
            below = procedure.most_readings(replace(state, rung_from=2))
            assert below == 2 + FAST.most_readings
            assert procedure.most_readings(replace(state, phase=Phase.FINISH)) == (
                len(state.trace) + 1
            )
        else:
            assert most == len(state.trace)
        if isinstance(command, MoveWd):
            event = Moved(wd_um=command.wd_um)
        elif not isinstance(command, Conclude):
            event = Observed(reading=reading(START_UM, next(scores)))


@pytest.mark.parametrize(
    ("contrast", "informative"), [((0.3,) * 3, 3), ((0.3, 0.01, 0.3), 2), ((0.01, 0.3), 1)]
)
def test_far_less_contrast_than_another_is_not_in_focus(
    contrast: tuple[float, ...], informative: int
) -> None:
    trace = [
        TracePoint(
            kind=ReadingKind.SERVO,
            wd_um=START_UM + n,
            reading=reading(START_UM + n, 8.0, variance=value),
        )
        for n, value in enumerate(contrast)
    ]
    assert len(evidence.may_be_in_focus(trace, FAST)) == informative
