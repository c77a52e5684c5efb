"""Does a frame have the noise that a beam of electrons leaves? Print, drawings and most photographs don't.

Electrons arrive by chance, so no part of a scanned frame is free of noise that is not black or white throughout. The
detail of a frame, what is finer than three pixels, is measured in blocks of 4 x 4 pixels, saturated ones left out.
"""

import cv2
import numpy as np

from afdaemon.models.frames.preprocess import FloatImage, Pixels, reduce, to_unit

_SILENT = 0.3
"""Grey levels (of 255) of detail that rounding alone leaves in a block."""
_MOST_SILENT, _LOUD = 0.03, 20.0
"""With edges of `_LOUD` grey levels, the share of silent blocks that a scanned frame may have."""
_LEAST_OF_SPREAD, _LEAST_OF_EDGES = 0.04, 0.15
"""Detail of the median block, as a share of the frame's spread and of its strongest blocks: below both there is none.

At a spread of 60 grey levels that is noise of 2.4, one frame of 10 000 electrons a pixel.
"""
_BLOCK_PX = 4
_FEWEST_BLOCKS = 50
_STRONGEST = 0.99


def lacks_noise(pixels: Pixels) -> bool:
    """Whether a frame (uint8 or uint16, (H, W)) has sharp edges on grounds too quiet for an electron microscope."""
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
