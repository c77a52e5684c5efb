"""Band powers: what noise, blur and size do to them."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.models.frames.preprocess import FloatImage
from afdaemon.models.frames.spectrum import BANDS, band_powers

RNG = np.random.default_rng(5)


def noise(spread: float, shape: tuple[int, ...] = (240, 320)) -> FloatImage:
    return np.asarray(0.5 + spread * RNG.standard_normal(shape), np.float32)


@pytest.mark.parametrize("shape", [(240, 320), (256, 256), (191, 333)])
@pytest.mark.parametrize("spread", [0.02, 0.1])
def test_white_noise_has_its_variance_in_every_band(spread: float, shape: tuple[int, int]) -> None:
    powers = band_powers(noise(spread, shape))
    assert powers.shape == (BANDS,)
    assert powers[8:] == pytest.approx(np.log(spread**2), abs=0.2)


def test_blur_takes_away_the_fine_and_leaves_the_coarse() -> None:
    sharp = noise(0.2)
    blurred = np.asarray(cv2.GaussianBlur(sharp, (0, 0), 2.0), np.float32)
    lost = np.subtract(band_powers(sharp), band_powers(blurred))
    assert lost[:6].max() < 0.5
    assert lost[-3:].min() > 3.0
    assert np.diff(lost[8:]).min() > -0.1


@given(gain=st.floats(0.2, 4.0))
def test_contrast_shifts_all_bands_alike(gain: float) -> None:
    image = noise(0.1)
    shifted = band_powers(np.asarray(gain * image, np.float32)) - band_powers(image)
    assert shifted == pytest.approx(np.full(BANDS, 2.0 * np.log(gain)), abs=0.02)


def test_a_flat_frame_has_the_power_of_rounding() -> None:
    flat = band_powers(np.full((240, 320), 0.4, np.float32))
    assert flat == pytest.approx(np.full(BANDS, np.log((1 / 255) ** 2 / 12)), abs=0.01)


def test_frames_in_a_stack_are_told_one_by_one() -> None:
    stack = noise(0.1, (3, 120, 160))
    assert np.allclose(band_powers(stack), [band_powers(one) for one in stack], atol=1e-5)
