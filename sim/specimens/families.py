"""Kinds of specimen that mislead focus measures: lattices, labyrinths, foams, sparse particles, layers.

Each has one structure at every magnification: the octave of sizes that is drawn moves with the drawing's step, as with
the stand-ins. Which of them networks learn from, and which are kept to test them, is said in `catalogue`.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from afdaemon.sim.specimens.crystals import crystals
from afdaemon.sim.specimens.texture import (
    axes_um,
    noise_at,
    octaves,
    relief,
    scatter,
    smoothstep,
    speckle,
    stream_of,
    uniform,
    value_noise,
)
from afdaemon.sim.surface import FloatImage, Patch, Surface

_SIZES_PX = 10.0, 90.0
"""Periods, pores and particles in drawing pixels: half of them are a frame's pixels."""
_WAVES = 24
"""Plane waves of one length in all directions: their sum changes sign along winding lines (a Gaussian random field)."""
_LATTICE, _LABYRINTH, _FOAM, _SPARSE, _LAYERS, _GRAIN = 81, 82, 83, 84, 85, 86


@dataclass(frozen=True, slots=True)
class Lattice:
    """Round holes or posts on a rectangular or oblique lattice, of any period and duty cycle; slightly irregular."""

    seed: int

    def draw(self, patch: Patch) -> Surface:
        """What lies in `patch`."""
        period_um, own = _octave(patch, self.seed, _LATTICE)
        angle, between = own.uniform(0.0, np.pi), np.pi * own.choice((0.5, 1.0 / 3.0, 0.45))
        bend = own.uniform(0.0, 0.04)
        across, along = (
            _phase(patch, period_um, angle + turn)
            + np.float32(bend) * value_noise(patch, 8.0 * period_um, seed=self.seed, stream=s)
            for turn, s in ((0.0, _LATTICE), (between, _LATTICE + 100))
        )
        u, v = across - np.rint(across), along - np.rint(along)
        away = np.sqrt(u * u + v * v - 2.0 * u * v * np.cos(between)) / np.sin(between)
        radius, edge = own.uniform(0.18, 0.42), patch.step_um / period_um
        inside = np.clip(0.5 + (radius - away) / edge, 0.0, 1.0)
        low, high = _tones(own)
        if own.random() < 0.5:  # holes
            inside = 1.0 - inside
        return _surface(patch, low + (high - low) * inside, self.seed, own)


@dataclass(frozen=True, slots=True)
class Labyrinth:
    """Winding stripes of one width and two greys: magnetic domains, cracked films, block copolymers."""

    seed: int

    def draw(self, patch: Patch) -> Surface:
        """What lies in `patch`."""
        period_um, own = _octave(patch, self.seed, _LABYRINTH)
        waves = np.zeros((patch.height, patch.width), np.float32)
        for angle, phase in own.uniform(0.0, 2.0 * np.pi, (_WAVES, 2)):
            turns = _phase(patch, period_um, angle).astype(np.float32)
            waves += np.cos(np.float32(2.0 * np.pi) * turns + np.float32(phase))
        waves *= np.float32(1.0 / np.sqrt(0.5 * _WAVES))
        sharp = 3.0 * patch.step_um / period_um
        stripes = smoothstep(-sharp, sharp, waves + np.float32(own.uniform(-0.4, 0.4)))
        low, high = _tones(own)
        return _surface(patch, low + (high - low) * stripes, self.seed, own)


@dataclass(frozen=True, slots=True)
class Foam:
    """Rounded walls around pores of every size, with next to nothing on them."""

    seed: int

    def draw(self, patch: Patch) -> Surface:
        """What lies in `patch`."""
        cell_um, own = _octave(patch, self.seed, _FOAM)
        cells = crystals(patch, cell_um, seed=self.seed, stream=_FOAM)
        wall = own.uniform(0.05, 0.14)
        ridge = np.exp(-((cells.border / np.float32(wall)) ** 2))
        slope = np.clip(cells.centre, 0.0, 1.0) ** 2
        soft = relief(patch, seed=self.seed, stream=_FOAM, largest_px=300.0, smallest_px=60.0)
        image = 0.22 + 0.4 * ridge + 0.18 * slope + 0.05 * cells.tone + 0.04 * soft
        return _surface(patch, image, self.seed, own, most_grain=0.015)


@dataclass(frozen=True, slots=True)
class Sparse:
    """A few bright particles on a dark, empty ground."""

    seed: int

    def draw(self, patch: Patch) -> Surface:
        """What lies in `patch`."""
        own = np.random.default_rng(self.seed)
        image = np.full((patch.height, patch.width), own.uniform(0.03, 0.15), np.float32)
        share = own.uniform(0.04, 0.2)
        for k, cell_um in octaves(patch, 24.0, 200.0):
            found = scatter(
                patch,
                cell_um,
                seed=self.seed,
                stream=stream_of(_SPARSE, k),
                share=share,
                radii=(0.06, 0.3),
            )
            for x, y, r, u, v in zip(found.x, found.y, found.r, found.u, found.v, strict=True):
                centre, axes = (
                    tuple(round(16 * part) for part in pair) for pair in ((x, y), (r, 0.8 * r))
                )
                cv2.ellipse(
                    image, centre, axes, 180.0 * v, 0, 360, 0.45 + 0.5 * u, -1, cv2.LINE_AA, 4
                )
        return _surface(patch, image, self.seed, own, most_grain=0.02)


@dataclass(frozen=True, slots=True)
class Layers:
    """A cross-section: layers of every thickness and grey, with edges that run almost along the scan lines."""

    seed: int

    def draw(self, patch: Patch) -> Surface:
        """What lies in `patch`."""
        thick_um, own = _octave(patch, self.seed, _LAYERS)
        x, y = axes_um(patch)
        tilt, wave = np.radians(own.uniform(-2.0, 2.0)), own.uniform(0.0, 0.15)
        depth = (y * np.cos(tilt) + x * np.sin(tilt)) / thick_um
        depth = depth + wave * value_noise(
            patch, 12.0 * thick_um, seed=self.seed, stream=_LAYERS, aspect=3.0
        )
        depth = depth + 0.8 * noise_at(
            0.7 * depth, np.zeros_like(depth), seed=self.seed, stream=_LAYERS + 100
        )
        number, within = np.floor(depth).astype(np.int64), depth - np.floor(depth)
        edge = np.clip(within * thick_um / patch.step_um, 0.0, 1.0)
        here, above = (self._tone(number - back) for back in (0, 1))
        return _surface(patch, above + (here - above) * edge, self.seed, own)

    def _tone(self, number: NDArray[np.int64]) -> NDArray[np.float64]:
        return 0.1 + 0.7 * uniform(
            number, np.zeros_like(number), seed=self.seed, stream=_LAYERS + 200
        )


def _octave(patch: Patch, seed: int, stream: int) -> tuple[float, np.random.Generator]:
    """The size (um) that is drawn, and what is random about it.

    It is an octave: of those that fit, the seed's favourite, which stays it while it fits.
    """

    def liking(octave: tuple[int, float]) -> float:
        return float(np.random.default_rng((seed, stream, octave[0] + 64)).random())

    k, size_um = max(octaves(patch, *_SIZES_PX), key=liking)
    return size_um, np.random.default_rng((seed, k + 64))


def _tones(own: np.random.Generator) -> tuple[float, float]:
    """Two greys that differ enough to be seen."""
    low = own.uniform(0.08, 0.45)
    return low, low + own.uniform(0.2, 0.45)


def _phase(patch: Patch, period_um: float, angle: float) -> NDArray[np.float64]:
    x, y = axes_um(patch)
    return np.asarray((x * np.cos(angle) + y * np.sin(angle)) / period_um, np.float64)


def _surface(
    patch: Patch,
    image: NDArray[np.floating],
    seed: int,
    own: np.random.Generator,
    most_grain: float = 0.06,
) -> Surface:
    """The image with some grain of its own."""
    grain = np.float32(own.uniform(0.0, most_grain))
    grained: FloatImage = np.asarray(image, np.float32)
    grained = grained + grain * speckle(patch, seed=seed, stream=_GRAIN)
    return Surface(secondary=np.asarray(np.clip(grained, 0.0, 1.2), np.float32))
