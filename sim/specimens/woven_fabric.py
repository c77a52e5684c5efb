"""Woven cloth: a plain weave of yarns, twisted from fibres whose skin is scratched lengthwise."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from afdaemon.sim.specimens.grit import strew
from afdaemon.sim.specimens.painting import Canvas
from afdaemon.sim.specimens.texture import (
    axes_um,
    noise_at,
    smoothstep,
    speckle,
    value_noise,
)
from afdaemon.sim.surface import FloatImage, Patch, Surface

_CROWN_UM = 55.0
"""How far a yarn rises over a crossing, and sinks under the next."""

_YARN_UM = 132.0
_FLATNESS = 0.6
"""Half width of a yarn, and its thickness in widths."""


_DEEP_UM = -130.0
"""Height of what shows between the yarns."""

_MARKS_UM = ((1.9, 60.0), (0.5, 9.0), (0.13, 2.0), (0.035, 0.5))
"""Width and length of the marks along a fibre, coarse to fine."""


@dataclass(frozen=True, slots=True, eq=False)
class _Yarn:
    """The uppermost yarn at each pixel: its number, place around and along it (um), and the height of its surface.

    `cover_um` is how much higher it is than the yarn that crosses below.
    """

    number: NDArray[np.float64]
    arc_um: NDArray[np.float64]
    along_um: NDArray[np.float64]
    height_um: FloatImage
    cover_um: FloatImage


@dataclass(frozen=True, slots=True, eq=False)
class _Fibres:
    """A layer of fibres: place across each (-1..1), in fibre widths over the yarn, tone and height (um)."""

    across: FloatImage
    widths: NDArray[np.float64]
    tone: FloatImage
    height_um: FloatImage


@dataclass(frozen=True, slots=True)
class WovenFabric:
    """A plain weave of yarns `pitch_um` apart, of fibres `fibre_um` thick; never used for training."""

    seed: int
    pitch_um: float = 300.0
    fibre_um: float = 15.0

    def draw(self, patch: Patch) -> Surface:
        """What lies in `patch`."""
        wander = value_noise(patch, 190.0, seed=self.seed, stream=1)
        x, y = axes_um(patch)
        yarn = _upper(
            self._yarn(x + 16.0 * wander, y, 0.0),
            self._yarn(y + 16.0 * wander, x + self.pitch_um, 0.5),
        )
        low, top = (self._fibres(yarn, lay, stream) for lay, stream in ((-0.2, 64), (0.16, 128)))
        above = top.height_um + np.float32(5.0) > low.height_um
        fibres = _Fibres(
            *(
                np.where(above, upper, lower)
                for upper, lower in (
                    (top.across, low.across),
                    (top.widths, low.widths),
                    (top.tone, low.tone - 0.14),
                    (top.height_um + 5.0, low.height_um),
                )
            )
        )
        canvas = self._shaded(patch, yarn, fibres)
        grit = (2.0**-4, 16.0)
        strew(canvas, patch, grit, seed=self.seed, stream=9, share=0.03, yields=(0.62, 0.35))
        charging = np.clip(0.05 + 0.1 * wander, 0.0, 1.0)
        return replace(canvas.surface(), charging=np.asarray(charging, np.float32))

    def _shaded(self, patch: Patch, yarn: _Yarn, fibres: _Fibres) -> Canvas:
        facing = np.sqrt(np.clip(1.0 - fibres.across**2, 0.0, 1.0))
        secondary = 0.34 + 0.21 * facing + fibres.tone + 0.05 / (facing + 0.12)
        secondary += 0.1 * fibres.across + self._marks(patch, yarn, fibres)
        fine = speckle(patch, seed=self.seed, stream=3, largest_px=8.0)
        secondary += 0.035 * fine
        # Between two fibres, on a yarn's flank and where one dives under another, few electrons get out.
        secondary *= 1.0 - 0.85 * smoothstep(0.82, 1.0, np.abs(fibres.across))
        secondary *= 0.3 + 0.7 * np.cos(yarn.arc_um / _YARN_UM).astype(np.float32)
        secondary *= 0.35 + 0.65 * np.clip(yarn.cover_um / np.float32(45.0), 0.0, 1.0)
        height = yarn.height_um + fibres.height_um
        secondary *= np.clip(1.1 + height / np.float32(150.0), 0.12, 1.0)
        secondary = np.maximum(secondary, 0.15 + 0.07 * fine)
        canvas = Canvas(secondary, 0.2 + 0.2 * secondary)
        canvas.height_um = np.asarray(np.maximum(height, _DEEP_UM), np.float32)
        return canvas

    def _yarn(
        self, across_um: NDArray[np.float64], along_um: NDArray[np.float64], first: float
    ) -> _Yarn:
        """Yarns that lie side by side along `across_um`."""
        across_um, along_um = np.broadcast_arrays(across_um, along_um)
        pitches = across_um / self.pitch_um
        number = np.floor(pitches)
        offset = np.clip((pitches - number - 0.5) * (self.pitch_um / _YARN_UM), -1.0, 1.0)
        wave = np.cos(np.pi * (along_um / self.pitch_um - 0.5 + number))
        thickness = _FLATNESS * _YARN_UM * (np.sqrt(1.0 - offset**2) - 1.0)
        height = np.where(np.abs(offset) < 1.0, _CROWN_UM * wave + thickness, _DEEP_UM)
        return _Yarn(
            number + first,
            np.arcsin(offset) * _YARN_UM,
            along_um,
            height.astype(np.float32),
            np.zeros((1, 1), np.float32),
        )

    def _fibres(self, yarn: _Yarn, lay: float, stream: int) -> _Fibres:
        """Fibres that wind about their yarn with slope `lay`; each rises and sinks among the others."""
        widths = (yarn.arc_um + lay * yarn.along_um) / self.fibre_um
        widths = widths + np.mod(61.0 * yarn.number, 97.0)  # no two yarns alike
        along = yarn.along_um / 500.0
        widths = widths + 1.8 * noise_at(widths / 4.0, along, seed=self.seed, stream=stream)
        fibre = np.floor(widths)
        lift = noise_at(fibre, along, seed=self.seed, stream=stream + 1)
        across = (2.0 * (widths - fibre) - 1.0).astype(np.float32)
        facing = np.sqrt(np.clip(1.0 - across * across, 0.0, 1.0))
        height = np.float32(0.5 * self.fibre_um) * (facing + 1.6 * lift)
        return _Fibres(across, widths, 0.1 * lift, np.asarray(height, np.float32))

    def _marks(self, patch: Patch, yarn: _Yarn, fibres: _Fibres) -> FloatImage:
        """Scratches and furrows along the fibres, as fine as can be drawn."""
        total = np.zeros_like(fibres.across)
        for number, (wide_um, long_um) in enumerate(_MARKS_UM):
            if 2.5 * patch.step_um < wide_um < 100.0 * patch.step_um:
                marks = noise_at(
                    fibres.widths * (self.fibre_um / wide_um),
                    yarn.along_um / long_um,
                    seed=self.seed,
                    stream=16 + number,
                )
                depth = (0.35, 1.0, 1.0, 1.0)[number]
                total += depth * (0.07 * marks - 0.13 * np.exp(-((marks / np.float32(0.09)) ** 2)))
        return total


def _upper(one: _Yarn, other: _Yarn) -> _Yarn:
    above = one.height_um > other.height_um
    return _Yarn(
        np.where(above, one.number, other.number),
        np.where(above, one.arc_um, other.arc_um),
        np.where(above, one.along_um, other.along_um),
        np.maximum(one.height_um, other.height_um),
        np.abs(one.height_um - other.height_um),
    )
