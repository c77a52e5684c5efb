"""Plane cells around scattered seeds (Voronoi): grains of a metal, islands of a film."""

from dataclasses import dataclass

import cv2
import numpy as np

from afdaemon.sim.specimens.texture import lattice, uniform
from afdaemon.sim.surface import FloatImage, Patch

_JITTER = 1.0
_FINE_PX = 10.0
"""Cells larger than this are computed on every second pixel, those larger than twice this on every fourth, etc."""


@dataclass(frozen=True, slots=True, eq=False)
class Crystals:
    """Of the cell at each pixel: distance to its seed and to its border (in cells), its number as a variate (0..1)."""

    centre: FloatImage
    border: FloatImage
    tone: FloatImage


def crystals(
    patch: Patch, cell_um: float, *, seed: int, stream: int, sharp: bool = False
) -> Crystals:
    """Cells of `cell_um` across, drawn at `patch`; each image float32 (height, width).

    Cells below two drawing pixels are replaced by their mean. With `sharp`, large ones are computed on every pixel too.
    """
    if cell_um < 2.0 * patch.step_um:
        alike = np.full((patch.height, patch.width), 0.5, np.float32)
        return Crystals(centre=0.8 * alike, border=0.4 * alike, tone=alike)
    factor = 1
    while not sharp and cell_um / patch.step_um > _FINE_PX * factor and factor < 8:
        factor *= 2
    if factor == 1:
        return _exact(patch, cell_um, seed=seed, stream=stream)
    coarse, x0, y0 = _coarser(patch, factor)
    found = _exact(coarse, cell_um, seed=seed, stream=stream)

    def enlarged(image: FloatImage, how: int) -> FloatImage:
        size = (coarse.width * factor, coarse.height * factor)
        large = cv2.resize(image, size, interpolation=how)
        return np.asarray(large[y0 : y0 + patch.height, x0 : x0 + patch.width], dtype=np.float32)

    return Crystals(
        centre=enlarged(found.centre, cv2.INTER_LINEAR),
        border=enlarged(found.border, cv2.INTER_LINEAR),
        tone=enlarged(found.tone, cv2.INTER_NEAREST),
    )


def _coarser(patch: Patch, factor: int) -> tuple[Patch, int, int]:
    """A patch that covers `patch` in steps `factor` times as wide, and where `patch` starts in it when enlarged.

    Its pixels lie at places that do not depend on where the patch begins, so that neighbours fit together.
    """
    first_x = round(patch.left_um / patch.step_um)
    first_y = round(patch.top_um / patch.step_um)
    i0, j0 = first_x // factor - 1, first_y // factor - 1
    shift_x = patch.left_um - first_x * patch.step_um
    shift_y = patch.top_um - first_y * patch.step_um
    middle = 0.5 * (factor - 1) * patch.step_um
    coarse = Patch(
        left_um=i0 * factor * patch.step_um + shift_x + middle,
        top_um=j0 * factor * patch.step_um + shift_y + middle,
        step_um=patch.step_um * factor,
        width=(first_x + patch.width) // factor - i0 + 2,
        height=(first_y + patch.height) // factor - j0 + 2,
    )
    return coarse, first_x - i0 * factor, first_y - j0 * factor


def _exact(patch: Patch, cell_um: float, *, seed: int, stream: int) -> Crystals:
    ix, iy = lattice(patch, cell_um, 2)
    draws = [uniform(ix, iy, seed=seed, stream=8 * stream + i) for i in range(3)]
    i0, j0 = int(ix[0, 0]), int(iy[0, 0])
    seed_x = (ix - i0 + 0.5 + _JITTER * (draws[0] - 0.5)).astype(np.float32)
    seed_y = (iy - j0 + 0.5 + _JITTER * (draws[1] - 0.5)).astype(np.float32)
    number = draws[2].astype(np.float32)
    x = (patch.left_um + patch.step_um * np.arange(patch.width)) / cell_um - i0
    y = (patch.top_um + patch.step_um * np.arange(patch.height)) / cell_um - j0
    column, row = x.astype(np.int64), y.astype(np.int64)
    x, y = x.astype(np.float32)[None, :], y.astype(np.float32)[:, None]
    nearest = np.full((patch.height, patch.width), 99.0, np.float32)
    second = nearest.copy()
    which = np.zeros(nearest.shape, np.int32)
    cell = row.astype(np.int32)[:, None] * np.int32(ix.shape[1]) + column.astype(np.int32)
    for dj in (-1, 0, 1):
        of_rows = seed_x[row + dj], seed_y[row + dj]
        for di in (-1, 0, 1):
            dx, dy = (seeds.take(column + di, axis=1) for seeds in of_rows)
            dx -= x
            dy -= y
            d2 = dx * dx + dy * dy
            np.copyto(which, np.int32(dj * ix.shape[1] + di), where=d2 < nearest)
            np.minimum(second, np.maximum(d2, nearest), out=second)
            np.minimum(nearest, d2, out=nearest)
    tone = number.ravel()[cell + which]
    centre, next_one = np.sqrt(nearest), np.sqrt(second)
    return Crystals(
        centre=centre, border=np.asarray(0.5 * (next_one - centre), np.float32), tone=tone
    )
