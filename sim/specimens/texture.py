"""Seeded randomness that belongs to a place: the same spot of the specimen is the same at every magnification.

Everything is a hash of lattice coordinates, so that a specimen has no edge and needs no memory.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from afdaemon.sim.surface import FloatImage, Patch

_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_AXIS_X = np.uint64(0x9E3779B97F4A7C15)
_AXIS_Y = np.uint64(0xC2B2AE3D27D4EB4F)
_STREAM = np.uint64(0x165667B19E3779F9)


@dataclass(frozen=True, slots=True)
class Particles:
    """Scattered particles in drawing pixels: centres x, y, radii r, and two uniform variates each; all shape (n,)."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    r: NDArray[np.float64]
    u: NDArray[np.float64]
    v: NDArray[np.float64]


def uniform(
    ix: NDArray[np.int64], iy: NDArray[np.int64], *, seed: int, stream: int
) -> NDArray[np.float64]:
    """Uniform variates in [0, 1) that depend on the lattice point, the seed and the stream alone (splitmix64)."""
    with np.errstate(over="ignore"):
        h = ix.astype(np.uint64) * _AXIS_X + iy.astype(np.uint64) * _AXIS_Y
        h += np.uint64(seed & 0xFFFFFFFFFFFFFFFF) * _MIX_2 + np.uint64(stream) * _STREAM
        h = (h ^ (h >> np.uint64(30))) * _MIX_1
        h = (h ^ (h >> np.uint64(27))) * _MIX_2
        h ^= h >> np.uint64(31)
    return np.asarray((h >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def lattice(patch: Patch, cell_um: float, margin: int) -> tuple[NDArray[np.int64], ...]:
    """Index grids (ix, iy), shape (rows, columns), of the cells that cover `patch` and `margin` more each way."""
    ix0 = int(np.floor(patch.left_um / cell_um)) - margin
    iy0 = int(np.floor(patch.top_um / cell_um)) - margin
    columns = int(np.ceil(patch.width * patch.step_um / cell_um)) + 2 * margin + 1
    rows = int(np.ceil(patch.height * patch.step_um / cell_um)) + 2 * margin + 1
    ix, iy = np.meshgrid(np.arange(ix0, ix0 + columns), np.arange(iy0, iy0 + rows))
    return ix.astype(np.int64), iy.astype(np.int64)


def value_noise(
    patch: Patch, cell_um: float, *, seed: int, stream: int, aspect: float = 1.0
) -> FloatImage:
    """Smooth noise of zero mean with cells of `cell_um`, float32 (height, width), about -1..1.

    `aspect` above 1 stretches the cells along x (rolling marks).
    """
    stretched = Patch(
        left_um=patch.left_um / aspect,
        top_um=patch.top_um,
        step_um=patch.step_um,
        width=int(np.ceil(patch.width / aspect)) + 1,
        height=patch.height,
    )
    ix, iy = lattice(stretched, cell_um, 2)
    values = (2.0 * uniform(ix, iy, seed=seed, stream=stream) - 1.0).astype(np.float32)
    scale = patch.step_um / cell_um
    matrix = np.array(
        [
            [scale / aspect, 0.0, stretched.left_um / cell_um - ix[0, 0]],
            [0.0, scale, patch.top_um / cell_um - iy[0, 0]],
        ]
    )
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    size = (patch.width, patch.height)
    return np.asarray(
        cv2.warpAffine(values, matrix, size, flags=flags, borderMode=cv2.BORDER_REFLECT),
        dtype=np.float32,
    )


def octaves(patch: Patch, smallest_px: float, largest_px: float) -> list[tuple[int, float]]:
    """Octaves (k, cell 2^k um) whose cells measure between `smallest_px` and `largest_px` drawing pixels."""
    lo = int(np.ceil(np.log2(smallest_px * patch.step_um)))
    hi = int(np.floor(np.log2(largest_px * patch.step_um)))
    return [(k, 2.0**k) for k in range(hi, lo - 1, -1)]


def scatter(
    patch: Patch,
    cell_um: float,
    *,
    seed: int,
    stream: int,
    share: float,
    radii: tuple[float, float],
) -> Particles:
    """At most one particle a cell, in a `share` of the cells, its radius uniform in `radii` (in cells)."""
    ix, iy = (grid.ravel() for grid in lattice(patch, cell_um, 1))
    draws = [uniform(ix, iy, seed=seed, stream=8 * stream + i) for i in range(6)]
    keep = draws[0] < share
    dx, dy, dr, u, v = (draw[keep] for draw in draws[1:])
    per_px = cell_um / patch.step_um
    return Particles(
        x=(ix[keep] + dx) * per_px - patch.left_um / patch.step_um,
        y=(iy[keep] + dy) * per_px - patch.top_um / patch.step_um,
        r=(radii[0] + (radii[1] - radii[0]) * dr) * per_px,
        u=u,
        v=v,
    )


FINEST_PX = 1.6
"""Smallest texture cell in drawing pixels: below this the drawing itself is the limit."""


def stream_of(base: int, octave: int) -> int:
    """The stream of a texture's octave: each octave has chance of its own."""
    return 256 * base + octave + 64


def speckle(patch: Patch, *, seed: int, stream: int, largest_px: float = 24.0) -> FloatImage:
    """Sharp-edged specks in all sizes from the drawing pixel to `largest_px`, about -1..1."""
    total = np.zeros((patch.height, patch.width), np.float32)
    scales = octaves(patch, FINEST_PX, largest_px)
    for k, cell_um in scales:
        noise = value_noise(patch, cell_um, seed=seed, stream=stream_of(stream, k))
        total += cv2.threshold(noise, 0.32, 1.0, cv2.THRESH_BINARY)[1]
        total -= cv2.threshold(noise, -0.42, 1.0, cv2.THRESH_BINARY_INV)[1]
    return np.asarray(total / max(1.0, float(np.sqrt(len(scales)))), dtype=np.float32)


def relief(
    patch: Patch, *, seed: int, stream: int, largest_px: float, aspect: float = 1.0
) -> FloatImage:
    """Smooth self-similar texture, about -1..1."""
    total = np.zeros((patch.height, patch.width), np.float32)
    scales = octaves(patch, FINEST_PX, largest_px)
    for k, cell_um in scales:
        total += value_noise(patch, cell_um, seed=seed, stream=stream_of(stream, k), aspect=aspect)
    return np.asarray(total / max(1.0, float(np.sqrt(len(scales)))), dtype=np.float32)
