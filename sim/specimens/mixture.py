"""Leaves of every size and grey: for training alone."""

from dataclasses import dataclass

import cv2
import numpy as np

from afdaemon.sim.specimens.texture import Particles, octaves, relief, scatter, speckle, stream_of
from afdaemon.sim.surface import FloatImage, Patch, Surface

_SMALLEST_LEAF_PX, _LARGEST_LEAF_PX = 14.0, 432.0


@dataclass(frozen=True, slots=True)
class Mixture:
    """Overlapping leaves of every size and grey: a stand-in for specimens that are not modelled, for training."""

    seed: int

    def draw(self, patch: Patch) -> Surface:
        """What lies in `patch`."""
        draw = np.random.default_rng(self.seed).random(8)
        rough, fine, leaf = draw[0], draw[1], draw[2]
        image = 0.5 + 0.2 * rough * relief(patch, seed=self.seed, stream=31, largest_px=250.0)
        for k, cell_um in octaves(patch, _SMALLEST_LEAF_PX, _LARGEST_LEAF_PX):
            leaves = scatter(
                patch,
                cell_um,
                seed=self.seed,
                stream=stream_of(32, k),
                share=0.2 + 0.4 * leaf,
                radii=(0.15, 0.7),
            )
            _paint_leaves(image, leaves, elongation=1.0 + 3.0 * draw[3])
        image += 0.12 * fine * speckle(patch, seed=self.seed, stream=33)
        return Surface(secondary=np.asarray(np.clip(image, 0.0, 1.2), np.float32))


def _paint_leaves(image: FloatImage, leaves: Particles, elongation: float) -> None:
    """Paint flat ellipses in all directions, each of its own grey."""
    for x, y, r, u, v in zip(leaves.x, leaves.y, leaves.r, leaves.u, leaves.v, strict=True):
        centre = (round(x * 16), round(y * 16))
        axes = (round(r * 16), round(r * 16 / elongation))
        grey = 0.1 + 0.8 * ((7.0 * u) % 1.0)
        cv2.ellipse(image, centre, axes, 180.0 * v, 0, 360, grey, -1, cv2.LINE_AA, 4)
