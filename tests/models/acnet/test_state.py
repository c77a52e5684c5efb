"""The 80 numbers and the action limit, against the paper's figures and the documented layout."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.models.acnet import state
from afdaemon.models.acnet.state import a_max_um, encode_state, fill_memory, places_of
from afdaemon.models.errors import ModelError


@pytest.mark.parametrize(
    ("magnification", "expected_um"),
    [(500.0, 1200.0), (5_000.0, 1199.6), (9_000.0, 618.0), (10_000.0, 174.75), (20_000.0, 36.0)],
)
def test_the_action_limit_has_the_papers_plateaus(magnification: float, expected_um: float) -> None:
    assert a_max_um(magnification) == pytest.approx(expected_um, abs=0.05)


def test_the_action_limit_of_an_array_is_that_of_its_elements() -> None:
    magnifications = np.array([[500.0, 9_000.0], [12_000.0, 30_000.0]])
    limits = a_max_um(magnifications)
    assert limits.shape == (2, 2)
    assert limits.ravel().tolist() == [a_max_um(float(m)) for m in magnifications.ravel()]


def test_a_short_history_is_filled_with_its_oldest_reading() -> None:
    assert fill_memory([3.0, 2.0, 1.0]).tolist() == [3.0, 2.0] + [1.0] * 18
    assert fill_memory(np.arange(30.0)).tolist() == list(range(20))
    assert fill_memory(np.ones((4, 5, 2))).shape == (4, 5, 20)


@pytest.mark.parametrize("history", [[], 1.0, np.empty((3, 0))])
def test_an_empty_history_is_refused(history: object) -> None:
    with pytest.raises(ValueError, match="no reading"):
        fill_memory(history)  # type: ignore[arg-type]  # the wrong type is the point


def test_every_number_stands_where_the_layout_says() -> None:
    past = np.arange(20.0)
    encoded = encode_state(
        wd_um=1000.0 - 60.0 * past,
        score=8.0 - 0.1 * past,
        variance=0.5 - 0.01 * past,
        entropy=7.0 - 0.2 * past,
        magnification=500.0,
    )
    assert encoded.shape == (80,)
    assert encoded.dtype == np.float32
    steps = past[1:]
    assert_close(encoded[state.WD_DIFFERENCES], steps * 60.0 / a_max_um(500.0))
    assert_close(encoded[state.SCORE], 0.8)
    assert_close(encoded[state.SCORE_DIFFERENCES], steps * 0.01)
    assert_close(encoded[state.VARIANCE], 0.5)
    assert_close(encoded[state.VARIANCE_DIFFERENCES], steps * 0.01)
    assert_close(encoded[state.ENTROPY], 0.07)
    assert_close(encoded[state.ENTROPY_DIFFERENCES], steps * 0.002)
    assert_close(encoded[state.MAGNIFICATION], 0.005)


def assert_close(actual: object, desired: object) -> None:
    np.testing.assert_allclose(np.asarray(actual), np.asarray(desired), rtol=1e-5)


def test_the_layout_uses_each_of_the_80_places_once() -> None:
    places = [
        *range(80)[state.WD_DIFFERENCES],
        state.SCORE,
        *range(80)[state.SCORE_DIFFERENCES],
        state.VARIANCE,
        *range(80)[state.VARIANCE_DIFFERENCES],
        state.ENTROPY,
        *range(80)[state.ENTROPY_DIFFERENCES],
        state.MAGNIFICATION,
    ]
    assert places == list(range(80))


@given(shift_um=st.floats(-40_000.0, 40_000.0), seed=st.integers(0, 2**32 - 1))
def test_the_present_wd_itself_is_not_seen(shift_um: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    memory = {"score": rng.uniform(0, 9, 20), "variance": rng.random(20), "entropy": rng.random(20)}
    wd_um = rng.uniform(5_000, 15_000, 20)
    here = encode_state(wd_um=wd_um, magnification=2_000.0, **memory)
    there = encode_state(wd_um=wd_um + shift_um, magnification=2_000.0, **memory)
    np.testing.assert_allclose(here, there, atol=1e-6)


def test_a_batch_is_encoded_as_its_single_states() -> None:
    rng = np.random.default_rng(7)
    names = ("wd_um", "score", "variance", "entropy")
    memories = {name: rng.random((6, 20)) for name in names}
    magnification = np.array([500.0, 2_000.0, 8_900.0, 9_100.0, 12_000.0, 30_000.0])
    batch = encode_state(**memories, magnification=magnification)
    assert batch.shape == (6, 80)
    for row in range(6):
        single = encode_state(
            **{name: memory[row] for name, memory in memories.items()},
            magnification=float(magnification[row]),
        )
        np.testing.assert_array_equal(batch[row], single)


def test_a_memory_of_the_wrong_length_is_refused_by_name() -> None:
    good = np.zeros(20)
    with pytest.raises(ValueError, match="variance must hold 20"):
        encode_state(wd_um=good, score=good, variance=good[:5], entropy=good, magnification=500.0)


def test_each_kind_of_reading_has_its_places_in_the_state() -> None:
    """What is read changes those places, and no others."""
    memories = dict.fromkeys(("wd_um", "score", "variance", "entropy"), np.zeros(20))
    plain = encode_state(**memories, magnification=500.0)
    for kind in state.KINDS:
        read = memories | {kind: np.linspace(1.0, 2.0, 20)}
        changed = np.flatnonzero(encode_state(**read, magnification=500.0) != plain)
        assert changed.tolist() == places_of([kind])
    with pytest.raises(ModelError, match="colour"):
        places_of(["score", "colour"])
