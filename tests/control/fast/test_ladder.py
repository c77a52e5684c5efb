"""The magnification ladder: what it finds, what it leaves alone, and that it always comes back."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afdaemon.control.fast.law import FocusLaw
from afdaemon.control.fast.profile import FAST, FastProfile
from afdaemon.control.limits import Limits, Range
from afdaemon.control.machine import LEADS_TO, IllegalEventError, step
from afdaemon.control.procedures import Laws, procedure_of
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
    Proposal,
    Reading,
    Reason,
    Refused,
    Started,
)
from afdaemon.models.frames.measures import Measures
from afdaemon.models.optics import dof_um


def told(reading: Reading, **measures: Any) -> Reading:
    """The reading of a frame that told otherwise."""
    return replace(reading, frame=replace(reading.frame, **measures))


LIMITS = Limits(hard=Range(lo_um=5_000.0, hi_um=50_000.0))
HOME = 20_000.0
START_UM, BEST_UM = 45_000.0, 11_000.0
RULES = replace(FAST, ladder=True, calibrated=True)
SEEN_DOF = 80.0
"""How far the belief below sees."""

Answer = Callable[[MoveWd], Event]
Look = Callable[[float, float], Reading]


def away_dof(seen: Reading, best_um: float) -> float:
    return (seen.wd_um - best_um) / dof_um(seen.magnification, 5e-3)


def belief(best_um: float = BEST_UM, reach_dof: float = SEEN_DOF) -> FocusLaw:
    """Sees as far as `reach_dof`, but not the side in the first reading."""

    def law(newest_first: Sequence[Reading]) -> Proposal:
        assert len({seen.magnification for seen in newest_first}) == 1, "no mixed readings"
        here = newest_first[0]
        away = away_dof(here, best_um)
        if abs(away) > reach_dof:
            return Proposal(step_um=10.0 * dof_um(here.magnification, 5e-3), out_of_capture=1.0)
        side = 1.0 if len(newest_first) == 1 else -1.0
        return Proposal(step_um=side * (here.wd_um - best_um), confidence=float(abs(away) < 1.0))

    return law


def look_at(best_um: float = BEST_UM) -> Look:
    def look(wd_um: float, magnification: float) -> Reading:
        seen = Reading(
            wd_um=wd_um,
            magnification=magnification,
            frame=Measures(score=0.0, contrast=0.3, entropy=7.0),
        )
        return told(seen, score=9.0 / (1.0 + (0.3 * away_dof(seen, best_um)) ** 2))

    return look


@dataclass
class Played:
    """A job to its end; `place` is where the instrument really is."""

    place: tuple[float, float]
    ended: Outcome | None = None
    readings: list[tuple[float, float]] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    @property
    def outcome(self) -> Outcome:
        """How it ended."""
        assert self.ended is not None
        return self.ended

    @property
    def magnifications(self) -> list[float]:
        """Those that were commanded."""
        moves = [command for command in self.commands if isinstance(command, MoveWd)]
        return [move.magnification for move in moves if move.magnification is not None]


def obey(move: MoveWd) -> Event:
    return Moved(wd_um=move.wd_um, magnification=move.magnification)


def play(
    law: FocusLaw,
    look: Look,
    rules: FastProfile = RULES,
    *,
    start_um: float = START_UM,
    home: float = HOME,
    obey: Answer = obey,
    guess_um: float | None = None,
    dose_limit_e_nm2: float | None = None,
    fails: dict[int, Reason] | None = None,
) -> Played:
    """`fails`: the events, by number, that are failures instead; a move that fails is carried out all the same."""
    state = new_job(procedure_of(rules, Laws(step=lambda _: math.nan, focus=law)), LIMITS)
    event: Event = Started(
        wd_um=start_um,
        magnification=home,
        guess_wd_um=guess_um,
        dose_limit_e_nm2=dose_limit_e_nm2,
    )
    played = Played(place=(start_um, home))
    for number in range(2_000):
        before = state.phase
        state, (command,) = step(state, event)
        assert state.phase in LEADS_TO[before, type(event)]
        played.events.append(event)
        played.commands.append(command)
        match command:
            case Conclude(outcome=outcome):
                played.ended = outcome
                return played
            case MoveWd():
                event = obey(command)
                if not isinstance(event, Refused):
                    played.place = (command.wd_um, command.magnification or played.place[1])
            case _:
                played.readings.append(played.place)
                event = Observed(reading=look(*played.place))
        if fails and number in fails:
            event = Failed(reason=fails[number], detail=f"fault {number}")
    raise AssertionError("the job does not end")


@given(
    start_um=st.floats(5_000.0, 50_000.0),
    best_um=st.floats(5_000.0, 50_000.0),
    home=st.sampled_from([501.0, 2_000.0, 20_000.0, 60_000.0, 150_000.0]),
    calibrated=st.booleans(),
)
def test_a_focus_anywhere_is_found_in_few_readings(
    start_um: float, best_um: float, home: float, calibrated: bool
) -> None:
    rules = replace(RULES, calibrated=calibrated)
    played = play(belief(best_um), look_at(best_um), rules, start_um=start_um, home=home)
    assert played.outcome.converged
    assert played.outcome.readings.total == len(played.readings) <= 16
    assert (played.outcome.start_magnification, played.outcome.magnification) == (home, home)
    assert played.place[1] == home == played.readings[-1][1]
    assert abs(played.place[0] - best_um) <= dof_um(home, 5e-3)
    assert all(RULES.lowest_magnification <= m <= home for m in played.magnifications)


def test_it_goes_down_rung_by_rung_and_climbs_at_once() -> None:
    played = play(belief(), look_at())
    assert played.magnifications == [5_000.0, 1_250.0, 500.0, HOME]


def test_a_focus_in_sight_needs_no_ladder() -> None:
    start_um = BEST_UM + 30.0 * dof_um(HOME, 5e-3)
    with_it, without = (
        play(belief(), look_at(), replace(RULES, ladder=ladder), start_um=start_um)
        for ladder in (True, False)
    )
    assert with_it.magnifications == []
    assert with_it.commands == without.commands


def test_without_the_wish_the_magnification_is_left_alone() -> None:
    played = play(belief(), look_at(), replace(RULES, ladder=False))
    assert played.magnifications == []
    assert played.outcome.converged
    assert played.outcome.readings.search > 20


def test_where_the_focus_was_the_last_time_is_looked_at_first() -> None:
    played = play(belief(), look_at(), guess_um=BEST_UM + 100.0)
    assert played.readings[1] == (BEST_UM + 100.0, HOME)
    assert played.magnifications == []


def test_a_last_focus_that_is_out_of_sight_now_leads_down_the_ladder() -> None:
    played = play(belief(), look_at(), guess_um=30_000.0)
    assert played.readings[1] == (30_000.0, HOME)
    assert played.outcome.converged
    assert [wd_um for wd_um, _ in played.readings].count(30_000.0) > 1, "it goes down from there"


def test_on_the_ladder_where_the_focus_was_is_not_looked_at_again() -> None:
    nothing = answering_nothing()
    played = play(nothing, look_at(), guess_um=30_001.0)
    assert [magnification for wd_um, magnification in played.readings if wd_um == 30_001.0] == [
        20_000.0,
        5_000.0,
        1_250.0,
        500.0,
    ]  # down, and not on the way up


def answering_nothing() -> FocusLaw:
    """As if no frame showed anything."""
    return lambda _newest_first: Proposal(step_um=100.0, out_of_capture=1.0)


def blind_below(law: FocusLaw) -> FocusLaw:
    """A specimen that shows nothing at less than its own magnification."""

    def blind(newest_first: Sequence[Reading]) -> Proposal:
        is_below = newest_first[0].magnification < HOME
        return Proposal(step_um=100.0, out_of_capture=1.0) if is_below else law(newest_first)

    return blind


def dark_below(look: Look, changed: Callable[[Reading], Reading]) -> Look:
    return lambda wd_um, magnification: (
        changed(told(look(wd_um, magnification), score=0.1))
        if magnification < HOME
        else look(wd_um, magnification)
    )


@pytest.mark.parametrize(
    "changed",
    [
        lambda reading: reading,
        lambda reading: told(reading, saturated=0.9),
        lambda reading: told(reading, contrast=0.001),
    ],
    ids=["dark", "saturated", "flat"],
)
def test_where_the_low_rungs_show_nothing_the_search_goes_on_as_without_them(
    changed: Callable[[Reading], Reading],
) -> None:
    law, look = blind_below(belief()), dark_below(look_at(), changed)
    played = play(law, look)
    ordinary = play(law, look, replace(RULES, ladder=False))
    assert played.outcome.converged
    assert ordinary.outcome.converged
    assert played.place == ordinary.place
    assert len(played.readings) <= len(ordinary.readings) + 40
    assert played.magnifications[:6] == [5_000.0, 1_250.0, 500.0, 2_000.0, 8_000.0, HOME]


def test_where_nothing_is_to_be_seen_anywhere_it_ends_at_home() -> None:
    played = play(belief(reach_dof=0.0), lambda wd, m: told(look_at()(wd, m), score=0.2))
    assert played.outcome.reason is Reason.NOT_FOUND
    assert played.outcome.restored
    assert played.place == (START_UM, HOME)


def test_frames_that_are_all_white_end_it_soon() -> None:
    played = play(
        belief(reach_dof=0.0), lambda wd, m: told(look_at()(wd, m), score=0.2, saturated=0.9)
    )
    assert (played.outcome.reason, played.outcome.restored) == (Reason.SATURATED, True)
    assert len(played.readings) == 3
    assert played.place == (START_UM, HOME)


def test_a_low_rung_that_was_wrong_is_tried_once_more_and_is_no_success() -> None:
    """Below, everything says that the focus is here; at the top nothing is to be seen."""

    def law(newest_first: Sequence[Reading]) -> Proposal:
        is_below = newest_first[0].magnification < HOME
        return (
            Proposal(step_um=0.0, confidence=1.0)
            if is_below
            else Proposal(step_um=9.0, out_of_capture=1.0)
        )

    played = play(law, lambda wd, m: told(look_at()(wd, m), score=8.0 if m < HOME else 0.1))
    assert not played.outcome.converged
    assert played.outcome.score == pytest.approx(0.1), "scores of other rungs do not count"
    assert played.magnifications[:4] == [5_000.0, HOME, 5_000.0, HOME]
    assert played.magnifications[4:] == []
    assert played.place == (START_UM, HOME)


LENGTH = len(play(belief(), look_at()).commands)


@pytest.mark.parametrize("reason", [Reason.ABORTED, Reason.TIMEOUT, Reason.DEVICE])
@pytest.mark.parametrize("number", range(LENGTH - 1))
def test_whatever_ends_it_wherever_it_stands_it_comes_back(number: int, reason: Reason) -> None:
    played = play(belief(), look_at(), fails={number: reason})
    outcome = played.outcome
    assert (outcome.reason, outcome.restored) == (reason, True)
    assert played.place == (START_UM, HOME)
    assert (outcome.wd_um, outcome.magnification) == (START_UM, HOME)
    assert (outcome.start_wd_um, outcome.start_magnification) == (START_UM, HOME)


def test_a_way_home_that_fails_too_says_where_it_was_left() -> None:
    down = [n for n, c in enumerate(play(belief(), look_at()).commands) if isinstance(c, MoveWd)]
    played = play(belief(), look_at(), fails={down[1]: Reason.DEVICE, down[1] + 1: Reason.DEVICE})
    outcome = played.outcome
    assert (outcome.reason, outcome.restored) == (Reason.DEVICE, False)
    assert outcome.magnification == 5_000.0
    assert outcome.start_magnification == HOME
    assert isinstance(played.commands[-2], MoveWd)
    assert played.commands[-2] == MoveWd(wd_um=START_UM, magnification=HOME)


@pytest.mark.parametrize("lowest", [HOME, 5_000.0, 1_250.0])
def test_a_magnification_that_is_refused_is_not_needed(lowest: float) -> None:
    """The instrument goes no lower than that: the search goes on where it stands."""

    def reluctant(move: MoveWd) -> Event:
        if move.magnification is not None and move.magnification < lowest:
            return Refused(detail="no")
        return obey(move)

    played = play(belief(), look_at(), obey=reluctant)
    assert played.outcome.converged
    assert played.place[1] == HOME
    assert sum(isinstance(event, Refused) for event in played.events) == 1


def test_a_way_up_that_is_refused_ends_at_home() -> None:
    refused: list[MoveWd] = []

    def once(move: MoveWd) -> Event:
        if move.magnification == HOME and not refused:
            refused.append(move)
            return Refused(detail="not that high")
        return obey(move)

    played = play(belief(), look_at(), obey=once)
    assert (played.outcome.reason, played.outcome.detail) == (Reason.DEVICE, "not that high")
    assert played.outcome.restored
    assert played.place == (START_UM, HOME)


def test_only_another_magnification_can_be_refused() -> None:
    state = new_job(procedure_of(RULES, Laws(step=lambda _: math.nan, focus=belief())), LIMITS)
    state, _ = step(state, Started(wd_um=START_UM, magnification=HOME, begin_wd_um=30_000.0))
    assert state.pending == MoveWd(wd_um=30_000.0)
    with pytest.raises(IllegalEventError):
        step(state, Refused(detail="no"))


def test_an_answer_with_another_magnification_answers_nothing() -> None:
    state = new_job(procedure_of(RULES, Laws(step=lambda _: math.nan, focus=belief())), LIMITS)
    state, _ = step(state, Started(wd_um=START_UM, magnification=HOME))
    state, (down,) = step(state, Observed(reading=look_at()(START_UM, HOME)))
    assert down == MoveWd(wd_um=START_UM, magnification=5_000.0)
    assert state.phase is Phase.SEARCH
    for magnification in (None, HOME):
        with pytest.raises(IllegalEventError):
            step(state, Moved(wd_um=START_UM, magnification=magnification))


def test_the_dose_of_the_next_frame_is_that_of_its_magnification() -> None:
    """A frame at the top costs 16 times one of the rung below; it is not taken if that is too much."""

    def look(wd_um: float, magnification: float) -> Reading:
        return replace(look_at()(wd_um, magnification), dose_e_nm2=(magnification / HOME) ** 2)

    played = play(belief(), look, dose_limit_e_nm2=1.5)
    assert (played.outcome.reason, played.outcome.restored) == (Reason.DOSE_LIMIT, True)
    assert played.outcome.dose_e_nm2 <= 1.5
    assert [magnification for _, magnification in played.readings].count(HOME) == 1
    assert played.place == (START_UM, HOME)


@settings(max_examples=30)
@given(
    fails=st.none() | st.integers(0, 2 * LENGTH),
    best_um=st.floats(5_000.0, 50_000.0),
    far=st.floats(0.1, 1.0),
)
def test_the_same_events_give_the_same_commands_again(
    fails: int | None, best_um: float, far: float
) -> None:
    law = belief(best_um, reach_dof=100.0 * far)
    played = play(law, look_at(best_um), fails=None if fails is None else {fails: Reason.ABORTED})
    state = new_job(procedure_of(RULES, Laws(step=lambda _: math.nan, focus=law)), LIMITS)
    again: list[Command] = []
    for event in played.events:
        state, answer = step(state, event)
        again += answer
    assert again == played.commands
    assert played.outcome.converged or played.place == (START_UM, HOME)
    assert played.place[1] == HOME
