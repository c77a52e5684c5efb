"""From pixels to what AENet sees. The same functions serve training and service.

Lee et al. 2021, Methods: 3 x 3 median, grey values to 0..1, standardised; beside it a constant plane with the
magnification over 100 000. Ours adds what the median removed.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from afdaemon.grey import scale
from afdaemon.models.optics import MAGNIFICATION_SCALE, SAMPLING_WIDTH_PX

MIN_SIDE_PX = 64
"""Smaller frames are not judged (after reduction)."""

CHANNELS = 3

RESIDUE_LIMIT = 10.0
"""Largest value of the second channel: a nearly flat frame is all noise."""

Pixels = scale.Pixels
FloatImage = NDArray[np.float32]


def to_unit(pixels: Pixels) -> FloatImage:
    """Grey values (uint8 or uint16, (H, W)) as float32 in 0..1."""
    full = 255.0 if pixels.dtype == np.uint8 else 65535.0
    return np.asarray(pixels, dtype=np.float32) / np.float32(full)


def reduction_factor(width_px: int) -> int:
    """By how much a frame of this width is reduced before it is scored (1, 2, 3, ...)."""
    return max(1, round(width_px / SAMPLING_WIDTH_PX))


def reduce(image: FloatImage, factor: int) -> FloatImage:
    """Area average over `factor` x `factor` pixels; rows and columns that don't fill a block are left out."""
    if factor == 1:
        return image
    height, width = image.shape[0] // factor, image.shape[1] // factor
    whole = image[: height * factor, : width * factor]
    return np.asarray(
        cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), dtype=np.float32
    )


def reduced_grey(pixels: Pixels, factor: int) -> Pixels:
    """Grey values (H, W) reduced by `factor`, uint16; as they are for a factor of 1."""
    if factor == 1:
        return pixels
    levels = np.rint(reduce(to_unit(pixels), factor) * np.float32(65535.0))
    return np.asarray(levels, np.uint16)


def network_input(image: FloatImage, magnification: float) -> FloatImage:
    """AENet's three channels, float32 (3, H, W), of a 0..1 image.

    The median filtered frame (zero mean, unit spread), what the filter removed, and the magnification plane. What was
    removed is mostly noise: seeing it, the network need not mistake noise for detail. A flat image becomes zeros.
    """
    clean = cv2.medianBlur(image, 3)
    mean, spread = float(clean.mean()), float(clean.std())
    scale = np.float32(1.0 / max(spread, 1e-6))
    channels = np.empty((CHANNELS, *image.shape), np.float32)
    np.multiply(clean - np.float32(mean), scale, out=channels[0])
    np.multiply(image - clean, scale, out=channels[1])
    np.clip(channels[1], -RESIDUE_LIMIT, RESIDUE_LIMIT, out=channels[1])
    channels[2] = magnification / MAGNIFICATION_SCALE
    return channels
