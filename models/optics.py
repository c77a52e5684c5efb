"""The optics that the service assumes, and the scale of scores. Each of these numbers is defined here only. Pure.

The simulator keeps its own (`afdaemon.sim.optics`, `afdaemon.sim.truth`): those are the ground truth, these are what
the service assumes. A test compares the two.
"""

import math
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = TypeVar("Numbers", float, NDArray[np.float32], NDArray[np.float64])

PICTURE_WIDTH_UM = 127_000.0
"""Width of the picture that a magnification refers to. ASSUMED: the usual 127 mm."""

SAMPLING_WIDTH_PX = 320
"""Width of the EM-30's fast-mode frames: depth of focus and scores are defined, and AENet judges, at this sampling."""

MAGNIFICATION_SCALE = 100_000.0
"""Magnifications are divided by this before a network sees them (Lee et al. 2021, Methods)."""

TOP_SCORE = 9.0
"""Score of a frame that cannot be sharper; the lowest is 0 (Lee et al. 2021)."""

HALF_SCORE_RADIUS_PX = 4.0
"""Blur radius b0, in pixels of a fast-mode frame, at which the score has fallen to half."""

HALF_SCORE_DOF = HALF_SCORE_RADIUS_PX / 2.0
"""The same in depths of focus: one of them blurs by a disc of 2 px radius."""

_LEAST_SCORE = 0.01
"""Scores nearer to either end of the scale than this say nothing more about the blur."""


def pixel_nm(magnification: float, width_px: int) -> float:
    """Pixel size on the specimen in nm, of a frame `width_px` wide."""
    return PICTURE_WIDTH_UM * 1e3 / magnification / width_px


def magnification_of(field_width_um: float) -> float:
    """The magnification at which a picture shows a field of this width."""
    return PICTURE_WIDTH_UM / field_width_um


def dof_um(magnification: float, alpha_rad: float) -> float:
    """Depth of focus in um: two pixels of a fast-mode frame over the convergence semi-angle."""
    return 2.0 * PICTURE_WIDTH_UM / (SAMPLING_WIDTH_PX * magnification * alpha_rad)


def score_of_blur(blur_px: "Numbers") -> "Numbers":
    """Score 9 / (1 + (b / b0)^2), 0 .. 9, of blur radii b in pixels of a fast-mode frame; a number or an array."""
    return TOP_SCORE / (1.0 + (blur_px / HALF_SCORE_RADIUS_PX) ** 2)


def blur_of_score(score: float) -> float:
    """The blur radius in pixels of a fast-mode frame that a score above 0 stands for."""
    return HALF_SCORE_RADIUS_PX * math.sqrt(max(0.0, TOP_SCORE / score - 1.0))


def u_of_score(score: float) -> float:
    """AENet's estimate of the blur, u = -2 ln(b / b0), that its score came from."""
    kept = min(max(score, _LEAST_SCORE), TOP_SCORE - _LEAST_SCORE)
    return math.log(kept / (TOP_SCORE - kept))
