"""One frame: specimen -> electron optics -> detector. Pure: all state is in the arguments, all chance in `rng`."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from afdaemon.sim.detector import Detector, detect
from afdaemon.sim.optics import Blur, Optics, blur_radius_px, pixel_um, transfer
from afdaemon.sim.surface import FloatImage, Patch, Specimen

_SUPERSAMPLING = 2
_MARGIN = 1 / 16
"""Drawn beyond each border, as a share of the frame, so that blur brings in what lies there; also makes fast sizes."""

_FWHM_PER_SIGMA = 2.3548


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What the scan covers: centre (um), magnification, frame size (pixels)."""

    x_um: float
    y_um: float
    magnification: float
    width_px: int
    height_px: int


def sharp_field(specimen: Specimen, view: View) -> FloatImage:
    """Noise-free yield of the field and its margin at the frame's sampling, drawn finer and reduced."""
    step = pixel_um(view.magnification, view.width_px)
    margin_x, margin_y = _margins(view)
    width, height = view.width_px + 2 * margin_x, view.height_px + 2 * margin_y
    patch = Patch(
        left_um=view.x_um - 0.5 * width * step,
        top_um=view.y_um - 0.5 * height * step,
        step_um=step / _SUPERSAMPLING,
        width=width * _SUPERSAMPLING,
        height=height * _SUPERSAMPLING,
    )
    drawn = specimen.draw(patch).secondary
    return np.asarray(
        cv2.resize(drawn, (width, height), interpolation=cv2.INTER_AREA), dtype=np.float32
    )


def blur_field(field: FloatImage, blur: Blur) -> FloatImage:
    """`field` as the beam with `blur` sees it; same shape, float32."""
    spectrum = fft.rfft2(field) * transfer((field.shape[0], field.shape[1]), blur)
    return np.asarray(fft.irfft2(spectrum, s=field.shape), dtype=np.float32)


def crop(field: FloatImage, view: View) -> FloatImage:
    """The frame inside its margin."""
    margin_x, margin_y = _margins(view)
    return field[margin_y : margin_y + view.height_px, margin_x : margin_x + view.width_px]


def _margins(view: View) -> tuple[int, int]:
    return round(view.width_px * _MARGIN), round(view.height_px * _MARGIN)


class Imager:
    """Exposes frames of one specimen; the sharp field of the last view is kept, for only the focus changes."""

    def __init__(self, specimen: Specimen, optics: Optics, detector: Detector) -> None:
        self._specimen = specimen
        self.optics = optics
        self.detector = detector
        self._view: View | None = None
        self._field: FloatImage = np.zeros((1, 1), np.float32)

    def expose(
        self, view: View, *, defocus_um: float, rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        """A frame, uint8 (height, width), taken `defocus_um` away from the best working distance."""
        if view != self._view:
            self._field = sharp_field(self._specimen, view)
            self._view = view
        signal = crop(blur_field(self._field, self._blur(view, defocus_um)), view)
        return detect(signal, self.detector, rng)

    def _blur(self, view: View, defocus_um: float) -> Blur:
        radius = blur_radius_px(
            defocus_um, view.magnification, self.optics.alpha_rad, view.width_px
        )
        pixel_nm = 1000.0 * pixel_um(view.magnification, view.width_px)
        probe_px = self.optics.probe_nm / _FWHM_PER_SIGMA / pixel_nm
        return Blur(radius_px=radius, minor_px=radius, gaussian_px=probe_px)
