"""What a specimen picks up in a laboratory: dust, scratches and charge, laid over any other specimen."""

from dataclasses import dataclass, replace

import numpy as np

from afdaemon.sim.specimens.grit import strew
from afdaemon.sim.specimens.painting import Canvas
from afdaemon.sim.specimens.texture import axes_um, noise_at, smoothstep, value_noise
from afdaemon.sim.surface import FloatImage, Patch, Specimen, Surface

_DUST_UM = (0.5, 128.0)
_SCRATCHES_UM = (0.4, 1.6, 6.4, 25.0, 100.0)
_PATCH_UM = (6.0, 180.0)
"""Sizes of dust's cells, of the distances between scratches, and of charging patches."""

_DUST_CHARGES = 0.15
"""How strongly a grain of dust charges, 0..1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Soiled:
    """`specimen` under layers of `dust`, `scratches` and `charging`, each of a strength from 0 (none) to 1."""

    specimen: Specimen
    seed: int
    dust: float = 0.0
    scratches: float = 0.0
    charging: float = 0.0

    def draw(self, patch: Patch) -> Surface:
        """What lies in `patch`."""
        clean = self.specimen.draw(patch)
        canvas = Canvas.of(clean)
        charging = np.zeros_like(canvas.secondary) if clean.charging is None else clean.charging
        if self.scratches > 0.0:
            self._scratch(canvas, patch)
        if self.dust > 0.0:
            charges = _DUST_CHARGES * self.dust * self._lay_dust(canvas, patch)
            charging = np.maximum(charging, charges)
        if self.charging > 0.0:
            patches = self.charging * self._patches(patch)
            canvas.secondary += 0.25 * patches
            charging = np.maximum(charging, patches)
        return replace(canvas.surface(), charging=np.asarray(charging, np.float32))

    def _lay_dust(self, canvas: Canvas, patch: Patch) -> FloatImage:
        """Grains that stand up and charge; returns where they are (1)."""
        before_um = canvas.height_um.copy()
        share = 0.13 * self.dust
        strew(canvas, patch, _DUST_UM, seed=self.seed, stream=90, share=share, yields=(0.6, 0.25))
        return np.asarray(canvas.height_um > before_um, np.float32)

    def _scratch(self, canvas: Canvas, patch: Patch) -> None:
        """Grooves of all widths, each width in a direction of its own: dark, with one bright lip."""
        x, y = axes_um(patch)
        angles = np.random.default_rng(self.seed).uniform(0.0, np.pi, len(_SCRATCHES_UM))
        for number, (cell_um, angle) in enumerate(zip(_SCRATCHES_UM, angles, strict=True)):
            if not 3.0 * patch.step_um < cell_um < 2000.0 * patch.step_um:
                continue
            across = (x * np.cos(angle) + y * np.sin(angle)) / cell_um
            along = (y * np.cos(angle) - x * np.sin(angle)) / (40.0 * cell_um)
            noise = noise_at(across, along, seed=self.seed, stream=300 + number)
            off = noise - np.float32(0.86)
            width = np.float32(max(0.03, 1.5 * patch.step_um / cell_um))
            groove = np.exp(-((off / width) ** 2))
            lip = np.exp(-(((off + 2.0 * width) / width) ** 2))
            canvas.secondary *= 1.0 - np.float32(0.6 * self.scratches) * groove
            canvas.secondary += np.float32(0.14 * self.scratches) * lip
            canvas.height_um -= np.float32(0.02 * cell_um) * groove

    def _patches(self, patch: Patch) -> FloatImage:
        """Where charge gathers: 0..1, in patches with soft borders."""
        near, wide = (
            value_noise(patch, cell_um, seed=self.seed, stream=95 + number)
            for number, cell_um in enumerate(_PATCH_UM)
        )
        return smoothstep(0.25, 0.75, 0.6 * near + 0.6 * wide)
