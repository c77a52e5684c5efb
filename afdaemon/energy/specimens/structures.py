"""Specimens to try things on: layers of Perlin noise, pads, and the volumes that they fill.

Thicknesses are (layers, y, x) in nm, from the lowest layer to the topmost. Volumes are (z, y, x) in voxels of 10 nm,
from the substrate up: 0 where there is nothing, k + 1 in layer k.
"""

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from afdaemon.energy.specimens.stacks import AU_AL_SI, Stack

Floats = npt.NDArray[np.float64]
Volume = npt.NDArray[np.uint8]

SIDE_PX = 128
VOXEL_NM = 10.0
QUANTA = (20.0, 10.0)
"""Steps of thickness per unit of noise, for gold and aluminium, as in the report."""
_CELLS = 2
_PADS = ((0, 22, 64, 10.0), (0, 64, 64, 15.0), (0, 64, 22, 5.0), (1, 43, 43, 150.0))
"""Layer, first column, first row and thickness (nm) of the report's pads."""
_PAD_PX = 42
_ROUNDING_NM = 1e-6


class Split(IntEnum):
    """What a structure is for. No two splits share a map of any layer."""

    TRAIN = 0
    VALIDATION = 1
    TEST = 2


def perlin(rng: np.random.Generator, side_px: int = SIDE_PX, cells: int = _CELLS) -> Floats:
    """Perlin noise (side_px, side_px), about -.7 to .7: gradients from [-1, 1]^2 at the corners of `cells` cells."""
    gradients = rng.uniform(-1.0, 1.0, (cells + 1, cells + 1, 2))
    at = np.arange(side_px) * cells / side_px
    low, part = at.astype(int), at % 1.0
    fade = part**3 * (part * (part * 6.0 - 15.0) + 10.0)
    noise = np.zeros((side_px, side_px))
    for up in (0, 1):
        for right in (0, 1):
            gradient = gradients[np.ix_(low + up, low + right)]
            slope = gradient[..., 0] * (part - up)[:, None] + gradient[..., 1] * (part - right)
            weights = [fade if end else 1.0 - fade for end in (up, right)]
            noise += np.outer(*weights) * slope
    return noise


def _thickness_nm(noise: Floats, max_nm: float, quantum: float | None) -> Floats:
    """A layer from noise: nothing below 0, the most at its peak; with a quantum in steps, and in whole nm."""
    steps = noise.clip(min=0.0)
    if quantum is None:
        return steps * (max_nm / max(float(steps.max()), 1e-9))
    steps = np.floor(quantum * steps)
    return np.floor(steps * max_nm / max(float(steps.max()), 1.0) + _ROUNDING_NM)


def random_layers(
    split: Split,
    index: int,
    *,
    stack: Stack = AU_AL_SI,
    quanta: tuple[float, ...] | None = QUANTA,
    side_px: int = SIDE_PX,
) -> Floats:
    """Thicknesses (layers, side_px, side_px) of structure `index`; each layer has a seed of its own.

    `quanta` are the steps per unit of noise, one a layer, or None for thickness without steps.
    """
    each = quanta or (None,) * len(stack.layers)
    return np.stack(
        [
            _thickness_nm(
                perlin(np.random.default_rng((int(split), k, index)), side_px),
                layer.max_nm,
                quantum,
            )
            for k, (layer, quantum) in enumerate(zip(stack.layers, each, strict=True))
        ]
    )


def report_pads() -> Floats:
    """The report's "real" structure (2, 128, 128): a geometry that was run through a simulator, not measured."""
    thickness_nm = np.zeros((2, SIDE_PX, SIDE_PX))
    for layer, x, y, nm in _PADS:
        thickness_nm[layer, y : y + _PAD_PX, x : x + _PAD_PX] = nm
    return thickness_nm


def depth_voxels(stack: Stack) -> int:
    """Voxels from the substrate to the top of the thickest stack."""
    return sum(int(layer.max_nm // VOXEL_NM) for layer in stack.layers)


def volume_of(thickness_nm: Floats, depth: int) -> Volume:
    """Classes (depth, ...) of thicknesses (layers, ...): whole voxels of each layer, one layer upon the other."""
    voxels = np.floor((thickness_nm + _ROUNDING_NM) / VOXEL_NM).astype(int)
    tops = np.cumsum(voxels, axis=0)
    z = np.arange(depth).reshape(-1, *[1] * (thickness_nm.ndim - 1))
    below = np.stack([(z >= top).astype(np.uint8) for top in tops]).sum(axis=0)
    return np.where(below == len(tops), 0, below + 1).astype(np.uint8)
