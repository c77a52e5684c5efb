"""Non-local means over all energies at once: pixels that look alike at 31 energies are the same stack.

A pixel becomes the mean of the pixels around it, weighted by how well they and their neighbours agree within the
directions that the dictionary fills. Twice: the first pass finds who agrees with whom, the second asks again with less
noise. After A. Buades, B. Coll and J.-M. Morel, CVPR 2005, for vectors.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import avg_pool2d

from afdaemon.energy.physics.scattering import Floats

_REACH_PX = 8
_PASSES = ((1, 0.5), (1, 0.03))
"""Of each pass: radius (px) of the patch that is compared, and the excess of squared distance at which weights fall
to 1/e, in units of the first pass' noise."""


@dataclass(frozen=True, slots=True)
class Denoised:
    """Points (q, y, x), and for each pixel (y, x) how many exposures its mean is worth."""

    points: Floats
    exposures: Floats


def non_local_means(points: Floats, reach_px: int = _REACH_PX) -> Denoised:
    """The mean of what looks alike within `reach_px`; `points` (q, y, x) have noise 1."""
    noisy = torch.from_numpy(points).float()
    guide, noise = noisy, torch.ones(noisy.shape[1:])
    for radius_px, tolerance in _PASSES:
        mean, noise = _pass(noisy, guide, noise, reach_px, radius_px, tolerance)
        guide = mean
    return Denoised(guide.double().numpy(), noise.reciprocal().double().numpy())


def _pass(
    noisy: torch.Tensor,
    guide: torch.Tensor,
    noise: torch.Tensor,
    reach_px: int,
    radius_px: int,
    tolerance: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Means and their variances; `noise` (y, x) is the variance of the guide."""
    total, weight = noisy.clone(), torch.ones_like(noise)
    squares = torch.ones_like(noise)
    for here, there in _pairs(reach_px, noise.shape):
        apart = (guide[(..., *here)] - guide[(..., *there)]).square().sum(0)
        expected = len(guide) * (noise[here] + noise[there])
        excess = _smooth((apart - expected), radius_px).clamp(min=0.0)
        alike = torch.exp(-excess / (tolerance * len(guide)))
        for one, other in ((here, there), (there, here)):
            total[(..., *one)] += alike * noisy[(..., *other)]
            weight[one] += alike
            squares[one] += alike.square()
    return total / weight, squares / weight.square()


def _smooth(image: torch.Tensor, radius_px: int) -> torch.Tensor:
    if radius_px == 0:
        return image
    side = 2 * radius_px + 1
    pooled = avg_pool2d(image[None, None], side, 1, radius_px, count_include_pad=False)
    return pooled[0, 0]


Area = tuple[slice, slice]


def _pairs(reach_px: int, shape: tuple[int, ...]) -> Iterator[tuple[Area, Area]]:
    """Each shift once: the pixels that have a partner there, and their partners."""
    height, width = shape
    for down in range(min(reach_px, height - 1) + 1):
        for right in range(-min(reach_px, width - 1), min(reach_px, width - 1) + 1):
            if (down, right) <= (0, 0):
                continue
            rows = slice(0, height - down), slice(down, height)
            columns = (
                slice(max(0, -right), width - max(0, right)),
                slice(max(0, right), width + min(0, right)),
            )
            yield (rows[0], columns[0]), (rows[1], columns[1])


def without(points: Floats) -> Denoised:
    """The points as they are, each worth one exposure."""
    return Denoised(points, np.ones(points.shape[1:]))
