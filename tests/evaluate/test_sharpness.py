"""Which pictures are sharp enough to be specimens."""

import cv2
import numpy as np
import pytest

from afdaemon.evaluate.aenet.sharpness import SHARP_AT_LEAST, octave_ratio, sharp_reduction
from afdaemon.sim.imaging.frame import View, crop, sharp_field
from afdaemon.sim.specimens.catalogue import open_specimen
from afdaemon.sim.surface import FloatImage


@pytest.fixture(scope="module", params=["tin_balls", "gold_nanoparticles", "woven_fabric"])
def field(request: pytest.FixtureRequest) -> FloatImage:
    view = View(x_um=0.0, y_um=0.0, magnification=9_000.0, width_px=320, height_px=240)
    specimen = open_specimen(request.param, seed=3)
    return np.ascontiguousarray(crop(sharp_field(specimen, view), view))


def softened(field: FloatImage, sigma_px: float) -> FloatImage:
    return np.asarray(cv2.GaussianBlur(field, (0, 0), sigma_px), np.float32)


def test_drawn_specimens_are_sharp_and_blurred_ones_are_not(field: FloatImage) -> None:
    assert octave_ratio(field) >= SHARP_AT_LEAST
    assert octave_ratio(softened(field, 1.2)) < SHARP_AT_LEAST


def test_noise_does_not_make_a_soft_picture_sharp(field: FloatImage) -> None:
    soft = softened(field, 2.5)
    noise = np.random.default_rng(0).standard_normal(soft.shape, np.float32)
    noisy = soft + np.float32(0.1 * float(soft.std())) * softened(noise, 0.5)
    assert octave_ratio(noisy) < SHARP_AT_LEAST


def test_contrast_and_brightness_do_not_matter(field: FloatImage) -> None:
    assert octave_ratio(0.3 * field + 0.2) == pytest.approx(octave_ratio(field), rel=1e-3)


def test_a_flat_field_is_not_sharp() -> None:
    assert octave_ratio(np.full((240, 320), 0.5, np.float32)) == 0.0


def test_the_first_reduction_that_is_sharp(field: FloatImage) -> None:
    def field_at(reduction: float) -> FloatImage:
        return softened(field, 4.0 / reduction**2)

    assert sharp_reduction(field_at, (1.0, 2.0, 4.0, 8.0)) == 4.0
    assert sharp_reduction(field_at, (1.0, 1.2)) is None
