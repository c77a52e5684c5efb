"""Least squares that look everywhere: each pixel takes the stack of the dictionary that it resembles most."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from afdaemon.energy.inversion.dictionary import Dictionary
from afdaemon.energy.physics.scattering import Floats

_AT_ONCE = 2_048
"""Pixels compared at the same time: their distances to thousands of stacks stay in the cache."""


def global_search(series: Floats, known: Dictionary, tikhonov: float = 1.0) -> Floats:
    """Thicknesses (layers, y, x) in nm of a series (energies, y, x); `tikhonov` as in `local_search`."""
    points = known.within(series)
    most = np.array([[layer.max_nm] for layer in known.stack.layers])
    penalty = tikhonov * ((known.levels_nm / most) ** 2).sum(axis=0)
    best = [(distance + penalty).argmin(axis=1) for distance in distances(points, known)]
    return known.levels_nm[:, np.concatenate(best)].reshape(-1, *series.shape[1:])


def distances(points: Floats, known: Dictionary) -> Iterator[npt.NDArray[np.float32]]:
    """Squared distances (pixels, K) of points (q, ...) to all stacks, less each point's own square; some at a time."""
    flat = points.reshape(len(points), -1).T.astype(np.float32)
    there = known.coordinates.astype(np.float32)
    squares = (there**2).sum(axis=1)
    for first in range(0, len(flat), _AT_ONCE):
        yield squares - 2.0 * (flat[first : first + _AT_ONCE] @ there.T)
