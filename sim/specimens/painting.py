"""Painting many small things at once: each particle's pixels, the small ones in batches, the large ones one by one."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afdaemon.sim.specimens.texture import Particles
from afdaemon.sim.surface import FloatImage, Surface

_SIDES_PX = (4, 6, 8, 10, 12, 16, 20, 28, 38, 52)
_LARGEST_BATCHED_PX = 25.0
"""Sides of the windows that are painted in batches; those of a larger radius are painted one by one, as slices."""

_AREA_A_BATCH = 2**20

Floats = NDArray[np.floating]


@dataclass(frozen=True, slots=True, eq=False)
class Spots:
    """Pixels of an image and where they lie in their particles.

    `at` indexes an image (rows and columns: arrays (n,) or slices); `dx`, `dy` are the distances from the particle's
    centre in its radii; `which` are the particles' numbers ((n,) or one alone).
    """

    at: tuple[NDArray[np.int64], NDArray[np.int64]] | tuple[slice, slice]
    dx: FloatImage
    dy: FloatImage
    which: NDArray[np.int64] | int

    def of(self, values: NDArray[np.float64]) -> FloatImage:
        """A value of each particle, at each spot."""
        return np.asarray(values[self.which], dtype=np.float32)


def spots(particles: Particles, shape: tuple[int, int], reach: float) -> Iterator[Spots]:
    """The pixels within `reach` radii of each particle, small particles first.

    A batch of small ones may name a pixel twice.
    """
    order = np.argsort(particles.r, kind="stable")
    extent = reach * particles.r[order]
    x, y = particles.x[order], particles.y[order]
    seen = (x + extent > -1) & (x - extent < shape[1]) & (y + extent > -1) & (y - extent < shape[0])
    order, extent = order[seen], extent[seen]
    small = int(np.searchsorted(extent, _LARGEST_BATCHED_PX))
    start = 0
    for side in _SIDES_PX:
        # Which particles share a batch follows from their size, so that it does not matter what else is in the image.
        end = int(np.searchsorted(extent[:small], side / 2 - 1))
        while start < end:
            stop = min(end, start + _AREA_A_BATCH // side**2)
            yield _batch(particles, order[start:stop], shape, reach, side)
            start = stop
    for number in order[small:]:
        yield _window(particles, int(number), shape, reach)


def _batch(
    particles: Particles, which: NDArray[np.int64], shape: tuple[int, int], reach: float, side: int
) -> Spots:
    offsets = np.arange(side)
    x, y, r = (values[which] for values in (particles.x, particles.y, particles.r))
    columns = np.floor(x).astype(np.int64)[:, None] - side // 2 + 1 + offsets
    rows = np.floor(y).astype(np.int64)[:, None] - side // 2 + 1 + offsets
    dx = ((columns - x[:, None]) / r[:, None]).astype(np.float32)
    dy = ((rows - y[:, None]) / r[:, None]).astype(np.float32)
    inside = (dx * dx)[:, None, :] + (dy * dy)[:, :, None] < np.float32(reach * reach)
    inside &= ((columns >= 0) & (columns < shape[1]))[:, None, :]
    inside &= ((rows >= 0) & (rows < shape[0]))[:, :, None]
    n, j, i = np.nonzero(inside)
    return Spots(at=(rows[n, j], columns[n, i]), dx=dx[n, i], dy=dy[n, j], which=which[n])


def _window(particles: Particles, which: int, shape: tuple[int, int], reach: float) -> Spots:
    x, y, r = (float(values[which]) for values in (particles.x, particles.y, particles.r))
    x0, x1 = max(0, int(x - reach * r)), min(shape[1], int(x + reach * r) + 2)
    y0, y1 = max(0, int(y - reach * r)), min(shape[0], int(y + reach * r) + 2)
    dx = ((np.arange(x0, x1) - x) / r).astype(np.float32)[None, :]
    dy = ((np.arange(y0, y1) - y) / r).astype(np.float32)[:, None]
    return Spots(at=(slice(y0, y1), slice(x0, x1)), dx=dx, dy=dy, which=which)


def _add_up(image: FloatImage, where: Spots, values: Floats) -> None:
    """Add `values` to `image`; a pixel that is named twice gets both."""
    rows, columns = where.at
    if isinstance(rows, slice) or isinstance(columns, slice):
        image[where.at] += values
        return
    np.add.at(image.reshape(-1), rows * image.shape[1] + columns, values)


class Canvas:
    """The images of a surface in the making, all float32 (height, width)."""

    def __init__(self, secondary: Floats, backscatter: Floats) -> None:
        self.secondary = np.array(secondary, dtype=np.float32)
        self.backscatter = np.array(backscatter, dtype=np.float32)
        self.height_um = np.zeros_like(self.secondary)

    @classmethod
    def of(cls, surface: Surface) -> "Canvas":
        """A copy of a surface, to be painted over."""
        known = surface.backscatter
        canvas = cls(surface.secondary, surface.secondary if known is None else known)
        if surface.height_um is not None:
            canvas.height_um = surface.height_um.copy()
        return canvas

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.secondary.shape[0], self.secondary.shape[1]

    def surface(self) -> Surface:
        """What has been painted."""
        return Surface(
            secondary=np.maximum(self.secondary, np.float32(0.02)),
            backscatter=np.maximum(self.backscatter, np.float32(0.02)),
            height_um=self.height_um,
        )

    def blend(self, where: Spots, cover: Floats, secondary: Floats, backscatter: Floats) -> None:
        """Lay yields over what is there; `cover` 0 leaves it, 1 hides it."""
        for image, value in ((self.secondary, secondary), (self.backscatter, backscatter)):
            below = image[where.at]
            image[where.at] = below + cover * (value - below)

    def raise_to(self, where: Spots, cover: Floats, height_um: Floats) -> None:
        """Set the height where it is covered for the most part."""
        self.height_um[where.at] = np.where(cover > 0.5, height_um, self.height_um[where.at])


def hide_sky(canvas: Canvas, balls: Particles, reach: float = 1.9) -> None:
    """Darken the ground beside balls, which catch part of the electrons that it gives off.

    From a distance d (in radii) to its foot, a ball on a plane hides (1 + d^2)^-1.5 of the sky (form factor of a
    sphere); a little more on the side away from the detector (ASSUMED: it stands to the upper right).
    """
    hidden = np.zeros_like(canvas.secondary)
    end = np.float32((1.0 + reach**2) ** -1.5)
    for where in spots(balls, canvas.shape, reach):
        rho2 = where.dx * where.dx + where.dy * where.dy
        share = (1.0 + rho2) ** np.float32(-1.5) - end
        lee = 1.0 + np.float32(0.35) * (where.dy - where.dx)
        _add_up(hidden, where, np.clip(share, 0.0, None) * lee)
    canvas.secondary *= np.clip(1.0 - hidden, 0.3, 1.0)
