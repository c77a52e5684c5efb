"""What a frame told: how sure its score is, what is remarked on it, and when it can be used."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.models.frames.doubt import DOUBTFUL_CONFIDENCE
from afdaemon.models.frames.measures import Measures

FRAME = Measures(score=5.0, contrast=0.3, entropy=7.0, bands=(-3.0, -4.0))


def confidence_of(error: float, doubt: str = "") -> float:
    return replace(FRAME, expected_error=error, doubt=doubt).confidence


@given(error=st.floats(0.01, 9.0), more=st.floats(0.01, 9.0))
def test_confidence_is_a_probability_that_falls_with_the_error(error: float, more: float) -> None:
    assert 0.0 < confidence_of(error + more) <= confidence_of(error) <= 1.0
    assert confidence_of(error, "blank") <= DOUBTFUL_CONFIDENCE


def test_confidence_is_that_of_laplace() -> None:
    assert confidence_of(1.0) == pytest.approx(1.0 - 1.0 / math.e)
    errors = np.abs(np.random.default_rng(1).laplace(scale=0.7, size=40_000))
    assert confidence_of(0.7) == pytest.approx(float(np.mean(errors <= 1.0)), abs=0.01)
    assert confidence_of(7.0, "blank") == pytest.approx(confidence_of(7.0))


@pytest.mark.parametrize(
    ("spoilt", "usable"),
    [
        ({}, True),
        ({"score": math.nan}, False),
        ({"contrast": math.inf}, False),
        ({"entropy": -math.inf}, False),
        ({"saturated": math.nan}, False),
        ({"bands": (1.0, math.nan)}, False),
        ({"expected_error": 0.0}, False),
        ({"expected_error": math.inf}, False),
    ],
)
def test_a_number_that_is_none_makes_a_frame_useless(
    spoilt: dict[str, float], usable: bool
) -> None:
    assert replace(FRAME, **spoilt).is_usable is usable  # type: ignore[arg-type]  # a table of mixed values


def test_remarks_name_the_doubt_and_the_streaks() -> None:
    assert FRAME.remarks == []
    spoilt = replace(FRAME, doubt="blank: 1 grey level in use", streaked=True)
    assert spoilt.remarks == ["blank: 1 grey level in use", "streaks: charging"]
    assert spoilt.is_blank
    assert not replace(FRAME, doubt="saturated: 70%").is_blank
