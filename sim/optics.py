"""Electron optics of the simulated column: how far out of focus, and what becomes of a point. Pure.

Sign: defocus = working distance - best working distance; positive means that the beam crosses over below the surface.
The probe is a Gaussian of the column's own size, convolved with the ellipse that a cone of semi-angle alpha cuts out of
the surface at a distance from its crossover (geometric optics). Where the `Beam` is given, the Gaussian is the image of
the source alone, and the aperture's rays and waves do the rest: see `Wave`.

Sources: L. Reimer, Scanning Electron Microscopy, 2nd ed. (Springer 1998), ch. 2 (brightness, aberrations, probe size);
J. Goldstein et al., Scanning Electron Microscopy and X-Ray Microanalysis, 3rd ed. (Springer 2003), ch. 2.
"""

import math
from dataclasses import dataclass

REFERENCE_WIDTH_UM = 127_000.0
"""Width of the picture that magnification refers to. ASSUMED: the usual 127 mm."""

FAST_WIDTH_PX = 320
"""Width of a fast-mode frame: the sampling in which depth of focus and scores are defined."""

_FINEST_UM = 2.0
"""A depth of focus below this can't be told from the WD's own noise."""

_FWHM_PER_SIGMA = 2.3548
"""2 sqrt(2 ln 2), of a Gaussian."""

DEFAULT_KV = 15.0
DEFAULT_SPOT = 2.0

_BRIGHTNESS_PER_KV = 5e7
"""Brightness of a tungsten hairpin in A / (m^2 sr) per kV: 1e9 at 20 kV (Goldstein, table 2.1)."""
_SPOT_1_PA = 2.0
"""Beam current at spot 1; each further spot doubles it. ASSUMED."""
FOCUS_SHIFT_UM_PER_KV = 40.0
"""ASSUMED: what is left of a shift of about WD / kV = 800 um per kV when the lens current follows the high tension."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """What geometric optics leaves out of a blur, in pixels.

    `spherical_px` is Cs alpha^3: how far outside the paraxial focus the aperture's rim falls. `chromatic_px` is the
    standard deviation of the disc's radius over the energies. `diffraction_px` is lambda / (2 alpha), the reciprocal of
    the frequency from which nothing passes. `signs` say, along the blur's larger and smaller semi-axis, whether the
    beam crosses over below the surface (+1) or above it (-1): spherical aberration tells them apart.
    """

    spherical_px: float
    chromatic_px: float
    diffraction_px: float
    signs: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blur:
    """An elliptical defocus disc in pixels, and a Gaussian.

    The semi-axes are `radius_px` at `angle_rad` (from x towards y) and `minor_px` across. `radius_px` is the larger:
    it is the radius that scores are computed from (see `afdaemon.sim.truth`). `gaussian_px` is the standard deviation
    of the remaining blur: the probe itself, or with a `wave` the image of the source.
    """

    radius_px: float
    minor_px: float
    angle_rad: float = 0.0
    gaussian_px: float = 0.0
    wave: Wave | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Beam:
    """What the probe's size follows from: tension, spot number, spread of energies (FWHM), errors of the objective.

    The spread is that of a tungsten hairpin, 1 to 3 eV (Reimer, table 2.1). The aberration coefficients Cc and Cs are
    ASSUMED: usual for a conical lens at 12 mm.
    """

    kv: float = DEFAULT_KV
    spot: float = DEFAULT_SPOT
    energy_spread_ev: float = 2.0
    chromatic_mm: float = 10.0
    spherical_mm: float = 20.0

    @property
    def wavelength_nm(self) -> float:
        """De Broglie's, relativistic (Reimer, section 2.2.4)."""
        volt = 1000.0 * self.kv
        return 1.22643 / math.sqrt(volt * (1.0 + 0.978476e-6 * volt))

    @property
    def focal_spread_um(self) -> float:
        """Standard deviation of the focus over the energies: Cc dE / E, of a Gaussian."""
        chromatic_um = 1e3 * self.chromatic_mm
        return chromatic_um * self.energy_spread_ev / (1000.0 * self.kv) / _FWHM_PER_SIGMA

    def source_nm(self, alpha_rad: float) -> float:
        """FWHM of the source's image: 2 / (pi alpha) sqrt(I / brightness) (Reimer, section 2.2.4)."""
        current_a = 1e-12 * beam_current_pa(self.spot)
        brightness = _BRIGHTNESS_PER_KV * self.kv
        return 1e9 * 2.0 / (math.pi * alpha_rad) * math.sqrt(current_a / brightness)

    def probe_nm(self, alpha_rad: float) -> float:
        """Probe FWHM: source image, diffraction, chromatic and spherical aberration added in quadrature.

        Diffraction .61 lambda / alpha, chromatic Cc alpha dE / E, spherical Cs alpha^3 / 2 (Reimer, section 2.2.4;
        Goldstein, section 2.2).
        """
        chromatic_nm = 1e3 * _FWHM_PER_SIGMA * self.focal_spread_um * alpha_rad
        return math.hypot(
            self.source_nm(alpha_rad),
            0.61 * self.wavelength_nm / alpha_rad,
            chromatic_nm,
            0.5e6 * self.spherical_mm * alpha_rad**3,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Optics:
    """The column. `alpha_rad` is the convergence semi-angle (ASSUMED 5 mrad), `probe_nm` the probe's FWHM in focus.

    `astigmatism_um` is the astigmatism that the two stigmators leave, as components (0/90 deg, 45/135 deg) of a
    vector. Its length is the distance between the two line foci, half its angle the direction that is in focus at the
    longer WD. With a `beam` the probe is wave-optical, and `probe_nm` only tells its size.
    """

    alpha_rad: float = 5e-3
    probe_nm: float = 6.0
    astigmatism_um: tuple[float, float] = (0.0, 0.0)
    beam: Beam | None = None

    def blur(self, defocus_um: float, magnification: float, width_px: int = FAST_WIDTH_PX) -> Blur:
        """What a point becomes: semi-axes alpha |dz - d/2| along the stigmators' direction, alpha |dz + d/2| across.

        So a point is a line across that direction at dz = d/2, a line along it at -d/2, and in the middle a disc: the
        circle of least confusion, of radius alpha d / 2. (Reimer, section 2.2.3.)
        """
        apart_um = math.hypot(*self.astigmatism_um)
        direction = 0.5 * math.atan2(self.astigmatism_um[1], self.astigmatism_um[0])
        step_um = pixel_um(magnification, width_px)
        along = self.alpha_rad * (defocus_um - 0.5 * apart_um) / step_um
        across = self.alpha_rad * (defocus_um + 0.5 * apart_um) / step_um
        is_turned = abs(across) > abs(along)
        long, short = (across, along) if is_turned else (along, across)
        gaussian_nm = self.probe_nm if self.beam is None else self.beam.source_nm(self.alpha_rad)
        return Blur(
            radius_px=abs(long),
            minor_px=abs(short),
            angle_rad=direction + 0.5 * math.pi if is_turned else direction,
            gaussian_px=gaussian_nm / _FWHM_PER_SIGMA / (1000.0 * step_um),
            wave=None if self.beam is None else self._wave(self.beam, long, short, step_um),
        )

    def _wave(self, beam: Beam, long: float, short: float, step_um: float) -> Wave:
        return Wave(
            spherical_px=1e3 * beam.spherical_mm * self.alpha_rad**3 / step_um,
            chromatic_px=self.alpha_rad * beam.focal_spread_um / step_um,
            diffraction_px=1e-3 * beam.wavelength_nm / (2.0 * self.alpha_rad) / step_um,
            signs=(math.copysign(1.0, long), math.copysign(1.0, short)),
        )


def pixel_um(magnification: float, width_px: int = FAST_WIDTH_PX) -> float:
    """Pixel size on the specimen in um."""
    return REFERENCE_WIDTH_UM / magnification / width_px


def depth_of_focus_um(
    magnification: float, alpha_rad: float, width_px: int = FAST_WIDTH_PX
) -> float:
    """Depth of focus 2 * pixel / alpha in um."""
    return 2.0 * pixel_um(magnification, width_px) / alpha_rad


def is_in_focus(off_um: float, dof_um: float) -> bool:
    """Whether a WD that is `off_um` from the best one counts as in focus: within 1 DoF, or 2 um if that is more."""
    return abs(off_um) <= max(dof_um, _FINEST_UM)


def blur_radius_px(
    defocus_um: float, magnification: float, alpha_rad: float, width_px: int = FAST_WIDTH_PX
) -> float:
    """Radius of the defocus disc in pixels of a frame `width_px` wide, without astigmatism."""
    return alpha_rad * abs(defocus_um) / pixel_um(magnification, width_px)


def alpha_rad(aperture_um: float, wd_um: float) -> float:
    """Convergence semi-angle behind an aperture of diameter `aperture_um` in the lens. ASSUMED: no lens below it."""
    return 0.5 * aperture_um / wd_um


def focus_shift_um(kv: float) -> float:
    """How much longer the best WD is than at the default kV, with a lens current that nearly follows the kV."""
    return FOCUS_SHIFT_UM_PER_KV * (kv - DEFAULT_KV)


def beam_current_pa(spot: float) -> float:
    """Beam current in pA at a spot number: 2 pA at spot 1, doubled by each further one. ASSUMED."""
    return _SPOT_1_PA * math.exp2(spot - 1.0)
