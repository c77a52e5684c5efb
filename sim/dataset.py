"""Frames with their truth, without end: what the networks are trained on.

A scene is one sharp field of one specimen; every frame of it has its own defocus, detector and noise. Labels follow
`afdaemon.sim.truth`: they depend on defocus alone.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from afdaemon.sim.batch import Exposure, simulate_batch
from afdaemon.sim.detector import Detector
from afdaemon.sim.imaging import View, sharp_field
from afdaemon.sim.optics import Blur
from afdaemon.sim.specimens.catalogue import TRAINING_SPECIMENS
from afdaemon.sim.specimens.micrograph import Micrograph, load_micrograph
from afdaemon.sim.surface import FloatImage, Specimen

MICROGRAPH_SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg")
_HELD_BACK_SHARE = 4
"""One micrograph in this many, chosen by its name, is never trained on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What is drawn and how often. `weights` are relative; micrographs share the weight of `micrograph`."""

    weights: dict[str, float] = field(
        default_factory=lambda: {
            "tin_balls": 0.22,
            "tem_grid": 0.2,
            "gold_nanoparticles": 0.18,
            "mixture": 0.2,
            "micrograph": 0.2,
        }
    )
    frames_per_scene: int = 8
    frame_px: int = 192
    magnifications: tuple[float, float] = (200.0, 40_000.0)
    max_blur_px: float = 80.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledFrames:
    """Frames of one scene: pixels uint8 (n, H, W), magnification (n,), blur radius in px (n,), both float32."""

    pixels: NDArray[np.uint8]
    magnification: NDArray[np.float32]
    blur_px: NDArray[np.float32]


def find_micrographs(folder: Path) -> list[Path]:
    """All image files under `folder`, sorted by name; none if there is no such folder."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in MICROGRAPH_SUFFIXES)


def held_back(path: Path) -> bool:
    """Whether a micrograph is kept for testing: decided by its folder's and its own name alone."""
    name = f"{path.parent.name}/{path.name}"
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % _HELD_BACK_SHARE == 0


def scenes(recipe: Recipe, micrographs: Sequence[Path], *, seed: int) -> Iterator[LabelledFrames]:
    """Scenes without end; the same seed, recipe and micrographs give the same ones."""
    loaded = [load_micrograph(path) for path in micrographs]
    rng = np.random.default_rng(seed)
    weights = {k: w for k, w in recipe.weights.items() if loaded or k != "micrograph"}
    names = list(weights)
    share = np.array([weights[name] for name in names])
    share /= share.sum()
    while True:
        name = names[int(rng.choice(len(names), p=share))]
        specimen = (
            _random_micrograph(loaded, rng)
            if name == "micrograph"
            else TRAINING_SPECIMENS[name](int(rng.integers(2**31)))
        )
        yield _scene(specimen, recipe, rng)


def _random_micrograph(loaded: Sequence[Micrograph], rng: np.random.Generator) -> Specimen:
    """A micrograph whose pixels fall 3.3 to 6.5 on one of the frame at 1000x: sharp to below the frame's pixel."""
    chosen = loaded[int(rng.integers(len(loaded)))]
    return replace(chosen, pixel_um=chosen.pixel_um * 3.0 / rng.uniform(3.3, 6.5))


def _scene(specimen: Specimen, recipe: Recipe, rng: np.random.Generator) -> LabelledFrames:
    magnification = _log_uniform(rng, *recipe.magnifications)
    drawn_at = 1000.0 if isinstance(specimen, Micrograph) else magnification
    x_um, y_um = rng.uniform(-1e4, 1e4, 2)
    view = View(x_um=x_um, y_um=y_um, magnification=drawn_at, width_px=320, height_px=240)
    sharp = _vary(sharp_field(specimen, view), rng)
    exposures = [
        Exposure(
            field=0, blur=_random_blur(rng, recipe.max_blur_px), detector=_random_detector(rng)
        )
        for _ in range(recipe.frames_per_scene)
    ]
    detected = simulate_batch(sharp[None], exposures, seed=int(rng.integers(2**31)), workers=1)
    frames, blurs = [], []
    for exposure, whole in zip(exposures, detected, strict=True):
        frame, smoothing_px = _smoothed(_random_window(whole, recipe.frame_px, rng), rng)
        frames.append(_compressed(frame, rng))
        radius_px = max(exposure.blur.radius_px, 2.0 * exposure.blur.gaussian_px - 1.0)
        blurs.append(np.hypot(radius_px, 2.0 * smoothing_px))
    count = len(frames)
    return LabelledFrames(
        pixels=np.stack(frames),
        magnification=np.full(count, magnification, np.float32),
        blur_px=np.array(blurs, np.float32),
    )


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _vary(sharp: FloatImage, rng: np.random.Generator) -> FloatImage:
    """Give a field its own contrast and, at times, grain of its own that blurs with it."""
    spread = max(float(sharp.std()), 1e-3)
    target = _log_uniform(rng, 0.05, 0.22)
    varied = 0.5 + (sharp - sharp.mean()) * np.float32(target / spread)
    if rng.random() < 0.3:
        grain = np.float32(target * rng.uniform(0.1, 0.7))
        varied = varied + grain * rng.standard_normal(sharp.shape, dtype=np.float32)
    return np.asarray(np.clip(varied, 0.0, 1.3), dtype=np.float32)


def _random_blur(rng: np.random.Generator, largest_px: float) -> Blur:
    """Near focus, in the middle, or far out; a disc, an ellipse (astigmatism) or a Gaussian of the same spread."""
    zone = rng.random()
    if zone < 0.25:
        radius = float(rng.uniform(0.0, 3.0))
    elif zone < 0.7:
        radius = _log_uniform(rng, 1.0, 16.0)
    else:
        radius = _log_uniform(rng, 8.0, largest_px)
    probe = float(rng.uniform(0.0, 0.5))
    if rng.random() < 0.25:
        # A Gaussian of sigma = R / 2 has the variance of a disc of radius R.
        return Blur(radius_px=0.0, minor_px=0.0, gaussian_px=(radius + 1.0) / 2.0)
    minor = radius * float(rng.uniform(0.6, 1.0)) if rng.random() < 0.4 else radius
    angle = float(rng.uniform(0.0, np.pi))
    return Blur(radius_px=radius, minor_px=minor, angle_rad=angle, gaussian_px=probe)


def _random_detector(rng: np.random.Generator) -> Detector:
    return Detector(
        electrons=_log_uniform(rng, 20.0, 3000.0),
        contrast=_log_uniform(rng, 0.08 if rng.random() < 0.2 else 0.35, 1.7),
        brightness=float(rng.uniform(0.3, 0.7)),
        gamma=_log_uniform(rng, 0.6, 1.6),
        read_noise=_log_uniform(rng, 0.5, 8.0),
    )


def _random_window(
    frame: NDArray[np.uint8], size: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """A square of `size` px somewhere in the frame, turned and mirrored at random."""
    top = int(rng.integers(0, frame.shape[0] - size + 1))
    left = int(rng.integers(0, frame.shape[1] - size + 1))
    window = frame[top : top + size, left : left + size]
    window = np.rot90(window, int(rng.integers(4)))
    return np.ascontiguousarray(window[:, ::-1] if rng.random() < 0.5 else window)


def _smoothed(
    pixels: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], float]:
    """Some frames were averaged after they were taken, noise and all; returns the sigma in pixels too."""
    if rng.random() < 0.65:
        return pixels, 0.0
    sigma_px = float(rng.uniform(0.2, 1.5))
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma_px), dtype=np.uint8), sigma_px


def _compressed(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Some frames come through the vendor's JPEG."""
    if rng.random() < 0.5:
        return pixels
    quality = int(rng.integers(85, 99))
    encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)
