import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.sim.lens import Approach

TIMES = st.floats(0.0, 100.0)


def approach(time_constant_s: float = 0.5) -> Approach:
    return Approach(from_um=10_000.0, to_um=12_000.0, since_s=10.0, time_constant_s=time_constant_s)


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
