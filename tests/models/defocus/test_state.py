"""The layout of what the defocus network sees, and the axis of its answer."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.models.defocus.network import history_of
from afdaemon.models.defocus.state import (
    AXIS_DOF,
    BINS,
    REACH_DOF,
    SCALES,
    STATE_SIZE,
    Histories,
    encode,
    mirror,
    scale_shares,
    shares,
)
from afdaemon.models.frames.spectrum import BANDS

RNG = np.random.default_rng(2)


def history(wds: list[float], *, calibrated: bool = True) -> Histories:
    n = len(wds)
    return history_of(
        wd_dof=wds,
        bands=RNG.normal(-8.0, 2.0, (n, BANDS)).tolist(),
        u=RNG.normal(0.0, 2.0, n).tolist(),
        log_error=RNG.normal(-1.0, 0.5, n).tolist(),
        calibrated=calibrated,
    )


def test_one_reading_leaves_the_places_of_others_empty() -> None:
    (state,) = encode(history([3.0]))
    assert state.shape == (STATE_SIZE,)
    assert np.count_nonzero(state[21:-1]) == 0
    assert state[-1] == 1.0
    assert state[:BANDS].sum() == pytest.approx(0.0, abs=1e-4)


@given(wds=st.lists(st.floats(-90.0, 90.0), min_size=1, max_size=9), shift=st.floats(-1e4, 1e4))
def test_where_zero_lies_does_not_matter(wds: list[float], shift: float) -> None:
    seen = history(wds)
    moved = Histories(
        wd_dof=seen.wd_dof + shift,
        bands=seen.bands,
        u=seen.u,
        log_error=seen.log_error,
        count=seen.count,
        calibrated=seen.calibrated,
    )
    assert np.allclose(encode(seen), encode(moved), atol=1e-4)


def test_the_mirror_turns_the_sides_and_nothing_else() -> None:
    wds = [1.0, -7.0, 30.0, 4.0]
    seen = history(wds)
    turned = Histories(
        wd_dof=-seen.wd_dof,
        bands=seen.bands,
        u=seen.u,
        log_error=seen.log_error,
        count=seen.count,
        calibrated=seen.calibrated,
    )
    assert np.allclose(encode(turned), encode(seen) * mirror())
    assert (mirror() == -1.0).sum() == 3


def test_the_axis_is_symmetric_and_finest_at_focus() -> None:
    assert AXIS_DOF[BINS // 2] == pytest.approx(0.0)
    assert np.allclose(AXIS_DOF, -AXIS_DOF[::-1])
    assert AXIS_DOF[-1] == pytest.approx(REACH_DOF)
    assert np.diff(AXIS_DOF).min() < 0.08


@given(defocus=st.floats(-199.0, 199.0))
def test_a_distance_lies_between_its_two_bins(defocus: float) -> None:
    (low,), (upper,) = shares(np.array([defocus]))
    assert AXIS_DOF[low] - 1e-6 <= defocus <= AXIS_DOF[low + 1] + 1e-6
    grown = np.arcsinh(AXIS_DOF)
    between = grown[low] * (1.0 - upper) + grown[low + 1] * upper
    assert np.sinh(between) == pytest.approx(defocus, rel=1e-3, abs=1e-3)


@given(scale=st.floats(0.51, 1.99))
def test_a_scale_lies_between_its_two_bins(scale: float) -> None:
    (low,), (upper,) = scale_shares(np.array([scale]))
    assert SCALES[low] - 1e-6 <= scale <= SCALES[low + 1] + 1e-6
    between = np.log(SCALES[low]) * (1.0 - upper) + np.log(SCALES[low + 1]) * upper
    assert np.exp(between) == pytest.approx(scale, rel=1e-5)


def test_what_lies_beyond_the_axis_counts_for_its_end() -> None:
    low, upper = shares(np.array([-1e6, 1e6]))
    assert list(low) == [0, BINS - 2]
    assert list(upper) == pytest.approx([0.0, 1.0], abs=1e-4)
