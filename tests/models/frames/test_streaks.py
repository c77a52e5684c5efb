"""Streaks of charging are taken away; nothing else is."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.models.frames.preprocess import FloatImage
from afdaemon.models.frames.streaks import is_streaked, without_streaks

HEIGHT, WIDTH = 240, 320


def grain(spread_px: float, seed: int) -> FloatImage:
    """A frame of random detail, blurred to that scale, under a beam's noise."""
    rng = np.random.default_rng(seed)
    detail = cv2.GaussianBlur(rng.standard_normal((HEIGHT, WIDTH)), (0, 0), spread_px)
    noise = 0.05 * rng.standard_normal((HEIGHT, WIDTH))
    return np.asarray(0.5 + 0.15 * detail / detail.std() + noise, np.float32)


def streaks(strength: float, seed: int) -> FloatImage:
    """Bands along the lines, as wide as half the frame: charge comes and goes within some lines."""
    rng = np.random.default_rng(seed)
    charge = np.zeros(HEIGHT)
    for line in range(1, HEIGHT):
        charge[line] = 0.85 * charge[line - 1] + 0.5 * rng.standard_normal()
    where = np.clip(1.5 - np.abs(np.linspace(-3.0, 3.0, WIDTH)), 0.0, 1.0)
    return np.asarray(strength * charge[:, np.newaxis] * where, np.float32)


def bars(period_px: float) -> FloatImage:
    """A grating that lies along the lines."""
    noise = 0.05 * np.random.default_rng(3).standard_normal((HEIGHT, WIDTH))
    y = np.arange(HEIGHT)[:, np.newaxis]
    return np.asarray(np.where(y % period_px < 0.4 * period_px, 0.7, 0.3) + noise, np.float32)


def layers(seed: int) -> FloatImage:
    """A stack of films seen from the side, along the lines."""
    rng = np.random.default_rng(seed)
    borders = np.cumsum(rng.exponential(20.0, 60))
    levels = rng.uniform(0.2, 0.8, 61)[np.searchsorted(borders, np.arange(HEIGHT))]
    noise = 0.05 * rng.standard_normal((HEIGHT, WIDTH))
    return np.asarray(levels[:, np.newaxis] + noise, np.float32)


@given(spread_px=st.floats(0.7, 12.0), seed=st.integers(0, 999))
def test_a_frame_without_streaks_is_the_very_same(spread_px: float, seed: int) -> None:
    image = grain(spread_px, seed)
    assert without_streaks(image) is image


@given(seed=st.integers(0, 999), spread_px=st.floats(4.0, 12.0))
def test_streaks_go_and_the_rest_stays(seed: int, spread_px: float) -> None:
    clean = grain(spread_px, seed)
    streaked = clean + streaks(0.3, seed)
    assert is_streaked(streaked)
    mended = without_streaks(streaked)
    assert not is_streaked(mended)
    assert across(streaked) > 5.0 * across(clean)
    assert across(mended) < 1.5 * across(clean)
    assert correlation(mended, clean) > max(0.6, correlation(streaked, clean))
    assert mended.mean() == pytest.approx(float(streaked.mean()), abs=0.01)


def across(image: FloatImage) -> float:
    """How much lines differ."""
    return float(np.square(np.diff(image.reshape(HEIGHT, -1, 32).mean(axis=2), axis=0)).mean())


def correlation(one: FloatImage, other: FloatImage) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


@pytest.mark.parametrize("period_px", [4, 8, 16, 40])
def test_a_grating_along_the_lines_is_left_alone(period_px: int) -> None:
    image = bars(period_px)
    assert without_streaks(image) is image


@pytest.mark.parametrize("seed", range(5))
def test_layers_along_the_lines_are_left_alone(seed: int) -> None:
    image = layers(seed)
    assert without_streaks(image) is image


@pytest.mark.parametrize("blur_px", [0.4, 1.0, 3.0, 8.0])
@pytest.mark.parametrize("seed", range(3))
def test_one_edge_along_the_lines_is_left_alone(blur_px: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    bent = 4.0 * cv2.GaussianBlur(rng.standard_normal((1, WIDTH)), (0, 0), 6.0)
    below = np.clip(np.arange(HEIGHT)[:, np.newaxis] - HEIGHT / 2 - bent, 0.0, 1.0)
    edge = cv2.GaussianBlur(0.35 + 0.2 * below, (0, 0), blur_px)
    image = np.asarray(edge + 0.03 * rng.standard_normal(edge.shape), np.float32)
    assert without_streaks(image) is image


@pytest.mark.parametrize("strength", [0.1, 0.3, 1.0, 3.0])
def test_streaks_of_any_strength_are_seen(strength: float) -> None:
    """Also where they come in bursts, as behind spots that charge and discharge."""
    rng = np.random.default_rng(1)
    bursts = np.repeat(rng.exponential(1.0, (HEIGHT // 8, 1)), 8, axis=0)
    assert is_streaked(grain(6.0, 1) + bursts.astype(np.float32) * streaks(strength, 1))


def test_streaks_along_the_columns_are_no_charging() -> None:
    """The beam scans lines: what charges is never sharp along them."""
    turned = np.ascontiguousarray((grain(6.0, 1) + streaks(0.3, 1))[:, :HEIGHT].T)
    assert without_streaks(turned) is turned


@pytest.mark.parametrize("shape", [(64, 64), (240, 70), (65, 640)])
@pytest.mark.parametrize("value", [0.0, 0.5])
def test_flat_frames_of_all_sizes_are_left_alone(shape: tuple[int, int], value: float) -> None:
    image = np.full(shape, value, np.float32)
    assert without_streaks(image) is image
