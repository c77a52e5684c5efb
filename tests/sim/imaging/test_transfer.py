"""What blurs do to frequencies, against theory: closed forms, and the aperture's wave function summed up."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import fft
from scipy.special import j1

from afdaemon.sim.imaging.discs import discs
from afdaemon.sim.imaging.transfer import transfer
from afdaemon.sim.optics import Beam, Blur, Optics, Wave, depth_of_focus_um, pixel_um

Field = NDArray[np.float64]
SHAPE = (24, 32)
ACROSS = 120
"""Points along the aperture's diameter that the reference sums over."""
LEAST_BLUR = 2.0 / 3.0
"""Defocus of the least mean square blur in units of Cs alpha^2: the integral of (c r - r^3)^2 r dr is least there."""


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


def test_astigmatism_blurs_along_its_axis() -> None:
    line = transfer((64, 64), Blur(radius_px=8.0, minor_px=1.0, angle_rad=0.0))
    assert abs(line[0, 3]) < line[3, 0]


def frequencies(shape: tuple[int, int]) -> tuple[Field, Field]:
    """(along x, along y), each (H, W // 2 + 1), in cycles per pixel."""
    f_y, f_x = np.meshgrid(np.fft.fftfreq(shape[0]), np.fft.rfftfreq(shape[1]), indexing="ij")
    return f_x, f_y


def path_nm(optics: Optics, beam: Beam, x: Field, y: Field, defocus_um: float) -> Field:
    """The wave aberration at the angles (x, y): dz theta^2 / 2 with astigmatism, less Cs theta^4 / 4."""
    least_nm = LEAST_BLUR * 1e6 * beam.spherical_mm * optics.alpha_rad**2
    apart_nm = 1e3 * math.hypot(*optics.astigmatism_um)
    turn = 0.5 * math.atan2(optics.astigmatism_um[1], optics.astigmatism_um[0])
    along = x * math.cos(turn) + y * math.sin(turn)
    square = x**2 + y**2
    quadratic = (1e3 * defocus_um + least_nm + 0.5 * apart_nm) * square - apart_nm * along**2
    return np.asarray(0.5 * quadratic - 0.25e6 * beam.spherical_mm * square**2)


def by_waves(optics: Optics, beam: Beam, magnification: float, defocus_um: float) -> Field:
    """The transform of |transform of the aperture's wave|^2, which is the wave's correlation with itself.

    A change of focus dz multiplies each term by exp(2 pi i dz f theta), which a Gaussian of energies averages to
    exp(-(2 pi sigma f theta)^2 / 2).
    """
    wavelength_nm, alpha = beam.wavelength_nm, optics.alpha_rad
    pixel_nm = 1e3 * pixel_um(magnification)
    angle = alpha * ((np.arange(ACROSS) + 0.5) * 2.0 / ACROSS - 1.0)
    x, y = np.meshgrid(angle, angle)
    f_x, f_y = frequencies(SHAPE)
    seen = np.zeros(f_x.shape)
    for at in np.ndindex(f_x.shape):
        per_nm = f_x[at] / pixel_nm, f_y[at] / pixel_nm
        step_x, step_y = (0.5 * wavelength_nm * f for f in per_nm)
        ahead, behind = np.hypot(x + step_x, y + step_y), np.hypot(x - step_x, y - step_y)
        both = (ahead < alpha) & (behind < alpha)
        u, v = x[both], y[both]
        apart_nm = path_nm(optics, beam, u + step_x, v + step_y, defocus_um)
        apart_nm -= path_nm(optics, beam, u - step_x, v - step_y, defocus_um)
        spread = 2e3 * np.pi * beam.focal_spread_um * (per_nm[0] * u + per_nm[1] * v)
        waves = np.cos(2.0 * np.pi / wavelength_nm * apart_nm) * np.exp(-0.5 * spread**2)
        seen[at] = waves.sum() / (np.pi / 4.0 * ACROSS**2)
    return seen


CASES = [
    # kV, alpha in mrad, magnification, defocus and astigmatism in depths of focus
    (15.0, 5.0, 40_000.0, 0.0, 0.0),
    (15.0, 8.0, 40_000.0, 0.5, 0.5),
    (15.0, 8.0, 40_000.0, -1.0, 1.0),
    (30.0, 8.0, 150_000.0, 1.5, 0.0),
    (30.0, 8.0, 150_000.0, -1.5, 1.0),
    (5.0, 4.0, 40_000.0, 0.0, 2.0),
    (5.0, 6.0, 20_000.0, 3.0, 2.0),
    (3.0, 3.0, 60_000.0, -2.0, 4.0),
    (1.0, 2.0, 40_000.0, 0.0, 0.0),
    (1.0, 2.0, 40_000.0, 1.0, 2.0),
    (1.0, 5.0, 20_000.0, -2.0, 0.0),
    (1.0, 8.0, 40_000.0, 4.0, 3.0),
]


@pytest.mark.parametrize(("kv", "alpha_mrad", "magnification", "defocus", "astigmatism"), CASES)
def test_the_transfer_is_that_of_the_apertures_wave(
    kv: float, alpha_mrad: float, magnification: float, defocus: float, astigmatism: float
) -> None:
    """Without the source's image: at low tension it would hide the waves."""
    dof_um = depth_of_focus_um(magnification, 1e-3 * alpha_mrad)
    beam = Beam(kv=kv)
    optics = Optics(
        alpha_rad=1e-3 * alpha_mrad,
        astigmatism_um=(0.8 * astigmatism * dof_um, -0.6 * astigmatism * dof_um),
        beam=beam,
    )
    blur = replace(optics.blur(defocus * dof_um, magnification), gaussian_px=0.0)
    seen = transfer(SHAPE, blur)
    assert np.abs(seen - by_waves(optics, beam, magnification, defocus * dof_um)).max() < 0.02


def test_the_reference_is_the_transform_of_the_probe() -> None:
    """Aperture, its wave's transform squared, that one's transform; energies one by one."""
    beam, magnification, defocus_um = Beam(kv=5.0), 40_000.0, 1.5
    optics = Optics(alpha_rad=4e-3, astigmatism_um=(0.8, 0.6), beam=beam)
    points, pixel_nm = 512, 1e3 * pixel_um(magnification)
    # The probe's field is 32 x 24 pixels, so that its transform has the frequencies of the reference.
    step_x, step_y = (beam.wavelength_nm / (pixel_nm * SHAPE[k]) for k in (1, 0))
    place = np.arange(points) - points // 2
    x, y = np.meshgrid(place * step_x, place * step_y)
    probe = np.zeros((points, points))
    for away in np.linspace(-3.0, 3.0, 13):
        away_um = defocus_um + away * beam.focal_spread_um
        path = path_nm(optics, beam, x, y, away_um)
        wave = np.exp(2j * np.pi / beam.wavelength_nm * path)
        wave *= np.hypot(x, y) < optics.alpha_rad
        probe += np.exp(-0.5 * away**2) * np.abs(fft.fft2(wave)) ** 2
    seen = np.real(fft.fft2(probe))
    rows = np.fft.fftfreq(SHAPE[0], 1.0 / SHAPE[0]).astype(int)
    cut = seen[rows][:, : SHAPE[1] // 2 + 1] / seen[0, 0]
    assert np.abs(cut - by_waves(optics, beam, magnification, defocus_um)).max() < 0.02


def wave_blur(
    radius: float, minor: float, *, kappa: float = 0.0, sigma: float = 0.0, lens: float = 0.0
) -> Blur:
    wave = Wave(spherical_px=kappa, chromatic_px=sigma, diffraction_px=lens, signs=(1.0, 1.0))
    return Blur(radius_px=radius, minor_px=minor, angle_rad=0.4, gaussian_px=0.2, wave=wave)


@given(
    radius=st.floats(0.0, 60.0),
    share=st.floats(0.0, 1.0),
    kappa=st.floats(0.0, 4.0),
    sigma=st.floats(0.0, 8.0),
    lens=st.floats(0.0, 2.0),
)
def test_waves_keep_the_mean_and_add_nothing(
    radius: float, share: float, kappa: float, sigma: float, lens: float
) -> None:
    blur = wave_blur(radius, share * radius, kappa=kappa, sigma=sigma, lens=lens)
    seen = transfer((30, 40), blur)
    assert seen[0, 0] == pytest.approx(1.0, abs=1e-5)
    assert np.abs(seen).max() <= 1.0 + 1e-5


@given(radius=st.floats(0.0, 60.0), share=st.floats(0.0, 1.0), faint=st.floats(0.0, 0.02))
def test_geometric_optics_is_the_limit(radius: float, share: float, faint: float) -> None:
    plain = Blur(radius_px=radius, minor_px=share * radius, angle_rad=0.4, gaussian_px=0.2)
    waves = wave_blur(radius, share * radius, kappa=faint, sigma=faint, lens=faint)
    assert (transfer((30, 40), waves) == transfer((30, 40), plain)).all()


@given(radius=st.floats(0.0, 60.0), share=st.floats(0.0, 1.0))
def test_nothing_jumps_where_waves_begin_to_matter(radius: float, share: float) -> None:
    plain = Blur(radius_px=radius, minor_px=share * radius, angle_rad=0.4, gaussian_px=0.2)
    waves = wave_blur(radius, share * radius, kappa=0.021, sigma=0.021, lens=0.021)
    assert np.abs(transfer((30, 40), waves) - transfer((30, 40), plain)).max() < 0.025


def sides(beam: Beam) -> tuple[Field, Field]:
    """The transfer on either side of focus."""
    optics = Optics(alpha_rad=8e-3, beam=beam)
    dof_um = depth_of_focus_um(40_000.0, 8e-3)
    over, under = (transfer(SHAPE, optics.blur(at * dof_um, 40_000.0)) for at in (1.0, -1.0))
    return over.astype(np.float64), under.astype(np.float64)


def test_only_spherical_aberration_tells_over_from_under() -> None:
    alike = sides(Beam(kv=20.0, spherical_mm=0.0))
    assert np.abs(alike[0] - alike[1]).max() < 1e-5
    unlike = sides(Beam(kv=20.0, spherical_mm=20.0))
    assert np.abs(unlike[0] - unlike[1]).max() > 0.05


def test_the_sharpest_frame_is_where_the_defocus_is_none() -> None:
    """Of the probes that networks are trained on: where most passes over all frequencies."""
    rng = np.random.default_rng(3)
    offsets = np.arange(-0.4, 0.401, 0.04)
    for _ in range(60):
        kv, alpha = np.exp(rng.uniform(np.log((1.0, 2e-3)), np.log((30.0, 8e-3))))
        magnification = float(np.exp(rng.uniform(np.log(300.0), np.log(40_000.0))))
        optics = Optics(alpha_rad=float(alpha), beam=Beam(kv=float(kv)))
        dof_um = depth_of_focus_um(magnification, float(alpha))
        passed = [
            transfer(SHAPE, optics.blur(float(at) * dof_um, magnification)).sum() for at in offsets
        ]
        assert abs(offsets[int(np.argmax(passed))]) < 0.05


@pytest.mark.parametrize("radius", [-6.0, 0.0, 2.0])
@pytest.mark.parametrize(("kappa", "sigma"), [(0.0, 0.0), (1.0, 0.0), (0.0, 3.0), (2.0, 0.5)])
def test_the_discs_are_as_wide_as_the_rays(radius: float, kappa: float, sigma: float) -> None:
    """Mean square of rho (a + e + kappa (2/3 - rho^2)) along an axis: (a^2 + sigma^2) / 4 + kappa^2 / 72."""
    sign = math.copysign(1.0, radius)
    wave = Wave(spherical_px=kappa, chromatic_px=sigma, diffraction_px=0.0, signs=(sign, sign))
    made = discs(Blur(radius_px=abs(radius), minor_px=abs(radius)), wave)
    along, across, _, _, weight = made.T
    expected = 0.25 * (radius**2 + sigma**2) + kappa**2 / 72.0
    assert weight.sum() == pytest.approx(1.0)
    assert 0.25 * (weight * along**2).sum() == pytest.approx(expected, rel=0.03)
    assert 0.25 * (weight * across**2).sum() == pytest.approx(expected, rel=0.03)


def test_without_aberrations_there_is_one_disc() -> None:
    wave = Wave(spherical_px=0.0, chromatic_px=0.0, diffraction_px=0.5, signs=(1.0, -1.0))
    made = discs(Blur(radius_px=5.0, minor_px=2.0), wave)
    assert made.tolist() == [[5.0, -2.0, 1.0, pytest.approx(2.0 / 3.0), 1.0]]
