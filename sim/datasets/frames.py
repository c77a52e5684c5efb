"""Endless frames with their ground truth: what the networks are trained on.

Labels follow `afdaemon.sim.truth`: they depend on defocus alone. New scenes are drawn all the time, and each is used
several times, because drawing one takes as long as imaging it many times.
"""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from afdaemon.sim.datasets.scenes import (
    LabelledFrames,
    Scene,
    Uneven,
    Varied,
    Variety,
    happens,
    log_uniform,
    open_scene,
)
from afdaemon.sim.imaging.frame import View
from afdaemon.sim.optics import FAST_WIDTH_PX, depth_of_focus_um, pixel_um
from afdaemon.sim.specimens.catalogue import TRAINABLE
from afdaemon.sim.specimens.micrograph import Micrograph, load_micrograph
from afdaemon.sim.surface import Specimen

_MICROGRAPH_SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg")
_HELD_BACK_SHARE = 4
"""One micrograph in this many, chosen by its name, is never trained on."""
_LEAST_NOISE = 4.0
"""Smallest extra noise of a noisy frame, in grey levels; `Recipe.most_noise` is the largest."""
_MICROGRAPH_AT = 1_000.0
"""Magnification at which micrographs are drawn; the frames claim another one, drawn at random."""

_HEIGHTS_DOF, _USUAL_ALPHA_RAD = (0.2, 3.0), 5e-3
"""How high uneven ground is to either side, in depths of focus at a usual convergence angle."""
_CELLS_PX, _TERRACED_SHARE = (30.0, 400.0), 0.5
"""Size of its hills in fast-mode pixels, and the share of uneven grounds that are terraced."""

HARSH = Variety(
    wave_share=0.5,
    electrons=(12.0, 3000.0),
    contrast=(0.3, 1.8),
    brightness=(0.3, 0.7),
    gamma=(0.6, 1.6),
    read_noise=(0.5, 8.0),
    astigmatism_dof=4.0,
    astigmatic_share=0.5,
    slow_share=0.5,
    quiet_share=0.1,
    bunched_share=0.3,
    hunting_share=0.2,
    interlaced_share=0.1,
    line_averaged_share=0.1,
    soiled_share=0.5,
    tilt_rad=0.1,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What is drawn and how often. `weights` are relative; micrographs share the weight of `micrograph`.

    One in `draws_every` scenes is newly drawn, the others are taken from the last `kept_scenes`. Each frame gives two
    windows of `window_px`, or the whole frame if that is None. The shares are those of frames that are averaged
    (smoothed) afterwards, that get up to `most_noise` grey levels of extra noise, or that are compressed as the vendor
    does it, to JPEGs of these `qualities` (ASSUMED), and of scenes with a contrast and grain of their own, or on uneven
    ground. The share `usual_share` of scenes varies as usual instead of by `variety`.
    """

    weights: dict[str, float] = field(
        default_factory=lambda: {
            "tin_balls": 0.14,
            "tem_grid": 0.14,
            "gold_nanoparticles": 0.14,
            "mixture": 0.08,
            "ruled": 0.12,
            "lattice": 0.14,
            "sparse": 0.05,
            "layers": 0.05,
            "facets": 0.05,
            "micrograph": 0.25,
        }
    )
    variety: Variety = HARSH
    usual_share: float = 0.4
    magnifications: tuple[float, float] = (300.0, 40_000.0)
    frames_at_once: int = 4
    draws_every: int = 4
    kept_scenes: int = 24
    window_px: int | None = 160
    most_noise: float = 45.0
    averaged_share: float = 0.25
    noisy_share: float = 0.5
    compressed_share: float = 0.5
    qualities: tuple[int, int] = (60, 98)
    varied_share: float = 0.3
    uneven_share: float = 0.0


def find_micrographs(folder: Path) -> list[Path]:
    """All image files under `folder`, sorted by name; none if there is no such folder."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in _MICROGRAPH_SUFFIXES)


def held_back(path: Path) -> bool:
    """Whether a micrograph is kept for testing: decided by its folder's and its own name alone."""
    name = f"{path.parent.name}/{path.name}"
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % _HELD_BACK_SHARE == 0


class Scenery:
    """Scenes of a recipe, drawn at random; `micrographs` are files."""

    def __init__(
        self, recipe: Recipe, micrographs: Sequence[Path], rng: np.random.Generator
    ) -> None:
        self._recipe = recipe
        self._rng = rng
        self._micrographs = [load_micrograph(path) for path in micrographs]
        weights = {
            k: w for k, w in recipe.weights.items() if self._micrographs or k != "micrograph"
        }
        self._names = list(weights)
        self._share = np.array(list(weights.values())) / sum(weights.values())

    def next_scene(self) -> Scene:
        """A new scene."""
        rng, recipe = self._rng, self._recipe
        name = self._names[int(rng.choice(len(self._names), p=self._share))]
        magnification = log_uniform(rng, recipe.magnifications)
        specimen = self._specimen(name, magnification)
        if rng.random() < recipe.varied_share:
            spread = log_uniform(rng, (0.05, 0.22))
            grain = spread * float(rng.uniform(0.0, 0.7)) * float(rng.random() < 0.5)
            specimen = Varied(specimen, spread, grain, int(rng.integers(2**31)))
        if recipe.uneven_share > 0.0 and rng.random() < recipe.uneven_share:
            specimen = uneven(specimen, magnification, rng)
        view = View(x_um=0.0, y_um=0.0, magnification=magnification, width_px=320, height_px=240)
        variety = Variety() if happens(rng, recipe.usual_share) else recipe.variety
        return open_scene(name, specimen, view, variety, rng)

    def _specimen(self, name: str, magnification: float) -> Specimen:
        if name != "micrograph":
            return TRAINABLE[name](int(self._rng.integers(2**31)))
        chosen = self._micrographs[int(self._rng.integers(len(self._micrographs)))]
        return micrograph_at(chosen, magnification, self._rng.uniform(3.3, 6.5))


def uneven(specimen: Specimen, magnification: float, rng: np.random.Generator) -> Uneven:
    """`specimen` on hills or terraces whose height is a fraction of a depth of focus, or up to several of them."""
    step_um = pixel_um(magnification, FAST_WIDTH_PX)
    return Uneven(
        specimen,
        height_um=log_uniform(rng, _HEIGHTS_DOF)
        * depth_of_focus_um(magnification, _USUAL_ALPHA_RAD),
        cell_um=log_uniform(rng, _CELLS_PX) * step_um,
        steps=int(rng.integers(1, 5)) if rng.random() < _TERRACED_SHARE else 0,
        seed=int(rng.integers(2**31)),
    )


def micrograph_at(micrograph: Micrograph, magnification: float, reduction: float) -> Micrograph:
    """A micrograph scaled so that `reduction` of its pixels make one of a fast-mode frame at `magnification`."""
    pixel_um = micrograph.pixel_um * _MICROGRAPH_AT / magnification * 3.0 / reduction
    return replace(micrograph, pixel_um=pixel_um)


def stream(recipe: Recipe, micrographs: Sequence[Path], *, seed: int) -> Iterator[LabelledFrames]:
    """Endless windows of frames; the same seed, recipe and micrographs give the same ones."""
    rng = np.random.default_rng(seed)
    noise = np.random.Generator(np.random.SFC64(seed))
    scenery = Scenery(recipe, micrographs, rng)
    kept: list[Scene] = []
    for turn in itertools.count():
        if turn % recipe.draws_every == 0 or not kept:
            scene = scenery.next_scene()
            kept = [*kept[-recipe.kept_scenes + 1 :], scene]
        else:
            scene = kept[int(rng.integers(len(kept)))]
        yield _worn(scene.frames(recipe.frames_at_once, noise), recipe, rng)


def _worn(frames: LabelledFrames, recipe: Recipe, rng: np.random.Generator) -> LabelledFrames:
    """Windows of each frame, turned; some frames are first averaged, made noisier or compressed."""
    windows, blurs = [], []
    for frame, blur_px in zip(frames.pixels, frames.blur_px, strict=True):
        sigma_px = float(rng.uniform(0.2, 1.5)) if rng.random() < recipe.averaged_share else 0.0
        if sigma_px:
            frame = np.asarray(cv2.GaussianBlur(frame, (0, 0), sigma_px), np.uint8)
        if rng.random() < recipe.noisy_share:
            frame = _noisy(frame, log_uniform(rng, (_LEAST_NOISE, recipe.most_noise)), rng)
        if rng.random() < recipe.compressed_share:
            frame = _compressed(frame, int(rng.integers(*recipe.qualities, endpoint=True)))
        turned = [_turned(w, rng) for w in _windows(frame, recipe.window_px, rng)]
        windows += turned
        blurs += len(turned) * [float(np.hypot(blur_px, 2.0 * sigma_px))]
    of_each = {
        name: np.repeat(getattr(frames, name), len(windows) // len(frames.pixels))
        for name in ("magnification", "brightness", "contrast", "wd_um")
    }
    return LabelledFrames(
        scene=frames.scene,
        pixels=np.stack(windows),
        blur_px=np.array(blurs, np.float32),
        **of_each,
    )


def _windows(
    frame: NDArray[np.uint8], size: int | None, rng: np.random.Generator
) -> Iterator[NDArray[np.uint8]]:
    """Two squares of `size` px, at the left and right edges and at random heights; or the whole frame."""
    height, width = frame.shape
    if size is None:
        yield frame
        return
    for left in (0, width - size):
        top = int(rng.integers(0, height - size + 1))
        yield frame[top : top + size, left : left + size]


def _turned(window: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    quarters = (
        int(rng.integers(4)) if window.shape[0] == window.shape[1] else 2 * int(rng.integers(2))
    )
    window = np.rot90(window, quarters)
    return np.ascontiguousarray(window[:, ::-1] if rng.random() < 0.5 else window)


def _noisy(pixels: NDArray[np.uint8], sigma: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    noise = rng.standard_normal(pixels.shape, np.float32)
    return np.asarray(np.clip(np.rint(pixels + np.float32(sigma) * noise), 0, 255), np.uint8)


def _compressed(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)
