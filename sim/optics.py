"""Electron optics of the simulated column: how far out of focus, and what that does to an image.

Sign: defocus = working distance - best working distance; positive means that the beam crosses over below the surface.
The probe is a Gaussian of the column's own size, convolved with the disc that a cone of semi-angle alpha cuts out of
the surface at a distance from its crossover (geometric optics; diffraction is below a pixel at these angles).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import j1

from afdaemon.sim.surface import FloatImage

REFERENCE_WIDTH_UM = 127_000.0
"""Width of the picture that magnification refers to. ASSUMED: the usual 127 mm."""

FAST_WIDTH_PX = 320
"""Width of a fast-mode frame: the sampling in which depth of focus and scores are defined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Optics:
    """The column. `alpha_rad` is the convergence semi-angle (ASSUMED 5 mrad), `probe_nm` the probe's FWHM in focus."""

    alpha_rad: float = 5e-3
    probe_nm: float = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Blur:
    """A defocus disc in pixels: semi-axes `radius_px` and `minor_px`, the long one at `angle_rad`, and a Gaussian.

    `gaussian_px` is the standard deviation of what blurs besides the disc (the probe itself).
    """

    radius_px: float
    minor_px: float
    angle_rad: float = 0.0
    gaussian_px: float = 0.0


def pixel_um(magnification: float, width_px: int = FAST_WIDTH_PX) -> float:
    """Pixel size on the specimen in um."""
    return REFERENCE_WIDTH_UM / magnification / width_px


def depth_of_focus_um(
    magnification: float, alpha_rad: float, width_px: int = FAST_WIDTH_PX
) -> float:
    """Depth of focus 2 * pixel / alpha in um."""
    return 2.0 * pixel_um(magnification, width_px) / alpha_rad


def blur_radius_px(
    defocus_um: float, magnification: float, alpha_rad: float, width_px: int = FAST_WIDTH_PX
) -> float:
    """Radius of the defocus disc in pixels of a frame `width_px` wide."""
    return alpha_rad * abs(defocus_um) / pixel_um(magnification, width_px)


def transfer(shape: tuple[int, int], blur: Blur) -> FloatImage:
    """Transfer function of `blur` on the half-plane grid of `rfft2`, shape (H, W // 2 + 1), 1 at zero frequency.

    A uniform elliptical disc transforms to 2 J1(x) / x with x = 2 pi |(a f_a, b f_b)|.
    """
    f_y = np.fft.fftfreq(shape[0]).astype(np.float32)[:, None]
    f_x = np.fft.rfftfreq(shape[1]).astype(np.float32)[None, :]
    cos, sin = np.float32(np.cos(blur.angle_rad)), np.float32(np.sin(blur.angle_rad))
    along = np.float32(blur.radius_px) * (f_x * cos + f_y * sin)
    across = np.float32(blur.minor_px) * (f_y * cos - f_x * sin)
    x = np.float32(2.0 * np.pi) * np.hypot(along, across)
    disc = np.ones_like(x)
    np.divide(2.0 * j1(x), x, out=disc, where=x > 1e-4)
    exponent = np.float32(-2.0 * np.pi**2 * blur.gaussian_px**2) * (f_x**2 + f_y**2)
    return np.asarray(disc * np.exp(exponent), dtype=np.float32)
