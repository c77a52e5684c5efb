"""The rule of least expected loss: where it ends, where it reads, and what it never does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.control.fast.aim.rule import VERIFIED_DOF, Advice, advise
from afdaemon.control.fast.posterior import CLOSE_DOF
from afdaemon.models.defocus.posterior.tokens import AXIS_DOF, Posterior
from afdaemon.models.defocus.state import SCALES

MISS_COST = 25.0


def belief(*peaks: tuple[float, float, float], scale: float = 1.0) -> Posterior:
    """Of a focus at places (DoF from where the lens stands), with a spread and a weight each."""
    mass = np.full(len(AXIS_DOF), 1e-9)
    for place, spread, weight in peaks:
        shape = np.exp(-0.5 * ((AXIS_DOF + place) / spread) ** 2)
        mass += weight * shape / shape.sum()
    odds = np.exp(-0.5 * (np.log(SCALES / scale) / 0.05) ** 2)
    return Posterior(
        mass=(mass / mass.sum())[None],
        nothing=np.array([0.0]),
        odds=(odds / odds.sum())[None],
    )


def advice(told: Posterior, *read_dof: float, miss_cost: float = MISS_COST) -> Advice:
    return advise(told, np.array([[0.0, *read_dof]]), miss_cost)


@given(place=st.floats(-0.25, 0.25))
def test_it_ends_where_it_is_sure_and_has_read(place: float) -> None:
    told = advice(belief((place, 0.2, 1.0)))
    assert told.stop[0]
    assert told.best_dof[0] == pytest.approx(place, abs=0.1)
    assert told.miss[0] < 1.0 / MISS_COST


@given(place=st.floats(0.6, 400.0), side=st.sampled_from([-1.0, 1.0]))
def test_however_sure_it_reads_before_it_ends(place: float, side: float) -> None:
    told = advice(belief((side * place, 0.05 + 0.02 * place, 1.0)))
    assert not told.stop[0]
    assert told.read_dof[0] == pytest.approx(side * place, rel=0.15, abs=0.2)


def test_a_reading_at_the_place_counts_whenever_it_was_taken() -> None:
    told = belief((4.0, 0.15, 1.0))
    assert not advice(told).stop[0]
    assert advice(told, 4.0 - 0.5 * VERIFIED_DOF).stop[0]


def test_what_a_miss_costs_decides_how_sure_is_enough() -> None:
    told = belief((0.0, 0.2, 0.9), (9.0, 0.5, 0.1))
    assert advice(told, miss_cost=5.0).stop[0]
    assert not advice(told, miss_cost=50.0).stop[0]


def test_where_it_stands_and_is_not_sure_it_looks_beside() -> None:
    """Another frame at the same place would show the same blur."""
    told = advice(belief((0.0, 1.5, 1.0)))
    assert not told.stop[0]
    assert abs(told.read_dof[0]) >= CLOSE_DOF


def test_of_two_places_it_looks_at_the_likelier_then_at_the_other() -> None:
    likelier = advice(belief((20.0, 1.0, 0.6), (-20.0, 1.0, 0.4)))
    assert likelier.read_dof[0] == pytest.approx(20.0, abs=3.0)
    other = advice(belief((20.0, 1.0, 0.5), (-20.0, 1.0, 0.5)), 20.0)
    assert other.read_dof[0] == pytest.approx(-20.0, abs=3.0)


@given(scale=st.floats(0.5, 2.0))
def test_close_is_a_true_depth_of_focus_not_an_assumed_one(scale: float) -> None:
    told = advice(belief((0.0, 0.8, 1.0), scale=scale))
    assert told.scale[0] == pytest.approx(scale, rel=0.1)
    exact = advice(belief((0.0, 0.8, 1.0)))
    assert (told.miss[0] - exact.miss[0]) * (scale - 1.0) <= 1e-2
