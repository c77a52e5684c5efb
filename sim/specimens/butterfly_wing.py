"""A butterfly's wing: scales like shingles, ridges on each, cross-ribs between ridges, lamellae on ridges.

Sizes as in nymphalid ground scales (Ghiradella, Journal of Morphology 202, 1989): about 100 x 180 um,
ridges 2 um apart.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from afdaemon.sim.specimens.grit import strew
from afdaemon.sim.specimens.painting import Canvas
from afdaemon.sim.specimens.texture import (
    axes_um,
    relief,
    smoothstep,
    speckle,
    uniform,
    value_noise,
)
from afdaemon.sim.surface import FloatImage, Patch, Surface

_ROW_UM, _COLUMN_UM = 95.0, 78.0
_LIFT_UM = 12.0
"""How far a scale's tip stands above its base."""

_CHITIN = 0.5
_STRIP = 24


@dataclass(frozen=True, slots=True, eq=False)
class _Scales:
    """The uppermost scale at each pixel: place across and along it, distance to its outline (um), its random tone.

    `lid_um` is the distance into the scale above, negative beside it.
    """

    across_um: FloatImage
    along_um: FloatImage
    inside_um: FloatImage
    tone: FloatImage
    lid_um: FloatImage

    def under(self, other: "_Scales") -> "_Scales":
        """What is seen when `other` lies on top."""
        hidden = other.inside_um > 0.0
        return _Scales(
            np.where(hidden, other.across_um, self.across_um),
            np.where(hidden, other.along_um, self.along_um),
            np.where(hidden, other.inside_um, self.inside_um),
            np.where(hidden, other.tone, self.tone),
            other.inside_um,
        )

    @classmethod
    def stacked(cls, parts: "list[_Scales]") -> "_Scales":
        """Parts of an image, one below the other."""
        return cls(
            np.vstack([part.across_um for part in parts]),
            np.vstack([part.along_um for part in parts]),
            np.vstack([part.inside_um for part in parts]),
            np.vstack([part.tone for part in parts]),
            np.vstack([part.lid_um for part in parts]),
        )


@dataclass(frozen=True, slots=True)
class ButterflyWing:
    """Rows of overlapping scales; never used for training."""

    seed: int
    ridge_um: float = 2.0
    rib_um: float = 0.5
    lamella_um: float = 0.16

    def draw(self, patch: Patch) -> Surface:
        """What lies in `patch`."""
        turn = 0.5 * (np.random.default_rng(self.seed).random() - 0.5)
        x, y = axes_um(patch)
        across = x * np.cos(turn) + y * np.sin(turn)
        along = y * np.cos(turn) - x * np.sin(turn)
        # In strips that fit the processor's cache.
        strips = [slice(start, start + _STRIP) for start in range(0, patch.height, _STRIP)]
        seen = _Scales.stacked([self._seen(across[strip], along[strip]) for strip in strips])
        yields = self._chitin(patch, seen)
        shade = 1.0 - 0.6 * np.exp(np.minimum(seen.lid_um, 0.0) / np.float32(7.0))
        membrane = np.clip(seen.inside_um / np.float32(patch.step_um) + 0.5, 0.0, 1.0)
        secondary = membrane * yields + (1.0 - membrane) * 0.14
        secondary *= np.where(seen.lid_um > 0.0, np.float32(1.0), shade)
        canvas = Canvas(secondary, 0.22 + 0.15 * secondary)
        canvas.height_um += membrane * _LIFT_UM * seen.along_um / np.float32(2 * _ROW_UM)
        grit = (2.0**-4, 32.0)
        strew(canvas, patch, grit, seed=self.seed, stream=9, share=0.03, yields=(0.62, 0.3))
        return canvas.surface()

    def _seen(self, across: NDArray[np.float64], along: NDArray[np.float64]) -> _Scales:
        """The uppermost scales: the tips of one row lie over the next row's bases."""
        row = np.floor(along / _ROW_UM).astype(np.int64)
        return self._row(across, along, row).under(self._row(across, along, row - 1))

    def _row(
        self, across: NDArray[np.float64], along: NDArray[np.float64], row: NDArray[np.int64]
    ) -> _Scales:
        """The scales of one row, of the two beside each pixel the one that lies on top."""
        shifted = across / _COLUMN_UM - 0.5 * (row & 1)
        column = np.floor(shifted).astype(np.int64)
        beside = np.where(shifted - column < 0.5, column - 1, column + 1)
        along_um = along - row * _ROW_UM
        across_um = (shifted - 0.5) * _COLUMN_UM
        one, other = (self._scale(across_um, along_um, number, row) for number in (column, beside))
        # Where both are, the one with the greater number lies on top.
        covered = (one.inside_um > 0.0) & (one.tone > other.tone)
        shown = np.where(covered, np.minimum(other.inside_um, np.float32(-1e-3)), other.inside_um)
        return one.under(replace(other, inside_um=shown))

    def _scale(
        self,
        across_um: NDArray[np.float64],
        along_um: NDArray[np.float64],
        column: NDArray[np.int64],
        row: NDArray[np.int64],
    ) -> _Scales:
        i0, j0 = int(column.min()), int(row.min())
        ix, iy = np.meshgrid(
            np.arange(i0, int(column.max()) + 1), np.arange(j0, int(row.max()) + 1)
        )
        at = (row - j0) * ix.shape[1] + (column - i0)
        tone, shape, shift, lean = (
            uniform(ix, iy, seed=self.seed, stream=16 + number).astype(np.float32).ravel()[at]
            for number in range(4)
        )
        u = (across_um - column * _COLUMN_UM).astype(np.float32)
        v = along_um.astype(np.float32) - 16.0 * shift
        u = u - 8.0 * (tone - 0.5) - (0.16 * (lean - 0.5)) * v
        length = 168.0 + 14.0 * shape
        half = 46.0 + 6.0 * shape
        wide = half * smoothstep(-0.25, 0.3, v / length)
        side = wide - np.abs(u)
        teeth = (3.0 + 5.0 * shift) * np.abs(np.sin(u * (0.09 + 0.06 * lean) + 6.0 * shape))
        tip = length - teeth - 0.012 * u * u - v
        round_ = np.float32(14.0)
        over = np.hypot(np.minimum(side - round_, 0.0), np.minimum(tip - round_, 0.0))
        inside = np.maximum(np.minimum(side, tip), round_) - over
        return _Scales(u, v, np.asarray(inside, np.float32), tone, tone)

    def _chitin(self, patch: Patch, scale: _Scales) -> FloatImage:
        """Yield of the scales' upper side."""
        step = patch.step_um
        wander = value_noise(patch, 31.0, seed=self.seed, stream=4)
        wobble = value_noise(patch, 1.3, seed=self.seed, stream=5)
        phase = scale.across_um / np.float32(self.ridge_um) + 0.3 * wander + 0.05 * wobble
        valley = np.floor(phase)
        place = phase - valley - 0.5
        off_um = np.asarray(self.ridge_um * (0.5 - np.abs(place)), np.float32)
        rib_phase = (scale.along_um + 0.12 * wobble) / np.float32(self.rib_um)
        rib_phase += np.mod(valley * np.float32(0.37), 1.0) + 0.5 * wander
        window_um = _window_um(off_um - 0.3, np.asarray(rib_phase, np.float32), self.rib_um)
        flank = scale.along_um + 0.9 * off_um + 0.05 * wobble
        lamella = np.cos(flank * np.float32(2.0 * np.pi / self.lamella_um))
        crest = np.exp(-((off_um / np.float32(0.09)) ** 2))
        ridge = 1.0 - smoothstep(0.16, 0.3, off_um)
        shown = [_shown(um / step) for um in (self.ridge_um, self.rib_um, self.lamella_um)]
        window = np.clip(window_um / np.float32(step) + 0.5, 0.0, 1.0)
        lip = np.exp(-np.abs(window_um) / np.float32(0.035))
        value = _CHITIN + 0.2 * (scale.tone - 0.5)
        value += shown[0] * (0.2 * (ridge - 0.23) + 0.18 * (crest - 0.08) * np.sign(place + 0.6))
        value += shown[1] * (0.1 * lip - 0.3 * (window - 0.3))
        value += shown[2] * 0.1 * (ridge - crest) * lamella
        value += 0.12 * np.exp(np.minimum(-scale.inside_um, 0.0) / np.float32(1.2))
        value += np.float32(0.0016) * scale.across_um + 0.0006 * (scale.along_um - 90.0)
        value += 0.04 * speckle(patch, seed=self.seed, stream=3, largest_px=8.0)
        value += 0.03 * relief(patch, seed=self.seed, stream=6, largest_px=60.0, smallest_px=6.0)
        return np.asarray(value, np.float32)


def _window_um(beside_um: FloatImage, rib_phase: FloatImage, rib_um: float) -> FloatImage:
    """Distance into a window between two ribs and two ridges (um), its corners rounded; negative outside."""
    corner = np.float32(0.16)
    between = (0.5 - np.abs(np.mod(rib_phase, 1.0) - 0.5)) * np.float32(rib_um) - np.float32(0.07)
    over_x = np.minimum(beside_um - corner, 0.0)
    over_y = np.minimum(between - corner, 0.0)
    inner = np.minimum(np.maximum(np.minimum(beside_um, between) - corner, 0.0), corner)
    return np.asarray(corner + inner - np.hypot(over_x, over_y), np.float32)


def _shown(period_px: float) -> float:
    """How far a pattern of that period can be drawn: 0 up to 5 drawing pixels, 1 from 10 on."""
    return float(np.clip((period_px - 5.0) / 5.0, 0.0, 1.0))
