"""Kinds of specimen that mislead focus measures, from lattices and sparse particles to smooth faces and stained tissue.

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
_PERIODS_PX = 6.0, 90.0
"""Shortest period of a lattice, and half of the longest one."""
_ROUGHNESS = 0.06
"""Largest amplitude of an edge's roughness, in periods. ASSUMED: of lithographic lines it is some per cent."""
_FACES_PX = 50.0, 200.0
"""Crystal faces in drawing pixels: a frame shows a few large ones."""
_WAVES = 24
"""Plane waves of one length in all directions: their sum changes sign along winding lines (a Gaussian random field)."""
_LATTICE, _LABYRINTH, _FOAM, _SPARSE, _LAYERS, _GRAIN, _FACETS, _SECTION, _GRATING = range(81, 90)


@dataclass(frozen=True, slots=True)
class Lattice:
    """Round holes or posts on a rectangular or oblique lattice, or lines: any period, duty cycle and angle.

    Slightly irregular, with smooth to rough edges.
    """

    seed: int

    def draw(self, patch: Patch) -> Surface:
        """What lies in `patch`."""
        octave_um, own = _octave(patch, self.seed, _LATTICE, _PERIODS_PX)
        period_um, is_ruled = octave_um * own.uniform(1.0, 2.0), own.random() < 0.4
        angle, between = own.uniform(0.0, np.pi), np.pi * own.choice((0.5, 1.0 / 3.0, 0.45))
        bend = own.uniform(0.0, 0.04)
        across, along = (
            _phase(patch, period_um, angle + turn)
            + np.float32(bend) * value_noise(patch, 8.0 * period_um, seed=self.seed, stream=s)
            for turn, s in ((0.0, _LATTICE), (between, _LATTICE + 100))
        )
        u, v = across - np.rint(across), along - np.rint(along)
        away = np.sqrt(u * u + v * v - 2.0 * u * v * np.cos(between)) / np.sin(between)
        if is_ruled:
            away = np.abs(u)
        radius, edge = own.uniform(0.07 if is_ruled else 0.18, 0.42), patch.step_um / period_um
        inside = np.clip(
            0.5 + (radius + self._rough(patch, period_um, own) - away) / edge, 0.0, 1.0
        )
        low, high = _tones(own)
        if own.random() < 0.5:  # holes
            inside = 1.0 - inside
        return _surface(patch, low + (high - low) * inside, self.seed, own)

    def _rough(self, patch: Patch, period_um: float, own: np.random.Generator) -> FloatImage:
        """How far an edge lies out of its place, in periods; half of the lattices have smooth edges."""
        strength = max(0.0, own.uniform(-_ROUGHNESS, _ROUGHNESS))
        cell_um = period_um * own.uniform(0.2, 1.0)
        rough = value_noise(patch, cell_um, seed=self.seed, stream=_LATTICE + 200)
        return np.asarray(np.float32(strength) * rough, np.float32)


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


@dataclass(frozen=True, slots=True)
class Facets:
    """Large smooth crystal faces with hardly any texture; growth steps of different heights cross some of them."""

    seed: int

    def draw(self, patch: Patch) -> Surface:
        """What lies in `patch`."""
        face_um, own = _octave(patch, self.seed, _FACETS, _FACES_PX)
        faces = crystals(patch, face_um, seed=self.seed, stream=_FACETS, sharp=True)
        soft = relief(patch, seed=self.seed, stream=_FACETS, largest_px=400.0, smallest_px=100.0)
        image = own.uniform(0.15, 0.3) + own.uniform(0.2, 0.45) * faces.tone + 0.01 * soft
        rim = np.exp(-((faces.border * np.float32(face_um / (1.2 * patch.step_um))) ** 2))
        image += own.uniform(0.0, 0.3) * rim
        image += own.uniform(0.1, 0.35) * self._steps(patch, faces.tone, face_um, own)
        return _surface(patch, image, self.seed, own, most_grain=0.004)

    def _steps(
        self, patch: Patch, tone: FloatImage, face_um: float, own: np.random.Generator
    ) -> FloatImage:
        """Terraces between parallel steps, about -0.5..0.5: each face has its own direction, some have no steps.

        There is one step in each unit of length across them, anywhere in it.
        """
        face = (tone * np.float32(2**24)).astype(np.int64)
        angle = np.float32(2.0 * np.pi) * ((np.float32(7.0) * tone) % 1.0)
        apart_um = face_um * own.uniform(0.08, 0.3)
        x, y = (axis / apart_um for axis in axes_um(patch))
        across = x * np.cos(angle) + y * np.sin(angle)
        unit = np.floor(across)
        number = unit.astype(np.int64)
        cut = uniform(number, face, seed=self.seed, stream=_FACETS)
        past = np.clip((across - unit - cut) * apart_um / patch.step_um + 0.5, 0.0, 1.0)
        before, after = (
            uniform(number + step, face, seed=self.seed, stream=_FACETS + 100) for step in (0, 1)
        )
        stepped = (np.float32(13.0) * tone) % 1.0 < own.uniform(0.4, 0.9)
        return np.asarray((before - 0.5 + past * (after - before)) * stepped, np.float32)


@dataclass(frozen=True, slots=True)
class Section:
    """Stained tissue, cut: membranes, vesicles, fibrils and granules at several scales, with little contrast."""

    seed: int

    def draw(self, patch: Patch) -> Surface:
        """What lies in `patch`."""
        own = np.random.default_rng(self.seed)
        soft = relief(patch, seed=self.seed, stream=_SECTION, largest_px=300.0, smallest_px=20.0)
        stain = np.asarray(0.2 * soft, np.float32)
        for k, cell_um in octaves(patch, 50.0, 400.0):
            stain += self._membranes(patch, k, cell_um)
            stain += np.float32(0.5) * self._fibrils(patch, k, cell_um)
        for k, cell_um in octaves(patch, 12.0, 140.0):
            self._vesicles(stain, patch, k, cell_um)
        contrast, ground = own.uniform(0.06, 0.16), own.uniform(0.4, 0.6)
        image = ground - contrast * np.clip(stain, -1.0, 2.0)
        return _surface(patch, image, self.seed, own, most_grain=0.02)

    def _membranes(self, patch: Patch, k: int, cell_um: float) -> FloatImage:
        """Winding double lines, thin where the noise is steep, wide where a membrane is cut along its surface."""
        noise = value_noise(patch, cell_um, seed=self.seed, stream=stream_of(_SECTION, k))
        away_px = np.abs(noise - np.float32(0.1)) * np.float32(cell_um / patch.step_um)
        return np.asarray(np.exp(-(((away_px - 2.5) / 1.2) ** 2)), np.float32)

    def _fibrils(self, patch: Patch, k: int, cell_um: float) -> FloatImage:
        """Bundles of thin parallel threads, here and there."""
        angle = np.pi * np.random.default_rng((self.seed, _SECTION, k + 64)).random()
        across, along = (_phase(patch, 0.08 * cell_um, angle + turn) for turn in (0.0, 0.5 * np.pi))
        threads = noise_at(
            across, along / 20.0, seed=self.seed, stream=stream_of(_SECTION + 100, k)
        )
        where = value_noise(
            patch, 2.0 * cell_um, seed=self.seed, stream=stream_of(_SECTION + 200, k)
        )
        return smoothstep(0.2, 0.5, threads) * smoothstep(0.2, 0.3, where)

    def _vesicles(self, stain: FloatImage, patch: Patch, k: int, cell_um: float) -> None:
        """Paint round bodies: some are dark granules, the others have a wall around a pale inside."""
        found = scatter(
            patch,
            cell_um,
            seed=self.seed,
            stream=stream_of(_SECTION, k),
            share=0.2,
            radii=(0.1, 0.35),
        )
        for x, y, r, u, v in zip(found.x, found.y, found.r, found.u, found.v, strict=True):
            centre = (round(16 * x), round(16 * y))
            axes = (round(16 * r), round(16 * r * (0.7 + 0.3 * u)))
            inside = 0.9 if u < 0.4 else -0.3
            cv2.ellipse(stain, centre, axes, 180.0 * v, 0, 360, inside, -1, cv2.LINE_AA, 4)
            cv2.ellipse(stain, centre, axes, 180.0 * v, 0, 360, 1.0, 2, cv2.LINE_AA, 4)


@dataclass(frozen=True, slots=True)
class Grating:
    """Etched lines: dark trenches, bright rims of each its own height, and edges that wander as resist leaves them.

    An edge's roughness is up to a tenth of the period and long along the line (lithographers call it line edge
    roughness); no two lines are alike, and their faces are grainy.
    """

    seed: int

    def draw(self, patch: Patch) -> Surface:
        """What lies in `patch`."""
        octave_um, own = _octave(patch, self.seed, _GRATING, _PERIODS_PX)
        period_um, angle = octave_um * own.uniform(1.0, 2.0), own.uniform(0.0, np.pi)
        across = _phase(patch, period_um, angle)
        along = _phase(patch, period_um, angle + 0.5 * np.pi) / own.uniform(0.5, 3.0)
        line = np.rint(across)
        strength, width = own.uniform(0.02, 0.1), own.uniform(0.3, 0.7)
        left, right = (
            side * width / 2.0 + strength * self._wandering(along, line, k)
            for k, side in enumerate((-1.0, 1.0))
        )
        place, step = across - line, patch.step_um / period_um
        top = np.clip((place - left) / step, 0.0, 1.0) * np.clip((right - place) / step, 0.0, 1.0)
        low, high = _tones(own)
        image = low + (high - low) * top
        rim, bright = max(2.5 * step, own.uniform(0.02, 0.06)), own.uniform(0.0, 0.4)
        for edge, k in ((left, 2), (right, 3)):
            lit = bright * (0.7 + 0.6 * self._wandering(along / 4.0, line, k))
            image = image + lit * np.exp(-(((place - edge) / rim) ** 2))
        return _surface(patch, image, self.seed, own)

    def _wandering(
        self, along: NDArray[np.float64], line: NDArray[np.float64], k: int
    ) -> FloatImage:
        """Smooth noise along each line, its own."""
        stream = _GRATING + 100 * (k + 1)
        return noise_at(along, line, seed=self.seed, stream=stream)


def _octave(
    patch: Patch, seed: int, stream: int, sizes_px: tuple[float, float] = _SIZES_PX
) -> tuple[float, np.random.Generator]:
    """The size (um) that is drawn, and what is random about it.

    It is an octave: of those that fit, the seed's favourite, which stays it while it fits.
    """

    def liking(octave: tuple[int, float]) -> float:
        return float(np.random.default_rng((seed, stream, octave[0] + 64)).random())

    k, size_um = max(octaves(patch, *sizes_px), key=liking)
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
