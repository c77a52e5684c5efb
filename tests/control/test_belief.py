"""From beliefs to moves: towards the focus, aside where sides are not told, and stopping only when sure."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from afdaemon.control.belief import Advice, advise
from afdaemon.control.fast_profile import FAST, FastProfile
from afdaemon.models.defocus_state import AXIS_DOF, BINS

distances = st.floats(-150.0, 150.0)


def belief(*peaks: tuple[float, float], spread: float = 0.1) -> NDArray[np.float32]:
    """Peaks (place, weight), each a tenth as wide as it is far."""
    mass = np.zeros(BINS)
    for place, weight in peaks:
        width = spread * (1.0 + abs(place))
        peak = np.exp(-0.5 * ((AXIS_DOF - place) / width) ** 2) * np.gradient(AXIS_DOF)
        mass += weight * peak / peak.sum()
    return np.asarray(mass[None] / mass.sum(), np.float32)


def advice(mass: NDArray[np.float32], count: int = 2, rules: FastProfile = FAST) -> Advice:
    return advise(mass, np.array([count]), rules)


@given(place=distances.filter(lambda z: abs(z) > 1.5))
def test_one_peak_is_gone_to(place: float) -> None:
    assert advice(belief((place, 1.0))).step_dof[0] == pytest.approx(
        -place, abs=0.2 + 0.15 * abs(place)
    )


@given(place=st.floats(3.0, 150.0), share=st.floats(0.0, 1.0))
def test_of_two_peaks_the_likelier_is_gone_to_not_what_lies_between(
    place: float, share: float
) -> None:
    (step,) = advice(belief((place, share), (-place, 1.0 - share)), count=1).step_dof
    assert abs(step) == pytest.approx(place, rel=0.2, abs=0.3)
    if abs(share - 0.5) > 0.1:
        assert np.sign(step) == (-1.0 if share > 0.5 else 1.0)


@given(place=st.floats(-0.8, 0.8))
def test_a_first_reading_near_focus_leads_aside(place: float) -> None:
    (step,) = advice(belief((place, 1.0)), count=1).step_dof
    assert abs(step) == FAST.probe_dof


@given(place=distances, count=st.integers(1, 12), sure=st.floats(0.5, 0.99))
def test_it_stops_only_when_sure_and_after_enough_readings(
    place: float, count: int, sure: float
) -> None:
    mass = belief((place, 1.0))
    rules = FastProfile(sure=sure)
    told = advice(mass, count, rules)
    (step,) = told.step_dof
    within = float(mass[0][np.abs(AXIS_DOF + step) <= 1.0].sum())
    if count > 1:  # the first step may lead aside
        assert told.at_focus[0] == pytest.approx(within, abs=1e-5)
    near = abs(step) <= rules.near_dof
    assert bool(told.found[0]) == (within >= sure and near and count >= rules.fewest_readings)


@given(places=st.lists(distances, min_size=1, max_size=5), count=st.integers(1, 9))
def test_many_are_told_as_one_by_one(places: list[float], count: int) -> None:
    masses = [belief((place, 1.0)) for place in places]
    together = advise(np.concatenate(masses), np.full(len(places), count), FAST)
    alone = [advice(mass, count) for mass in masses]
    assert np.allclose(together.step_dof, [one.step_dof[0] for one in alone])
    assert np.allclose(together.at_focus, [one.at_focus[0] for one in alone])
