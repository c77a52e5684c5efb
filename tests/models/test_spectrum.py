"""Spectra: what noise, blur, its direction, and size do to them."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.models.preprocess import FloatImage
from afdaemon.models.spectrum import BANDS, PAIRS, SPECTRUM_SIZE, spectra

RNG = np.random.default_rng(5)


def band_powers(image: FloatImage) -> np.ndarray:
    return spectra(image)[..., :BANDS]


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
    assert np.allclose(spectra(stack), [spectra(one) for one in stack], atol=1e-5)


@pytest.mark.parametrize(("sigma_x", "sigma_y", "sign"), [(2.0, 0.01, -1.0), (0.01, 2.0, 1.0)])
def test_blur_along_one_axis_takes_power_from_that_axis(
    sigma_x: float, sigma_y: float, sign: float
) -> None:
    sharp = noise(0.2)
    blurred = cv2.GaussianBlur(sharp, (0, 0), sigmaX=sigma_x, sigmaY=sigma_y)
    lost = spectra(np.asarray(blurred, np.float32)) - spectra(sharp)
    upright, diagonal = lost[BANDS : BANDS + PAIRS], lost[BANDS + PAIRS :]
    assert (sign * upright[-3:] > 2.0).all()
    assert np.abs(diagonal[-3:]).max() < 0.5


def test_blur_along_a_diagonal_takes_power_from_that_diagonal() -> None:
    image = noise(0.2, (240, 240))
    streak = np.eye(9, dtype=np.float32) / 9.0  # along (1, 1): down to the right
    lost = spectra(np.asarray(cv2.filter2D(image, -1, streak), np.float32)) - spectra(image)
    upright, diagonal = lost[BANDS : BANDS + PAIRS], lost[BANDS + PAIRS :]
    assert diagonal[-2:].max() < -1.0
    assert np.abs(upright[-2:]).max() < 0.5


def test_turning_a_frame_turns_the_signs_of_directions() -> None:
    image = np.asarray(
        cv2.GaussianBlur(noise(0.2, (240, 240)), (0, 0), 1.5, sigmaY=0.8), np.float32
    )
    said, turned, mirrored = (
        spectra(np.ascontiguousarray(one)) for one in (image, np.rot90(image), image[:, ::-1])
    )
    assert turned[6:BANDS] == pytest.approx(said[6:BANDS], abs=0.1)
    assert turned[BANDS + 4 :] == pytest.approx(-said[BANDS + 4 :], abs=0.1)
    assert mirrored[: BANDS + PAIRS] == pytest.approx(said[: BANDS + PAIRS], abs=0.1)
    assert mirrored[BANDS + PAIRS + 2 :] == pytest.approx(-said[BANDS + PAIRS + 2 :], abs=0.1)


def test_a_tiny_frame_tells_no_direction_where_it_has_no_modes() -> None:
    told = spectra(noise(0.1, (24, 32)))
    assert told.shape == (SPECTRUM_SIZE,)
    assert np.isfinite(told).all()
    assert told[BANDS] == 0.0
