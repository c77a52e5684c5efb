"""Does a frame have the noise that a beam of electrons leaves? Print, drawings and most photographs don't.

Electrons arrive at random, so no part of a scanned frame is free of noise unless it is black or white throughout. The
detail of a frame, i.e. what is finer than three pixels, is measured in blocks of 4 x 4 pixels, without saturated ones.
"""

import cv2
import numpy as np

from afdaemon.models.frames.preprocess import FloatImage, Pixels, reduce, to_unit

_SILENT = 0.3
"""Grey levels (of 255) of detail that rounding alone leaves in a block."""
_MOST_SILENT, _LOUD = 0.03, 20.0
"""Largest share of silent blocks that a scanned frame with edges of `_LOUD` grey levels may have."""
_LEAST_OF_SPREAD, _LEAST_OF_EDGES = 0.04, 0.15
"""Detail of the median block, over the frame's spread and over its strongest blocks: below both, noise is missing.

At a spread of 60 grey levels that is noise of 2.4, as of one frame with 10 000 electrons per pixel.
"""
_BLOCK_PX = 4
_FEWEST_BLOCKS = 50
"""With fewer blocks that are not saturated there is no verdict."""
_STRONGEST = 0.99
"""Quantile of the blocks' detail that stands for the strongest of them."""


def lacks_noise(pixels: Pixels) -> bool:
    """Whether a frame (uint8 or uint16, (H, W)) has sharp edges on a background too quiet for an electron beam."""
    levels = 255.0 * to_unit(pixels)
    detail = _unsaturated(levels, levels - cv2.blur(levels, (3, 3)))
    if len(detail) < _FEWEST_BLOCKS:
        return False
    median, strongest = np.quantile(detail, (0.5, _STRONGEST))
    silent = float((detail < _SILENT).mean())
    if strongest >= _LOUD and silent >= _MOST_SILENT:
        return True
    spread = float(cv2.meanStdDev(levels)[1][0, 0])
    return bool(median < min(_LEAST_OF_SPREAD * spread, _LEAST_OF_EDGES * strongest))


def _unsaturated(levels: FloatImage, detail: FloatImage) -> FloatImage:
    """Root mean square of `detail` in each block none of whose pixels is black or white; (n,)."""
    saturated = cv2.inRange(levels, 0.5, 254.5) == 0
    power = reduce(np.square(detail), _BLOCK_PX)
    return np.asarray(np.sqrt(power[reduce(saturated.astype(np.float32), _BLOCK_PX) == 0.0]))
