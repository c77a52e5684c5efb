"""The order of a search, against the paper's strides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.control.limits import Limits, Range
from afdaemon.control.published import search
from afdaemon.control.published.profile import AUTHORS_ONLINE, PUBLISHED, PublishedProfile
from afdaemon.models.acnet.state import a_max_um

WIDE = Limits(hard=Range(lo_um=0.0, hi_um=50_000.0))


@pytest.mark.parametrize(("magnification", "expected_um"), [(500.0, 400.0), (20_000.0, 12.0)])
def test_the_stride_is_the_papers(magnification: float, expected_um: float) -> None:
    assert search.stride_um(magnification, PUBLISHED) == pytest.approx(expected_um, abs=1e-3)


def test_sweeps_go_up_then_down_then_with_half_the_stride() -> None:
    limits = Limits(hard=Range(lo_um=9_969.0, hi_um=10_031.0))
    offsets = [wd - 10_000.0 for wd in search.plan(10_000.0, 20_000.0, limits, PUBLISHED)]
    full = [12, 24, -12, -24]
    half = [6, 18, 30, -6, -18, -30]
    quarter = [3, 9, 15, 21, 27, -3, -9, -15, -21, -27]
    assert offsets == pytest.approx(full + half + quarter, abs=1e-3)


def test_the_window_is_four_action_limits_to_either_side() -> None:
    spots = search.plan(25_000.0, 500.0, WIDE, PublishedProfile(halvings=0))
    assert len(spots) == 24
    assert max(spots) == pytest.approx(25_000.0 + 4 * a_max_um(500.0))
    assert min(spots) == pytest.approx(25_000.0 - 4 * a_max_um(500.0))


def test_without_a_window_the_search_covers_the_whole_range() -> None:
    rules = PublishedProfile(search_window_a_max=0.0, halvings=0, max_search_readings=0)
    spots = search.plan(25_000.0, 500.0, WIDE, rules)
    assert max(spots) > 50_000.0 - 400.0
    assert min(spots) < 400.0


def test_the_authors_code_looks_towards_longer_working_distances_only() -> None:
    assert min(search.plan(10_000.0, 500.0, WIDE, AUTHORS_ONLINE)) > 10_000.0


@given(
    start_um=st.floats(5_000.0, 30_000.0),
    below_um=st.floats(0.0, 5_000.0),
    above_um=st.floats(0.0, 5_000.0),
    magnification=st.floats(50.0, 100_000.0),
    window=st.sampled_from([0.0, 0.5, 4.0]),
    halvings=st.integers(0, 3),
    most=st.sampled_from([0, 1, 7, 200]),
)
def test_every_spot_is_allowed_new_and_within_the_cap(
    start_um: float,
    below_um: float,
    above_um: float,
    magnification: float,
    window: float,
    halvings: int,
    most: int,
) -> None:
    limits = Limits(hard=Range(lo_um=start_um - below_um, hi_um=start_um + above_um))
    rules = PublishedProfile(
        search_window_a_max=window, halvings=halvings, max_search_readings=most
    )
    spots = search.plan(start_um, magnification, limits, rules)
    assert all(limits.within(wd_um) for wd_um in spots)
    assert len({start_um, *spots}) == len(spots) + 1
    if most:
        assert len(spots) < most
    if window:
        reach_um = window * a_max_um(magnification) * (1 + 1e-6)
        assert all(abs(wd_um - start_um) <= reach_um for wd_um in spots)
