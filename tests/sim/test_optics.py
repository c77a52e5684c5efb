"""The optics against theory."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.sim.imaging.frame import blur_field
from afdaemon.sim.optics import (
    DEFAULT_KV,
    Beam,
    Blur,
    Optics,
    alpha_rad,
    blur_radius_px,
    depth_of_focus_um,
    focus_shift_um,
    pixel_um,
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


def test_the_default_probe_is_that_of_a_tungsten_column() -> None:
    assert 6.0 < Beam().probe_nm(5e-3) < 15.0


@given(kv=st.floats(1.0, 29.0), spot=st.floats(1.0, 9.0), alpha_mrad=st.floats(1.0, 10.0))
def test_the_probe_grows_with_current_and_shrinks_with_tension(
    kv: float, spot: float, alpha_mrad: float
) -> None:
    alpha = 1e-3 * alpha_mrad
    probe = Beam(kv=kv, spot=spot).probe_nm(alpha)
    assert Beam(kv=kv + 1.0, spot=spot).probe_nm(alpha) < probe
    assert Beam(kv=kv, spot=spot + 1.0).probe_nm(alpha) > probe


def test_a_small_aperture_is_limited_by_diffraction_and_a_large_one_by_aberrations() -> None:
    small, best, large = (Beam(spot=1.0).probe_nm(alpha) for alpha in (2e-4, 5e-3, 5e-2))
    assert best < small
    assert best < large


@given(kv=st.floats(1.0, 30.0))
def test_the_electrons_wave_is_h_over_its_momentum(kv: float) -> None:
    """h c / sqrt(E^2 + 2 E m c^2), with h c = 1239.84 eV nm and m c^2 = 511.00 keV (CODATA)."""
    volt = 1e3 * kv
    expected = 1239.84 / math.sqrt(volt**2 + 2.0 * volt * 511.0e3)
    assert Beam(kv=kv).wavelength_nm == pytest.approx(expected, rel=1e-4)


def test_a_beam_leaves_the_label_alone_and_says_what_waves_do_in_pixels() -> None:
    plain = Optics(astigmatism_um=(3.0, -4.0))
    waves = Optics(astigmatism_um=(3.0, -4.0), beam=Beam(kv=5.0))
    for defocus_um in (-20.0, -1.0, 0.0, 2.0):
        one, other = (optics.blur(defocus_um, 20_000.0) for optics in (plain, waves))
        assert (other.radius_px, other.minor_px) == (one.radius_px, one.minor_px)
        assert other.angle_rad == one.angle_rad
        assert one.wave is None
        assert other.wave is not None
    wave = waves.blur(2.0, 20_000.0).wave
    assert wave is not None
    pixel_nm = 1e3 * pixel_um(20_000.0)
    assert wave.spherical_px == pytest.approx(20e6 * 5e-3**3 / pixel_nm)
    assert wave.chromatic_px == pytest.approx(5e-3 * 10e6 * 2.0 / 5e3 / 2.3548 / pixel_nm)
    assert wave.diffraction_px == pytest.approx(0.01730 / 10e-3 / pixel_nm, rel=0.01)
    assert wave.signs == (1.0, -1.0), "between the line foci"


def test_the_aperture_sets_the_angle_and_the_tension_the_focus() -> None:
    assert alpha_rad(30.0, 12_000.0) == pytest.approx(1.25e-3)
    assert focus_shift_um(DEFAULT_KV) == 0.0
    assert focus_shift_um(20.0) > 0.0 > focus_shift_um(5.0)


@given(near=st.floats(0.0, 50.0), further=st.floats(0.01, 50.0))
def test_the_score_falls_with_blur(near: float, further: float) -> None:
    assert focus_score(near + further) < focus_score(near) <= 9.0


def test_the_score_is_half_at_four_pixels() -> None:
    assert focus_score(4.0) == pytest.approx(4.5)
