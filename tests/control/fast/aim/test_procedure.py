"""The procedure with one posterior: what it does with a belief, and what it never does whatever the belief."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.control.fast.aim.law import AimLaw
from afdaemon.control.fast.aim.procedure import AimProcedure
from afdaemon.control.fast.aim.profile import AimProfile
from afdaemon.control.limits import Limits, Range
from afdaemon.control.machine import step
from afdaemon.control.state import AnyState, new_job
from afdaemon.control.values import (
    Belief,
    Command,
    Conclude,
    Moved,
    MoveWd,
    Observed,
    Outcome,
    Proposal,
    Reading,
    Reason,
    Refused,
    Started,
)
from afdaemon.models.frames.measures import Measures
from afdaemon.models.optics import dof_um

START_UM, MAGNIFICATION = 12_000.0, 2_000.0
UNIT_UM = dof_um(MAGNIFICATION, 5e-3)
LIMITS = Limits(hard=Range(lo_um=5_000.0, hi_um=50_000.0))
RULES = AimProfile(calibrated=True)
Look = Callable[[float], Measures]


def shows(best_um: float, **other: Any) -> Look:
    """A specimen in focus at `best_um`."""

    def look(wd_um: float) -> Measures:
        away = (wd_um - best_um) / UNIT_UM
        score = 9.0 / (1.0 + (0.5 * away) ** 2)
        seen = Measures(score=score, contrast=0.1 + 0.2 * score / 9.0, entropy=7.0)
        return replace(seen, **other)

    return look


def knowing(best_um: float) -> AimLaw:
    """Guesses after one reading, then knows."""

    def law(newest_first: Sequence[Reading], allowed: Range) -> Proposal:
        assert allowed == LIMITS.allowed
        step_um = best_um - newest_first[0].wd_um
        sure = 1.0 if len(newest_first) > 1 else 0.2
        return Proposal(step_um=step_um, read_step_um=step_um, confidence=sure)

    return law


def stubborn(step_um: float, confidence: float, **other: Any) -> AimLaw:
    """Says the same whatever was read."""

    def law(_newest_first: Sequence[Reading], _allowed: Range) -> Proposal:
        return Proposal(step_um=step_um, confidence=confidence, **other)

    return law


def played(law: AimLaw, look: Look, rules: AimProfile = RULES) -> tuple[Outcome, list[float]]:
    """How the job ended, and where it was read."""
    state: AnyState = new_job(AimProcedure(rules, law), LIMITS)
    places: list[float] = []
    state, (command,) = step(state, Started(wd_um=START_UM, magnification=MAGNIFICATION))
    while not isinstance(command, Conclude):
        state, command = _answered(state, command, look, places)
    return command.outcome, places


def _answered(
    state: AnyState, command: Command, look: Look, places: list[float]
) -> tuple[AnyState, Command]:
    if isinstance(command, MoveWd):
        assert LIMITS.within(command.wd_um)
        moved = Moved(wd_um=command.wd_um, magnification=command.magnification)
        state, (after,) = step(state, moved)
        return state, after
    places.append(state.wd_um)
    frame = look(state.wd_um)
    reading = Reading(wd_um=state.wd_um, magnification=state.magnification, frame=frame)
    state, (after,) = step(state, Observed(reading=reading))
    return state, after


@given(away_dof=st.floats(-60.0, 60.0))
def test_it_goes_where_the_posterior_leads_reads_there_and_ends(away_dof: float) -> None:
    best_um = START_UM + away_dof * UNIT_UM
    outcome, places = played(knowing(best_um), shows(best_um))
    assert outcome.reason is Reason.FOCUSED
    assert outcome.wd_um == pytest.approx(best_um, abs=0.1 * UNIT_UM)
    assert len(places) <= 3
    assert min(abs(place - best_um) for place in places) <= 0.3 * UNIT_UM


@pytest.mark.parametrize(
    "other",
    [
        {"doubt": "unlike the frames that AENet was trained on"},
        {"contrast": 0.001},
        {"score": 2.0},
    ],
)
def test_no_success_rests_on_a_frame_that_tells_nothing(other: dict[str, Any]) -> None:
    outcome, places = played(stubborn(0.0, 1.0), shows(START_UM, **other))
    assert outcome.reason is not Reason.FOCUSED
    assert outcome.restored
    assert len(places) <= RULES.most_search_readings


def test_a_place_with_clearly_less_contrast_than_another_is_no_focus() -> None:
    """Past the first zero of the blur's transfer a lattice comes back sharp, but faint."""

    def look(wd_um: float) -> Measures:
        score = 9.0
        contrast = 0.4 if wd_um > START_UM + UNIT_UM else 0.05
        return Measures(score=score, contrast=contrast, entropy=7.0)

    def law(newest_first: Sequence[Reading], _allowed: Range) -> Proposal:
        away_um = newest_first[0].wd_um - START_UM
        aside = 8.0 * UNIT_UM - away_um if away_um < UNIT_UM else -away_um
        return Proposal(step_um=-away_um, read_step_um=aside, confidence=1.0)

    outcome, places = played(law, look)
    assert outcome.reason is Reason.FOCUSED, "one reading knows of no other"
    unsure, places = played(
        lambda seen, allowed: replace(law(seen, allowed), confidence=float(len(seen) > 1)), look
    )
    assert unsure.reason is not Reason.FOCUSED
    assert len(places) > 2


def test_a_job_that_is_never_sure_costs_no_more_than_a_miss_does() -> None:
    outcome, places = played(stubborn(0.0, 0.5, read_step_um=2.5 * UNIT_UM), shows(START_UM))
    assert outcome.reason is Reason.NOT_CONVERGED
    assert len(places) <= 40
    assert outcome.restored


def test_a_law_that_answers_nonsense_ends_the_job() -> None:
    outcome, _ = played(stubborn(float("nan"), 1.0), shows(START_UM))
    assert outcome.reason is Reason.NOT_CONVERGED
    assert "nan" in outcome.detail


def seeing(best_um: float, *, beyond: float = 0.0) -> AimLaw:
    """Sees a focus within its capture range and then knows it; elsewhere believes it is anywhere else."""

    def law(newest_first: Sequence[Reading], allowed: Range) -> Proposal:
        here = newest_first[0]
        away_um = best_um - here.wd_um
        if abs(away_um) > 80.0 * RULES.dof_um(here.magnification):
            ends = (allowed.lo_um, allowed.hi_um)
            unsure = Belief(places_um=ends, mass=(0.5, 0.5))
            return Proposal(step_um=1.0, out_of_capture=1.0, belief=unsure)
        sure = Belief(places_um=(best_um,), mass=(1.0,))
        return Proposal(step_um=away_um, read_step_um=away_um, confidence=1.0, belief=sure)

    return law


@pytest.mark.parametrize("best_um", [6_000.0, 14_000.0, 31_000.0, 49_000.0])
def test_a_focus_out_of_capture_is_found_by_strides(best_um: float) -> None:
    outcome, places = played(seeing(best_um), shows(best_um))
    assert outcome.reason is Reason.FOCUSED
    assert outcome.wd_um == pytest.approx(best_um, abs=0.3 * UNIT_UM)
    assert len(places) < 12


@pytest.mark.parametrize("best_um", [6_000.0, 31_000.0, 49_000.0])
def test_with_the_ladder_it_is_seen_from_a_lower_magnification(best_um: float) -> None:
    rules = replace(RULES, ladder=True)
    outcome, places = played(seeing(best_um), shows(best_um), rules)
    assert outcome.reason is Reason.FOCUSED
    assert outcome.magnification == MAGNIFICATION
    assert outcome.wd_um == pytest.approx(best_um, abs=0.3 * UNIT_UM)
    assert len(places) <= 5


def test_where_nothing_shows_at_any_magnification_the_ladder_comes_back() -> None:
    rules = replace(RULES, ladder=True)
    outcome, _ = played(seeing(1e6), shows(1e6, contrast=0.001), rules)
    assert outcome.reason is Reason.NO_CONTRAST
    assert outcome.restored
    assert outcome.magnification == MAGNIFICATION


def test_a_magnification_that_is_refused_is_asked_for_once() -> None:
    procedure = AimProcedure(replace(RULES, ladder=True), seeing(31_000.0))
    state: AnyState = new_job(procedure, LIMITS)
    refusals, places = 0, list[float]()
    state, (command,) = step(state, Started(wd_um=START_UM, magnification=MAGNIFICATION))
    while not isinstance(command, Conclude):
        if isinstance(command, MoveWd) and command.magnification is not None:
            refusals += 1
            state, (command,) = step(state, Refused(detail="there is no such magnification"))
        else:
            state, command = _answered(state, command, shows(31_000.0), places)
    assert refusals == 1
    assert command.outcome.reason is Reason.FOCUSED


@pytest.mark.parametrize(("best_um", "side"), [(3_000.0, "lower"), (52_000.0, "upper")])
def test_a_focus_beyond_a_limit_ends_there_and_says_how_far(best_um: float, side: str) -> None:
    outcome, places = played(seeing(best_um), shows(best_um))
    assert outcome.reason is Reason.OUT_OF_RANGE
    assert f"2000 um beyond the {side} limit" in outcome.detail
    assert outcome.restored
    assert len(places) < 12


def test_a_job_that_began_with_something_to_see_does_not_wander() -> None:
    """The law loses it, and finds nothing anywhere."""

    def law(newest_first: Sequence[Reading], allowed: Range) -> Proposal:
        return Proposal(step_um=0.0, out_of_capture=float(len(newest_first) > 1))

    narrow = replace(RULES, alpha_mrad=50.0)
    outcome, places = played(law, shows(START_UM), narrow)
    assert outcome.reason is not Reason.FOCUSED
    assert len(places) <= 40
