"""Tin balls on carbon."""

from dataclasses import dataclass

import numpy as np

from afdaemon.sim.specimens.texture import Particles, octaves, relief, scatter, speckle, stream_of
from afdaemon.sim.surface import FloatImage, Patch, Surface

SMALLEST_BALL_PX = 14.0
"""Cells smaller than this hold speckle instead of single particles."""


def _window(
    shape: tuple[int, int], x: float, y: float, r: float
) -> tuple[slice, slice, FloatImage, FloatImage] | None:
    """The part of an image that a disc covers, and its coordinates there in units of the radius."""
    x0, x1 = max(0, int(x - r) - 1), min(shape[1], int(x + r) + 2)
    y0, y1 = max(0, int(y - r) - 1), min(shape[0], int(y + r) + 2)
    if x0 >= x1 or y0 >= y1:
        return None
    u = ((np.arange(x0, x1, dtype=np.float32) - np.float32(x)) / np.float32(r))[None, :]
    v = ((np.arange(y0, y1, dtype=np.float32) - np.float32(y)) / np.float32(r))[:, None]
    return slice(y0, y1), slice(x0, x1), u, v


def _paint_balls(image: FloatImage, balls: Particles) -> None:
    """Paint spheres: yield rises towards the rim as 1 / cos(theta), the ground beside them lies in shadow."""
    for x, y, r, u, v in zip(balls.x, balls.y, balls.r, balls.u, balls.v, strict=True):
        window = _window(image.shape, x, y, 1.25 * r)
        if window is None:
            continue
        rows, columns, dx, dy = window
        dx, dy = 1.25 * dx, 1.25 * dy
        rho2 = dx * dx + dy * dy
        facing = np.sqrt(np.clip(1.0 - rho2, 0.0, 1.0))
        ball = np.float32(0.36 + 0.2 * u) + 0.16 / (facing + 0.24) + (0.08 * (dx - dy)) * (v - 0.3)
        shade = np.clip(1.0 - 2.2 * (1.5625 - rho2), 0.55, 1.0)
        ground = image[rows, columns] * shade
        image[rows, columns] = np.where(rho2 < 1.0, ball, ground)


@dataclass(frozen=True, slots=True)
class TinBalls:
    """Tin balls on carbon: spheres of 0.1 to 25 um in a hierarchy of sizes, with bright rims and shadows."""

    seed: int

    def draw(self, patch: Patch) -> Surface:
        """What lies in `patch`."""
        image = 0.22 + 0.05 * relief(patch, seed=self.seed, stream=1, largest_px=200.0)
        for k, cell_um in octaves(patch, SMALLEST_BALL_PX, 0.7 * patch.width):
            if cell_um <= 64.0:
                balls = scatter(
                    patch,
                    cell_um,
                    seed=self.seed,
                    stream=stream_of(2, k),
                    share=0.42,
                    radii=(0.16, 0.48),
                )
                _paint_balls(image, balls)
        return Surface(secondary=image + 0.07 * speckle(patch, seed=self.seed, stream=3))
