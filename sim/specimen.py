"""Specimens, drawn where the beam looks: without an edge, at their right scale, with detail below every pixel.

Each draws the electron yield (0..1, float32) of a rectangle of itself, from its seed alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from afdaemon.sim.errors import SpecimenError
from afdaemon.sim.micrograph import Micrograph, load_micrograph
from afdaemon.sim.noise import Particles, octaves, scatter, value_noise
from afdaemon.sim.surface import FloatImage, Patch, Specimen, Surface

_FINEST_PX = 1.6
"""Smallest texture cell in drawing pixels: below this the drawing itself is the limit."""

_SMALLEST_BALL_PX = 14.0
"""Cells smaller than this hold speckle instead of single particles."""


def _flat(secondary: FloatImage) -> Surface:
    return Surface(secondary=np.asarray(secondary, dtype=np.float32))


def _stream(base: int, octave: int) -> int:
    return 256 * base + octave + 64


def speckle(patch: Patch, *, seed: int, stream: int, largest_px: float = 24.0) -> FloatImage:
    """Sharp-edged specks in all sizes from the drawing pixel to `largest_px`, about -1..1."""
    total = np.zeros((patch.height, patch.width), np.float32)
    scales = octaves(patch, _FINEST_PX, largest_px)
    for k, cell_um in scales:
        noise = value_noise(patch, cell_um, seed=seed, stream=_stream(stream, k))
        total += cv2.threshold(noise, 0.32, 1.0, cv2.THRESH_BINARY)[1]
        total -= cv2.threshold(noise, -0.42, 1.0, cv2.THRESH_BINARY_INV)[1]
    return np.asarray(total / max(1.0, float(np.sqrt(len(scales)))), dtype=np.float32)


def relief(
    patch: Patch, *, seed: int, stream: int, largest_px: float, aspect: float = 1.0
) -> FloatImage:
    """Smooth self-similar texture, about -1..1."""
    total = np.zeros((patch.height, patch.width), np.float32)
    scales = octaves(patch, _FINEST_PX, largest_px)
    for k, cell_um in scales:
        total += value_noise(patch, cell_um, seed=seed, stream=_stream(stream, k), aspect=aspect)
    return np.asarray(total / max(1.0, float(np.sqrt(len(scales)))), dtype=np.float32)


def _window(
    shape: tuple[int, int], x: float, y: float, r: float
) -> tuple[slice, slice, FloatImage, FloatImage] | None:
    """The part of an image that a disc covers, and its coordinates there in units of the radius."""
    x0, x1 = max(0, int(x - r) - 1), min(shape[1], int(x + r) + 2)
    y0, y1 = max(0, int(y - r) - 1), min(shape[0], int(y + r) + 2)
    if x0 >= x1 or y0 >= y1:
        return None
    u = ((np.arange(x0, x1, dtype=np.float32) - np.float32(x)) / np.float32(r))[None, :]
    v = ((np.arange(y0, y1, dtype=np.float32) - np.float32(y)) / np.float32(r))[:, None]
    return slice(y0, y1), slice(x0, x1), u, v


def _paint_balls(image: FloatImage, balls: Particles) -> None:
    """Paint spheres: yield rises towards the rim as 1 / cos(theta), the ground beside them lies in shadow."""
    for x, y, r, u, v in zip(balls.x, balls.y, balls.r, balls.u, balls.v, strict=True):
        window = _window(image.shape, x, y, 1.25 * r)
        if window is None:
            continue
        rows, columns, dx, dy = window
        dx, dy = 1.25 * dx, 1.25 * dy
        rho2 = dx * dx + dy * dy
        facing = np.sqrt(np.clip(1.0 - rho2, 0.0, 1.0))
        ball = np.float32(0.36 + 0.2 * u) + 0.16 / (facing + 0.24) + (0.08 * (dx - dy)) * (v - 0.3)
        shade = np.clip(1.0 - 2.2 * (1.5625 - rho2), 0.55, 1.0)
        ground = image[rows, columns] * shade
        image[rows, columns] = np.where(rho2 < 1.0, ball, ground)


@dataclass(frozen=True, slots=True)
class TinBalls:
    """Tin balls on carbon: spheres of 0.1 to 25 um in a hierarchy of sizes, with bright rims and shadows."""

    seed: int

    def draw(self, patch: Patch) -> Surface:
        """What lies in `patch`."""
        image = 0.22 + 0.05 * relief(patch, seed=self.seed, stream=1, largest_px=200.0)
        for k, cell_um in octaves(patch, _SMALLEST_BALL_PX, 0.7 * patch.width):
            if cell_um <= 64.0:
                balls = scatter(
                    patch,
                    cell_um,
                    seed=self.seed,
                    stream=_stream(2, k),
                    share=0.42,
                    radii=(0.16, 0.48),
                )
                _paint_balls(image, balls)
        return _flat(image + 0.07 * speckle(patch, seed=self.seed, stream=3))


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
        return _flat(edge * (metal + 0.22 * rim) + (1.0 - edge) * film)

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
            noise = value_noise(patch, cell_um, seed=self.seed, stream=_stream(15, k))
            hole = np.clip((noise - 0.5) * np.float32(0.5 * cell_um / patch.step_um), 0.0, 1.0)
            film = film * (1.0 - 0.62 * hole)
        tear = value_noise(patch, 40.0, seed=self.seed, stream=16)
        tear = tear + 0.15 * relief(patch, seed=self.seed, stream=17, largest_px=60.0)
        torn = np.clip((tear - 0.45) * np.float32(20.0 / patch.step_um), 0.0, 1.0)
        return np.asarray(
            film * (1.0 - torn) + torn * (0.1 + 0.03 * speckle(patch, seed=self.seed, stream=18)),
            dtype=np.float32,
        )


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
            noise = value_noise(patch, cell_um, seed=self.seed, stream=_stream(23, k))
            sharp = np.float32(0.5 * cell_um / patch.step_um)
            island = np.clip((noise - 0.5) * sharp + 0.5, 0.0, 1.0)
            rim = island * np.clip(1.6 - (noise - 0.5) * 5.0, 0.0, 1.0)
            image = image * (1.0 - island) + island * (0.6 + 0.12 * tone) + 0.14 * rim
        return _flat(image + 0.03 * speckle(patch, seed=self.seed, stream=24))


@dataclass(frozen=True, slots=True)
class Mixture:
    """Overlapping leaves of every size and grey: a stand-in for specimens that nobody has drawn, for training."""

    seed: int

    def draw(self, patch: Patch) -> Surface:
        """What lies in `patch`."""
        draw = np.random.default_rng(self.seed).random(8)
        rough, fine, leaf = draw[0], draw[1], draw[2]
        image = 0.5 + 0.2 * rough * relief(patch, seed=self.seed, stream=31, largest_px=250.0)
        for k, cell_um in octaves(patch, _SMALLEST_BALL_PX, 0.6 * patch.width):
            leaves = scatter(
                patch,
                cell_um,
                seed=self.seed,
                stream=_stream(32, k),
                share=0.2 + 0.4 * leaf,
                radii=(0.15, 0.7),
            )
            _paint_leaves(image, leaves, elongation=1.0 + 3.0 * draw[3])
        image += 0.12 * fine * speckle(patch, seed=self.seed, stream=33)
        return _flat(np.clip(image, 0.0, 1.2))


def _paint_leaves(image: FloatImage, leaves: Particles, elongation: float) -> None:
    """Paint flat ellipses in all directions, each of its own grey."""
    for x, y, r, u, v in zip(leaves.x, leaves.y, leaves.r, leaves.u, leaves.v, strict=True):
        centre = (round(x * 16), round(y * 16))
        axes = (round(r * 16), round(r * 16 / elongation))
        grey = 0.1 + 0.8 * ((7.0 * u) % 1.0)
        cv2.ellipse(image, centre, axes, 180.0 * v, 0, 360, grey, -1, cv2.LINE_AA, 4)


DRAWN: dict[str, Callable[[int], Specimen]] = {
    "tin_balls": TinBalls,
    "tem_grid": TemGrid,
    "gold_nanoparticles": GoldNanoparticles,
    "mixture": Mixture,
}
SPECIMENS = tuple(DRAWN)
"""Names of the drawn specimens; `image:PATH` makes one of a micrograph."""


def open_specimen(name: str, *, seed: int) -> Specimen:
    """The specimen of that name: one of `SPECIMENS`, or `image:PATH` for a TIFF, PNG or JPEG micrograph.

    Raises:
        SpecimenError: no such specimen, or an image that cannot serve as one.
    """
    if name.startswith("image:"):
        micrograph: Micrograph = load_micrograph(Path(name.removeprefix("image:")))
        return micrograph
    if name not in DRAWN:
        raise SpecimenError(
            f"no specimen is called {name!r}",
            remedy=f"use one of {', '.join(SPECIMENS)}, or image:PATH",
        )
    return DRAWN[name](seed)
