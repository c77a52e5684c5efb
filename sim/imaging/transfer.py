"""What a blur does to each frequency of a field. Pure.

The geometric blur is one elliptical disc and one Gaussian, and has a closed form. What rays and waves change (see
`afdaemon.sim.imaging.discs`) is smooth, or small: it comes from a small table that is made for each blur, and added.

Sources: H. H. Hopkins, Proc. R. Soc. A 231 (1955) 91 (transfer of a defocused lens, overlap of the shifted aperture);
J. W. Goodman, Introduction to Fourier Optics, 2nd ed. (McGraw-Hill 1996), section 6.3 (transfer of a round aperture).
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import j1

from afdaemon.sim.imaging.discs import HIGHEST, Numbers, discs, matters, rim
from afdaemon.sim.ops import NUMPY, Array, Ops, frequencies
from afdaemon.sim.optics import Blur, Wave
from afdaemon.sim.surface import FloatImage

_TABLE_STEPS = 64
_TABLE_END = 3000
"""The table of 2 J1(x) / x: steps per unit of x, and the x past which it is below 1e-5."""

_OUTWARDS = 48
"""Steps of a rest's table in the root of the frequency, which puts most of them near zero."""
_ROUND, _ROUND_PER_PX, _MOST_ROUND = 4, 6.0, 64
"""Its steps in direction: the more, the further apart the two semi-axes are.

With these numbers the table departs from the sum of discs by less than .02 up to an astigmatism of 8 px, and by less
than .025 up to 80 px.
"""
_TINY = 1e-20
_NONE = Wave(spherical_px=0.0, chromatic_px=0.0, diffraction_px=0.0)

Floats = NDArray[np.float32]
Rest = tuple[Sequence[Array], Array]
"""Six terms, numbers or (n, 1, 1), and a table (2, m) of what waves change: values and steps to the next."""


def transfer(shape: tuple[int, int], blur: Blur) -> FloatImage:
    """Transfer function of `blur` on the half-plane grid of `rfft2`, float32 (H, W // 2 + 1), 1 at zero frequency."""
    terms = [float(term) for term in transfer_terms(blur)]
    image: FloatImage = evaluate_transfer(NUMPY, shape, terms, jinc_table(), rest_of(blur))
    return image


def transfer_terms(blur: Blur) -> Floats:
    """The terms that `evaluate_transfer` takes, float32 (5,): two rows of the ellipse's matrix, one of the Gaussian.

    With a wave that matters, they are those of the geometric blur that `rest_terms` is the rest to.
    """
    if blur.wave is not None and matters(blur.wave):
        blur = rim(blur, blur.wave)
    ellipse = _matrix(blur.angle_rad, blur.radius_px, blur.minor_px, 2.0 * math.pi * _TABLE_STEPS)
    return np.array([*ellipse, -2.0 * math.pi**2 * blur.gaussian_px**2], dtype=np.float32)


def rest_of(blur: Blur) -> Rest | None:
    """`rest_terms` of one blur, as numpy takes them."""
    rest = rest_terms([blur])
    return None if rest is None else ([float(term) for term in rest[0][:, 0]], rest[1])


def rest_terms(blurs: Sequence[Blur]) -> tuple[Floats, Floats] | None:
    """What waves add to the geometric transfer of `blurs`: terms float32 (6, n) and a table (2, m).

    The terms are two rows of the matrix that leads into the table, and of a blur's own part of it the number of steps
    in direction and the place where it begins. None where no wave matters.
    """
    if not any(matters(blur.wave) for blur in blurs):
        return None
    terms = np.zeros((6, len(blurs)), np.float32)
    parts, begin = [np.zeros(_OUTWARDS + 1, np.float32)], _OUTWARDS + 1
    for k, blur in enumerate(blurs):
        if blur.wave is not None and matters(blur.wave):
            matrix, part = _rest(blur, blur.wave)
            terms[:, k] = *matrix, len(part) - 1, begin
            parts.append(part.ravel())
            begin += part.size
    table = np.concatenate([*parts, np.zeros(1, np.float32)])
    return terms, np.stack([table[:-1], np.diff(table)])


def evaluate_transfer(
    ops: Ops, shape: tuple[int, int], terms: Sequence[Array], table: Array, rest: Rest | None = None
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
    if rest is not None:
        image += _evaluate_rest(ops, (f_y, f_x), *rest)
    return image


@lru_cache(maxsize=1)
def jinc_table() -> Floats:
    """2 J1(x) / x in steps of 1/64, values and steps to the next, float32 (2, n).

    Linear interpolation between two entries errs by at most h^2 / 8 * 1/4 = 8e-6.
    """
    x = np.arange(_TABLE_END * _TABLE_STEPS + 2) / _TABLE_STEPS
    values = np.ones_like(x)
    np.divide(2.0 * j1(x), x, out=values, where=x > 0.0)
    table = np.stack([values[:-1], np.diff(values)]).astype(np.float32)
    table.flags.writeable = False
    return table


def _matrix(angle_rad: float, long: float, short: float, scale: float) -> list[float]:
    """(along x, along y, across y, across x): turns a frequency into an ellipse's axes and stretches it by them."""
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    long, short = scale * long, scale * short
    return [long * cos, long * sin, short * cos, -short * sin]


def _evaluate_rest(ops: Ops, f: tuple[Array, Array], terms: Sequence[Array], table: Array) -> Array:
    """The rest at frequencies `f`, along y and x: linear in the table's rows and between them."""
    along_x, along_y, across_y, across_x, rounds, begin = terms
    f_y, f_x = f
    share = along_x * f_x + along_y * f_y
    share *= share
    both = across_x * f_x + across_y * f_y
    both *= both
    both += share
    share /= ops.at_least(both, _TINY)
    share *= rounds
    row = ops.floor(share)
    share -= row
    place = ops.sqrt(ops.sqrt(both))
    place += row * (_OUTWARDS + 1) + begin
    above = ops.interpolate(table, place + (_OUTWARDS + 1))
    below = ops.interpolate(table, place)
    above -= below
    above *= share
    below += above
    return below


def _rest(blur: Blur, wave: Wave) -> tuple[list[float], Floats]:
    """The matrix into the table and the table: what the wave's transfer has beyond the geometric one of its rim.

    Its rows are directions, from across the ellipse to along it, evenly in the square of the cosine; its columns go
    outwards in steps of the root of x, the frequency times the radius of all that the beam covers.
    """
    made, outline = discs(blur, wave), rim(blur, wave)
    apart_px = abs(wave.signs[0] * blur.radius_px - wave.signs[1] * blur.minor_px)
    rounds = min(_ROUND + math.ceil(_ROUND_PER_PX * apart_px), _MOST_ROUND)
    spread_px = 2.0 * blur.gaussian_px + wave.diffraction_px
    along_px, across_px = np.abs(made[:, :2]).max(axis=0) + spread_px
    x_end = 2.0 * np.pi * HIGHEST * max(along_px, across_px)
    x = x_end * np.linspace(0.0, 1.0, _OUTWARDS + 1) ** 2 / (2.0 * np.pi)
    square = np.linspace(0.0, 1.0, rounds + 1)[:, None]
    f_along, f_across = x * np.sqrt(square) / along_px, x * np.sqrt(1.0 - square) / across_px
    # The table's corner lies outside the frame's frequencies: there it stays as it is at their border.
    outside = np.maximum(np.hypot(f_along, f_across) / HIGHEST, 1.0)
    f_along, f_across = (f_along / outside).ravel(), (f_across / outside).ravel()
    rest = _rays(f_along, f_across, made, wave)
    rest *= _gaussian(f_along, f_across, blur.gaussian_px)
    geometric = _rays(f_along, f_across, discs(outline, _NONE), _NONE)
    rest -= geometric * _gaussian(f_along, f_across, outline.gaussian_px)
    scale = 2.0 * math.pi * _OUTWARDS**2 / x_end
    matrix = _matrix(blur.angle_rad, along_px, across_px, scale)
    return matrix, rest.astype(np.float32).reshape(rounds + 1, -1)


def _gaussian(f_along: Numbers, f_across: Numbers, sigma_px: float) -> Numbers:
    """Transfer of a Gaussian."""
    return np.asarray(np.exp(-2.0 * (np.pi * sigma_px) ** 2 * (f_along**2 + f_across**2)))


def _rays(f_along: Numbers, f_across: Numbers, made: Numbers, wave: Wave) -> Numbers:
    """Transfer (m,) of a sum of discs (n, 5) at frequencies (m,) along and across.

    Behind an aperture that diffracts, only rays from where it overlaps itself contribute, shifted by nu of its diameter
    (Hopkins). The overlap is 1 - nu as wide as the aperture along the shift and nearly sqrt(1 - nu^2) across: discs
    shrink by that. These factors are within 5 % of those that keep the overlap's second moments.
    """
    along, across, root, mean, weight = made.T
    f = np.maximum(np.hypot(f_along, f_across), _TINY)
    nu = np.minimum(wave.diffraction_px * f, 1.0)
    wide, high = 1.0 - nu, np.sqrt((1.0 - nu**2) * (1.0 - 0.25 * nu))
    spared_px = wave.spherical_px * _spared(nu, wide, high)
    ahead = np.stack([f_along**2 / f, f_across**2 / f, *(spared_px * f)])
    aside = high * f_along * f_across / f
    x = np.square(_product(np.stack([along, across, root * mean, root], axis=1), wide * ahead))
    x += np.square(_product((across - along)[:, None], aside[None]))
    seen = weight @ NUMPY.interpolate(jinc_table(), np.sqrt(x))
    overlap = np.arccos(nu) - nu * np.sqrt(1.0 - nu**2)
    return np.asarray(2.0 / np.pi * overlap * seen)


def _spared(nu: Numbers, wide: Numbers, high: Numbers) -> Numbers:
    """By how much less aberration displaces the overlap's rays than the aperture's, in units of Cs alpha^3 rho (2, m).

    Two shifted rho^4 / 4 differ by nu u (rho^2 + nu^2) for a shift along u. On a ring, <u^4> and <u^2 v^2> are 3/4 and
    1/4 of <u^2> rho^2. The first row is for each rho^2.
    """
    return np.stack([1.0 - 0.75 * wide**2 - 0.25 * high**2, -(nu**2)])


def _product(of_discs: Numbers, of_frequencies: Numbers) -> Floats:
    """Arguments (n, m) of the table of 2 J1(x) / x, in its steps."""
    scaled = 2.0 * np.pi * _TABLE_STEPS * of_discs
    return np.asarray(scaled.astype(np.float32) @ of_frequencies.astype(np.float32))
