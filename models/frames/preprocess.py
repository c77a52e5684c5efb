"""From pixels to what AENet sees. The same functions serve training and service.

Lee et al. 2021, Methods: 3 x 3 median, grey values to 0..1, standardised; beside it a constant plane with the
magnification over 100 000. Ours adds what the median removed.
"""

import math

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


def reduction_factor(width_px: int) -> float:
    """By how much a frame of this width is reduced before it is scored: to the width that scores refer to, if wider."""
    return max(1.0, width_px / SAMPLING_WIDTH_PX)


def resampled(image: FloatImage, factor: float) -> FloatImage:
    """An image (H, W) with `factor` times fewer pixels along each side, at least 1.

    Each is the mean of a block. A factor between two whole numbers first stretches the image to the larger one, by
    Lanczos' kernel over eight pixels: means over parts of pixels would make noise that comes and goes across the frame.
    """
    blocks = math.ceil(factor)
    if blocks != factor:
        height, width = (round(side / factor) for side in image.shape)
        size = (width * blocks, height * blocks)
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LANCZOS4), np.float32)
    return reduce(image, blocks)


def reduce(image: FloatImage, factor: int) -> FloatImage:
    """Area average over `factor` x `factor` pixels; rows and columns that don't fill a block are left out."""
    if factor == 1:
        return image
    height, width = image.shape[0] // factor, image.shape[1] // factor
    whole = image[: height * factor, : width * factor]
    return np.asarray(
        cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), dtype=np.float32
    )


def reduced_grey(pixels: Pixels, factor: float) -> Pixels:
    """Grey values (H, W) reduced by `factor`, uint16; as they are for a factor of 1."""
    if factor == 1.0:
        return pixels
    levels = np.rint(resampled(to_unit(pixels), factor) * np.float32(65535.0))
    return np.asarray(np.clip(levels, 0.0, 65535.0), np.uint16)


def network_input(image: FloatImage, magnification: float) -> FloatImage:
    """AENet's three channels, float32 (3, H, W), of a 0..1 image.

    The median filtered frame (zero mean, unit spread), what the filter removed, and the magnification plane. What was
    removed is mostly noise: seeing it, the network need not mistake noise for detail. A flat image is zero in both.
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
