"""How the power of a frame is spread over spatial frequencies: what defocus changes, and what it leaves.

Defocus multiplies the specimen's spectrum by a transfer function that falls faster the further away the focus is. In
the ratio of two frames' spectra the specimen cancels (Rudnaya 2012; Binding & Denk 2013). Astigmatism makes that
function differ by direction, the other way round on the other side of focus: so power is told by direction too.

    0 .. 17    logarithm of the mean power a mode in each band
    18 .. 26   that of modes along x (within 22.5 degrees) less that of modes along y, in each pair of bands
    27 .. 35   the same of the two diagonals
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from afdaemon.models.preprocess import FloatImage, Pixels, reduce, reduction_factor, to_unit

BANDS = 18
PAIRS = BANDS // 2
SPECTRUM_SIZE = BANDS + 2 * PAIRS
LOWEST, HIGHEST = 0.008, 0.5
"""Bounds of the bands in cycles per pixel of a frame as it is judged; their widths are equal on a logarithmic scale."""
_FLOOR = (1.0 / 255.0) ** 2 / 12.0
"""Variance of the rounding to 8 bits: no frame has less power."""
_SECTORS = 4
"""Directions of 45 degrees each: along x, a diagonal, along y, the other diagonal."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """How frames of one size are measured.

    A window of mean square 1; each mode's cell (band and sector; the last cell: none); modes of each cell; and which
    band speaks for each: a small frame has no mode in some, and the next finer one stands in.
    """

    window: FloatImage
    cell: NDArray[np.intp]
    modes: NDArray[np.float64]
    shown_by: NDArray[np.intp]


def spectra(image: FloatImage) -> NDArray[np.float32]:
    """Spectra, float32 (..., 36), of 0..1 images (..., H, W), in the layout of this module.

    White noise of variance v has log v in every band, and no direction. The mean is taken away and the border faded
    out first.
    """
    plan = _plan(image.shape[-2], image.shape[-1])
    faded = (image - image.mean(axis=(-2, -1), keepdims=True)) * plan.window
    spectrum = fft.rfft2(faded)
    power = (spectrum.real**2 + spectrum.imag**2).reshape(-1, plan.cell.size)
    cells = BANDS * _SECTORS
    sums = np.stack([np.bincount(plan.cell, one, minlength=cells + 1)[:cells] for one in power])
    told = _told(sums.reshape(-1, BANDS, _SECTORS) / (image.shape[-2] * image.shape[-1]), plan)
    return np.asarray(told.reshape(*image.shape[:-2], SPECTRUM_SIZE), np.float32)


def frame_spectrum(pixels: Pixels) -> tuple[float, ...]:
    """Spectrum of a frame, uint8 or uint16 (H, W), at the sampling that frames are judged at."""
    image = reduce(to_unit(pixels), reduction_factor(pixels.shape[1]))
    return tuple(float(told) for told in spectra(image))


def _told(sums: NDArray[np.float64], plan: _Plan) -> NDArray[np.float64]:
    """Power summed by band and sector (n, 18, 4) as spectra (n, 36)."""
    bands = sums.sum(axis=2) / np.maximum(plan.modes.sum(axis=1), 1.0)
    pairs = plan.modes.reshape(PAIRS, 2, _SECTORS).sum(axis=1)
    mean = sums.reshape(-1, PAIRS, 2, _SECTORS).sum(axis=2) / np.maximum(pairs, 1.0)
    power = np.log(mean + _FLOOR) * (pairs.min(axis=1) > 0)[:, None]
    return np.concatenate(
        [
            np.log(bands[:, plan.shown_by] + _FLOOR),
            power[:, :, 0] - power[:, :, 2],
            power[:, :, 1] - power[:, :, 3],
        ],
        axis=1,
    )


@lru_cache(maxsize=8)
def _plan(height: int, width: int) -> _Plan:
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    window /= np.sqrt(np.mean(window**2))
    y, x = np.meshgrid(fft.fftfreq(height), fft.rfftfreq(width), indexing="ij")
    frequency = np.hypot(x, y)
    edges = np.geomspace(LOWEST, HIGHEST, BANDS + 1)
    band = np.searchsorted(edges, frequency, side="right") - 1
    sector = np.rint(np.arctan2(y, x) / (np.pi / _SECTORS)).astype(np.intp) % _SECTORS
    cell = band * _SECTORS + sector
    cell[(band < 0) | (frequency > HIGHEST)] = BANDS * _SECTORS
    counted = np.bincount(cell.ravel(), minlength=BANDS * _SECTORS + 1)[: BANDS * _SECTORS]
    modes = counted.reshape(BANDS, _SECTORS).astype(np.float64)
    full = np.flatnonzero(modes.sum(axis=1))
    shown_by = full[np.minimum(np.searchsorted(full, np.arange(BANDS)), len(full) - 1)]
    return _Plan(window.astype(np.float32), cell.ravel(), modes, shown_by)
