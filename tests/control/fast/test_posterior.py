"""From posteriors to moves: towards the focus, aside where sides are not told, and stopping only when sure."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from afdaemon.control.fast.posterior import Advice, advise, enough
from afdaemon.control.fast.profile import FAST, FastProfile
from afdaemon.models.defocus.state import AXIS_DOF, BINS, SCALES, Posterior

distances = st.floats(-150.0, 150.0)


def posterior(*peaks: tuple[float, float], spread: float = 0.1, scale: float = 1.0) -> Posterior:
    """Peaks (place, weight), each a tenth as wide as it is far, and a sure scale."""
    mass = np.zeros(BINS)
    for place, weight in peaks:
        width = spread * (1.0 + abs(place))
        peak = np.exp(-0.5 * ((AXIS_DOF - place) / width) ** 2) * np.gradient(AXIS_DOF)
        mass += weight * peak / peak.sum()
    odds = np.zeros((1, len(SCALES)), np.float32)
    odds[0, np.abs(SCALES - scale).argmin()] = 1.0
    return Posterior(np.asarray(mass[None] / mass.sum(), np.float32), odds)


def advice(believed: Posterior, count: int = 2, rules: FastProfile = FAST) -> Advice:
    return advise(believed, np.array([count]), rules)


@given(place=distances.filter(lambda z: abs(z) > 1.5))
def test_one_peak_is_gone_to(place: float) -> None:
    assert advice(posterior((place, 1.0))).step_dof[0] == pytest.approx(
        -place, abs=0.2 + 0.15 * abs(place)
    )


@given(place=st.floats(3.0, 150.0), share=st.floats(0.0, 1.0))
def test_of_two_peaks_the_likelier_is_gone_to_not_what_lies_between(
    place: float, share: float
) -> None:
    (step,) = advice(posterior((place, share), (-place, 1.0 - share)), count=1).step_dof
    assert abs(step) == pytest.approx(place, rel=0.2, abs=0.3)
    if abs(share - 0.5) > 0.1:
        assert np.sign(step) == (-1.0 if share > 0.5 else 1.0)


@given(place=st.floats(-0.8, 0.8))
def test_a_first_reading_near_focus_leads_aside(place: float) -> None:
    (step,) = advice(posterior((place, 1.0)), count=1).step_dof
    assert abs(step) == FAST.probe_dof


@given(place=distances, count=st.integers(1, 12), confidence=st.floats(0.5, 0.99))
def test_it_stops_only_when_sure_and_after_enough_readings(
    place: float, count: int, confidence: float
) -> None:
    believed = posterior((place, 1.0))
    rules = FastProfile(confidence=confidence)
    told = advice(believed, count, rules)
    (step,) = told.step_dof
    within = float(believed.mass[0][np.abs(AXIS_DOF + step) <= 1.0].sum())
    if count > 1:  # the first step may lead aside
        assert told.confidence[0] == pytest.approx(within, abs=1e-5)
    near = abs(step) <= rules.near_dof
    assert bool(told.stop[0]) == (within >= confidence and near and count >= rules.fewest_readings)


@given(places=st.lists(distances, min_size=1, max_size=5), count=st.integers(1, 9))
def test_many_are_told_as_one_by_one(places: list[float], count: int) -> None:
    assume(all(abs(place) > 0.01 for place in places))  # there both sides are as good
    many = [posterior((place, 1.0)) for place in places]
    stacked = Posterior(*(np.concatenate([getattr(b, n) for b in many]) for n in ("mass", "odds")))
    together = advise(stacked, np.full(len(places), count), FAST)
    alone = [advice(believed, count) for believed in many]
    assert np.allclose(together.step_dof, [one.step_dof[0] for one in alone], atol=1e-5)
    assert np.allclose(together.confidence, [one.confidence[0] for one in alone], atol=1e-5)


@given(place=distances, spread=st.floats(0.05, 0.5))
def test_where_a_true_depth_of_focus_is_smaller_than_assumed_it_is_less_sure(
    place: float, spread: float
) -> None:
    sure = [
        advice(posterior((place, 1.0), spread=spread, scale=scale), count=3).confidence[0]
        for scale in SCALES
    ]
    assert sure == sorted(sure)
    evenly = posterior((place, 1.0), spread=spread)
    evenly.odds[:] = 1.0 / len(SCALES)
    assert advice(evenly, count=3).confidence[0] == pytest.approx(np.mean(sure), abs=1e-5)


@pytest.mark.parametrize("place", [-0.3, 0.3])
def test_a_first_reading_near_focus_leads_away_from_where_the_focus_probably_lies_not(
    place: float,
) -> None:
    """The step aside goes over the likelier side: the second frame is then taken nearer to the focus."""
    (step,) = advice(posterior((place, 1.0)), count=1).step_dof
    assert np.sign(step) == -np.sign(place)


def test_where_both_sides_are_as_likely_it_leads_to_one_of_them() -> None:
    mass = np.zeros((1, BINS), np.float32)
    mass[0, np.abs(AXIS_DOF).argmin()] = 1.0
    odds = np.zeros((1, len(SCALES)), np.float32)
    odds[0, 0] = 1.0
    told = advise(Posterior(mass, odds), np.array([1]), FAST)
    assert told.step_dof[0] == -FAST.probe_dof


@pytest.mark.parametrize(("count", "less"), [(1, 0), (4, 0), (5, 1), (7, 3)])
def test_beyond_what_the_network_holds_less_confidence_suffices(count: int, less: int) -> None:
    rules = FastProfile(confidence=0.9, confidence_drop=0.01, least_confidence=0.5)
    assert enough(count, rules) == pytest.approx(0.9 - 0.01 * less)
