"""How the power of a frame is distributed over spatial frequencies: what defocus changes, and what it leaves.

Defocus multiplies the specimen's spectrum by a transfer function that falls faster the further away the focus is. In
the ratio of two frames' spectra the specimen cancels (Rudnaya 2012; Binding & Denk 2013).
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from afdaemon.models.frames.preprocess import (
    FloatImage,
    Pixels,
    reduction_factor,
    resampled,
    to_unit,
)
from afdaemon.models.frames.streaks import without_streaks

BANDS = 18
LOWEST, HIGHEST = 0.008, 0.5
"""Bounds of the bands in cycles per pixel of a frame as it is judged; their widths are equal on a logarithmic scale."""
_FLOOR = (1.0 / 255.0) ** 2 / 12.0
"""Variance of the rounding to 8 bits: no frame has less power."""


def band_powers(image: FloatImage) -> NDArray[np.float32]:
    """Natural logarithm of the mean power per mode in each band, float32 (..., 18), of 0..1 images (..., H, W).

    White noise of variance v has log v in every band. The mean is removed and the border faded out first.
    """
    from scipy import (
        fft,
    )  # a quarter of a second that a start, or a command without frames, need not wait

    window, band, modes, shown_by = _plan(image.shape[-2], image.shape[-1])
    faded = (image - image.mean(axis=(-2, -1), keepdims=True)) * window
    spectrum = fft.rfft2(faded)
    power = (spectrum.real**2 + spectrum.imag**2).reshape(-1, band.size)
    sums = np.stack([np.bincount(band, one, minlength=BANDS + 1)[:BANDS] for one in power])
    mean = (sums / modes)[:, shown_by].reshape(*image.shape[:-2], BANDS)
    return np.asarray(np.log(mean + _FLOOR), np.float32)


def frame_bands(pixels: Pixels) -> tuple[float, ...]:
    """Band powers of a frame, uint8 or uint16 (H, W), without streaks, at the sampling that frames are judged at."""
    image = resampled(to_unit(pixels), reduction_factor(pixels.shape[1]))
    return tuple(float(power) for power in band_powers(without_streaks(image)))


@lru_cache(maxsize=8)
def _plan(
    height: int, width: int
) -> tuple[FloatImage, NDArray[np.intp], NDArray[np.float64], NDArray[np.intp]]:
    """Window of mean square 1; each mode's band (the last one: none); modes of each band times the number of pixels.

    And the band that stands in for each: a small frame has no mode in some, and the next finer one is used.
    """
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    window /= np.sqrt(np.mean(window**2))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :])
    edges = np.geomspace(LOWEST, HIGHEST, BANDS + 1)
    band = np.searchsorted(edges, frequency, side="right") - 1
    band[(band < 0) | (frequency > HIGHEST)] = BANDS
    modes = np.bincount(band.ravel(), minlength=BANDS + 1)[:BANDS].astype(np.float64)
    full = np.flatnonzero(modes)
    shown_by = full[np.minimum(np.searchsorted(full, np.arange(BANDS)), len(full) - 1)]
    return (
        window.astype(np.float32),
        band.ravel(),
        np.maximum(modes, 1.0) * height * width,
        shown_by,
    )
