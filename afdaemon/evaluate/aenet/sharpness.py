"""Is a picture sharp enough to stand for a specimen? Pure.

Perfectly sharp edges hold as much contrast in each octave of frequencies as in the next (Field 1987, J. Opt. Soc. Am. A
4, 2379): a picture whose finest octaves are fainter than those below is blurred itself. Drawn specimens give .9 to 1.3
for both ratios; the same specimens, blurred by a Gaussian of .7 px, give .65 to .8.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import cv2
import numpy as np

from afdaemon.sim.surface import FloatImage

SHARP_AT_LEAST = 0.75
"""Least ratio of an octave's contrast to that of the next coarser one, of the finest two octaves."""
REDUCTIONS = (3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
"""By how much a micrograph is reduced, tried in this order."""
_SIGMAS_PX = (0.7, 1.4, 2.8)


def octave_ratio(field: FloatImage) -> float:
    """The smaller of two ratios: contrast of the finest octave of `field` (H, W) to the second, second to third.

    Noise lifts the first alone, so that a blurred and noisy picture is not taken for a sharp one.
    """
    coarser = [field, *(cv2.GaussianBlur(field, (0, 0), sigma) for sigma in _SIGMAS_PX)]
    contrast = [float(np.std(fine - coarse)) for fine, coarse in pairwise(coarser)]
    if min(contrast) <= 0.0:
        return 0.0
    return min(contrast[0] / contrast[1], contrast[1] / contrast[2])


def sharp_reduction(
    field_at: Callable[[float], FloatImage], reductions: Sequence[float] = REDUCTIONS
) -> float | None:
    """The first reduction at which the picture is sharp; None where it stays soft however far it is reduced."""
    return next((r for r in reductions if octave_ratio(field_at(r)) >= SHARP_AT_LEAST), None)
