"""The measures of agreement, against values worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from afdaemon.models.scorers import metrics

TRUE = np.array([1.0, 2.0, 3.0, 4.0])
PREDICTED = np.array([1.0, 3.0, 2.0, 6.0])
"""Errors 0, 1, -1, 2."""

SCORES = arrays(np.float64, 20, elements=st.integers(0, 900).map(lambda n: n / 100.0))


def test_errors_of_0_1_1_and_2() -> None:
    found = metrics.agreement(PREDICTED, TRUE)
    assert found.frames == 4
    assert found.mse == pytest.approx(6.0 / 4.0)
    assert found.rmse == pytest.approx(1.5**0.5)
    assert found.accuracy == 0.75  # an error of exactly 1 is within 1
    assert found.precision == pytest.approx(1.0 - (0.0 + 0.1 + 0.1 + 0.2) / 4.0)


def test_correlations_by_hand() -> None:
    # Deviations -2, 0, -1, 3 and -1.5, -.5, .5, 1.5: 7 / sqrt(14 * 5).
    assert metrics.pearson(PREDICTED, TRUE) == pytest.approx(7.0 / 70.0**0.5)
    # Ranks 1, 3, 2, 4: one swap of neighbours, 1 - 6 * 2 / (4 * 15).
    assert metrics.spearman(PREDICTED, TRUE) == pytest.approx(0.8)


def test_equal_values_share_their_rank() -> None:
    assert metrics.ranks(np.array([5.0, 1.0, 5.0, 9.0])).tolist() == [2.5, 1.0, 2.5, 4.0]


def test_what_does_not_vary_tells_nothing() -> None:
    assert metrics.pearson(np.full(4, 3.0), TRUE) == 0.0
    assert metrics.spearman(TRUE, np.full(4, 3.0)) == 0.0


@given(SCORES, SCORES)
def test_measures_stay_in_their_ranges(predicted: metrics.Numbers, true: metrics.Numbers) -> None:
    found = metrics.agreement(predicted, true)
    assert 0.0 <= found.accuracy <= 1.0
    assert 0.1 - 1e-12 <= found.precision <= 1.0
    assert abs(found.correlation) <= 1.0 + 1e-9
    assert abs(found.rank_correlation) <= 1.0 + 1e-9
    assert found.rmse**2 == pytest.approx(found.mse)


@given(SCORES)
def test_ranks_hold_under_a_rising_curve(true: metrics.Numbers) -> None:
    assert metrics.ranks(2.0 * true + 1.0).tolist() == metrics.ranks(true).tolist()
    assert float(metrics.ranks(true).sum()) == 20 * 21 / 2
