"""Pictures that are not micrographs: blank, saturated, text, something like a photograph, noise. All drawn."""

import string
from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
Draw = Callable[[np.random.Generator], Grey]

_WIDTH_PX, _HEIGHT_PX = 320, 240
_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_DUPLEX)
_FINE = 4
"""Photographs are drawn this many times larger and then reduced."""


def blank(rng: np.random.Generator) -> Grey:
    """One grey, with no more noise than a few levels: a blanked beam, an empty field."""
    grey, sigma = rng.uniform(10.0, 245.0), rng.uniform(0.0, 2.0)
    return _grey(grey + sigma * rng.standard_normal((_HEIGHT_PX, _WIDTH_PX)))


def saturated(rng: np.random.Generator) -> Grey:
    """Nearly all pixels black or white: brightness or contrast far off."""
    blobs = cv2.GaussianBlur(rng.standard_normal((_HEIGHT_PX, _WIDTH_PX)), (0, 0), 6.0)
    level = -60.0 if rng.random() < 0.5 else 315.0  # well beyond what the scale holds
    inside = blobs > np.quantile(blobs, rng.uniform(0.9, 0.99))
    return _grey(np.where(inside, 128.0, level) + 5.0 * rng.standard_normal(blobs.shape))


def text(rng: np.random.Generator) -> Grey:
    """A page of print, dark on light or light on dark."""
    page = np.full((_HEIGHT_PX, _WIDTH_PX), 250, np.uint8)
    size = rng.uniform(0.35, 0.9)
    font = _FONTS[int(rng.integers(len(_FONTS)))]
    step_px = round(34 * size)
    letters = list(string.ascii_letters + string.digits + "     ,.")
    for y in range(step_px, _HEIGHT_PX, step_px):
        line = "".join(rng.choice(letters, 60))
        cv2.putText(page, line, (6, y), font, size, 20, 1, cv2.LINE_AA)
    return page if rng.random() < 0.7 else 255 - page


def photograph(rng: np.random.Generator) -> Grey:
    """A landscape: a bright sky, hills, houses with windows, a sun; shaded smoothly, hardly any noise."""
    height, width = _FINE * _HEIGHT_PX, _FINE * _WIDTH_PX
    horizon = int(height * rng.uniform(0.35, 0.6))
    sky = np.linspace(rng.uniform(200, 250), rng.uniform(150, 190), height, dtype=np.float32)
    scene = np.tile(sky[:, None], (1, width))
    sun = (int(rng.integers(width)), int(rng.integers(horizon)))
    cv2.circle(scene, sun, int(rng.integers(30, 90)), 255.0, -1)
    for depth in range(3):
        _hills(scene, horizon + depth * height // 8, 130.0 - 25.0 * depth, rng)
    for _ in range(int(rng.integers(2, 6))):
        _house(scene, horizon, rng)
    small = cv2.resize(scene, (_WIDTH_PX, _HEIGHT_PX), interpolation=cv2.INTER_AREA)
    return _grey(small + 1.5 * rng.standard_normal(small.shape))


def _hills(scene: NDArray[np.float32], top: int, grey: float, rng: np.random.Generator) -> None:
    height, width = scene.shape
    x = np.arange(width)
    waves = [
        rng.uniform(10, 50) * np.sin(x / rng.uniform(60, 300) + rng.uniform(0, 6)) for _ in "ab"
    ]
    line = np.column_stack([x, top + waves[0] + waves[1]]).astype(np.int32)
    outline = np.vstack([line, [[width, height], [0, height]]]).astype(np.int32)
    cv2.fillPoly(scene, [outline], grey)


def _house(scene: NDArray[np.float32], horizon: int, rng: np.random.Generator) -> None:
    height, width = scene.shape
    side = int(rng.integers(80, 260))
    left, top = int(rng.integers(width - side)), horizon + int(rng.integers(height // 4))
    wall = float(rng.uniform(90, 230))
    cv2.rectangle(scene, (left, top), (left + side, top + side), wall, -1)
    roof = np.array(
        [[left - 12, top], [left + side + 12, top], [left + side // 2, top - side // 2]]
    )
    cv2.fillPoly(scene, [roof.astype(np.int32)], 0.5 * wall)
    pane = side // 6
    for row in (1, 3):
        for column in (1, 3):
            corner = (left + column * pane + pane // 2, top + row * pane)
            cv2.rectangle(scene, corner, (corner[0] + pane, corner[1] + pane), 40.0, -1)


def noise(rng: np.random.Generator) -> Grey:
    """Independent noise on an even grey: no specimen, or one lost in it."""
    sigma = rng.uniform(8.0, 60.0)
    return _grey(rng.uniform(90, 165) + sigma * rng.standard_normal((_HEIGHT_PX, _WIDTH_PX)))


def _grey(levels: NDArray[np.floating]) -> Grey:
    return np.asarray(np.clip(np.rint(levels), 0, 255), np.uint8)


KINDS: Mapping[str, Draw] = {
    "blank": blank,
    "saturated": saturated,
    "text": text,
    "photograph": photograph,
    "noise": noise,
}
"""How each kind is drawn: uint8 (240, 320)."""
