"""Test targets whose image is known exactly, and how a benchmark photographs them."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from afdaemon.sim.imaging.detector import Detector
from afdaemon.sim.imaging.frame import Imager, View
from afdaemon.sim.optics import Optics
from afdaemon.sim.surface import FloatImage, Patch, Specimen, Surface

WIDTH_PX, HEIGHT_PX = 320, 240
ALPHA_RAD = 5e-3
PROBE_NM = 6.0
REFERENCE_UM = 127_000.0
"""Repeated here: the benchmark must not take its theory from what it tests."""

Field = NDArray[np.float64]


def pixel_um(magnification: float) -> float:
    return REFERENCE_UM / magnification / WIDTH_PX


@dataclass(frozen=True)
class SlantedEdge:
    """A half-plane through (0, 0), `angle` from upright; each pixel holds its exact covered area."""

    angle: float
    dark: float = 0.25
    bright: float = 0.75

    def draw(self, patch: Patch) -> Surface:
        """What lies in `patch`."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        x = patch.left_um / patch.step_um + np.arange(patch.width) + 0.5
        y = patch.top_um / patch.step_um + np.arange(patch.height) + 0.5
        distance = x[None, :] * cos + y[:, None] * sin

        def ramp(at: Field) -> Field:
            return np.asarray(0.5 * np.maximum(at, 0.0) ** 2)

        # A step convolved with the two boxes that are the pixel's sides projected on the edge's normal.
        a, b = 0.5 * abs(cos), 0.5 * abs(sin)
        covered = ramp(distance + a + b) - ramp(distance + a - b)
        covered += ramp(distance - a - b) - ramp(distance - a + b)
        covered /= 4.0 * a * b
        return Surface(secondary=as_image(self.dark + (self.bright - self.dark) * covered))


@dataclass(frozen=True)
class Dots:
    """Bright dots on a square lattice, on a dark ground."""

    spacing_um: float
    radius_um: float
    signal: float = 60.0

    def draw(self, patch: Patch) -> Surface:
        """What lies in `patch`."""
        x = patch.left_um + (np.arange(patch.width) + 0.5) * patch.step_um
        y = patch.top_um + (np.arange(patch.height) + 0.5) * patch.step_um
        half = 0.5 * self.spacing_um
        off_x, off_y = (np.mod(at, self.spacing_um) - half for at in (x, y))
        distance = np.hypot(off_x[None, :], off_y[:, None])
        covered = np.clip((self.radius_um - distance) / patch.step_um + 0.5, 0.0, 1.0)
        return Surface(secondary=as_image(0.1 + self.signal * covered))


@dataclass(frozen=True)
class Uniform:
    """One yield everywhere."""

    level: float

    def draw(self, patch: Patch) -> Surface:
        """What lies in `patch`."""
        return Surface(secondary=np.full((patch.height, patch.width), self.level, np.float32))


def as_image(values: Field) -> FloatImage:
    return np.asarray(values, dtype=np.float32)


def fast_view(magnification: float) -> View:
    return View(
        x_um=0.0, y_um=0.0, magnification=magnification, width_px=WIDTH_PX, height_px=HEIGHT_PX
    )


@dataclass(frozen=True)
class Camera:
    """Photographs one target with little noise: the mean of several 8-bit frames, none of them saturated."""

    imager: Imager
    rng: np.random.Generator
    frames: int = 8

    def photograph(self, magnification: float, defocus_um: float) -> Field:
        """Mean frame (H, W), in units of signal."""
        detector = Detector(electrons=1e6, contrast=1.6, brightness=0.5, read_noise=1.0)
        while True:
            self.imager.detector = detector
            frame = self.expose(magnification, defocus_um)
            if frame.min() > 0 and frame.max() < 255:
                break
            contrast = 0.7 * detector.contrast
            # The ground at signal 0 stays at a tenth of the scale, as an operator sets it.
            detector = replace(detector, contrast=contrast, brightness=0.1 + 0.5 * contrast)
        total = np.zeros(frame.shape)
        for _ in range(self.frames):
            total += self.expose(magnification, defocus_um)
        level = total / self.frames / 255.0
        return np.asarray((level - detector.brightness) / detector.contrast + 0.5)

    def expose(self, magnification: float, defocus_um: float) -> NDArray[np.uint8]:
        """One frame as it comes."""
        return self.imager.expose(fast_view(magnification), defocus_um=defocus_um, rng=self.rng)


def camera(
    target: Specimen, seed: int, *, astigmatism_um: tuple[float, float] = (0.0, 0.0)
) -> Camera:
    optics = Optics(alpha_rad=ALPHA_RAD, probe_nm=PROBE_NM, astigmatism_um=astigmatism_um)
    return Camera(Imager(target, optics, Detector()), np.random.default_rng(seed))
