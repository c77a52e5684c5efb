"""Lines of every width and direction: for training alone."""

from dataclasses import dataclass

import numpy as np

from afdaemon.sim.specimens.texture import axes_um, octaves, speckle, value_noise
from afdaemon.sim.surface import FloatImage, Patch, Surface

_FINEST_PX, _COARSEST_PX = 6.0, 160.0
"""Periods that are drawn, in drawing pixels: half of them are a frame's pixels."""
_STREAM = 71


@dataclass(frozen=True, slots=True)
class Ruled:
    """Bent gratings laid over each other, sharp at their edges: a stand-in for what repeats itself, for training."""

    seed: int

    def draw(self, patch: Patch) -> Surface:
        """What lies in `patch`."""
        draw = np.random.default_rng(self.seed)
        image = np.full((patch.height, patch.width), 0.45, np.float32)
        x, y = axes_um(patch)
        for k, period_um in octaves(patch, _FINEST_PX, _COARSEST_PX):
            own = np.random.default_rng((self.seed, k + 64))
            if own.random() < 0.5:
                continue
            angle, strength = own.uniform(0.0, np.pi), own.uniform(0.1, 0.4)
            along = (x * np.cos(angle) + y * np.sin(angle)) / (period_um * own.uniform(0.7, 1.4))
            bend = own.uniform(0.0, 0.6) * value_noise(
                patch, 6.0 * period_um, seed=self.seed, stream=_STREAM + k
            )
            step = patch.step_um / period_um
            image += np.float32(strength) * _lines(along + bend, own.uniform(0.2, 0.8), step)
        image += np.float32(0.05 + 0.15 * draw.random()) * speckle(
            patch, seed=self.seed, stream=_STREAM - 1
        )
        return Surface(secondary=np.asarray(np.clip(image, 0.0, 1.2), np.float32))


def _lines(phase: FloatImage, duty: float, step: float) -> FloatImage:
    """Bright lines, -0.5..0.5, where the fraction of `phase` is below `duty`; edges one drawing pixel wide."""
    within = phase - np.floor(phase)
    edge = np.minimum(within, duty - within)
    return np.asarray(np.clip(edge / step, -0.5, 0.5), np.float32)
