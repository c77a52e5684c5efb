"""How likely each stack is in each pixel, what that says about every voxel, and how sure it is.

The prior is the histogram of levels of the whole field: which stacks there are is learnt from all pixels (expectation
and maximisation, begun with all stacks alike), and helps each to decide between its neighbours. Thickness without
steps wants fewer rounds of it: too many would invent steps.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from afdaemon.energy.inversion.denoise import Denoised
from afdaemon.energy.inversion.dictionary import Dictionary
from afdaemon.energy.inversion.search import distances
from afdaemon.energy.physics.scattering import Floats
from afdaemon.energy.specimens.structures import Volume, depth_voxels, volume_of

ROUNDS = 8
"""Of learning the levels, for layers that come in steps."""
_MOST_EXPOSURES = 20.0
"""What a pixel's mean may be worth at most: beyond it the physics and the neighbours' differences err more than
noise."""
_EVERY = 5
"""One pixel in so many is asked for the histogram."""
_RAREST = 1e-4
"""Share of all pixels that is spread over stacks which the histogram has not seen."""
_QUANTILES = (0.16, 0.84)


@dataclass(frozen=True, slots=True)
class Layers:
    """What was found.

    Thicknesses are (layers, y, x) in nm: mean, standard deviation, and the limits of the middle 68 %. `volume` (z, y,
    x) has the likeliest class of each voxel, and `confidence` its probability.
    """

    mean_nm: Floats
    sd_nm: Floats
    low_nm: Floats
    high_nm: Floats
    volume: Volume
    confidence: npt.NDArray[np.float32]


def posterior(seen: Denoised, known: Dictionary, rounds: int = ROUNDS) -> Layers:
    """The layers of every pixel. With `rounds` = 0 all stacks are alike beforehand."""
    log_prior = _log_histogram(seen, known, rounds)
    votes = _votes(known)
    parts = [_summary(p, known, votes) for p in _probabilities(seen, known, log_prior)]
    shape = seen.exposures.shape
    mean, sd, low, high, voxels, confidence = (
        np.concatenate(part, axis=-1).reshape(*part[0].shape[:-1], *shape)
        for part in zip(*parts, strict=True)
    )
    return Layers(mean, sd, low, high, voxels.astype(np.uint8), confidence.astype(np.float32))


def _probabilities(
    seen: Denoised, known: Dictionary, log_prior: torch.Tensor
) -> Iterator[torch.Tensor]:
    """Probabilities (pixels, K), some pixels at a time."""
    exposures = torch.from_numpy(seen.exposures.clip(max=_MOST_EXPOSURES)).float().flatten()
    done = 0
    for block in distances(seen.points, known):
        worth = exposures[done : done + len(block), None]
        done += len(block)
        yield torch.softmax(torch.from_numpy(block).mul_(-0.5 * worth).add_(log_prior), dim=1)


def _log_histogram(seen: Denoised, known: Dictionary, rounds: int) -> torch.Tensor:
    count = known.coordinates.shape[0]
    some = Denoised(
        seen.points.reshape(len(seen.points), -1)[:, ::_EVERY], seen.exposures.ravel()[::_EVERY]
    )
    prior = torch.full((count,), 1.0 / count)
    for _ in range(rounds):
        total = torch.zeros(count)
        for p in _probabilities(some, known, prior.log()):
            total += p.sum(0)
        prior = (1.0 - _RAREST) * total / len(some.exposures) + _RAREST / count
    return prior.log()


def _votes(known: Dictionary) -> torch.Tensor:
    """(K, classes x depth): 1 where a stack has that class at that voxel."""
    depth = depth_voxels(known.stack)
    volume = volume_of(known.levels_nm, depth)
    classes = range(len(known.stack.layers) + 1)
    return torch.from_numpy(np.concatenate([volume == kind for kind in classes])).float().T


def _summary(p: torch.Tensor, known: Dictionary, votes: torch.Tensor) -> tuple[Floats, ...]:
    """Of some pixels: the fields of `Layers`, the pixels last."""
    sizes = [len(axis) for axis in known.axes_nm]
    layers = [_of_layer(p.reshape(len(p), *sizes), k, axis) for k, axis in enumerate(known.axes_nm)]
    kinds = (p @ votes).reshape(len(p), len(sizes) + 1, -1)
    confidence, best = kinds.max(dim=1)
    ofs = (np.stack(part) for part in zip(*layers, strict=True))
    return (*ofs, best.T.double().numpy(), confidence.T.double().numpy())


def _of_layer(p: torch.Tensor, k: int, axis_nm: Floats) -> tuple[Floats, ...]:
    """Mean, standard deviation and middle 68 % of layer `k`; a level stands for the cell around it."""
    others = [d for d in range(1, p.ndim) if d != k + 1]
    marginal = (p.sum(others) if others else p).double().numpy()
    step_nm = axis_nm[1] - axis_nm[0]
    mean = marginal @ axis_nm
    variance = (marginal @ axis_nm**2 - mean**2).clip(min=0.0) + step_nm**2 / 12.0
    limits = [_quantile(marginal, axis_nm, step_nm, share) for share in _QUANTILES]
    return mean, np.sqrt(variance), *limits


def _quantile(marginal: Floats, axis_nm: Floats, step_nm: float, share: float) -> Floats:
    """Where the probability below reaches `share`, evenly within each level's cell."""
    below = np.cumsum(marginal, axis=1)
    cell = (below < share).sum(axis=1).clip(max=len(axis_nm) - 1)
    pixel = np.arange(len(marginal))
    inside = marginal[pixel, cell]
    before = below[pixel, cell] - inside
    nm = axis_nm[cell] + step_nm * ((share - before) / np.maximum(inside, 1e-12) - 0.5)
    return np.asarray(nm.clip(axis_nm[0], axis_nm[-1]), np.float64)
