"""The optics against theory."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.sim.imaging import blur_field
from afdaemon.sim.optics import Blur, blur_radius_px, depth_of_focus_um, pixel_um, transfer
from afdaemon.sim.truth import focus_score

MAGNIFICATIONS = st.floats(20.0, 50_000.0)


@given(magnification=MAGNIFICATIONS, alpha_mrad=st.floats(1.0, 10.0))
def test_one_depth_of_focus_blurs_by_two_pixels(magnification: float, alpha_mrad: float) -> None:
    alpha_rad = alpha_mrad * 1e-3
    dof_um = depth_of_focus_um(magnification, alpha_rad)
    assert blur_radius_px(dof_um, magnification, alpha_rad) == pytest.approx(2.0)


@pytest.mark.parametrize(("magnification", "published_um"), [(500.0, 1200.0), (20_000.0, 36.0)])
def test_half_width_of_the_score_is_that_of_the_published_action_limit(
    magnification: float, published_um: float
) -> None:
    """The tanh's plateaus are about the full width at half height of the score curve (5 mrad)."""
    half_radius_px = 4.0
    width_um = 2.0 * half_radius_px * pixel_um(magnification) / 5e-3
    assert width_um == pytest.approx(published_um, rel=0.15)


@given(radius=st.floats(0.0, 60.0), minor=st.floats(0.0, 60.0), angle=st.floats(0.0, 3.1))
def test_blur_keeps_the_mean(radius: float, minor: float, angle: float) -> None:
    field = np.random.default_rng(1).random((48, 64)).astype(np.float32)
    blur = Blur(radius_px=radius, minor_px=minor, angle_rad=angle, gaussian_px=0.3)
    assert blur_field(field, blur).mean() == pytest.approx(field.mean(), rel=1e-4)


@pytest.mark.parametrize("radius", [3.0, 6.0, 12.0])
def test_a_point_becomes_a_disc_of_the_radius(radius: float) -> None:
    """A uniform disc of radius R has the second moment R^2 / 4 along each axis."""
    point = np.zeros((128, 128), np.float32)
    point[64, 64] = 1.0
    disc = blur_field(point, Blur(radius_px=radius, minor_px=radius)).astype(np.float64)
    x = np.arange(128) - 64.0
    inside = np.hypot(*np.meshgrid(x, x)) < radius + 4.0
    second = float(((disc * inside) * x[None, :] ** 2).sum() / (disc * inside).sum())
    assert second == pytest.approx(radius**2 / 4.0, rel=0.1)


def test_astigmatism_blurs_along_its_axis() -> None:
    line = transfer((64, 64), Blur(radius_px=8.0, minor_px=1.0, angle_rad=0.0))
    assert abs(line[0, 3]) < line[3, 0]


@given(near=st.floats(0.0, 50.0), further=st.floats(0.01, 50.0))
def test_the_score_falls_with_blur(near: float, further: float) -> None:
    assert focus_score(near + further) < focus_score(near) <= 9.0


def test_the_score_is_half_at_four_pixels() -> None:
    assert focus_score(4.0) == pytest.approx(4.5)
