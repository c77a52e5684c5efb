"""Where readings place the focus of a specimen that never scores high, and when they don't."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.control.fast.peak import (
    CONTRAST,
    LEAST_SCORE,
    SCORE,
    FocusMeasure,
    Peak,
    is_as_high,
    next_place,
    peak,
)
from afdaemon.control.limits import Limits, Range
from afdaemon.control.values import Reading, ReadingKind, TracePoint
from afdaemon.models.frames.measures import Measures
from afdaemon.models.optics import dof_um

MAGNIFICATION, ALPHA_MRAD, BEST_UM = 5_000.0, 5.0, 12_000.0
UNIT_UM = dof_um(MAGNIFICATION, 1e-3 * ALPHA_MRAD)
AWAY_DOF = (-9.0, -1.0, 0.5, 1.0, 7.0, -4.0, 4.0)
LIMITS = Limits(hard=Range(lo_um=5_000.0, hi_um=50_000.0))


def readings(
    score: Callable[[float], float],
    away_dof: Sequence[float] = AWAY_DOF,
    doubt: str = "",
    contrast: Callable[[float], float] = lambda _: 0.2,
) -> list[TracePoint]:
    return [
        TracePoint(
            kind=ReadingKind.SERVO,
            wd_um=BEST_UM + away * UNIT_UM,
            reading=Reading(
                wd_um=BEST_UM + away * UNIT_UM,
                magnification=MAGNIFICATION,
                frame=Measures(
                    score=score(away), contrast=contrast(away), entropy=7.0, doubt=doubt
                ),
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
    found = peak(readings(bell(height, width_dof, steepness)), UNIT_UM, SCORE)
    assert found is not None
    assert found.is_clear
    assert found.wd_um == pytest.approx(BEST_UM, abs=0.5 * UNIT_UM)


def test_scores_that_are_off_by_a_seventh_place_it_within_a_depth_of_focus() -> None:
    rng = np.random.default_rng(5)
    away = [*AWAY_DOF, -8.0, 8.0]
    for _ in range(50):
        scores = [bell(1.5, 2.5)(a) * math.exp(rng.normal(0.0, 0.15)) for a in away]
        found = peak(
            readings(dict(zip(away, scores, strict=True)).__getitem__, away), UNIT_UM, SCORE
        )
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
    found = peak(readings(score), UNIT_UM, SCORE)
    assert found is None or not found.is_clear


def test_few_readings_are_no_peak_yet() -> None:
    found = peak(readings(bell(2.0, 2.0), AWAY_DOF[:4]), UNIT_UM, SCORE)
    assert found is not None
    assert not found.is_clear


@pytest.mark.parametrize(
    "points", [[], readings(bell(0.9 * LEAST_SCORE, 2.0))], ids=["none", "low"]
)
def test_there_is_no_peak_without_a_trace_of_one(points: list[TracePoint]) -> None:
    assert peak(points, UNIT_UM, SCORE) is None


def test_doubted_readings_make_no_peak() -> None:
    assert peak(readings(bell(3.0, 2.0), doubt="blank: nothing but noise"), UNIT_UM, SCORE) is None


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


def faded(share: float, noise: float, width_dof: float = 30.0) -> Callable[[float], float]:
    """Standard deviation over mean of a smooth specimen's frames, with noise that no blur takes away."""
    return lambda away: 0.3 * math.hypot(math.sqrt(share / (1.0 + (away / width_dof) ** 2)), noise)


WIDE_DOF = (-18.0, 1.5, -3.0, 9.0, 22.0, -11.0, 37.0)


@pytest.mark.parametrize("measure", [SCORE, CONTRAST], ids=lambda m: m.named)
def test_contrast_places_a_focus_of_which_no_score_is_a_trace(measure: FocusMeasure) -> None:
    points = readings(lambda _: 0.1, WIDE_DOF, contrast=faded(0.7, 0.5))
    found = peak(points, UNIT_UM, measure)
    if measure is SCORE:
        assert found is None
    else:
        assert found is not None
        assert found.is_clear
        assert found.wd_um == pytest.approx(BEST_UM, abs=0.3 * UNIT_UM)


def test_contrast_that_is_off_by_half_a_percent_places_it_within_two_depths_of_focus() -> None:
    """Mostly within one: its curve is that wide."""
    rng, misses = np.random.default_rng(6), []
    for _ in range(60):
        clean = faded(0.7, 0.5)
        noisy = {a: clean(a) * math.exp(rng.normal(0.0, 0.003)) for a in WIDE_DOF}
        found = peak(
            readings(lambda _: 0.1, WIDE_DOF, contrast=noisy.__getitem__), UNIT_UM, CONTRAST
        )
        assert found is not None
        if found.is_clear:
            misses.append(abs(found.wd_um - BEST_UM) / UNIT_UM)
    assert len(misses) > 40
    assert max(misses) < 2.0
    assert np.mean(np.array(misses) <= 1.0) > 0.9


@pytest.mark.parametrize(
    "contrast",
    [
        lambda _: 0.2,
        lambda away: 0.2 + 0.002 * away,
        lambda away: faded(0.7, 0.5)(away - 40.0),
        lambda away: 0.2 if round(away) % 2 else 0.25,
    ],
    ids=["flat", "rising", "at the end", "to and fro"],
)
def test_contrast_without_a_peak_is_not_clear(contrast: Callable[[float], float]) -> None:
    found = peak(readings(lambda _: 0.1, WIDE_DOF, contrast=contrast), UNIT_UM, CONTRAST)
    assert found is None or not found.is_clear


@pytest.mark.parametrize(("last", "expected"), [(1.0, True), (0.97, True), (0.93, False)])
def test_the_top_must_show_again_what_was_promised(last: float, *, expected: bool) -> None:
    points = readings(lambda _: 0.1, [0.0, 9.0, 0.01], contrast=lambda a: 0.3 - 0.01 * a)
    newest = readings(lambda _: 0.1, [0.0], contrast=lambda _: 0.3 * last)
    assert is_as_high([*points, *newest], CONTRAST) is expected


def test_readings_of_one_place_alone_make_no_clear_peak() -> None:
    for measure in (SCORE, CONTRAST):
        found = peak(readings(lambda _: 1.0, [0.0] * 7, contrast=lambda _: 0.0), UNIT_UM, measure)
        assert found is None or not found.is_clear


@pytest.mark.parametrize(("measure", "fewest"), [(SCORE, 5), (CONTRAST, 7)])
def test_a_curve_of_four_parameters_takes_more_readings(measure: FocusMeasure, fewest: int) -> None:
    """Five, and seven on a floor of noise, which is a fifth."""
    away_dof = (0.0, -4.0, 4.0, -9.0, 9.0, -30.0, 30.0, -50.0, 50.0)
    points = readings(bell(5.0, 3.0), away_dof, contrast=lambda a: 0.05 + 0.3 * bell(1.0, 8.0)(a))
    unfitted, fitted = (peak(points[:n], UNIT_UM, measure) for n in (fewest - 1, fewest))
    assert unfitted is not None
    assert fitted is not None
    assert unfitted.error_dof == measure.reach_dof > fitted.error_dof


@pytest.mark.parametrize(("measure", "reach_dof"), [(SCORE, 24.0), (CONTRAST, 80.0)])
def test_readings_far_from_the_best_one_are_not_fitted(
    measure: FocusMeasure, reach_dof: float
) -> None:
    """At that distance there may be another focus."""
    near = (0.0, -2.0, 2.0, -6.0, 6.0, -12.0, 12.0)
    clear = readings(bell(5.0, 3.0), near, contrast=lambda a: 0.05 + 0.3 * bell(1.0, 8.0)(a))
    alone = peak(clear, UNIT_UM, measure)
    for away, is_fitted in ((reach_dof - 0.5, True), (reach_dof + 0.5, False)):
        strange = readings(lambda _: 4.9, (away,), contrast=lambda _: 0.345)
        found = peak([*clear, *strange], UNIT_UM, measure)
        assert (found == alone) is not is_fitted
