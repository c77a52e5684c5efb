"""The detector: counted electrons, an amplifier, and a random stream that the signal cannot shift."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from afdaemon.sim.imaging.detector import (
    Detector,
    averaged,
    count,
    detect,
    detector_terms,
    electrons_per_pixel,
)
from afdaemon.sim.ops import NUMPY

NORMALS = np.random.default_rng(4).standard_normal(2_000_000)


@pytest.mark.parametrize("mean", [2.0, 3.0, 5.0, 10.0, 30.0, 100.0, 1_000.0])
def test_counts_have_the_cumulants_of_a_poisson_law(mean: float) -> None:
    counts = count(NUMPY, np.full(NORMALS.shape, mean), NORMALS.copy())
    assert counts.min() >= 0.0
    assert counts.mean() == pytest.approx(mean, rel=0.01)
    assert counts.var() == pytest.approx(mean, rel=0.05)
    assert stats.skew(counts) == pytest.approx(mean**-0.5, rel=0.1, abs=0.005)


@given(mean=st.floats(0.0, 2.0))
def test_few_electrons_stay_few(mean: float) -> None:
    counts = count(NUMPY, np.full(20_000, mean), NORMALS[:20_000].copy())
    assert np.isfinite(counts).all()
    assert counts.mean() == pytest.approx(mean, abs=0.2)


def test_the_quantiles_are_those_of_the_poisson_law() -> None:
    counts = count(NUMPY, np.full(NORMALS.shape, 20.0), NORMALS.copy())
    share = (0.001, 0.05, 0.5, 0.95, 0.999)
    assert np.quantile(counts, share) == pytest.approx(stats.poisson.ppf(share, 20.0), abs=0.75)


@pytest.mark.parametrize("mean", [5.0, 20.0, 100.0])
@pytest.mark.parametrize("yielded", [0.3, 1.0, 2.0])
def test_bunched_counts_are_those_of_primaries_that_give_several(
    mean: float, yielded: float
) -> None:
    """Neyman's type A law against direct draws: a Poisson number of primaries, of electrons from each."""
    rng, normals = np.random.default_rng(8), NORMALS[:500_000]
    drawn = rng.poisson(yielded * rng.poisson(mean / yielded, normals.size))
    counts = count(NUMPY, np.full(normals.shape, mean), normals.copy(), yielded / mean)
    assert counts.min() >= 0.0
    assert counts.mean() == pytest.approx(mean, rel=0.01)
    assert counts.var() == pytest.approx(mean * (1.0 + yielded), rel=0.04)
    assert drawn.var() == pytest.approx(mean * (1.0 + yielded), rel=0.02)
    assert stats.skew(counts) == pytest.approx(stats.skew(drawn), rel=0.05, abs=0.01)
    assert stats.kurtosis(counts) == pytest.approx(stats.kurtosis(drawn), rel=0.1, abs=0.05)
    share = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
    assert np.quantile(counts, share) == pytest.approx(np.quantile(drawn, share), abs=1.0)


def test_the_brighter_the_more_electrons_a_primary_gives() -> None:
    """Variance over mean of the counts rises with the signal s, as 1 + yield * s: there are as many primaries."""
    electrons, rng = 200.0, np.random.default_rng(6)
    for kind, yielded in ((0.0, 1.5), (0.5, 0.75), (1.0, 0.0)):
        detector = Detector(electrons=electrons, read_noise=0.0, se_yield=1.5, backscatter=kind)
        for signal in (0.25, 0.75):
            grey = detect(np.full((400, 400), signal, np.float32), detector, rng) / 255.0
            ratio = electrons * grey.var() / grey.mean()
            assert ratio == pytest.approx(1.0 + yielded * signal, rel=0.04)


def test_a_detector_that_hunts_changes_gain_and_brightness_from_line_to_line() -> None:
    steady = Detector(electrons=1e7, contrast=0.8, read_noise=0.0)
    hunting = replace(steady, hunting=0.05, hunting_s=4.0)
    at_s = np.linspace(0.0, 8.0, 81)
    signal = np.tile(np.array([0.3, 0.7], np.float32), (81, 1))
    turns = 2.0 * np.pi * at_s / 4.0
    dark, bright = detect(signal, hunting, np.random.default_rng(0), at_s=at_s).T.astype(float)
    middle = 255.0 * (0.5 - 0.05 * np.cos(turns))
    assert 0.5 * (dark + bright) == pytest.approx(middle, abs=0.6)
    assert bright - dark == pytest.approx(255.0 * 0.8 * 0.4 * (1.0 + 0.05 * np.sin(turns)), abs=1.1)
    for still in (
        detect(signal, hunting, np.random.default_rng(0)),
        detect(signal, steady, np.random.default_rng(0), at_s=at_s),
    ):
        assert (still == detect(signal, steady, np.random.default_rng(0))).all()


def test_a_mean_of_passes_has_the_noise_of_a_mean() -> None:
    one = Detector(electrons=50.0, read_noise=6.0, se_yield=0.8)
    rng, flat = np.random.default_rng(2), np.full((300, 300), 0.5, np.float32)
    assert averaged(one, 1) is one
    single, many = (detect(flat, averaged(one, passes), rng).astype(float) for passes in (1, 16))
    assert many.mean() == pytest.approx(single.mean(), abs=0.5)
    assert single.var() / many.var() == pytest.approx(16.0, rel=0.05)


def test_without_bunches_the_law_is_poissons() -> None:
    mean = np.full(1_000, 7.0)
    plain = count(NUMPY, mean.copy(), NORMALS[:1_000].copy())
    assert (count(NUMPY, mean.copy(), NORMALS[:1_000].copy(), 0.0) == plain).all()
    assert np.abs(count(NUMPY, mean.copy(), NORMALS[:1_000].copy(), 1e-9) - plain).max() < 1e-6
    assert detector_terms(Detector())[-1] == 0.0


@given(
    level=st.floats(0.0, 2.0),
    electrons=st.floats(1.0, 1e4),
    contrast=st.floats(0.1, 2.0),
    gamma=st.floats(0.5, 2.0),
)
def test_what_is_drawn_does_not_depend_on_what_is_seen(
    level: float, electrons: float, contrast: float, gamma: float
) -> None:
    """The next frame's noise is the same whatever this frame shows."""
    rng, other = np.random.default_rng(1), np.random.default_rng(1)
    bright = np.full((8, 8), level, np.float32)
    detect(bright, Detector(electrons=electrons, contrast=contrast, gamma=gamma), rng)
    detect(np.zeros((8, 8), np.float32), Detector(read_noise=0.0), other)
    assert rng.random() == other.random()
    assert (bright == np.float32(level)).all()


def test_it_saturates_at_both_ends_of_the_scale() -> None:
    signal = np.array([[-5.0, 0.0, 0.5, 20.0]], np.float32)
    for gamma in (0.7, 1.0, 1.4):
        detector = Detector(electrons=1e6, contrast=3.0, gamma=gamma, read_noise=0.5)
        dark, darker, middle, white = detect(signal, detector, np.random.default_rng(0))[0]
        assert (dark, darker, white) == (0, 0, 255)
        assert middle == pytest.approx(255.0 * 0.5**gamma, abs=3)


def test_electrons_come_with_current_and_dwell() -> None:
    assert electrons_per_pixel(100.0, 400.0) == pytest.approx(Detector().electrons, rel=0.01)
    assert electrons_per_pixel(50.0, 1_000.0, emitted=2.0) == pytest.approx(
        2.5 * Detector().electrons, rel=0.01
    )


@pytest.mark.parametrize("tau_px", [0.2, 0.7, 1.5])
def test_a_slow_detector_smears_signal_and_counting_noise_along_the_line(tau_px: float) -> None:
    rng, left = np.random.default_rng(3), np.exp(-1.0 / tau_px)
    detector = Detector(electrons=400.0, read_noise=0.0, tau_px=tau_px)
    flat = detect(np.full((200, 400), 0.5, np.float32), detector, rng).astype(float)
    noise = flat[:, 50:] - flat.mean()
    white = 255.0 * np.sqrt(0.5 * 400.0) / 400.0
    assert noise.std() == pytest.approx(white * np.sqrt((1.0 - left) / (1.0 + left)), rel=0.04)
    along = float(np.mean(noise[:, 1:] * noise[:, :-1]) / noise.var())
    across = float(np.mean(noise[1:] * noise[:-1]) / noise.var())
    assert along == pytest.approx(left, abs=0.02)
    assert across == pytest.approx(0.0, abs=0.02)
    edge = np.zeros((8, 64), np.float32)
    edge[:, 32:] = 0.8
    clear = Detector(electrons=1e7, brightness=0.5, contrast=1.0, read_noise=0.0, tau_px=tau_px)
    line = detect(edge, clear, rng).astype(float)[0] / 255.0
    assert line[:32] == pytest.approx(0.0, abs=0.01)
    rest = 0.8 * left ** np.arange(1, 33)
    assert line[32:] == pytest.approx(0.8 - rest, abs=0.01)
