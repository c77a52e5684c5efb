"""The detector: from electrons that the specimen gives off to grey values. Pure.

Counting noise follows a Poisson law, made from standard normals by its Cornish-Fisher expansion, one normal per pixel.
This is several times faster than drawing Poisson numbers, and the draws do not depend on the signal: a last-bit
difference on another processor changes a pixel by one grey level at most, whereas a rejection sampler would get out of
step with its random stream and change all later pixels. For the same reason counts are not rounded to whole electrons.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
    """

    electrons: float = 150.0
    contrast: float = 1.0
    brightness: float = 0.5
    gamma: float = 1.0
    read_noise: float = 2.0
    backscatter: float = 0.0
    tau_px: float = 0.0


def electrons_per_pixel(
    current_pa: float, dwell_ns: float, *, emitted: float = 1.0, efficiency: float = 0.6
) -> float:
    """Counted electrons of a pixel of signal 1: current * dwell / e, times the yield and the share that is detected.

    The yield of signal 1 (a bright edge) and the efficiency are ASSUMED; 100 pA for 400 ns give 150. A tungsten gun
    has some 4 pA in a probe of 12 nm, so that default is ASSUMED to stand for the mean of many fast scans.
    """
    return current_pa * dwell_ns * 1e-9 / _ELECTRON_PC * emitted * efficiency


def detect(signal: FloatImage, detector: Detector, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Grey values, uint8 of the same (H, W), of a noise-free signal (0..1, float32), which is left unchanged.

    Takes `NORMALS_PER_PIXEL` normals for each pixel from `rng`, whatever the signal and the settings.
    """
    normals = rng.standard_normal((NORMALS_PER_PIXEL, *signal.shape), dtype=np.float32)
    terms = [float(term) for term in detector_terms(detector)]
    return NUMPY.grey(evaluate_detector(NUMPY, signal.copy(), terms, normals[0], normals[1]))


def detector_terms(detector: Detector) -> NDArray[np.float32]:
    """The terms of `evaluate_detector`, float32 (6,).

    Electrons, gain per electron, offset, gamma, noise in levels, and what is left of a pixel in the next one.
    """
    return np.array(
        [
            detector.electrons,
            detector.contrast / detector.electrons,
            detector.brightness - 0.5 * detector.contrast,
            detector.gamma,
            detector.read_noise,
            math.exp(-1.0 / detector.tau_px) if detector.tau_px > 0.0 else 0.0,
        ],
        dtype=np.float32,
    )


def evaluate_detector(
    ops: Ops, signal: Array, terms: Sequence[Array], counting: Array, reading: Array
) -> Array:
    """Levels (0..255, unbounded and unrounded) of one or many signals (..., H, W), which are overwritten.

    Each of the six terms is a number or has the shape (n, 1, 1); the normals have the signal's shape and are
    overwritten too.
    """
    electrons, gain, offset, gamma, read_noise, left = terms
    signal *= electrons
    level = ops.lag(count(ops, ops.at_least(signal, 0.0), counting), left)
    level *= gain
    level += offset
    level = ops.power(level, gamma)
    level *= 255.0
    reading *= read_noise
    level += reading
    return level


def count(ops: Ops, mean: Array, z: Array) -> Array:
    """Counts with the first four cumulants of a Poisson law of that mean, from standard normals `z`.

    Cornish-Fisher: m + sqrt(m) z + (z^2 - 1) / 6 + (z - z^3) / (72 sqrt(m)), at least 0; here in Horner's form. From
    a mean of 2 on, variance and skewness are correct to a few per cent. Overwrites `mean`.
    """
    root = ops.sqrt(ops.at_least(mean + 0.0, _FEWEST))
    cubic = (1.0 / 72.0) / root
    total = z * cubic
    total *= -1.0
    total += 1.0 / 6.0
    total *= z
    total += cubic
    total += root
    total *= z
    mean -= 1.0 / 6.0
    total += mean
    return ops.at_least(total, 0.0)
