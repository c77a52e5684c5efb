"""The detector: counted electrons, an amplifier, and a random stream that the signal cannot shift."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from afdaemon.sim.imaging.detector import Detector, count, detect, electrons_per_pixel
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
