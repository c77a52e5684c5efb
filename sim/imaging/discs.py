"""An aberrated beam as a sum of discs. Pure.

A ray through the aperture at rho (1 at its rim) meets the surface at rho (a + e + kappa (2/3 - rho^2)) from the axis:
`a` is the blur's semi-axis, signed, `e` what its energy changes, kappa = Cs alpha^3 (the gradient of the wave
aberration Cs theta^4 / 4; Reimer, Scanning Electron Microscopy, section 2.2.4). The rays of one energy through a narrow
ring of the aperture fill what one disc covers and a smaller one does not. So a beam is a weighted sum of discs, and
without aberrations it is one.

Defocus counts from where the rays lie closest together (in the mean square): 2/3 kappa from the paraxial focus.
"""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from afdaemon.sim.optics import Blur, Wave

_LEAST_BLUR = 2.0 / 3.0
"""Mean of rho^2 over the aperture, weighted by rho^2."""
_LEAST_PX = 0.02
"""Aberrations and diffraction below this change no frequency's transfer by more than .02."""
HIGHEST = 0.7072
"""Cycles per pixel that no frequency of a frame exceeds: its corner has sqrt(1/2)."""
_PHASE_RAD = 0.25
"""What the place of a ray within its ring may change at that frequency, from the ring's mean to its borders. Chosen so
that the transfer is that of the aperture's wave within .02 (tests/sim/imaging/test_transfer.py)."""
_MOST_RINGS, _MOST_ENERGIES = 12, 65
"""More would be needed only where aberrations alone blur by several pixels, or the energies by tens of them."""
_TAIL = 3.0
"""Standard deviations of the energies to either side."""

Numbers = NDArray[np.float64]


def matters(wave: Wave | None) -> bool:
    """Whether a wave changes what geometric optics gives by more than can be seen."""
    if wave is None:
        return False
    return max(wave.spherical_px, wave.chromatic_px, wave.diffraction_px) > _LEAST_PX


def discs(blur: Blur, wave: Wave) -> Numbers:
    """The discs (n, 5) of a beam.

    Two semi-axes in pixels, signed, along and across `blur.angle_rad`; the radius in the aperture that a disc's rays
    come through, 1 at its rim; the mean of rho^2 in its ring; and a weight. The weights add up to 1.
    """
    inner, outer, mean = _rings(wave)
    energy_px, share = _energies(wave.chromatic_px)
    root = np.sqrt(np.concatenate([outer, inner[1:]]))
    mean = np.concatenate([mean, mean[1:]])
    moved_px = energy_px[:, None] + wave.spherical_px * (_LEAST_BLUR - mean)
    along, across = (
        root * (sign * semi_px + moved_px)
        for sign, semi_px in zip(wave.signs, (blur.radius_px, blur.minor_px), strict=True)
    )
    weight = share[:, None] * np.concatenate([outer, -inner[1:]])
    columns = np.broadcast_arrays(along, across, root, mean, weight)
    return np.stack([column.ravel() for column in columns], axis=1)


def rim(blur: Blur, wave: Wave) -> Blur:
    """The geometric blur most like the beam's at high frequencies: the disc of its rim, smeared by the energies."""
    shift_px = wave.spherical_px * (_LEAST_BLUR - float(_rings(wave)[2][-1]))
    radius_px, minor_px = (
        abs(sign * semi_px + shift_px)
        for sign, semi_px in zip(wave.signs, (blur.radius_px, blur.minor_px), strict=True)
    )
    gaussian_px = math.hypot(blur.gaussian_px, wave.chromatic_px)
    return replace(blur, radius_px=radius_px, minor_px=minor_px, gaussian_px=gaussian_px, wave=None)


def _rings(wave: Wave) -> tuple[Numbers, Numbers, Numbers]:
    """Rings of equal area: rho^2 at their inner and outer borders, and its mean in each, weighted by rho^2.

    With this mean, kappa rho^3 is replaced by the multiple of rho that is closest to it in the mean square. Where the
    energies smear the frequency, only rays near the axis are left of it, and for them fewer rings will do.
    """
    smeared = math.hypot(1.0, wave.chromatic_px)
    phase_rad = math.pi * HIGHEST * wave.spherical_px / smeared
    count = min(max(1, math.ceil(phase_rad / _PHASE_RAD)), _MOST_RINGS)
    borders = np.linspace(0.0, 1.0, count + 1)
    inner, outer = borders[:-1], borders[1:]
    return inner, outer, (outer**3 - inner**3) / (1.5 * (outer**2 - inner**2))


def _energies(chromatic_px: float) -> tuple[Numbers, Numbers]:
    """Equally spaced changes of the semi-axes in pixels, and their shares of a Gaussian.

    A comb of this spacing has its first ghost beyond the highest frequency by 2.5 of the Gaussian's own widths there.
    """
    if chromatic_px <= _LEAST_PX:
        return np.zeros(1), np.ones(1)
    step_px = 1.0 / (HIGHEST + 0.4 / chromatic_px)
    count = min(math.ceil(_TAIL * chromatic_px / step_px), _MOST_ENERGIES // 2)
    change = np.linspace(-_TAIL, _TAIL, 2 * count + 1)
    share = np.exp(-0.5 * change**2)
    return chromatic_px * change, share / share.sum()
