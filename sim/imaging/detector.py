"""The detector: from electrons that the specimen gives off to grey values. Pure.

Counting noise follows a Poisson law, or that of secondary electrons which come in bunches (`count`). It is made from
standard normals by a Cornish-Fisher expansion, one normal per pixel. This is several times faster than drawing Poisson
numbers, and the draws do not depend on the signal: a last-bit difference on another processor changes a pixel by one
grey level at most, whereas a rejection sampler would get out of step with its random stream and change all later
pixels. For the same reason counts are not rounded to whole electrons.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from afdaemon.sim.ops import NUMPY, Array, Ops
from afdaemon.sim.surface import FloatImage

_ELECTRON_PC = 1.602176634e-7
"""Elementary charge in pA s."""

NORMALS_PER_PIXEL = 2
"""One for the counted electrons, one for the amplifier."""

_FEWEST = 0.05
"""Smaller means are replaced by this in the square root: the expansion's last term would grow without bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """Detector and amplifier.

    `electrons` is the mean count of a pixel of signal 1; a pixel of signal s is Poisson with mean s * electrons.
    The amplifier maps signal 0.5 to `brightness` (0..1 of the grey scale) with gain `contrast`, applies `gamma` and
    adds Gaussian `read_noise` (in grey levels); it saturates at 0 and 255. `backscatter` is the share of the
    backscattered electrons in the signal: 0 is the SE detector, 1 the BSE detector, in between both are mixed.
    `tau_px` is the time constant with which scintillator and amplifier follow the counted electrons, in pixels of the
    line: it smears signal and counting noise along the line, as a fast scan does (Reimer, section 5.2.3).
    `se_yield` is how many secondary electrons of one primary are counted on average where the signal is 1; at 0 they
    come one by one (Poisson). Backscattered electrons always do: a primary comes back once or not at all.
    An automatic contrast and brightness that hunts makes the gain swing by the share `hunting` of itself every
    `hunting_s` seconds, and the brightness by as much of the grey scale, a quarter of a period later. ASSUMED.
    """

    electrons: float = 150.0
    contrast: float = 1.0
    brightness: float = 0.5
    gamma: float = 1.0
    read_noise: float = 2.0
    backscatter: float = 0.0
    tau_px: float = 0.0
    se_yield: float = 0.0
    hunting: float = 0.0
    hunting_s: float = 5.0


def electrons_per_pixel(
    current_pa: float, dwell_ns: float, *, emitted: float = 1.0, efficiency: float = 0.6
) -> float:
    """Counted electrons of a pixel of signal 1: current * dwell / e, times the yield and the share that is detected.

    The yield of signal 1 (a bright edge) and the efficiency are ASSUMED; 100 pA for 400 ns give 150. A tungsten gun
    has some 4 pA in a probe of 12 nm, so that default is ASSUMED to stand for the mean of many fast scans.
    """
    return current_pa * dwell_ns * 1e-9 / _ELECTRON_PC * emitted * efficiency


def averaged(detector: Detector, passes: int) -> Detector:
    """The detector for the mean of that many passes over each line: more electrons, less noise of the amplifier."""
    if passes == 1:
        return detector
    return replace(
        detector,
        electrons=passes * detector.electrons,
        read_noise=detector.read_noise / math.sqrt(passes),
    )


def detect(
    signal: FloatImage,
    detector: Detector,
    rng: np.random.Generator,
    *,
    at_s: NDArray[np.float64] | None = None,
) -> NDArray[np.uint8]:
    """Grey values, uint8 of the same (H, W), of a noise-free signal (0..1, float32), which is left unchanged.

    Takes `NORMALS_PER_PIXEL` normals for each pixel from `rng`, whatever the signal and the settings. `at_s`, (H,), is
    when each line is scanned; without it nothing hunts.
    """
    normals = rng.standard_normal((NORMALS_PER_PIXEL, *signal.shape), dtype=np.float32)
    terms: list[Array] = [float(term) for term in detector_terms(detector)]
    if detector.hunting > 0.0 and at_s is not None:
        terms[1:3] = _hunting(detector, at_s)
    return NUMPY.grey(evaluate_detector(NUMPY, signal.copy(), terms, normals[0], normals[1]))


def _hunting(detector: Detector, at_s: NDArray[np.float64]) -> tuple[FloatImage, FloatImage]:
    """Gain per electron and offset of each line, float32 (H, 1), in place of the two terms that stand still."""
    turns = 2.0 * np.pi * at_s[:, None] / detector.hunting_s
    contrast = detector.contrast * (1.0 + detector.hunting * np.sin(turns))
    brightness = detector.brightness - detector.hunting * np.cos(turns)
    return (
        np.asarray(contrast / detector.electrons, np.float32),
        np.asarray(brightness - 0.5 * contrast, np.float32),
    )


def detector_terms(detector: Detector) -> NDArray[np.float32]:
    """The terms of `evaluate_detector`, float32 (7,).

    Electrons, gain per electron, offset, gamma, noise in levels, what is left of a pixel in the next one, and how much
    larger than Poisson's the variance of one electron is, for each electron (1 / the number of primaries).
    """
    return np.array(
        [
            detector.electrons,
            detector.contrast / detector.electrons,
            detector.brightness - 0.5 * detector.contrast,
            detector.gamma,
            detector.read_noise,
            math.exp(-1.0 / detector.tau_px) if detector.tau_px > 0.0 else 0.0,
            detector.se_yield * (1.0 - detector.backscatter) / detector.electrons,
        ],
        dtype=np.float32,
    )


def evaluate_detector(
    ops: Ops, signal: Array, terms: Sequence[Array], counting: Array, reading: Array
) -> Array:
    """Levels (0..255, unbounded and unrounded) of one or many signals (..., H, W), which are overwritten.

    Each of the seven terms is a number or has the shape (n, 1, 1), gain and offset also (H, 1); the normals have the
    signal's shape and are overwritten too.
    """
    electrons, gain, offset, gamma, read_noise, left, bunching = terms
    signal *= electrons
    level = ops.lag(count(ops, ops.at_least(signal, 0.0), counting, bunching), left)
    level *= gain
    level += offset
    level = ops.power(level, gamma)
    level *= 255.0
    reading *= read_noise
    level += reading
    return level


def count(ops: Ops, mean: Array, z: Array, bunching: Array = 0.0) -> Array:
    """Counts of that mean from standard normals `z`: Poisson, or with `bunching` Neyman's type A. Overwrites `mean`.

    A pixel gets a Poisson number of primaries, 1 / `bunching` on average, each of which gives a Poisson number of
    electrons, g = `bunching` * mean on average: where the signal is larger, primaries are as many and yield more. The
    first four cumulants over the mean are 1, 1 + g, 1 + 3 g + g^2 and 1 + 7 g + 6 g^2 + g^3 (Neyman 1939; for SEM:
    Reimer, section 4.2; Timischl, Date and Nemoto 2012, Scanning 34, 137; Peng, Murray-Bruce and Goyal 2021).

    Cornish-Fisher, with the standard deviation d, and s and k, the third and fourth cumulant over the second:
    m + d z + s (z^2 - 1) / 6 + ((3 k - 4 s^2) z^3 + (10 s^2 - 9 k) z) / (72 d), at least 0; here in Horner's form. For
    Poisson, d^2 = m and s = k = 1: from a mean of 2 on, variance and skewness are correct to a few per cent.
    """
    if ops.is_zero(bunching):
        deviation = ops.sqrt(ops.at_least(mean + 0.0, _FEWEST))
        skew: Array = 1.0 / 6.0
        linear = (1.0 / 72.0) / deviation
        cubic = -linear
    else:
        deviation, skew, linear, cubic = _bunched(ops, mean, bunching)
    total = z * cubic
    total += skew
    total *= z
    total += linear
    total += deviation
    total *= z
    mean -= skew
    total += mean
    return ops.at_least(total, 0.0)


def _bunched(ops: Ops, mean: Array, bunching: Array) -> tuple[Array, Array, Array, Array]:
    """Deviation, s / 6, and the coefficients of z and z^3, all of `mean`'s shape, of Neyman's type A law."""
    g = mean * bunching
    wider = g + 1.0
    deviation = ops.sqrt(ops.at_least(mean * wider, _FEWEST))
    s = g + 2.0
    s -= 1.0 / wider
    k = g + 4.0
    k *= g
    k += s
    square = s * s
    share = (1.0 / 72.0) / deviation
    linear = (10.0 * square - 9.0 * k) * share
    cubic = (3.0 * k - 4.0 * square) * share
    s *= 1.0 / 6.0
    return deviation, s, linear, cubic
