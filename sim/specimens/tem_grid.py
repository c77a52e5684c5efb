"""A copper TEM grid with a holey carbon film, laid film down on carbon tape."""

from dataclasses import dataclass

import numpy as np

from afdaemon.sim.specimens.crystals import crystals
from afdaemon.sim.specimens.grit import strew
from afdaemon.sim.specimens.painting import Canvas, spots
from afdaemon.sim.specimens.texture import (
    axes_um,
    octaves_um,
    relief,
    rough,
    scatter,
    speckle,
    stream_of,
    uniform,
    value_noise,
)
from afdaemon.sim.surface import FloatImage, Patch, Surface

_TAPE = 0.15
_FILM = 0.36
_COPPER = 0.58
_HOLES_UM = (1.0, 16.0)
"""Cells that hold one hole in the film each."""

_TORN_SHARE, _GONE_SHARE = 0.4, 0.12
"""Shares of the openings whose film is torn or gone, and whose film is gone."""


@dataclass(frozen=True, slots=True)
class TemGrid:
    """A 400 mesh grid (pitch 62.5 um); its bars stand `thickness_um` above the film, their edges rounded."""

    seed: int
    pitch_um: float = 62.5
    bar_um: float = 22.0
    corner_um: float = 6.0
    thickness_um: float = 20.0

    def draw(self, patch: Patch) -> Surface:
        """What lies in `patch`."""
        inside_um, side = self._bars(patch)
        fine = speckle(patch, seed=self.seed, stream=12, largest_px=12.0)
        soft = relief(patch, seed=self.seed, stream=17, largest_px=90.0, smallest_px=6.0)
        canvas = self._film(patch, fine, soft)
        # The walls hide the sky from what lies at their foot.
        canvas.secondary *= 1.0 - 0.55 * np.exp(np.minimum(inside_um, 0.0) / np.float32(7.0))
        grit, pits = (2.0**-6, 4.0), (2.0**-6, 2.0)
        strew(canvas, patch, grit, seed=self.seed, stream=18, share=0.12, yields=(0.5, 0.3))
        copper = self._lay_copper(canvas, patch, inside_um, side, 0.1 * fine + 0.025 * soft)
        strew(
            canvas,
            patch,
            pits,
            seed=self.seed,
            stream=22,
            share=0.09,
            yields=(0.3, 0.5),
            mask=copper,
        )
        strew(canvas, patch, grit, seed=self.seed, stream=19, share=0.07, yields=(0.7, 0.4))
        return canvas.surface()

    def _bars(self, patch: Patch) -> tuple[FloatImage, FloatImage]:
        """Distance into the bars from their edge in um (negative in the mesh), and how far they face the detector."""
        x, y = (
            np.mod(axis + 0.5 * self.pitch_um, self.pitch_um) - 0.5 * self.pitch_um
            for axis in axes_um(patch)
        )
        straight = 0.5 * (self.pitch_um - self.bar_um) - self.corner_um
        over_x = (np.abs(x) - straight).astype(np.float32)
        over_y = (np.abs(y) - straight).astype(np.float32)
        outside = np.hypot(np.maximum(over_x, 0.0), np.maximum(over_y, 0.0))
        inside = np.minimum(np.maximum(over_x, over_y), 0.0) + outside - np.float32(self.corner_um)
        etched = rough(patch, 0.05, (2.0**-5, 16.0), seed=self.seed, stream=13)
        to_right = np.maximum(over_x, 0.0) * np.sign(x).astype(np.float32)
        to_bottom = np.maximum(over_y, 0.0) * np.sign(y).astype(np.float32)
        # A wall at the opening's right faces left: away from the detector at the upper right.
        side = (to_bottom - to_right) / (outside + np.float32(1.0))
        return np.asarray(inside + etched, np.float32), np.asarray(side, np.float32)

    def _lay_copper(
        self,
        canvas: Canvas,
        patch: Patch,
        inside_um: FloatImage,
        side: FloatImage,
        texture: FloatImage,
    ) -> FloatImage:
        """Rolled copper: long marks, grains, and shoulders that shine; returns where it is (1)."""
        cover = np.clip(inside_um / np.float32(patch.step_um) + 0.5, 0.0, 1.0)
        rolled = rough(patch, 1.0, (4.0, 4.0), seed=self.seed, stream=11, aspect=9.0) / 4.0
        marks = value_noise(patch, 1.7, seed=self.seed, stream=20, aspect=40.0)
        scratch = np.exp(-((marks / np.float32(0.05)) ** 2))
        grain = crystals(patch, 2.6, seed=self.seed, stream=21)
        groove = np.exp(grain.border / np.float32(-0.03))
        for number, cell_um in enumerate((0.3, 0.07)):
            if cell_um > 8.0 * patch.step_um:
                wall = value_noise(patch, cell_um, seed=self.seed, stream=30 + number)
                groove += np.exp(-((wall / np.float32(0.06)) ** 2))
        shoulder = np.exp(np.minimum(-inside_um, 0.0) / np.float32(3.0))
        lip = np.exp((inside_um - np.float32(0.5)) ** 2 / np.float32(-0.5))
        copper = _COPPER + 0.06 * rolled + texture - 0.1 * scratch - 0.13 * groove
        copper += 0.14 * (grain.tone - 0.5) + 0.13 * lip + (0.03 + 0.13 * side) * shoulder
        t = np.clip(inside_um / 5.0, 0.0, 1.0)
        height = np.float32(self.thickness_um) * (0.4 + 0.6 * np.sqrt(1.0 - (1.0 - t) ** 2))
        metal = 0.55 + 0.06 * (grain.tone - 0.5) + 0.02 * rolled
        everywhere = (slice(None), slice(None))
        for image, value in (
            (canvas.secondary, copper),
            (canvas.backscatter, metal),
            (canvas.height_um, height),
        ):
            image[everywhere] += cover * (value - image)
        return np.asarray(cover, np.float32)

    def _film(self, patch: Patch, fine: FloatImage, soft: FloatImage) -> Canvas:
        """Film with round holes, torn and rolled up in places, and the tape under it."""
        tape = _TAPE + 0.03 * soft + 0.035 * fine
        film = _FILM + 0.03 * soft + 0.05 * fine
        rims, film_there = self._holes(patch)
        torn_um = self._tear_um(patch)
        pull = np.exp(np.minimum(torn_um, 0.0) / 4.0)
        folds = value_noise(patch, 3.1, seed=self.seed, stream=25, aspect=0.2)
        film += 0.1 * pull * np.clip(1.0 - 6.0 * np.abs(folds), 0.0, 1.0) + rims
        rolled = np.exp(-(((torn_um + 0.45) / 0.4) ** 2))
        film += 0.34 * rolled - 0.1 * np.exp(-(((torn_um + 1.5) / 0.7) ** 2))
        film_there = np.maximum(film_there, rolled)
        film_there *= np.clip(0.5 - torn_um / np.float32(patch.step_um), 0.0, 1.0)
        shaded = tape * (1.0 - 0.4 * np.exp(-np.abs(torn_um) / 2.0))
        return Canvas(film_there * film + (1.0 - film_there) * shaded, 0.1 + 0.08 * film_there)

    def _holes(self, patch: Patch) -> tuple[FloatImage, FloatImage]:
        """Extra yield of the holes' thick rims, and where film is (1) and where a hole (0)."""
        rims = np.zeros((patch.height, patch.width), np.float32)
        there = np.ones_like(rims)
        for k, cell_um in octaves_um(*_HOLES_UM):
            if cell_um < 5.0 * patch.step_um:
                continue
            holes = scatter(
                patch,
                cell_um,
                seed=self.seed,
                stream=stream_of(15, k),
                share=0.3,
                radii=(0.1, 0.32),
            )
            for where in spots(holes, (patch.height, patch.width), 1.5):
                r_px = where.of(holes.r)
                rho = np.sqrt(where.dx * where.dx + where.dy * where.dy)
                ring = np.exp(-((rho - 1.12) ** 2) / 0.01)
                rims[where.at] = np.maximum(rims[where.at], 0.16 * ring)
                there[where.at] = np.minimum(
                    there[where.at], np.clip((rho - 1.0) * r_px + 0.5, 0.0, 1.0)
                )
        return rims, there

    def _tear_um(self, patch: Patch) -> FloatImage:
        """About how far each spot lies beyond the edge of a tear in um (negative: on the film)."""
        x, y = axes_um(patch)
        column = np.floor(x / self.pitch_um + 0.5).astype(np.int64)
        row = np.floor(y / self.pitch_um + 0.5).astype(np.int64)
        columns, of_column = np.unique(column, return_inverse=True)
        rows, of_row = np.unique(row, return_inverse=True)
        chance = uniform(*np.meshgrid(columns, rows), seed=self.seed, stream=26)
        bias = np.where(chance < _GONE_SHARE, 2.0, np.where(chance < _TORN_SHARE, -0.15, -2.0))
        wide = value_noise(patch, 23.0, seed=self.seed, stream=16)
        edge_um = rough(patch, 0.12, (2.0**-5, 8.0), seed=self.seed, stream=27)
        of_opening = bias.astype(np.float32)[np.ix_(of_row.ravel(), of_column.ravel())]
        return np.asarray(16.0 * (wide + of_opening) + edge_um, dtype=np.float32)
