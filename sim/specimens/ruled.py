"""Lines, ribs and streaks of every width and direction: for training alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afdaemon.sim.specimens.grit import strew
from afdaemon.sim.specimens.painting import Canvas
from afdaemon.sim.specimens.texture import axes_um, noise_at, octaves, relief, speckle, value_noise
from afdaemon.sim.surface import FloatImage, Patch, Surface

_FINEST_PX, _COARSEST_PX = 6.0, 160.0
"""Periods that are drawn, in drawing pixels: half of them are a frame's pixels."""
_STREAM = 71
_BARE_SHARE, _PIECE_SHARE, _STREAKED_SHARE, _RIBBED_SHARE, _GRITTY_SHARE = 0.4, 0.5, 0.45, 0.4, 0.7
"""Shares of the octaves that are empty and, of the others, in pieces, streaked, ribbed; and of specimens with grit."""

_STREAKS = (3.0, 100.0)
"""Length of a streak over its width."""

_Places = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Ruled:
    """Bent gratings and streaks laid over each other, sharp at their edges: a stand-in for periodic specimens."""

    seed: int

    def draw(self, patch: Patch) -> Surface:
        """What lies in `patch`."""
        draw = np.random.default_rng(self.seed)
        shade = relief(patch, seed=self.seed, stream=_STREAM - 2, largest_px=250.0)
        image = np.float32(0.45) + np.float32(0.1 + 0.15 * draw.random()) * shade
        for k, period_um in octaves(patch, _FINEST_PX, _COARSEST_PX):
            own = np.random.default_rng((self.seed, k + 64))
            if own.random() >= _BARE_SHARE:
                image += self._layer(patch, k, period_um, own)
        grain, gritty = 0.02 + 0.18 * draw.random() ** 2, draw.random() < _GRITTY_SHARE
        image += np.float32(grain) * speckle(patch, seed=self.seed, stream=_STREAM - 1)
        canvas = Canvas(np.asarray(np.clip(image, 0.0, 1.2), np.float32), 0.3 + 0.2 * image)
        if gritty:
            sizes = (2.0**-6, 8.0)
            strew(canvas, patch, sizes, seed=self.seed, stream=9, share=0.03, yields=(0.62, 0.35))
        return canvas.surface()

    def _layer(
        self, patch: Patch, k: int, period_um: float, own: np.random.Generator
    ) -> FloatImage:
        """Gratings or streaks of one octave, everywhere or in pieces with sharp edges."""
        x, y = axes_um(patch)
        angle, strength = own.uniform(0.0, np.pi), own.uniform(0.1, 0.5)
        period_um *= own.uniform(0.7, 1.4)
        across = (x * np.cos(angle) + y * np.sin(angle)) / period_um
        along = (y * np.cos(angle) - x * np.sin(angle)) / period_um
        bend = own.uniform(0.0, 0.6) * value_noise(
            patch, 6.0 * period_um, seed=self.seed, stream=_STREAM + k
        )
        across = across + bend
        if own.random() < _STREAKED_SHARE:
            length = np.exp(own.uniform(*np.log(_STREAKS)))
            layer = noise_at(
                own.uniform(2.0, 4.0) * across, along / length, seed=self.seed, stream=171 + k
            )
        else:
            layer = self._grating(across, along, patch.step_um / period_um, own)
        if own.random() < _PIECE_SHARE:
            pieces = value_noise(patch, 9.0 * period_um, seed=self.seed, stream=271 + k)
            layer = np.where(pieces > own.uniform(-0.3, 0.3), layer, np.float32(0.0))
        return np.asarray(np.float32(strength) * layer, np.float32)

    def _grating(
        self, across: _Places, along: _Places, step: float, own: np.random.Generator
    ) -> FloatImage:
        """Lines from narrow to wide; some with finer ribs between them."""
        duty = own.uniform(0.12, 0.8)
        lines = _lines(across, duty, step)
        if own.random() < _RIBBED_SHARE:
            finer = own.uniform(2.0, 8.0)
            ribs = _lines(along * finer, own.uniform(0.3, 0.7), step * finer)
            lines = np.where(
                lines > 0.25 - duty, lines, lines + np.float32(own.uniform(0.2, 0.6)) * ribs
            )
        return lines


def _lines(phase: _Places, duty: float, step: float) -> FloatImage:
    """Bright lines where the fraction of `phase` is below `duty`; 1 brighter than the rest, with a mean of about 0.

    Edges are one drawing pixel wide.
    """
    within = phase - np.floor(phase)
    edge = np.minimum(within, duty - within)
    return np.asarray(np.clip(edge / step, -0.5, 0.5) + 0.5 - duty, np.float32)
