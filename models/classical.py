"""Classical image measures that ACNet sees beside the score."""

import numpy as np

from afdaemon.models.preprocess import FloatImage

_BINS = 256


def variance(image: FloatImage) -> float:
    """Spread over mean of a 0..1 image (what the paper calls variance); 0 for a black one."""
    mean = float(image.mean())
    return float(image.std()) / mean if mean > 0.0 else 0.0


def entropy(image: FloatImage) -> float:
    """Entropy in bits over 256 equal bins from the image's minimum to its maximum; 0 for a flat one."""
    low, high = float(image.min()), float(image.max())
    if high <= low:
        return 0.0
    counts = np.histogram(image, bins=_BINS, range=(low, high))[0]
    share = counts[counts > 0] / image.size
    return float(-(share * np.log2(share)).sum())


def saturated_share(image: FloatImage) -> float:
    """Share of pixels at either end of the grey scale (within 0.2 %)."""
    return float(np.mean((image <= 0.002) | (image >= 0.998)))
