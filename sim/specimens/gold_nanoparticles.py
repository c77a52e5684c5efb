"""Gold evaporated on carbon: the usual sample for resolution at high magnification."""

from dataclasses import dataclass

import numpy as np

from afdaemon.sim.specimens.crystals import crystals
from afdaemon.sim.specimens.grit import strew
from afdaemon.sim.specimens.painting import Canvas
from afdaemon.sim.specimens.texture import relief, rough, smoothstep, speckle, value_noise
from afdaemon.sim.surface import FloatImage, Patch, Surface

_ISLANDS_UM = (0.009, 0.03, 0.1, 0.33)
"""Distance between islands of each size; the smaller ones fill the gaps between the larger."""

_COVERED = (0.2, 0.3, 0.4, 0.5)
"""Share of the ground that the islands of each size cover."""

_SMALLEST_ISLAND_PX = 3.5
_CARBON, _GOLD = 0.13, 0.52


@dataclass(frozen=True, slots=True)
class GoldNanoparticles:
    """Islands of some 5 to 300 nm, close-packed, with rounded corners and dark gaps; a few flakes and pits as well."""

    seed: int

    def draw(self, patch: Patch) -> Surface:
        """What lies in `patch`."""
        drawn = [um for um in _ISLANDS_UM if um >= _SMALLEST_ISLAND_PX * patch.step_um]
        supply = self._supply(patch)
        ground = self._ground(patch, len(_ISLANDS_UM) - len(drawn), supply)
        canvas = Canvas(ground, ground)
        for number, cell_um in enumerate(_ISLANDS_UM):
            if cell_um in drawn:
                self._lay_islands(canvas, patch, cell_um, number, supply)
        self._wear(canvas, patch)
        return canvas.surface()

    def _supply(self, patch: Patch) -> FloatImage:
        """How much gold has settled where, relative to the mean (0): patches of 13 um to 1 mm."""
        near = value_noise(patch, 13.0, seed=self.seed, stream=22)
        wide = value_noise(patch, 160.0, seed=self.seed, stream=23)
        widest = value_noise(patch, 900.0, seed=self.seed, stream=25)
        return np.asarray(0.35 * near + 0.4 * wide + 0.4 * widest, dtype=np.float32)

    def _ground(self, patch: Patch, unseen: int, supply: FloatImage) -> FloatImage:
        """Carbon under islands of the `unseen` smallest sizes, which are too small to be drawn one by one."""
        fine = speckle(patch, seed=self.seed, stream=24, largest_px=6.0)
        soft = relief(patch, seed=self.seed, stream=21, largest_px=60.0, smallest_px=6.0)
        bare = np.ones_like(fine)
        for covered in _COVERED[:unseen]:
            bare *= 1.0 - np.clip(covered * (1.0 + supply), 0.0, 0.95)
        ground = bare * _CARBON + (1.0 - bare) * (0.82 * _GOLD) + 0.02 * soft
        return np.asarray(ground + (0.035 + 0.05 * (1.0 - bare)) * fine, dtype=np.float32)

    def _wear(self, canvas: Canvas, patch: Patch) -> None:
        """Scratches of the polish, pits of the carbon, and flakes of gold."""
        for number, (cell_um, depth) in enumerate(((2.0, 0.04), (7.0, 0.06), (40.0, 0.07))):
            marks = value_noise(patch, cell_um, seed=self.seed, stream=70 + number, aspect=50.0)
            width = np.float32(max(0.05, 0.7 * patch.step_um / cell_um))
            canvas.secondary -= depth * np.exp(-(((marks - 0.25) / width) ** 2))
        pits, flakes = (1.0, 8.0), (0.25, 32.0)
        strew(canvas, patch, pits, seed=self.seed, stream=29, share=0.03, yields=(0.08, 0.1))
        strew(canvas, patch, flakes, seed=self.seed, stream=28, share=0.06, yields=(0.66, 0.9))

    def _lay_islands(
        self, canvas: Canvas, patch: Patch, cell_um: float, number: int, supply: FloatImage
    ) -> None:
        """Islands of one size: as large as their neighbours leave room, or as there was gold."""
        found = crystals(patch, cell_um, seed=self.seed, stream=30 + number)
        clustered = value_noise(patch, 9.0 * cell_um, seed=self.seed, stream=40 + number)
        size = 0.14 + 0.25 * _COVERED[number] + 0.34 * found.tone + 0.12 * clustered + 0.16 * supply
        wavy = rough(patch, 0.07, (cell_um / 8, cell_um / 2), seed=self.seed, stream=50 + number)
        inside = np.minimum(found.border - 0.05, size - found.centre) + wavy / np.float32(cell_um)
        inside_px = inside * np.float32(cell_um / patch.step_um)
        gap = 1.0 - smoothstep(-0.16, -0.02, inside)
        canvas.secondary *= 1.0 - 0.35 * (1.0 - gap)
        cover = np.clip(inside_px + 0.5, 0.0, 1.0)
        tone = np.mod(7.3 * found.tone, 1.0)
        rim = np.exp(-np.maximum(inside, 0.0) / 0.035)
        skin = relief(patch, seed=self.seed, stream=60 + number, largest_px=30.0, smallest_px=6.0)
        gold = _GOLD + 0.28 * (tone - 0.5) + 0.22 * rim + 0.03 * skin
        canvas.secondary += cover * (gold - canvas.secondary)
        canvas.backscatter += cover * (0.85 - canvas.backscatter)
        height = np.float32(0.4 * cell_um) * np.sqrt(np.clip(inside / 0.3, 0.0, 1.0))
        canvas.height_um += cover * (height - canvas.height_um)
