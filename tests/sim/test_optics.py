"""The optics against theory."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import j1

from afdaemon.sim.imaging.frame import blur_field
from afdaemon.sim.optics import (
    DEFAULT_KV,
    DEFAULT_SPOT,
    Blur,
    Optics,
    alpha_rad,
    blur_radius_px,
    depth_of_focus_um,
    focus_shift_um,
    pixel_um,
    probe_nm,
    transfer,
)
from afdaemon.sim.truth import focus_score

MAGNIFICATIONS = st.floats(20.0, 50_000.0)


@given(magnification=MAGNIFICATIONS, alpha_mrad=st.floats(1.0, 10.0))
def test_one_depth_of_focus_blurs_by_two_pixels(magnification: float, alpha_mrad: float) -> None:
    alpha = alpha_mrad * 1e-3
    dof_um = depth_of_focus_um(magnification, alpha)
    assert blur_radius_px(dof_um, magnification, alpha) == pytest.approx(2.0)
    assert Optics(alpha_rad=alpha).blur(-dof_um, magnification).radius_px == pytest.approx(2.0)


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


COMPONENTS_UM = st.tuples(st.floats(-40.0, 40.0), st.floats(-40.0, 40.0)).filter(
    lambda vector: math.hypot(*vector) > 0.1
)


def apart(angle: float, other: float) -> float:
    """Angle between two undirected lines."""
    turned = (angle - other) % math.pi
    return min(turned, math.pi - turned)


@given(vector=COMPONENTS_UM, alpha_mrad=st.floats(1.0, 10.0))
def test_the_streak_turns_by_a_right_angle_through_focus(
    vector: tuple[float, float], alpha_mrad: float
) -> None:
    optics = Optics(alpha_rad=1e-3 * alpha_mrad, astigmatism_um=vector)
    apart_um = math.hypot(*vector)
    over, under = (optics.blur(sign * 0.5 * apart_um, 5_000.0) for sign in (1.0, -1.0))
    assert over.minor_px == pytest.approx(0.0, abs=1e-9)
    assert under.minor_px == pytest.approx(0.0, abs=1e-9)
    assert over.radius_px == pytest.approx(1e-3 * alpha_mrad * apart_um / pixel_um(5_000.0))
    assert apart(over.angle_rad, under.angle_rad) == pytest.approx(0.5 * math.pi)
    direction = 0.5 * math.atan2(vector[1], vector[0])
    assert apart(under.angle_rad, direction) == pytest.approx(0.0, abs=1e-6)


@given(vector=COMPONENTS_UM, defocus_um=st.floats(-200.0, 200.0))
def test_the_least_confusion_lies_midway_and_is_round(
    vector: tuple[float, float], defocus_um: float
) -> None:
    optics = Optics(astigmatism_um=vector)
    least, other = optics.blur(0.0, 2_000.0), optics.blur(defocus_um, 2_000.0)
    assert least.radius_px == pytest.approx(least.minor_px)
    assert other.radius_px >= least.radius_px - 1e-9
    mirrored = optics.blur(-defocus_um, 2_000.0)
    assert (mirrored.radius_px, mirrored.minor_px) == pytest.approx(
        (other.radius_px, other.minor_px)
    )


@given(
    radius=st.floats(0.0, 60.0),
    minor=st.floats(0.0, 60.0),
    angle=st.floats(-4.0, 4.0),
    gaussian=st.floats(0.0, 3.0),
)
def test_the_transfer_is_that_of_an_ellipse_and_a_gaussian(
    radius: float, minor: float, angle: float, gaussian: float
) -> None:
    blur = Blur(radius_px=radius, minor_px=minor, angle_rad=angle, gaussian_px=gaussian)
    f_y, f_x = np.meshgrid(np.fft.fftfreq(30), np.fft.rfftfreq(40), indexing="ij")
    along = radius * (f_x * math.cos(angle) + f_y * math.sin(angle))
    across = minor * (f_y * math.cos(angle) - f_x * math.sin(angle))
    x = np.maximum(2.0 * np.pi * np.hypot(along, across), 1e-9)
    expected = 2.0 * j1(x) / x * np.exp(-2.0 * (np.pi * gaussian) ** 2 * (f_x**2 + f_y**2))
    assert np.abs(transfer((30, 40), blur) - expected).max() < 2e-5


def test_the_default_probe_is_that_of_a_tungsten_column() -> None:
    assert 6.0 < probe_nm(DEFAULT_KV, DEFAULT_SPOT, 5e-3) < 15.0


@given(kv=st.floats(1.0, 29.0), spot=st.floats(1.0, 9.0), alpha_mrad=st.floats(1.0, 10.0))
def test_the_probe_grows_with_current_and_shrinks_with_tension(
    kv: float, spot: float, alpha_mrad: float
) -> None:
    probe = probe_nm(kv, spot, 1e-3 * alpha_mrad)
    assert probe_nm(kv + 1.0, spot, 1e-3 * alpha_mrad) < probe
    assert probe_nm(kv, spot + 1.0, 1e-3 * alpha_mrad) > probe


def test_a_small_aperture_is_limited_by_diffraction_and_a_large_one_by_aberrations() -> None:
    small, best, large = (probe_nm(15.0, 1.0, alpha) for alpha in (2e-4, 5e-3, 5e-2))
    assert best < small
    assert best < large


def test_the_aperture_sets_the_angle_and_the_tension_the_focus() -> None:
    assert alpha_rad(30.0, 12_000.0) == pytest.approx(1.25e-3)
    assert focus_shift_um(DEFAULT_KV) == 0.0
    assert focus_shift_um(20.0) > 0.0 > focus_shift_um(5.0)


def test_astigmatism_blurs_along_its_axis() -> None:
    line = transfer((64, 64), Blur(radius_px=8.0, minor_px=1.0, angle_rad=0.0))
    assert abs(line[0, 3]) < line[3, 0]


@given(near=st.floats(0.0, 50.0), further=st.floats(0.01, 50.0))
def test_the_score_falls_with_blur(near: float, further: float) -> None:
    assert focus_score(near + further) < focus_score(near) <= 9.0


def test_the_score_is_half_at_four_pixels() -> None:
    assert focus_score(4.0) == pytest.approx(4.5)
