import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.sim.instrument.stage import Travel

PLACES = st.tuples(st.floats(15_000.0, 23_000.0), st.floats(11_500.0, 28_500.0))


@given(
    start=PLACES, end=PLACES, speed=st.floats(10.0, 1e5), least_s=st.floats(0.0, 60.0), share=st.floats(0.0, 1.0)
)  # fmt: skip
def test_a_move_is_straight_even_and_takes_its_time(
    start: tuple[float, float],
    end: tuple[float, float],
    speed: float,
    least_s: float,
    share: float,
) -> None:
    move = Travel.resting(start).onward(end, now_s=7.0, speed_um_per_s=speed, least_s=least_s)
    assert move.takes_s == max(least_s, math.dist(start, end) / speed)
    assert move.at(6.0) == start
    assert move.at(move.until_s) == end
    assert move.at(move.until_s + 1.0) == end
    gone = math.dist(start, move.at(7.0 + share * move.takes_s))
    assert gone == pytest.approx(share * math.dist(start, end), abs=1e-3)


def test_a_new_order_starts_where_the_stage_is() -> None:
    move = Travel.resting((16_000.0, 12_000.0)).onward(
        (18_000.0, 12_000.0), now_s=0.0, speed_um_per_s=1_000.0, least_s=0.1
    )
    back = move.onward((16_000.0, 12_000.0), now_s=1.0, speed_um_per_s=1_000.0, least_s=0.1)
    assert back.at(1.0) == (17_000.0, 12_000.0)
    assert back.until_s == 2.0


def test_it_has_a_velocity_while_it_moves() -> None:
    move = Travel.resting((16_000.0, 12_000.0)).onward(
        (16_300.0, 12_400.0), now_s=2.0, speed_um_per_s=100.0, least_s=0.0
    )
    assert move.velocity_um_per_s(1.9) == (0.0, 0.0)
    assert move.velocity_um_per_s(3.0) == pytest.approx((60.0, 80.0))
    assert move.velocity_um_per_s(7.0) == (0.0, 0.0)
    assert Travel.resting((16_000.0, 12_000.0)).velocity_um_per_s(0.0) == (0.0, 0.0)


def test_no_way_in_no_time() -> None:
    place = (16_000.0, 12_000.0)
    move = Travel.resting(place).onward(place, now_s=1.0, speed_um_per_s=10.0, least_s=0.0)
    assert move.at(1.0) == place
    assert move.velocity_um_per_s(1.0) == (0.0, 0.0)
