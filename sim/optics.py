"""Electron optics of the simulated column: how far out of focus, and what that does to an image. Pure.

Sign: defocus = working distance - best working distance; positive means that the beam crosses over below the surface.
The probe is a Gaussian of the column's own size, convolved with the ellipse that a cone of semi-angle alpha cuts out of
the surface at a distance from its crossover (geometric optics).

Sources: L. Reimer, Scanning Electron Microscopy, 2nd ed. (Springer 1998), ch. 2 (brightness, aberrations, probe size);
J. Goldstein et al., Scanning Electron Microscopy and X-Ray Microanalysis, 3rd ed. (Springer 2003), ch. 2.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import j1

from afdaemon.sim.ops import NUMPY, Array, Ops, frequencies
from afdaemon.sim.surface import FloatImage

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
_ENERGY_SPREAD_EV = 2.0
"""Energy spread of a tungsten hairpin: 1 to 3 eV (Reimer, table 2.1)."""
_CHROMATIC_NM = 10e6
_SPHERICAL_NM = 20e6
"""Aberration coefficients of the objective, 10 and 20 mm. ASSUMED: usual for a conical lens at 12 mm."""
_SPOT_1_PA = 2.0
"""Beam current at spot 1; each further spot doubles it. ASSUMED."""
FOCUS_SHIFT_UM_PER_KV = 40.0
"""ASSUMED: what is left of a shift of about WD / kV = 800 um per kV when the lens current follows the high tension."""

_TABLE_STEPS = 64
_TABLE_END = 3000
"""The table of 2 J1(x) / x: steps per unit of x, and the x past which it is below 1e-5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blur:
    """An elliptical defocus disc in pixels, and a Gaussian.

    The semi-axes are `radius_px` at `angle_rad` (from x towards y) and `minor_px` across. `radius_px` is the larger:
    it is the radius that scores are computed from (see `afdaemon.sim.truth`). `gaussian_px` is the standard deviation
    of the remaining blur (the probe itself).
    """

    radius_px: float
    minor_px: float
    angle_rad: float = 0.0
    gaussian_px: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Optics:
    """The column. `alpha_rad` is the convergence semi-angle (ASSUMED 5 mrad), `probe_nm` the probe's FWHM in focus.

    `astigmatism_um` is the astigmatism that the two stigmators leave, as components (0/90 deg, 45/135 deg) of a
    vector. Its length is the distance between the two line foci, half its angle the direction that is in focus at the
    longer WD.
    """

    alpha_rad: float = 5e-3
    probe_nm: float = 6.0
    astigmatism_um: tuple[float, float] = (0.0, 0.0)

    def blur(self, defocus_um: float, magnification: float, width_px: int = FAST_WIDTH_PX) -> Blur:
        """What a point becomes: semi-axes alpha |dz - d/2| along the stigmators' direction, alpha |dz + d/2| across.

        So a point is a line across that direction at dz = d/2, a line along it at -d/2, and in the middle a disc: the
        circle of least confusion, of radius alpha d / 2. (Reimer, section 2.2.3.)
        """
        apart_um = math.hypot(*self.astigmatism_um)
        direction = 0.5 * math.atan2(self.astigmatism_um[1], self.astigmatism_um[0])
        step_um = pixel_um(magnification, width_px)
        along = self.alpha_rad * abs(defocus_um - 0.5 * apart_um) / step_um
        across = self.alpha_rad * abs(defocus_um + 0.5 * apart_um) / step_um
        return Blur(
            radius_px=max(along, across),
            minor_px=min(along, across),
            angle_rad=direction if along >= across else direction + 0.5 * math.pi,
            gaussian_px=self.probe_nm / _FWHM_PER_SIGMA / (1000.0 * step_um),
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


def probe_nm(kv: float, spot: float, alpha_rad: float) -> float:
    """Probe FWHM in nm: source image, diffraction, chromatic and spherical aberration added in quadrature.

    Source image d = 2 / (pi alpha) sqrt(I / brightness), diffraction .61 lambda / alpha, chromatic Cc alpha dE / E,
    spherical Cs alpha^3 / 2 (Reimer, section 2.2.4; Goldstein, section 2.2).
    """
    current_a = 1e-12 * beam_current_pa(spot)
    source_nm = 1e9 * 2.0 / (math.pi * alpha_rad) * math.sqrt(current_a / (_BRIGHTNESS_PER_KV * kv))
    volt = 1000.0 * kv
    wavelength_nm = 1.22643 / math.sqrt(volt * (1.0 + 0.978476e-6 * volt))
    diffraction_nm = 0.61 * wavelength_nm / alpha_rad
    chromatic_nm = _CHROMATIC_NM * alpha_rad * _ENERGY_SPREAD_EV / volt
    spherical_nm = 0.5 * _SPHERICAL_NM * alpha_rad**3
    return math.hypot(source_nm, diffraction_nm, chromatic_nm, spherical_nm)


def transfer(shape: tuple[int, int], blur: Blur) -> FloatImage:
    """Transfer function of `blur` on the half-plane grid of `rfft2`, float32 (H, W // 2 + 1), 1 at zero frequency."""
    image: FloatImage = evaluate_transfer(
        NUMPY, shape, [float(term) for term in transfer_terms(blur)], jinc_table()
    )
    return image


def transfer_terms(blur: Blur) -> NDArray[np.float32]:
    """The terms that `evaluate_transfer` takes, float32 (5,): two rows of the ellipse's matrix, one of the Gaussian."""
    cos, sin = math.cos(blur.angle_rad), math.sin(blur.angle_rad)
    long, short = (2.0 * math.pi * _TABLE_STEPS * r for r in (blur.radius_px, blur.minor_px))
    gaussian = -2.0 * math.pi**2 * blur.gaussian_px**2
    return np.array([long * cos, long * sin, short * cos, -short * sin, gaussian], dtype=np.float32)


def evaluate_transfer(
    ops: Ops, shape: tuple[int, int], terms: Sequence[Array], table: Array
) -> Array:
    """Transfer functions of one or many blurs, (..., H, W // 2 + 1).

    A uniform elliptical disc transforms to 2 J1(x) / x with x = 2 pi |(a f_a, b f_b)|. Each of the five terms is a
    number or has the shape (n, 1, 1).
    """
    along_x, along_y, across_y, across_x, gaussian = terms
    f_y, f_x = (ops.array(f) for f in frequencies(shape))
    x = along_x * f_x + along_y * f_y
    x *= x
    across = across_x * f_x + across_y * f_y
    across *= across
    x += across
    image = ops.interpolate(table, ops.sqrt(x))
    image *= ops.exp(gaussian * (f_x * f_x))
    image *= ops.exp(gaussian * (f_y * f_y))
    return image


@lru_cache(maxsize=1)
def jinc_table() -> NDArray[np.float32]:
    """2 J1(x) / x in steps of 1/64, values and steps to the next, float32 (2, n).

    Linear interpolation between two entries errs by at most h^2 / 8 * 1/4 = 8e-6.
    """
    x = np.arange(_TABLE_END * _TABLE_STEPS + 2) / _TABLE_STEPS
    values = np.ones_like(x)
    np.divide(2.0 * j1(x), x, out=values, where=x > 0.0)
    table = np.stack([values[:-1], np.diff(values)]).astype(np.float32)
    table.flags.writeable = False
    return table
