"""Dose: what a frame gives, and a limit that no job exceeds."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.control.dose import Beam
from afdaemon.control.fast.profile import FAST
from afdaemon.control.limits import Limits, Range
from afdaemon.control.machine import step
from afdaemon.control.procedures import Laws, procedure_of
from afdaemon.control.profile import Profile
from afdaemon.control.published.profile import PUBLISHED
from afdaemon.control.state import new_job
from afdaemon.control.values import (
    Conclude,
    Event,
    Moved,
    MoveWd,
    Observed,
    Outcome,
    Proposal,
    Reading,
    Reason,
    Started,
)
from afdaemon.models.frames.measures import Measures

START_UM, BEST_UM = 12_000.0, 12_600.0


def test_one_electron_per_square_nanometre() -> None:
    """100 pA for 1 us on a pixel of 25 nm: 624 electrons on 625 nm2."""
    assert Beam(current_pa=100.0, dwell_ns=1_000.0).dose_e_nm2(25.0) == pytest.approx(
        0.9987, abs=1e-4
    )


def play(rules: Profile, doses: list[float], limit: float | None) -> Outcome:
    """A job on a specimen that shows its focus; the n-th reading costs the n-th dose."""
    state = new_job(
        procedure_of(
            rules,
            Laws(
                step=lambda newest: 0.4 * (BEST_UM - newest[0].wd_um),
                focus=lambda newest: Proposal(
                    step_um=0.4 * (BEST_UM - newest[0].wd_um),
                    confidence=float(abs(BEST_UM - newest[0].wd_um) < 20.0),
                ),
            ),
        ),
        Limits(hard=Range(lo_um=5_000.0, hi_um=50_000.0)),
    )
    event: Event = Started(wd_um=START_UM, magnification=2_000.0, dose_limit_e_nm2=limit)
    for _ in range(500):
        state, (command,) = step(state, event)
        match command:
            case Conclude(outcome=outcome):
                return outcome
            case MoveWd():
                event = Moved(wd_um=command.wd_um)
            case _:
                score = 9.0 / (1.0 + ((state.wd_um - BEST_UM) / 200.0) ** 2)
                event = Observed(
                    reading=Reading(
                        wd_um=state.wd_um,
                        magnification=2_000.0,
                        dose_e_nm2=doses[len(state.trace) % len(doses)],
                        frame=Measures(score=score, contrast=0.3, entropy=7.0),
                    )
                )
    raise AssertionError("the job does not end")


@pytest.mark.parametrize("rules", [PUBLISHED, FAST])
@given(dose=st.floats(0.01, 100.0), limit=st.floats(0.01, 1_000.0))
def test_no_job_takes_more_than_its_limit(rules: Profile, dose: float, limit: float) -> None:
    """But for the first frame, whose dose nobody could know."""
    outcome = play(rules, [dose], limit)
    assert outcome.dose_e_nm2 <= max(limit * (1.0 + 1e-9), dose)
    assert outcome.dose_e_nm2 == pytest.approx(outcome.readings.total * dose)
    if not outcome.converged:
        assert outcome.reason is Reason.DOSE_LIMIT
        assert outcome.restored
        assert outcome.wd_um == START_UM
        assert f"the limit is {limit:g}" in outcome.detail


@pytest.mark.parametrize("rules", [PUBLISHED, FAST])
def test_a_limit_that_is_not_reached_changes_nothing(rules: Profile) -> None:
    free, limited = play(rules, [1.0], None), play(rules, [1.0], 1e6)
    assert free == limited
    assert free.converged
    assert free.dose_e_nm2 == free.readings.total


def test_a_dose_that_is_no_number_makes_no_reading() -> None:
    reading = Reading(
        wd_um=1.0, magnification=1.0, frame=Measures(score=1.0, contrast=1.0, entropy=1.0)
    )
    assert reading.is_usable
    assert not replace(reading, dose_e_nm2=math.nan).is_usable
