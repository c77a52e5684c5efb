"""Where readings place the focus of a specimen that never scores high, and when they don't."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.control.limits import Limits, Range
from afdaemon.control.peak import LEAST_SCORE, Peak, next_place, peak
from afdaemon.control.values import Reading, ReadingKind, TracePoint
from afdaemon.models.defocus_state import dof_um

MAGNIFICATION, ALPHA_MRAD, BEST_UM = 5_000.0, 5.0, 12_000.0
UNIT_UM = dof_um(MAGNIFICATION, 1e-3 * ALPHA_MRAD)
AWAY_DOF = (-9.0, -1.0, 0.5, 1.0, 7.0, -4.0, 4.0)
LIMITS = Limits(hard=Range(lo_um=5_000.0, hi_um=50_000.0))


def readings(
    score: Callable[[float], float], away_dof: Sequence[float] = AWAY_DOF, doubt: str = ""
) -> list[TracePoint]:
    return [
        TracePoint(
            kind=ReadingKind.SERVO,
            wd_um=BEST_UM + away * UNIT_UM,
            reading=Reading(
                wd_um=BEST_UM + away * UNIT_UM,
                magnification=MAGNIFICATION,
                score=score(away),
                variance=0.2,
                entropy=7.0,
                doubt=doubt,
            ),
        )
        for away in away_dof
    ]


def bell(height: float, width_dof: float, steepness: float = 1.0) -> Callable[[float], float]:
    return lambda away: float(height * (1.0 + (away / width_dof) ** 2) ** -steepness)


@given(
    height=st.floats(1.0, 6.0),
    width_dof=st.floats(1.5, 3.5),
    steepness=st.sampled_from((0.7, 1.0, 1.5)),
)
def test_a_peak_is_where_it_is_whatever_its_height(
    height: float, width_dof: float, steepness: float
) -> None:
    found = peak(readings(bell(height, width_dof, steepness)), UNIT_UM)
    assert found is not None
    assert found.is_clear
    assert found.wd_um == pytest.approx(BEST_UM, abs=0.5 * UNIT_UM)


def test_scores_that_are_off_by_a_seventh_place_it_within_a_depth_of_focus() -> None:
    rng = np.random.default_rng(5)
    away = [*AWAY_DOF, -8.0, 8.0]
    for _ in range(50):
        scores = [bell(1.5, 2.5)(a) * math.exp(rng.normal(0.0, 0.15)) for a in away]
        found = peak(readings(dict(zip(away, scores, strict=True)).__getitem__, away), UNIT_UM)
        assert found is not None
        if found.is_clear:
            assert found.wd_um == pytest.approx(BEST_UM, abs=UNIT_UM)


@pytest.mark.parametrize(
    "score",
    [
        lambda _: 1.5,
        lambda away: 2.0 + 0.1 * away,
        lambda away: bell(2.0, 2.0)(away - 9.0),
        lambda away: 1.5 if int(away) % 2 else 0.4,
    ],
    ids=["flat", "rising", "at the end", "to and fro"],
)
def test_what_is_no_peak_is_not_clear(score: Callable[[float], float]) -> None:
    found = peak(readings(score), UNIT_UM)
    assert found is None or not found.is_clear


def test_few_readings_are_no_peak_yet() -> None:
    found = peak(readings(bell(2.0, 2.0), AWAY_DOF[:4]), UNIT_UM)
    assert found is not None
    assert not found.is_clear


@pytest.mark.parametrize(
    "points", [[], readings(bell(0.9 * LEAST_SCORE, 2.0))], ids=["none", "low"]
)
def test_there_is_no_peak_without_a_trace_of_one(points: list[TracePoint]) -> None:
    assert peak(points, UNIT_UM) is None


def test_doubted_readings_make_no_peak() -> None:
    assert peak(readings(bell(3.0, 2.0), doubt="blank: nothing but noise"), UNIT_UM) is None


def asked_for(top: Peak, read_dof: Sequence[float], limits: Limits = LIMITS) -> list[float]:
    """Places in DoF, one after the other, until no more are wanted."""
    points, places = readings(bell(2.0, 2.0), read_dof), list[float]()
    while True:
        place_um = next_place(points, top, apart_um=8.0 * UNIT_UM, unit_um=UNIT_UM, limits=limits)
        if place_um is None:
            return places
        places.append(round((place_um - BEST_UM) / UNIT_UM, 6))
        points += readings(bell(2.0, 2.0), [places[-1]])


def test_it_reads_on_both_sides_then_closer() -> None:
    top = Peak(wd_um=BEST_UM, error_dof=1.0, has_fallen=True)
    assert asked_for(top, [0.0]) == [-8.0, 8.0, -4.0, 4.0]
    assert asked_for(top, [0.0, 7.0, -3.0]) == [-8.0, 4.0]


def test_where_the_score_has_not_fallen_it_reads_further_out() -> None:
    top = Peak(wd_um=BEST_UM, error_dof=math.inf)
    assert asked_for(top, [0.0]) == [-8.0, 8.0, -16.0, 16.0]


def test_it_reads_nowhere_outside_the_limits() -> None:
    top = Peak(wd_um=BEST_UM, error_dof=1.0, has_fallen=True)
    limits = Limits(hard=Range(lo_um=BEST_UM - 5.0 * UNIT_UM, hi_um=50_000.0))
    assert asked_for(top, [0.0], limits) == [8.0, -4.0, 4.0]
