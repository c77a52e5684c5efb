"""The guard lets nothing out of the limits, and changes no number."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.control.limits import Limits, MotionGuard, Range
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
