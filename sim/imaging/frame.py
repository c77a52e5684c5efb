"""One frame: specimen -> electron optics -> scan -> detector. State is in the arguments, randomness in `rng`."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from afdaemon.sim.imaging.depth import (
    LEVEL,
    Layers,
    Tilt,
    layer_step_um,
    normalised,
    plane_um,
    split,
)
from afdaemon.sim.imaging.detector import Detector, averaged, detect
from afdaemon.sim.imaging.scan import (
    NORMALS_PER_LINE,
    Scanning,
    displacement_px,
    draw_streaks,
    line_times_s,
    scan_out,
    streaks,
)
from afdaemon.sim.imaging.transfer import transfer
from afdaemon.sim.ops import NUMPY
from afdaemon.sim.optics import Blur, Optics, pixel_um
from afdaemon.sim.surface import FloatImage, Patch, Specimen, Surface

_SUPERSAMPLING = 2
"""Drawing pixels per frame pixel, along x and y."""
_MARGIN = 1 / 16
"""Drawn beyond each border, as a share of the frame, so that blur brings in what lies there; also for fast FFTs."""

_DETAIL_SIGMA_PX = 1.5
"""Width of the Gaussian that `detail` subtracts."""

_KEPT_VIEWS = 4
"""Views whose drawn surface is cached: usually only the focus changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What the scan covers: centre (um), magnification, frame size (pixels), and how far the scan is turned.

    A pixel u right of and v below the centre lies at (u cos - v sin, u sin + v cos) of the stage.
    """

    x_um: float
    y_um: float
    magnification: float
    width_px: int
    height_px: int
    rotation_rad: float = 0.0

    @property
    def pixel_um(self) -> float:
        """Size of a pixel on the specimen."""
        return pixel_um(self.magnification, self.width_px)


def sharp_field(specimen: Specimen, view: View) -> FloatImage:
    """Noise-free secondary yield of the field and its margin at the frame's sampling, drawn finer and reduced."""
    return _sharp_surface(specimen, view).secondary


def _sharp_surface(specimen: Specimen, view: View) -> Surface:
    """All that `specimen` shows in `view` and its margin, at the frame's sampling."""
    width, height = _padded(view)
    drawn = specimen.draw(_patch(view, width, height))

    def reduced(image: FloatImage | None) -> FloatImage | None:
        return None if image is None else _reduce(image, view, (width, height))

    return Surface(
        secondary=_reduce(drawn.secondary, view, (width, height)),
        backscatter=reduced(drawn.backscatter),
        height_um=reduced(drawn.height_um),
        charging=reduced(drawn.charging),
    )


def _patch(view: View, width: int, height: int) -> Patch:
    """The upright rectangle to draw, which contains the rotated field."""
    if view.rotation_rad != 0.0:
        cos, sin = abs(math.cos(view.rotation_rad)), abs(math.sin(view.rotation_rad))
        width, height = (
            math.ceil(width * cos + height * sin) + 2,
            math.ceil(width * sin + height * cos) + 2,
        )
    return Patch(
        left_um=view.x_um - 0.5 * width * view.pixel_um,
        top_um=view.y_um - 0.5 * height * view.pixel_um,
        step_um=view.pixel_um / _SUPERSAMPLING,
        width=width * _SUPERSAMPLING,
        height=height * _SUPERSAMPLING,
    )


def _reduce(drawn: FloatImage, view: View, size: tuple[int, int]) -> FloatImage:
    """A drawing rotated into the scan's direction and averaged over each pixel; `size` is (width, height)."""
    if view.rotation_rad != 0.0:
        drawn = _turned(
            drawn, view.rotation_rad, (size[0] * _SUPERSAMPLING, size[1] * _SUPERSAMPLING)
        )
    return cast("FloatImage", cv2.resize(drawn, size, interpolation=cv2.INTER_AREA))


def _turned(drawn: FloatImage, rotation_rad: float, size: tuple[int, int]) -> FloatImage:
    cos, sin = math.cos(rotation_rad), math.sin(rotation_rad)
    u, v = 0.5 * (size[0] - 1), 0.5 * (size[1] - 1)
    x, y = 0.5 * (drawn.shape[1] - 1), 0.5 * (drawn.shape[0] - 1)
    matrix = np.array(
        [[cos, -sin, x - cos * u + sin * v], [sin, cos, y - sin * u - cos * v]], dtype=np.float64
    )
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cast(
        "FloatImage",
        cv2.warpAffine(drawn, matrix, size, flags=flags, borderMode=cv2.BORDER_REFLECT),
    )


def blur_field(field: FloatImage, blur: Blur) -> FloatImage:
    """`field` as the beam with `blur` sees it; same shape, float32."""
    size = (field.shape[0], field.shape[1])
    return np.asarray(NUMPY.irfft2(NUMPY.rfft2(field) * transfer(size, blur), size), np.float32)


def detail(field: FloatImage) -> FloatImage:
    """The part of `field` (H, W) that is finer than about three pixels."""
    coarse = cv2.GaussianBlur(field, (0, 0), _DETAIL_SIGMA_PX)
    return np.asarray(field - coarse, np.float32)


def crop(field: FloatImage, view: View) -> FloatImage:
    """The frame inside its margin."""
    return field[window(view)]


def window(view: View) -> tuple[slice, slice]:
    """Rows and columns of the padded field that the frame shows."""
    margin_x, margin_y = _margins(view)
    return (
        slice(margin_y, margin_y + view.height_px),
        slice(margin_x, margin_x + view.width_px),
    )


def _margins(view: View) -> tuple[int, int]:
    return round(view.width_px * _MARGIN), round(view.height_px * _MARGIN)


def _padded(view: View) -> tuple[int, int]:
    """(width, height) of the field with its margins."""
    margin_x, margin_y = _margins(view)
    return view.width_px + 2 * margin_x, view.height_px + 2 * margin_y


class Imager:
    """Exposes frames of one specimen; what the last few views show is cached, as usually only the focus changes.

    `optics`, `detector` and `tilt` may be replaced at any time. Not thread-safe.
    """

    def __init__(
        self, specimen: Specimen, optics: Optics, detector: Detector, *, tilt: Tilt = LEVEL
    ) -> None:
        self.optics = optics
        self.detector = detector
        self.tilt = tilt
        self._surface = lru_cache(_KEPT_VIEWS)(lambda view: _sharp_surface(specimen, view))
        self._layers = lru_cache(_KEPT_VIEWS)(self._split)
        self._streaks = lru_cache(_KEPT_VIEWS)(self._trails)
        self._heights = lru_cache(_KEPT_VIEWS)(self._focus_height_um)

    def expose(
        self,
        view: View,
        *,
        defocus_um: float,
        rng: np.random.Generator,
        optics: Optics | None = None,
        scan: Scanning | None = None,
    ) -> NDArray[np.uint8]:
        """A frame, uint8 (height, width), taken `defocus_um` away from the best WD of the specimen's plane.

        `optics` is that of this frame, by default the imager's; without `scan` the scan has no flaws. What stands
        above the plane or below it has a focus of its own: see `focus_height_um`.
        """
        optics = self.optics if optics is None else optics
        charging = 0.0 if scan is None else scan.flaws.charging
        moved, z = self._scanned(view, scan, rng)
        signal = self.signal(view, defocus_um, optics, charging=charging, moved_px=moved)
        if scan is not None and charging > 0.0 and (trails := self._streaks(view)) is not None:
            blur = optics.blur(
                defocus_um + self.focus_height_um(view), view.magnification, view.width_px
            )
            streaked = crop(blur_field(trails, blur), view)
            draw_streaks(signal, streaked, charging, z, interlace=scan.interlace)
        if scan is None:
            return detect(signal, self.detector, rng)
        at_s = scan.start_s + line_times_s(scan, view.height_px)
        return detect(signal, averaged(self.detector, scan.line_average), rng, at_s=at_s)

    def signal(
        self,
        view: View,
        defocus_um: float,
        optics: Optics,
        *,
        charging: float = 0.0,
        moved_px: NDArray[np.float64] | None = None,
    ) -> FloatImage:
        """What reaches the detector, (height, width), float32: no noise yet.

        `moved_px` says by how much each line is displaced.
        """
        step_um = layer_step_um(view.pixel_um, optics.alpha_rad)
        layers = self._layers(view, self.tilt, step_um, self.detector.backscatter, charging)
        spectrum, weight = layers.blurred(optics, defocus_um, view.magnification, view.width_px)
        signal = scan_out(spectrum, layers.size, window(view), moved_px)
        if weight is None:
            return signal
        return normalised(signal, scan_out(weight, layers.size, window(view), moved_px))

    def sharp(self, view: View) -> FloatImage:
        """Noise-free signal of the field and its margin, all of it in focus."""
        return _mixed(self._surface(view), self.detector.backscatter)

    def focus_height_um(self, view: View) -> float:
        """Height above the specimen's plane at which the field's detail lies: its best WD is shorter by this.

        Heights are weighted by the power of the fine detail there: a deep hole with nothing in it has no focus.
        """
        return self._heights(view, self.detector.backscatter)

    def _scanned(
        self, view: View, scan: Scanning | None, rng: np.random.Generator
    ) -> tuple[NDArray[np.float64] | None, FloatImage]:
        """Where the lines lie (None: where they should), and their normals for the charge."""
        if scan is None:
            return None, np.zeros(view.height_px, np.float32)
        normals = rng.standard_normal((NORMALS_PER_LINE, view.height_px), dtype=np.float32)
        return displacement_px(scan, normals[0], 1000.0 * view.pixel_um), normals[1]

    def _split(
        self, view: View, tilt: Tilt, step_um: float, backscatter: float, charging: float
    ) -> Layers:
        surface = self._surface(view)
        field = _mixed(surface, backscatter)
        if charging > 0.0 and surface.charging is not None:
            field = field + np.float32(charging) * surface.charging
        plane = plane_um((field.shape[0], field.shape[1]), view.pixel_um, tilt, view.rotation_rad)
        heights = [h for h in (surface.height_um, plane) if h is not None]
        return split(field, sum(heights[1:], heights[0]) if heights else None, step_um)

    def _focus_height_um(self, view: View, backscatter: float) -> float:
        surface = self._surface(view)
        if surface.height_um is None:
            return 0.0
        height_um = crop(surface.height_um, view)
        power = np.square(detail(np.ascontiguousarray(crop(_mixed(surface, backscatter), view))))
        total = float(power.sum())
        return float((power * height_um).sum() / total if total > 0.0 else height_um.mean())

    def _trails(self, view: View) -> FloatImage | None:
        charging = self._surface(view).charging
        return None if charging is None else streaks(charging)


def _mixed(surface: Surface, backscatter: float) -> FloatImage:
    """The signal of a detector with this share of backscattered electrons."""
    if backscatter == 0.0 or surface.backscatter is None:
        return surface.secondary
    share = np.float32(backscatter)
    return np.asarray((1 - share) * surface.secondary + share * surface.backscatter, np.float32)
