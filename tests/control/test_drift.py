"""A focus that moves while a job looks for it: noticed where the readings can tell, never where it stands still."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.control.drift import FEWEST_READINGS, Drift, drift
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
    Failed,
    Moved,
    MoveWd,
    Observed,
    Outcome,
    Proposal,
    Reading,
    ReadingKind,
    Reason,
    Started,
    TracePoint,
)
from afdaemon.models.frames.measures import Measures
from afdaemon.words import rate

MAGNIFICATION, FOCUS_UM = 5_000.0, 12_000.0


def told(reading: Reading, **measures: Any) -> Reading:
    """The reading of a frame that told otherwise."""
    return replace(reading, frame=replace(reading.frame, **measures))


UNIT_UM = FAST.dof_um(MAGNIFICATION)
LIMITS = Limits(hard=Range(lo_um=5_000.0, hi_um=50_000.0))
READ_S = 0.2


def point(wd_dof: float, at_s: float, score: float, *, error: float = 0.3) -> TracePoint:
    reading = Reading(
        wd_um=FOCUS_UM + wd_dof * UNIT_UM,
        magnification=MAGNIFICATION,
        at_s=at_s,
        frame=Measures(score=score, contrast=0.3, entropy=7.0, expected_error=error),
    )
    return TracePoint(kind=ReadingKind.SERVO, wd_um=reading.wd_um, reading=reading)


def score_at(z_dof: float, *, best: float = 8.5, wider: float = 1.0) -> float:
    """Of the parabola 9 / s - 1, whose height says how good it gets and whose width what the angle is."""
    return 9.0 / (9.0 / best + (0.5 * z_dof / wider) ** 2)


def seen(wds: Sequence[float], per_reading: float, *, wider: float = 1.0) -> list[TracePoint]:
    """Readings at WDs (DoF), one a second, of a focus that moves by so many DoF from one to the next."""
    return [point(w, n, score_at(w - per_reading * n, wider=wider)) for n, w in enumerate(wds)]


AROUND = (3.0, -2.0, 1.0, 0.5, -1.0, 2.0, 0.0, -2.5)


@given(per_reading=st.floats(0.3, 1.0) | st.floats(-1.0, -0.3), wider=st.floats(0.5, 2.0))
def test_a_moving_focus_is_found_whatever_the_angle(per_reading: float, wider: float) -> None:
    wds = [w * wider + per_reading * n for n, w in enumerate(AROUND)]
    found = drift(seen(wds, per_reading, wider=wider), FAST)
    assert found is not None
    truth = per_reading * UNIT_UM * 60.0
    assert abs(found.um_per_min - truth) <= 2.0 * found.error_um_per_min + 0.02 * abs(truth)
    assert found.is_noticed or abs(per_reading) < 0.4 * wider
    assert rate(found.um_per_min, found.error_um_per_min) in str(found)


@given(
    wds=st.lists(st.floats(-4.0, 4.0), min_size=7, max_size=20),
    errors=st.lists(st.floats(-0.3, 0.3), min_size=20, max_size=20),
    wider=st.floats(0.5, 2.0),
    best=st.floats(5.0, 8.9),
)
def test_one_that_stands_still_is_never_told_to_move(
    wds: list[float], errors: list[float], wider: float, best: float
) -> None:
    """Scores are off by as much as AENet said they might."""
    scores = [score_at(w, wider=wider, best=best) for w in wds]
    trace = [
        point(w, n, min(9.0, max(0.0, s + e)))
        for n, (w, s, e) in enumerate(zip(wds, scores, errors, strict=False))
    ]
    found = drift(trace, FAST)
    assert found is None or not found.is_noticed


def test_the_same_place_at_two_times_shows_it() -> None:
    """Nothing but the time differs."""
    still = seen([2.0, -2.0, 0.0, 2.0, -2.0, 0.0, 2.0, -2.0], 0.0)
    moving = seen([2.0, -2.0, 0.0, 2.0, -2.0, 0.0, 2.0, -2.0], 0.3)
    before, after = drift(still, FAST), drift(moving, FAST)
    assert before is not None
    assert after is not None
    assert abs(before.moved_dof) < 0.3
    assert not before.is_noticed
    assert after.is_noticed
    assert after.moved_dof == pytest.approx(2.1, abs=0.4)


def test_a_job_that_follows_the_focus_knows_it_by_where_it_went() -> None:
    """Each reading is as sharp as the one before, and each stands a depth of focus further."""
    found = drift(seen([float(n) for n in range(8)], 1.0), FAST)
    assert found is not None
    assert found.is_noticed
    assert found.moved_dof == pytest.approx(7.0, abs=2.0)


@pytest.mark.parametrize(
    "trace",
    [
        [],
        seen(AROUND[: FEWEST_READINGS - 1], 1.0),
        [replace(p, reading=replace(p.reading, at_s=0.0)) for p in seen(AROUND, 1.0)],
        [replace(p, reading=told(p.reading, doubt="blank")) for p in seen(AROUND, 1.0)],
        [point(w, n, 0.5) for n, w in enumerate(AROUND)],
        [point(w, n, 5.0, error=3.0) for n, w in enumerate(AROUND)],
        [point(w, n, (2.0, 8.0)[n % 2], error=0.01) for n, w in enumerate([0.0] * 8)],
    ],
)
def test_where_the_readings_cannot_tell_nothing_is_told(trace: list[TracePoint]) -> None:
    """Too few, without times, doubted, far away, unsure, contradicting each other."""
    assert drift(trace, FAST) is None


def test_readings_at_another_magnification_do_not_count() -> None:
    trace = seen(AROUND, 0.5)
    low = [replace(p, reading=replace(p.reading, magnification=500.0)) for p in trace[:5]]
    assert drift([*low, *trace[5:]], FAST) is None


def test_a_small_movement_or_an_unsure_one_is_not_noticed() -> None:
    assert not Drift(um_per_min=9.0, error_um_per_min=0.1, moved_dof=0.4).is_noticed
    assert not Drift(um_per_min=9.0, error_um_per_min=4.0, moved_dof=2.0).is_noticed
    assert Drift(um_per_min=-9.0, error_um_per_min=2.0, moved_dof=-2.0).is_noticed


# Whole jobs


def play(rules: Profile, per_reading: float, seed: int, *, ends: Event | None = None) -> Outcome:
    """A job on a focus that moves by so many DoF a reading; laws and scores that err as the networks do."""
    rng = np.random.default_rng(seed)
    wider, best = float(rng.uniform(0.7, 1.4)), float(rng.uniform(6.0, 8.8))
    readings = 0

    def away() -> float:
        return (state.wd_um - FOCUS_UM) / UNIT_UM - per_reading * readings

    def guess_um() -> float:
        return -(away() * float(rng.normal(1.0, 0.15)) + float(rng.normal(0.0, 0.3))) * UNIT_UM

    def belief(newest_first: Sequence[Reading]) -> Proposal:
        step_um = guess_um() if len(newest_first) > 1 else float(rng.choice((4.0, -4.0))) * UNIT_UM
        return Proposal(step_um=step_um, confidence=math.exp(-0.1 * away() ** 2))

    def read() -> Reading:
        score = score_at(away(), best=best, wider=wider) + float(rng.normal(0.0, 0.25))
        return point(0.0, READ_S * readings, min(max(score, 0.01), 9.0)).reading

    state = new_job(procedure_of(rules, Laws(step=lambda _: guess_um(), focus=belief)), LIMITS)
    start_um = FOCUS_UM + float(rng.uniform(-15.0, 15.0)) * UNIT_UM
    event: Event = Started(wd_um=start_um, magnification=MAGNIFICATION)
    while True:
        state, (command,) = step(state, event)
        match command:
            case Conclude(outcome=outcome):
                return outcome
            case MoveWd():
                event = Moved(wd_um=command.wd_um)
            case _:
                readings += 1
                event = Observed(reading=replace(read(), wd_um=state.wd_um))
        if ends is not None and readings == 12:
            event, ends = ends, None


def test_of_200_jobs_without_drift_none_says_there_is_one() -> None:
    outcomes = [play(rules, 0.0, seed) for rules in (FAST, PUBLISHED) for seed in range(100)]
    assert sum(outcome.drift_noticed for outcome in outcomes) == 0
    assert not any("focus drifts" in outcome.detail for outcome in outcomes)
    assert sum(outcome.converged for outcome in outcomes) >= 180
    told = [o for o in outcomes if o.drift_um_per_min is not None]
    assert len(told) >= 30, "or the figure would be there for nobody"


def test_strong_drift_is_noticed_in_most_jobs_that_are_long_enough() -> None:
    """Others end before seven readings near the focus are there: those cannot know."""
    outcomes = [play(PUBLISHED, sign * 0.7, seed) for sign in (1.0, -1.0) for seed in range(40)]
    long_enough = [o for o in outcomes if o.readings.servo >= 6]
    assert len(long_enough) >= 60
    noticed = [o for o in long_enough if o.drift_noticed]
    assert len(noticed) >= 0.8 * len(long_enough)
    for outcome in noticed:
        assert "the focus drifts by" in outcome.detail
    ups = [play(PUBLISHED, 0.7, seed) for seed in range(40)]
    assert all(o.drift_um_per_min > 0.0 for o in ups if o.drift_noticed and o.drift_um_per_min)


def test_a_failure_for_want_of_a_still_focus_says_so() -> None:
    outcomes = [play(FAST, 2.5, seed) for seed in range(30)]
    failed = [o for o in outcomes if o.reason is Reason.NOT_CONVERGED]
    blamed = [o for o in failed if "probably because the focus drifts" in o.detail]
    assert len(failed) >= 10
    assert len(blamed) >= 0.8 * len(failed)
    assert all(o.drift_noticed for o in blamed)


def test_an_abort_is_not_blamed_on_the_drift() -> None:
    aborted = Failed(reason=Reason.ABORTED, detail="enough")
    outcomes = [play(FAST, 2.5, seed, ends=aborted) for seed in range(30)]
    cut = [o for o in outcomes if o.reason is Reason.ABORTED]
    assert any(o.drift_noticed for o in cut)
    assert not any("because" in o.detail for o in cut)
