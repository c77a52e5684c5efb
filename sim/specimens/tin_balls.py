"""Tin balls on carbon: the usual sample for resolution and astigmatism.

Yields: a surface tilted by theta gives 1 / cos(theta) secondary electrons, up to where the escape depth smears the rim
out (Reimer, Scanning Electron Microscopy, 1998, ch. 4).
"""

from dataclasses import dataclass

import numpy as np

from afdaemon.sim.specimens.painting import Canvas, hide_sky, spots
from afdaemon.sim.specimens.texture import (
    Particles,
    octaves_um,
    relief,
    scatter,
    speckle,
    stream_of,
    value_noise,
)
from afdaemon.sim.surface import FloatImage, Patch, Surface

_CELLS_UM = (2.0**-6, 2.0**5)
"""Cells that hold a ball each: radii from 2.5 nm to 15 um."""

_RADII = (0.15, 0.47)
_SMALLEST_CELL_PX = 5.0
"""Balls in smaller cells are not drawn one by one: they brighten the ground."""

_COVERED_A_SHARE = 0.33
"""Area that balls cover in an octave, for a share of 1: pi <r^2>."""

_GROUND, _TIN = 0.23, 0.58
_SKIN_FROM_PX = 20.0
"""Balls of at least this radius show what their surface is made of."""


@dataclass(frozen=True, slots=True)
class TinBalls:
    """Balls of 5 nm to 30 um, ever more of them the smaller they are, in clusters; satellites sit on the large ones."""

    seed: int

    def draw(self, patch: Patch) -> Surface:
        """What lies in `patch`."""
        fine = speckle(patch, seed=self.seed, stream=3, largest_px=8.0)
        ground = self._ground(patch, fine)
        skin = self._skin(patch, fine)
        canvas = Canvas(ground, 0.12 + 0.3 * (ground - _GROUND))
        for k, cell_um in octaves_um(*_CELLS_UM)[::-1]:
            if cell_um >= _SMALLEST_CELL_PX * patch.step_um:
                balls = self._balls(patch, k, cell_um)
                _paint(canvas, balls, patch.step_um, skin, resting=0.0)
        for k, cell_um in octaves_um(_CELLS_UM[0], 1.0)[::-1]:
            if cell_um >= _SMALLEST_CELL_PX * patch.step_um:
                balls = self._satellites(patch, k, cell_um)
                _paint(canvas, balls, patch.step_um, skin, resting=1.0)
        return canvas.surface()

    def _balls(self, patch: Patch, k: int, cell_um: float) -> Particles:
        return scatter(
            patch,
            cell_um,
            seed=self.seed,
            stream=stream_of(2, k),
            share=_share(k),
            radii=_RADII,
            density=self._density,
        )

    def _satellites(self, patch: Patch, k: int, cell_um: float) -> Particles:
        return scatter(
            patch, cell_um, seed=self.seed, stream=stream_of(4, k), share=0.09, radii=(0.1, 0.3)
        )

    def _density(self, cells: Patch) -> FloatImage:
        """How many balls lie where, relative to the mean (1): clusters of 30 to 700 um."""
        near = value_noise(cells, 37.0, seed=self.seed, stream=5)
        far = value_noise(cells, 730.0, seed=self.seed, stream=6)
        return np.asarray(np.clip(1.0 + 0.7 * near + 0.6 * far, 0.4, 2.0), dtype=np.float32)

    def _ground(self, patch: Patch, fine: FloatImage) -> FloatImage:
        """Carbon tape: soft waves, fine grain, and the balls that are too small to see."""
        unseen = [k for k, um in octaves_um(*_CELLS_UM) if um < _SMALLEST_CELL_PX * patch.step_um]
        bare = np.ones((patch.height, patch.width), np.float32)
        density = self._density(patch)
        for k in unseen:
            bare *= 1.0 - np.float32(_share(k) * _COVERED_A_SHARE) * density
        carbon = _GROUND + 0.03 * relief(
            patch, seed=self.seed, stream=1, largest_px=200.0, smallest_px=6.0
        )
        grain = (0.05 + 0.1 * (1.0 - bare)) * fine
        return np.asarray(bare * carbon + (1.0 - bare) * _TIN + grain, dtype=np.float32)

    def _skin(self, patch: Patch, fine: FloatImage) -> FloatImage:
        """What a large ball's surface looks like: fine grain, and the grooves between its crystals."""
        soft = relief(patch, seed=self.seed, stream=8, largest_px=90.0, smallest_px=6.0)
        groove = np.exp(-((value_noise(patch, 2.3, seed=self.seed, stream=9) / 0.02) ** 2))
        return np.asarray(0.06 * fine + 0.04 * soft - 0.08 * groove, dtype=np.float32)


def _share(k: int) -> float:
    """Share of the cells of 2^k um that hold a ball: fewest at both ends (log-normal)."""
    return 0.46 * float(np.exp(-((k / 6.5) ** 2)))


def _paint(
    canvas: Canvas, balls: Particles, step_um: float, skin: FloatImage, *, resting: float
) -> None:
    """Paint balls that lie on the carbon (`resting` 0) or on what is painted already (1)."""
    hide_sky(canvas, balls)
    for where in spots(balls, canvas.shape, 1.0 + 1.0 / _SMALLEST_CELL_PX):
        r_px = where.of(balls.r)
        r_um = r_px * np.float32(step_um)
        rho2 = where.dx * where.dx + where.dy * where.dy
        cover = np.clip((1.0 - np.sqrt(rho2)) * r_px + 0.5, 0.0, 1.0)
        facing = np.sqrt(np.clip(1.0 - rho2, 0.0, 1.0))
        small = np.exp(r_um * np.float32(-3.0))
        body = 0.44 + 0.12 * small + 0.16 * where.of(balls.u)
        rim = 0.14 / (facing + 0.17 + 0.15 * small) - 0.09
        side = np.float32(0.08) * (where.dx - where.dy)
        surface = np.clip((r_px - 6.0) / _SKIN_FROM_PX, 0.0, 1.0) * skin[where.at]
        canvas.blend(where, cover, body + rim + side + surface, 0.68 + 0.1 * facing + 0.5 * side)
        below = canvas.height_um[where.at]
        canvas.raise_to(where, cover, resting * below + r_um * (facing + resting))
