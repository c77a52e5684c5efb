"""The guard lets nothing out of the limits, and changes no number."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.control.limits import Limits, Motion, MotionGuard, Range
from afdaemon.errors import LimitError

HARD = Range(lo_um=3_000.0, hi_um=50_000.0)
SITE = Range(lo_um=5_000.0, hi_um=30_000.0)
SESSION = Range(lo_um=10_000.0, hi_um=40_000.0)


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    ends = st.floats(0.0, 60_000.0)
    lo_um, hi_um = sorted((draw(ends), draw(ends)))
    return Range(lo_um=lo_um, hi_um=hi_um)


def test_all_three_limits_hold_together() -> None:
    limits = Limits(hard=HARD, site=SITE, session=SESSION)
    assert limits.allowed == Range(lo_um=10_000.0, hi_um=30_000.0)
    assert limits.nearest(1.0) == 10_000.0
    assert limits.nearest(1e6) == 30_000.0
    assert limits.nearest(12_345.6) == 12_345.6


@given(
    hard=ranges(),
    site=st.none() | ranges(),
    session=st.none() | ranges(),
    target_um=st.floats(allow_nan=True, allow_infinity=True) | st.floats(0.0, 60_000.0),
)
def test_the_guard_passes_exactly_what_every_limit_allows(
    hard: Range, site: Range | None, session: Range | None, target_um: float
) -> None:
    try:
        limits = Limits(hard=hard, site=site, session=session)
    except LimitError:
        return
    allowed = all(
        limit.lo_um <= target_um <= limit.hi_um
        for limit in (hard, site, session)
        if limit is not None
    )
    assert limits.within(target_um) is allowed
    assert limits.allowed.holds(target_um) is allowed
    guard = MotionGuard(limits)
    if allowed:
        guard.check(target_um)
    else:
        with pytest.raises(LimitError):
            guard.check(target_um)


@pytest.mark.parametrize(
    ("target_um", "named"),
    [
        (2_000.0, "hard"),
        (4_000.0, "site"),
        (8_000.0, "session"),
        (math.nan, "nan"),
        (math.inf, "inf"),
    ],
)
def test_a_refusal_names_the_value_the_limit_and_the_allowed_range(
    target_um: float, named: str
) -> None:
    guard = MotionGuard(Limits(hard=HARD, site=SITE, session=SESSION))
    with pytest.raises(LimitError) as refused:
        guard.check(target_um)
    assert named in str(refused.value)
    assert f"{target_um:g} um" in str(refused.value)
    assert "10000 .. 30000 um" in str(refused.value)
    assert refused.value.remedy


def test_new_limits_hold_for_the_next_move() -> None:
    guard = MotionGuard(Limits(hard=HARD))
    guard.check(4_000.0)
    guard.limits = Limits(hard=HARD, session=SESSION)
    with pytest.raises(LimitError, match="session"):
        guard.check(4_000.0)


@pytest.mark.parametrize(
    ("lo_um", "hi_um"), [(2.0, 1.0), (math.nan, 1.0), (0.0, math.nan), (0.0, math.inf)]
)
def test_a_range_that_is_none_is_refused(lo_um: float, hi_um: float) -> None:
    with pytest.raises(LimitError, match="a range"):
        Range(lo_um=lo_um, hi_um=hi_um)


def test_limits_without_a_common_working_distance_are_refused() -> None:
    with pytest.raises(LimitError, match="no working distance"):
        Limits(hard=HARD, site=SITE, session=Range(lo_um=31_000.0, hi_um=32_000.0))


@pytest.mark.parametrize("target", [499.0, 20_001.0, math.nan, math.inf])
def test_a_magnification_outside_the_jobs_is_refused(target: float) -> None:
    guard = MotionGuard(Limits(hard=HARD))
    guard.check_magnification(500.0, lowest=500.0, highest=20_000.0)
    guard.check_magnification(20_000.0, lowest=500.0, highest=20_000.0)
    with pytest.raises(LimitError, match=rf"{target:g}.* 500 to 20000"):
        guard.check_magnification(target, lowest=500.0, highest=20_000.0)


# How much the lens may move

MOTION = Motion(step_um=1_000.0, travel_um=5_000.0, travel_per_min_um=3_000.0)


def test_a_way_from_outside_the_limits_has_all_its_stops_within() -> None:
    guard = MotionGuard(Limits(hard=HARD), Motion(step_um=20_000.0))
    assert guard.stops(1e6, 20_000.0) == (35_000.0, 20_000.0)
    assert guard.stops(-1e6, 20_000.0) == (20_000.0,)


@given(from_um=st.floats(3_000.0, 50_000.0), to_um=st.floats(3_000.0, 50_000.0))
def test_a_long_way_is_made_in_steps_that_the_guard_admits(from_um: float, to_um: float) -> None:
    guard = MotionGuard(Limits(hard=HARD), Motion(step_um=1_000.0))
    stops = guard.stops(from_um, to_um)
    assert stops[-1] == to_um
    for stop_um in stops:
        guard.admit(stop_um, from_um=from_um, now_s=0.0)
        from_um = stop_um
    assert guard.travelled_um == pytest.approx(sum(abs(b - a) for a, b in pairwise(stops)), abs=1e3)


def test_without_a_longest_step_the_way_is_one() -> None:
    assert MotionGuard(Limits(hard=HARD)).stops(3_000.0, 50_000.0) == (50_000.0,)


def test_a_step_that_is_too_long_is_refused() -> None:
    guard = MotionGuard(Limits(hard=HARD), MOTION)
    guard.admit(21_000.0, from_um=20_000.0, now_s=0.0)
    with pytest.raises(LimitError, match=r"1001 um, allowed are 1000 um") as refused:
        guard.admit(22_001.0, from_um=21_000.0, now_s=0.0)
    assert "limits.max_step_um" in refused.value.remedy
    assert guard.travelled_um == 1_000.0


def _walk(guard: MotionGuard, steps: int, every_s: float) -> None:
    for number in range(steps):
        from_um = 20_000.0 + 1_000.0 * (number % 2)
        guard.admit(41_000.0 - from_um, from_um=from_um, now_s=number * every_s)


def test_a_job_that_travels_too_far_is_refused_all_but_the_way_home() -> None:
    guard = MotionGuard(Limits(hard=HARD), MOTION)
    _walk(guard, 5, 30.0)
    with pytest.raises(LimitError, match="the job's way would be 5500 um") as refused:
        guard.admit(20_500.0, from_um=21_000.0, now_s=1e4)
    assert "limits.max_travel_um" in refused.value.remedy
    guard.admit(20_000.0, from_um=21_000.0, now_s=1e4, is_homeward=True)
    with pytest.raises(LimitError, match="outside the hard"):
        guard.admit(60_000.0, from_um=21_000.0, now_s=1e4, is_homeward=True)


def test_a_minute_has_its_own_limit_and_passes() -> None:
    guard = MotionGuard(Limits(hard=HARD), MOTION)
    _walk(guard, 3, 1.0)
    with pytest.raises(LimitError, match="the way of one minute would be 4000 um") as refused:
        guard.admit(20_000.0, from_um=21_000.0, now_s=59.0)
    assert "limits.max_travel_per_min_um" in refused.value.remedy
    guard.admit(20_000.0, from_um=21_000.0, now_s=60.0)


@given(
    one=st.builds(Motion, step_um=st.none() | st.floats(1.0, 1e6)),
    other=st.builds(Motion, step_um=st.none() | st.floats(1.0, 1e6)),
)
def test_a_wish_can_only_tighten(one: Motion, other: Motion) -> None:
    both = one.tightened(other)
    for motion in (one, other):
        assert motion.step_um is None or (both.step_um or 0.0) <= motion.step_um
    assert (both.step_um is None) is (one.step_um is None and other.step_um is None)
