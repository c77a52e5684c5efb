"""What the numbers of the fast procedure decide: on either side of each, another thing happens."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from afdaemon.control.evidence import hidden_by, may_be_in_focus, may_be_noise
from afdaemon.control.fast import ladder
from afdaemon.control.fast.peak import CONTRAST, SCORE, peak
from afdaemon.control.fast.posterior import advise
from afdaemon.control.fast.procedure import FastProcedure
from afdaemon.control.fast.profile import FAST, FastProfile
from afdaemon.control.fast.state import FastState
from afdaemon.control.limits import Limits, Range
from afdaemon.control.machine import step
from afdaemon.control.state import new_job
from afdaemon.control.values import (
    Command,
    Conclude,
    Event,
    Moved,
    MoveWd,
    Observed,
    Phase,
    Proposal,
    Reading,
    ReadingKind,
    Reason,
    Started,
    TakeReading,
    TracePoint,
)
from afdaemon.models.defocus.state import AXIS_DOF, SCALES, Posterior
from afdaemon.models.frames.measures import Measures

START_UM, MAGNIFICATION = 20_000.0, 2_000.0
KNOWN = replace(FAST, calibrated=True)
UNIT_UM = FAST.dof_um(MAGNIFICATION)
LIMITS = Limits(hard=Range(lo_um=1_000.0, hi_um=90_000.0))
FRAME = Measures(score=2.0, contrast=0.3, entropy=7.0)
SEARCH, SERVO = ReadingKind.SEARCH, ReadingKind.SERVO
FAR, NEAR = Proposal(step_um=0.0, out_of_capture=1.0), Proposal(step_um=0.0)


@dataclass
class Played:
    """What was commanded after each reading, and where the job stands."""

    commands: list[Command]
    state: FastState

    @property
    def visited(self) -> list[float]:
        """Where it read, in depths of focus from the start."""
        return [(point.wd_um - START_UM) / UNIT_UM for point in self.state.trace]

    @property
    def kinds(self) -> list[ReadingKind]:
        return [point.kind for point in self.state.trace]


def play(
    law: Callable[[Sequence[Reading]], Proposal],
    frame: Callable[[float, int], Measures],
    rules: FastProfile = KNOWN,
    *,
    limits: Limits = LIMITS,
    magnification: float = MAGNIFICATION,
    most: int = 60,
) -> Played:
    """A job to its end, or for so many readings; `frame` is what is shown at a distance (DoF), the n-th time."""
    state = new_job(FastProcedure(rules, law), limits)
    event: Event = Started(wd_um=START_UM, magnification=magnification)
    commands: list[Command] = []
    while len(state.trace) < most:
        state, (command,) = step(state, event)
        commands.append(command)
        match command:
            case MoveWd():
                event = Moved(wd_um=command.wd_um, magnification=command.magnification)
            case TakeReading():
                away_dof = (state.wd_um - START_UM) / UNIT_UM
                seen = Reading(
                    wd_um=state.wd_um,
                    magnification=state.magnification,
                    frame=frame(away_dof, len(state.trace)),
                )
                event = Observed(reading=seen)
            case Conclude():
                break
    return Played(commands, state)


def showing(score: float, **more: Any) -> Callable[[float, int], Measures]:
    return lambda _away, _number: replace(FRAME, score=score, **more)


# Whether a first reading is out of capture range


@pytest.mark.parametrize(
    ("chance", "score", "is_far"),
    [
        (0.25, 0.5, True),  # what the spectrum says is enough where the score says nothing
        (0.15, 0.5, False),
        (0.25, 1.1, False),  # a score of 1 is a trace of the focus
        (0.25, 0.9, True),
        (0.85, 3.9, True),  # noise may score less than four expected errors
        (0.85, 4.1, False),
        (0.75, 3.9, False),
    ],
)
def test_a_first_reading_shows_whether_the_focus_is_in_capture_range(
    chance: float, score: float, is_far: bool
) -> None:
    first = Proposal(step_um=UNIT_UM, out_of_capture=chance)
    played = play(lambda _: first, showing(score, expected_error=1.0), most=1)
    assert played.state.own.began_far is is_far


# Whether the posterior is followed


@pytest.mark.parametrize(
    ("chance", "frame", "follows"),
    [
        (0.75, FRAME, True),
        (0.85, FRAME, False),
        (0.45, replace(FRAME, doubt="blank: nothing but noise"), True),
        (0.55, replace(FRAME, doubt="blank: nothing but noise"), False),
    ],
)
def test_a_posterior_that_the_focus_is_out_of_capture_range_is_not_followed(
    chance: float, frame: Measures, follows: bool
) -> None:
    steps = [NEAR, Proposal(step_um=9.0 * UNIT_UM, out_of_capture=chance)]
    played = play(lambda r: steps[len(r) > 1], lambda _away, n: frame if n else FRAME, most=2)
    assert (played.state.phase is Phase.SERVO) is follows


@pytest.mark.parametrize(("chance", "follows"), [(0.15, True), (0.25, False)])
def test_on_a_low_rung_a_small_chance_is_enough_to_search(chance: float, follows: bool) -> None:
    def law(newest_first: Sequence[Reading]) -> Proposal:
        is_home = newest_first[0].magnification == MAGNIFICATION
        return FAR if is_home else Proposal(step_um=-9.0 * UNIT_UM, out_of_capture=chance)

    played = play(law, showing(0.5), replace(KNOWN, ladder=True), most=2)
    assert played.state.is_below
    assert (played.state.phase is Phase.SERVO) is follows


def test_a_job_that_saw_something_searches_within_one_and_a_half_strides() -> None:
    """Strides are 165 DoF: places at one stride on either side, then those between them and the start."""
    played = play(lambda r: FAR if len(r) > 1 else NEAR, showing(2.0))
    steps = [
        round(abs(away))
        for away, kind in zip(played.visited, played.kinds, strict=True)
        if kind is SEARCH
    ]
    assert steps[:4] == [165, 165, 82, 82]
    assert max(abs(away) for away in played.visited) <= 165.0


def test_strides_are_half_as_long_where_the_angle_is_not_calibrated() -> None:
    played = play(lambda _: FAR, showing(0.2), FAST, most=3)
    assert sorted(map(abs, played.visited)) == pytest.approx([0.0, 82.5, 82.5])


def test_a_job_that_saw_nothing_searches_the_whole_range() -> None:
    played = play(lambda _: FAR, showing(0.2), most=40)
    assert max(map(abs, played.visited)) > 4.0 * KNOWN.stride_dof


@pytest.mark.parametrize(("step_dof", "beside"), [(0.2, True), (0.25, True), (0.35, False)])
def test_another_frame_within_a_third_of_a_depth_of_focus_is_taken_to_the_side(
    step_dof: float, beside: bool
) -> None:
    steps = {1: 4.0, 2: -4.0, 3: step_dof}
    law = lambda r: Proposal(step_um=steps[len(r)] * UNIT_UM, confidence=0.5)  # noqa: E731
    played = play(law, showing(8.0), most=3)
    move = played.commands[-1]
    assert isinstance(move, MoveWd)
    expected = -2.0 if beside else step_dof
    assert (move.wd_um - START_UM) / UNIT_UM == pytest.approx(expected)


@pytest.mark.parametrize(("step_dof", "moves"), [(0.04, False), (0.06, True)])
def test_a_step_of_a_twentieth_of_a_depth_of_focus_is_not_sent(
    step_dof: float, moves: bool
) -> None:
    """The job is confident, and only one reading short."""
    steps = {1: 4.0, 2: step_dof}
    law = lambda r: Proposal(step_um=steps[len(r)] * UNIT_UM, confidence=0.99)  # noqa: E731
    played = play(law, showing(8.0), most=2)
    assert isinstance(played.commands[-1], MoveWd) is moves


def test_a_step_is_no_longer_than_the_longest() -> None:
    played = play(lambda _: Proposal(step_um=-500.0 * UNIT_UM), showing(2.0), most=1)
    (_, move) = played.commands
    assert isinstance(move, MoveWd)
    assert move.wd_um == START_UM - KNOWN.most_step_dof * UNIT_UM


def test_close_search_steps_are_not_led_away_by_a_frame_that_shows_nothing() -> None:
    """The posterior leads astray everywhere; at last the job searches around its start, whatever the posterior says."""
    played = play(lambda r: Proposal(step_um=40.0 * UNIT_UM * (-1) ** len(r)), showing(0.3))
    assert isinstance(played.commands[-1], Conclude)
    closely = sorted(round(away) for away in played.visited[-KNOWN.most_close_steps :])
    assert closely == [-24, -16, -8, 8, 16, 24]


# The ladder


@pytest.mark.parametrize(
    ("magnification", "at_dof", "turned"),
    [(500.0, 100.0, True), (500.0, 99.0, False), (MAGNIFICATION, 100.0, False)],
)
def test_at_an_end_of_the_range_a_step_out_of_it_is_turned_about_on_a_low_rung(
    magnification: float, at_dof: float, turned: bool
) -> None:
    limits = Limits(hard=Range(lo_um=1_000.0, hi_um=START_UM + 100.0 * UNIT_UM))
    played = play(lambda _: NEAR, showing(2.0), limits=limits, most=1)
    state = replace(played.state, wd_um=START_UM + at_dof * UNIT_UM, magnification=magnification)
    assert ladder.inward(state, 10.0) == (-10.0 if turned else 10.0)
    assert ladder.inward(state, -10.0) == -10.0


@pytest.mark.parametrize(
    ("readings", "confidence", "score", "climbs"),
    [(1, 1.0, 9.0, False), (2, 0.95, 3.1, True), (2, 0.93, 3.1, False), (2, 0.95, 2.9, False)],
)
def test_a_rung_is_left_upwards_once_it_places_the_focus(
    readings: int, confidence: float, score: float, climbs: bool
) -> None:
    def law(newest_first: Sequence[Reading]) -> Proposal:
        is_home = newest_first[0].magnification == 8_000.0
        return FAR if is_home else Proposal(step_um=4.0 * UNIT_UM, confidence=confidence)

    rules = replace(KNOWN, ladder=True)
    played = play(
        law, lambda _away, n: replace(FRAME, score=score if n else 0.2), rules, most=1 + readings,
        magnification=8_000.0,
    )  # fmt: skip
    move = played.commands[-1]
    assert isinstance(move, MoveWd)
    assert (move.magnification == 8_000.0) is climbs


# What counts as evidence


def point(score: float, *, away_dof: float = 0.0, **more: Any) -> TracePoint:
    frame = replace(FRAME, score=score, **more)
    wd_um = START_UM + away_dof * UNIT_UM
    reading = Reading(wd_um=wd_um, magnification=MAGNIFICATION, frame=frame)
    return TracePoint(kind=ReadingKind.SERVO, wd_um=wd_um, reading=reading)


@pytest.mark.parametrize(("share", "counts"), [(0.79, False), (0.81, True)])
def test_a_frame_of_less_than_four_fifths_of_the_highest_contrast_is_not_in_focus(
    share: float, counts: bool
) -> None:
    best, other = point(2.0, contrast=0.5), point(9.0, contrast=0.5 * share)
    assert (other in may_be_in_focus([best, other], FAST)) is counts


@pytest.mark.parametrize(("doubt", "counts"), [("", True), ("unlike all", False)])
def test_no_success_rests_on_a_frame_that_is_doubted(doubt: str, counts: bool) -> None:
    frame = point(9.0, doubt=doubt)
    assert (frame in may_be_in_focus([frame], FAST)) is counts


def test_a_frame_is_saturated_above_the_profiles_share() -> None:
    for saturated, expected in ((FAST.saturated_fraction, None), (0.51, Reason.SATURATED)):
        assert hidden_by([point(2.0, saturated=saturated)], FAST) is expected


@pytest.mark.parametrize(("score", "noise"), [(3.9, True), (4.1, False)])
def test_a_score_of_less_than_four_expected_errors_may_be_noise(score: float, noise: bool) -> None:
    assert may_be_noise(point(score, expected_error=1.0)) is noise


# Which place the posterior leads to


def lumps(*several: tuple[float, float, float]) -> Posterior:
    """Probability spread evenly over stretches of the axis: where, how wide to either side, how much."""
    mass = np.zeros((1, len(AXIS_DOF)), np.float32)
    for where, width, weight in several:
        away = np.abs(AXIS_DOF - where)
        within = (away <= width) | (away == away.min())
        mass[0, within] += weight / within.sum()
    odds = np.zeros((1, len(SCALES)), np.float32)
    odds[0, len(SCALES) // 2] = 1.0
    return Posterior(mass, odds)


@pytest.mark.parametrize(
    ("width_dof", "weight", "leads_there"),
    [
        (13.0, 0.6, True),
        (25.0, 0.6, False),
        (35.0, 0.6, False),
        (0.5, 0.6, True),
        (0.5, 0.4, False),
    ],
)
def test_a_place_is_tried_with_what_lies_within_a_seventh_of_its_distance(
    width_dof: float, weight: float, leads_there: bool
) -> None:
    posterior = lumps((100.0, width_dof, weight), (-10.0, 0.5, 1.0 - weight))
    (step,) = advise(posterior, np.array([2]), FAST).step_dof
    assert bool(step == pytest.approx(-100.0, abs=5.0)) is leads_there


def test_near_focus_a_place_is_tried_with_what_lies_within_one_depth_of_focus() -> None:
    for other_dof, led_dof in ((3.7, -2.9), (4.3, 5.9)):
        two = lumps((2.1, 0.0, 0.3), (other_dof, 0.0, 0.3), (-5.9, 0.0, 0.4))
        (step,) = advise(two, np.array([2]), FAST).step_dof
        assert step == pytest.approx(led_dof, abs=0.1)


# When a curve is a peak


def curve(places: Sequence[float], off: float) -> list[TracePoint]:
    """A peak of the score whose readings lie beside it in turn, by so much of their value."""
    return [
        point(2.0 / (1.0 + (0.4 * z) ** 2) * (1.0 + off * (-1) ** n), away_dof=z)
        for n, z in enumerate(places)
    ]


PLACES = (-9.0, -6.0, -4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0, 6.0, 9.0)


@pytest.mark.parametrize(("off", "is_clear"), [(0.0, True), (0.45, True), (0.5, False)])
def test_a_curve_that_explains_its_readings_badly_is_no_clear_peak(
    off: float, is_clear: bool
) -> None:
    """So many readings place it well enough all the same."""
    top = peak(curve(np.linspace(-9.6, 9.6, 49).tolist(), off), UNIT_UM, SCORE)
    assert top is not None
    assert top.has_fallen
    assert top.is_clear is is_clear


@pytest.mark.parametrize(("off", "is_clear"), [(0.3, True), (0.35, False)])
def test_a_peak_that_is_placed_no_better_than_to_half_a_depth_of_focus_is_not_clear(
    off: float, is_clear: bool
) -> None:
    top = peak(curve(PLACES, off), UNIT_UM, SCORE)
    assert top is not None
    assert top.is_clear is is_clear


@pytest.mark.parametrize(("highest", "is_trace"), [(0.39, False), (0.41, True)])
def test_a_lower_score_is_no_trace_of_focus(highest: float, is_trace: bool) -> None:
    readings = [point(highest / (1.0 + z * z), away_dof=z) for z in PLACES]
    assert (peak(readings, UNIT_UM, SCORE) is not None) is is_trace


@pytest.mark.parametrize(("lowest", "is_trace"), [(0.94, False), (0.92, True)])
def test_a_contrast_that_hardly_falls_is_no_trace_of_focus(lowest: float, is_trace: bool) -> None:
    power = [1.0 - (1.0 - lowest) * abs(z) / 9.0 for z in PLACES]
    readings = [
        point(0.1, away_dof=z, contrast=0.3 * math.sqrt(p))
        for z, p in zip(PLACES, power, strict=True)
    ]
    assert (peak(readings, UNIT_UM, CONTRAST) is not None) is is_trace
