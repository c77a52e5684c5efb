"""Bare carbon tape: hardly anything to see."""

from dataclasses import dataclass

import numpy as np

from afdaemon.sim.specimens.texture import relief, speckle
from afdaemon.sim.surface import Patch, Surface


@dataclass(frozen=True, slots=True)
class Empty:
    """A field whose contrast lies below the noise of a usual frame."""

    seed: int

    def draw(self, patch: Patch) -> Surface:
        """What lies in `patch`."""
        grain = speckle(patch, seed=self.seed, stream=1, largest_px=8.0)
        soft = relief(patch, seed=self.seed, stream=2, largest_px=200.0, smallest_px=6.0)
        tape = np.asarray(0.35 + 0.004 * grain + 0.004 * soft, np.float32)
        return Surface(secondary=tape, backscatter=np.asarray(0.35 * tape, np.float32))
