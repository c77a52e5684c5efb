"""Gold nanoparticles on carbon."""

from dataclasses import dataclass

import numpy as np

from afdaemon.sim.specimens.texture import octaves, relief, speckle, stream_of, value_noise
from afdaemon.sim.surface import Patch, Surface


@dataclass(frozen=True, slots=True)
class GoldNanoparticles:
    """Evaporated gold on carbon: irregular bright islands from some 10 nm to 1 um, close-packed."""

    seed: int

    def draw(self, patch: Patch) -> Surface:
        """What lies in `patch`."""
        image = 0.2 + 0.03 * relief(patch, seed=self.seed, stream=21, largest_px=40.0)
        tone = value_noise(patch, 0.9, seed=self.seed, stream=22)
        for k, cell_um in octaves(patch, 2.5, 90.0):
            if cell_um > 1.5:
                continue
            noise = value_noise(patch, cell_um, seed=self.seed, stream=stream_of(23, k))
            sharp = np.float32(0.5 * cell_um / patch.step_um)
            island = np.clip((noise - 0.5) * sharp + 0.5, 0.0, 1.0)
            rim = island * np.clip(1.6 - (noise - 0.5) * 5.0, 0.0, 1.0)
            image = image * (1.0 - island) + island * (0.6 + 0.12 * tone) + 0.14 * rim
        return Surface(secondary=image + 0.03 * speckle(patch, seed=self.seed, stream=24))
