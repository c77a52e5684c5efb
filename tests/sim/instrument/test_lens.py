import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.sim.instrument.lens import Approach, Lens, Memory

TIMES = st.floats(0.0, 100.0)
WDS = st.floats(5_000.0, 50_000.0)
WAYS = st.lists(WDS, max_size=12)


def approach(time_constant_s: float = 0.5) -> Approach:
    return Approach(from_um=10_000.0, to_um=12_000.0, since_s=10.0, time_constant_s=time_constant_s)


def memory(hysteresis_um: float = 20.0, backlash_um: float = 5.0) -> Memory:
    return Memory.fresh(20_000.0, hysteresis_um=hysteresis_um, backlash_um=backlash_um)


def reached(way: list[float], start: Memory) -> float:
    for wd_um in way:
        start = start.after(wd_um)
    return start.reached_um


def test_it_starts_where_it_was_and_ends_where_it_was_sent() -> None:
    assert approach().at(9.0) == 10_000.0
    assert approach().at(10.0) == 10_000.0
    assert approach().at(10.5) == pytest.approx(12_000.0 - 2_000.0 / math.e)
    assert approach().at(100.0) == pytest.approx(12_000.0)
    assert approach(time_constant_s=0.0).at(10.0) == 12_000.0


@given(start_s=TIMES, length_s=st.floats(0.01, 20.0))
def test_the_mean_is_that_of_many_moments(start_s: float, length_s: float) -> None:
    moments = start_s + (np.arange(4000) + 0.5) / 4000 * length_s
    mean = np.mean([approach().at(float(moment)) for moment in moments])
    assert approach().mean(start_s, start_s + length_s) == pytest.approx(float(mean), abs=0.5)


@given(start_s=TIMES)
def test_an_exposure_of_no_length_sees_one_moment(start_s: float) -> None:
    assert approach().mean(start_s, start_s) == approach().at(start_s)


@given(way=WAYS)
def test_without_memory_it_goes_where_it_is_sent(way: list[float]) -> None:
    assert reached([*way, 31_234.5], memory(0.0, 0.0)) == 31_234.5


@given(way=WAYS, wd_um=st.floats(9_000.0, 45_000.0))
def test_a_long_way_up_and_a_long_way_down_end_apart_by_both_widths(
    way: list[float], wd_um: float
) -> None:
    up = reached([*way, 5_000.0, wd_um], memory())
    down = reached([*way, 50_000.0, wd_um], memory())
    assert down - up == pytest.approx(25.0, abs=1e-6)
    assert wd_um - up == pytest.approx(12.5, abs=1e-6)


@given(way=WAYS)
def test_it_is_never_off_by_more_than_half_the_widths(way: list[float]) -> None:
    memory_ = memory()
    for wd_um in way:
        memory_ = memory_.after(wd_um)
        assert abs(memory_.reached_um - wd_um) <= 12.5 + 1e-6


@given(way=WAYS, turns=st.tuples(WDS, WDS))
def test_a_closed_loop_closes(way: list[float], turns: tuple[float, float]) -> None:
    """Once round, a loop between two turning points is gone through again and again."""
    loop = list(turns)
    first = reached([*way, *loop], memory())
    assert reached([*way, *loop, *loop], memory()) == pytest.approx(first, abs=1e-6)


@given(way=WAYS, inner=st.lists(st.floats(20_000.0, 30_000.0), max_size=6))
def test_a_larger_turn_wipes_out_what_lay_within(way: list[float], inner: list[float]) -> None:
    low, high = 19_000.0, 31_000.0
    wiped = reached([*way, low, high, *inner, high, 25_000.0], memory())
    assert wiped == pytest.approx(reached([*way, low, high, 25_000.0], memory()), abs=1e-6)


@given(way=WAYS, wd_um=WDS)
def test_the_same_approach_ends_at_the_same_place(way: list[float], wd_um: float) -> None:
    """What microscopists do about hysteresis: always come from the same side."""
    assert reached([*way, 50_000.0, 5_000.0, wd_um], memory()) == pytest.approx(
        reached([50_000.0, 5_000.0, wd_um], memory()), abs=1e-6
    )


@given(way=WAYS, stops=st.lists(WDS, min_size=2, max_size=8))
def test_stops_on_the_way_change_nothing(way: list[float], stops: list[float]) -> None:
    """It depends on the turning points alone, not on how many steps lie between them."""
    rising = sorted(stops)
    stopped = reached([*way, *rising], memory())
    assert stopped == pytest.approx(reached([*way, rising[0], rising[-1]], memory()), abs=1e-6)


@given(backlash_um=st.floats(0.1, 100.0), share=st.floats(0.0, 1.0))
def test_backlash_takes_up_the_first_of_a_way_back(backlash_um: float, share: float) -> None:
    there = memory(0.0, backlash_um).after(30_000.0)
    back = there.after(30_000.0 - share * backlash_um)
    assert back.reached_um == pytest.approx(there.reached_um, abs=1e-6)
    beyond = there.after(30_000.0 - backlash_um - 7.0)
    assert beyond.reached_um == pytest.approx(there.reached_um - 7.0, abs=1e-6)


def test_the_current_knows_nothing_of_the_memory() -> None:
    lens = Lens.resting(memory(), now_s=0.0, time_constant_s=0.1).commanded(30_000.0, 1.0)
    assert lens.current.at(10.0) == pytest.approx(30_000.0)
    assert lens.reached.at(10.0) == pytest.approx(30_000.0 - 12.5)
    assert lens.reached.at(1.0) == 20_000.0


def test_a_command_on_the_way_starts_from_there() -> None:
    lens = Lens.resting(memory(), now_s=0.0, time_constant_s=1.0).commanded(30_000.0, 0.0)
    again = lens.commanded(20_000.0, 1.0)
    for before, after in ((lens.current, again.current), (lens.reached, again.reached)):
        assert after.at(1.0) == before.at(1.0)
    heights = [again.reached.at(1.0 + 0.1 * n) for n in range(50)]
    assert all(later < earlier for earlier, later in pairwise(heights))
