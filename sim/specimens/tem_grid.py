"""A TEM grid with holey carbon film."""

from dataclasses import dataclass

import numpy as np

from afdaemon.sim.specimens.texture import octaves, relief, speckle, stream_of, value_noise
from afdaemon.sim.surface import FloatImage, Patch, Surface


@dataclass(frozen=True, slots=True)
class TemGrid:
    """A 400 mesh copper TEM grid (pitch 62.5 um) with holey carbon film, torn in places."""

    seed: int
    pitch_um: float = 62.5
    bar_um: float = 22.0

    def draw(self, patch: Patch) -> Surface:
        """What lies in `patch`."""
        bar = self._bar_distance_um(patch)
        film = self._film(patch)
        rolled = relief(patch, seed=self.seed, stream=11, largest_px=120.0, aspect=8.0)
        fine = speckle(patch, seed=self.seed, stream=12)
        metal = 0.62 + 0.12 * rolled + 0.08 * fine
        rim = np.exp(-(((bar - 0.4) / 0.5) ** 2))
        edge = np.clip(bar / patch.step_um + 0.5, 0.0, 1.0)
        return Surface(secondary=edge * (metal + 0.22 * rim) + (1.0 - edge) * film)

    def _bar_distance_um(self, patch: Patch) -> FloatImage:
        """Distance inside the bars' edge in um (negative in the mesh), wavy as etched metal is."""
        wave = 0.35 * relief(patch, seed=self.seed, stream=13, largest_px=90.0)
        x = patch.left_um + patch.step_um * np.arange(patch.width)[None, :]
        y = patch.top_um + patch.step_um * np.arange(patch.height)[:, None]
        half = self.pitch_um / 2.0
        to_bar = [np.abs(np.mod(axis, self.pitch_um) - half) for axis in (x, y)]
        return np.asarray(
            np.maximum(*np.broadcast_arrays(*to_bar)) - (half - self.bar_um / 2.0) + wave,
            dtype=np.float32,
        )

    def _film(self, patch: Patch) -> FloatImage:
        """Holey carbon film with specks on it; dark where it is torn away."""
        film = 0.34 + 0.05 * speckle(patch, seed=self.seed, stream=14, largest_px=48.0)
        for k, cell_um in octaves(patch, 6.0, 160.0):
            noise = value_noise(patch, cell_um, seed=self.seed, stream=stream_of(15, k))
            hole = np.clip((noise - 0.5) * np.float32(0.5 * cell_um / patch.step_um), 0.0, 1.0)
            film = film * (1.0 - 0.62 * hole)
        tear = value_noise(patch, 40.0, seed=self.seed, stream=16)
        tear = tear + 0.15 * relief(patch, seed=self.seed, stream=17, largest_px=60.0)
        torn = np.clip((tear - 0.45) * np.float32(20.0 / patch.step_um), 0.0, 1.0)
        return np.asarray(
            film * (1.0 - torn) + torn * (0.1 + 0.03 * speckle(patch, seed=self.seed, stream=18)),
            dtype=np.float32,
        )
