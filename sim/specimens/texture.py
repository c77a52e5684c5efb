"""Seeded randomness that belongs to a place: the same spot of the specimen is the same at every magnification.

Everything is a hash of lattice coordinates, so that a specimen has no edge and needs no memory.
"""

from collections.abc import Callable
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

_LATTICE_SHARE = 4
"""A lattice with more points per place than this is not drawn as a whole."""

_BLOCK = 2**15
"""Values that are worked on at a time: they stay in the processor's cache."""


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

    `aspect` above 1 stretches the cells along x (rolling marks). Cells below a drawing pixel average to nothing.
    """
    if cell_um < patch.step_um:
        return np.zeros((patch.height, patch.width), np.float32)
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
    columns = stretched.left_um / cell_um - ix[0, 0] + scale / aspect * np.arange(patch.width)
    rows = patch.top_um / cell_um - iy[0, 0] + scale * np.arange(patch.height)
    return _cubic(np.ascontiguousarray(_cubic(values.T, columns).T), rows)


def _cubic(values: FloatImage, at: NDArray[np.float64]) -> FloatImage:
    """Rows of `values` at the places `at` (n,) between them, by cubic convolution (Keys 1981, a = -0.75): (n, W).

    OpenCV's own resolves only 32 places between two rows, and a matrix product depends on the machine's threads.
    """
    first = np.floor(at).astype(np.int64)
    taps = np.arange(-1, 3)
    distance = np.abs((at - first)[:, None] - taps)
    near = (1.25 * distance - 2.25) * distance**2 + 1.0
    far = ((-0.75 * (distance - 5.0)) * distance - 6.0) * distance + 3.0
    weights = np.where(distance < 1.0, near, far).astype(np.float32)
    total = np.empty((at.size, values.shape[1]), np.float32)
    block = max(1, _BLOCK // values.shape[1])
    for start in range(0, at.size, block):
        rows = slice(start, start + block)
        part = total[rows]
        part[:] = 0.0
        for number, tap in enumerate(taps):
            term = values[first[rows] + tap]
            term *= weights[rows, number, None]
            part += term
    return total


def noise_at(
    x: NDArray[np.floating],
    y: NDArray[np.floating],
    *,
    seed: int,
    stream: int,
) -> FloatImage:
    """Smooth noise at arbitrary places, in cells (lattice points at whole numbers), float32, about -1..1.

    For coordinates that follow a fibre or a ridge. `x` and `y` have the same shape.
    """
    i0, j0 = int(np.floor(x.min())), int(np.floor(y.min()))
    columns, rows = int(x.max()) + 3 - i0, int(y.max()) + 3 - j0
    noise = np.empty(x.shape, np.float32)
    block = max(1, _BLOCK // x.shape[-1])
    if columns * rows > _LATTICE_SHARE * x.size:
        for start in range(0, x.shape[0], block):
            part = slice(start, start + block)
            noise[part] = _hashed(x[part], y[part], seed=seed, stream=stream)
        return noise
    ix, iy = np.meshgrid(np.arange(i0, i0 + columns), np.arange(j0, j0 + rows))
    values = _signed(ix, iy, seed=seed, stream=stream)
    for start in range(0, x.shape[0], block):
        part = slice(start, start + block)
        noise[part] = _bilinear(values, x[part] - i0, y[part] - j0)
    return noise


def _signed(ix: NDArray[np.int64], iy: NDArray[np.int64], *, seed: int, stream: int) -> FloatImage:
    return (2.0 * uniform(ix, iy, seed=seed, stream=stream) - 1.0).astype(np.float32)


def _hashed(
    x: NDArray[np.floating], y: NDArray[np.floating], *, seed: int, stream: int
) -> FloatImage:
    """As `_bilinear`, from the four lattice points around each place only: for places that lie far apart."""
    ix, iy = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    u, v = (x - ix).astype(np.float32), (y - iy).astype(np.float32)
    u *= u * (3.0 - 2.0 * u)
    v *= v * (3.0 - 2.0 * v)
    above, below = (_signed(ix, iy + row, seed=seed, stream=stream) for row in (0, 1))
    above += u * (_signed(ix + 1, iy, seed=seed, stream=stream) - above)
    below += u * (_signed(ix + 1, iy + 1, seed=seed, stream=stream) - below)
    return np.asarray(above + v * (below - above), np.float32)


def _bilinear(
    values: FloatImage, x: NDArray[np.floating], y: NDArray[np.floating]
) -> NDArray[np.float32]:
    """`values` at column x and row y, all at least 0, eased between the lattice points."""
    at_x, at_y = x.astype(np.int32), y.astype(np.int32)
    u, v = (x - at_x).astype(np.float32), (y - at_y).astype(np.float32)
    u *= u * (3.0 - 2.0 * u)
    v *= v * (3.0 - 2.0 * v)
    flat, width = values.ravel(), np.int32(values.shape[1])
    at = at_y * width + at_x
    above, below = flat[at], flat[at + width]
    above += u * (flat[at + 1] - above)
    below += u * (flat[at + width + 1] - below)
    return np.asarray(above + v * (below - above), np.float32)


def octaves(patch: Patch, smallest_px: float, largest_px: float) -> list[tuple[int, float]]:
    """Octaves (k, cell 2^k um) whose cells measure between `smallest_px` and `largest_px` drawing pixels."""
    lo = int(np.ceil(np.log2(smallest_px * patch.step_um)))
    hi = int(np.floor(np.log2(largest_px * patch.step_um)))
    return [(k, 2.0**k) for k in range(hi, lo - 1, -1)]


def octaves_um(smallest_um: float, largest_um: float) -> list[tuple[int, float]]:
    """Octaves (k, cell 2^k um) from `largest_um` down to `smallest_um`, both included."""
    lo, hi = int(np.ceil(np.log2(smallest_um))), int(np.floor(np.log2(largest_um)))
    return [(k, 2.0**k) for k in range(hi, lo - 1, -1)]


def scatter(
    patch: Patch,
    cell_um: float,
    *,
    seed: int,
    stream: int,
    share: float,
    radii: tuple[float, float],
    density: Callable[[Patch], FloatImage] | None = None,
) -> Particles:
    """At most one particle per cell, in a `share` of the cells, its radius uniform in `radii` (in cells, below 1).

    `density` draws the factor by which `share` is multiplied in each cell of a patch, one pixel per cell.
    """
    ix, iy = lattice(patch, cell_um, 2)
    occupied = np.full(ix.shape, share)
    if density is not None:
        occupied *= density(
            Patch(
                left_um=(ix[0, 0] + 0.5) * cell_um,
                top_um=(iy[0, 0] + 0.5) * cell_um,
                step_um=cell_um,
                width=ix.shape[1],
                height=ix.shape[0],
            )
        )
    keep = uniform(ix, iy, seed=seed, stream=8 * stream) < occupied
    ix, iy = ix[keep], iy[keep]
    dx, dy, dr, u, v = (uniform(ix, iy, seed=seed, stream=8 * stream + i) for i in range(1, 6))
    per_px = cell_um / patch.step_um
    return Particles(
        x=(ix + dx) * per_px - patch.left_um / patch.step_um,
        y=(iy + dy) * per_px - patch.top_um / patch.step_um,
        r=(radii[0] + (radii[1] - radii[0]) * dr) * per_px,
        u=u,
        v=v,
    )


_FINEST_PX = 1.6
"""Smallest texture cell in drawing pixels: below this the drawing itself is the limit."""


def stream_of(base: int, octave: int) -> int:
    """The stream of a texture's octave: each octave has a random stream of its own."""
    return 256 * base + octave + 64


def speckle(patch: Patch, *, seed: int, stream: int, largest_px: float = 24.0) -> FloatImage:
    """Sharp-edged specks in all sizes from the drawing pixel to `largest_px`, about -1..1."""
    total = np.zeros((patch.height, patch.width), np.float32)
    scales = octaves(patch, _FINEST_PX, largest_px)
    for k, cell_um in scales:
        noise = value_noise(patch, cell_um, seed=seed, stream=stream_of(stream, k))
        total += cv2.threshold(noise, 0.32, 1.0, cv2.THRESH_BINARY)[1]
        total -= cv2.threshold(noise, -0.42, 1.0, cv2.THRESH_BINARY_INV)[1]
    return np.asarray(total / max(1.0, float(np.sqrt(len(scales)))), dtype=np.float32)


def relief(
    patch: Patch, *, seed: int, stream: int, largest_px: float, smallest_px: float = _FINEST_PX
) -> FloatImage:
    """Smooth self-similar texture, about -1..1."""
    total = np.zeros((patch.height, patch.width), np.float32)
    scales = octaves(patch, smallest_px, largest_px)
    for k, cell_um in scales:
        total += value_noise(patch, cell_um, seed=seed, stream=stream_of(stream, k))
    return np.asarray(total / max(1.0, float(np.sqrt(len(scales)))), dtype=np.float32)


def rough(
    patch: Patch,
    slope: float,
    cells_um: tuple[float, float],
    *,
    seed: int,
    stream: int,
    aspect: float = 1.0,
) -> FloatImage:
    """Self-similar relief in um: cells of `cells_um` that are as high as `slope` times their width."""
    total = np.zeros((patch.height, patch.width), np.float32)
    finest_um = _FINEST_PX * patch.step_um
    for k, cell_um in octaves_um(*cells_um):
        if cell_um >= finest_um:
            total += np.float32(slope * cell_um) * value_noise(
                patch, cell_um, seed=seed, stream=stream_of(stream, k), aspect=aspect
            )
    return total


def axes_um(patch: Patch) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places of the columns, (1, width), and of the rows, (height, 1), in um."""
    x = patch.left_um + patch.step_um * np.arange(patch.width, dtype=np.float64)
    y = patch.top_um + patch.step_um * np.arange(patch.height, dtype=np.float64)
    return np.asarray(x[None, :], np.float64), np.asarray(y[:, None], np.float64)


def smoothstep(low: float, high: float, values: FloatImage) -> FloatImage:
    """0 up to `low`, 1 from `high` on, smooth between."""
    t = np.clip((values - np.float32(low)) / np.float32(high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), dtype=np.float32)
