"""Streaks that a charging specimen leaves along the scanned lines, and frames without them.

Charge comes and goes from line to line. Across the lines a streak is as sharp as the sampling, whatever the focus: a
frame far from focus would pass for a sharp one. Only frames that show streaks beyond doubt are changed.
"""

import cv2
import numpy as np

from afdaemon.models.frames.preprocess import FloatImage

_STRIPED = 1.1
"""Power of the usual steps across the lines that neighbouring stretches have in common, over that of all along them.

No specimen without structure along the lines comes near it.
"""
_USUAL, _USUAL_POWER = 0.8, 0.44
"""Streaks run through all lines, while an edge or a stack of layers that lies along them crosses few: the largest fifth
of the lines' powers is left out. The others' mean is so much of the whole one where steps are Gaussian."""
_LEAST_FLATNESS = 0.6
"""Geometric over arithmetic mean of the steps' power spectrum: streaks come at random, the bars of a grating don't."""

_STRETCH_PX = 40
"""Length over which lines are averaged, and steps compared between neighbours. ASSUMED: streaks are longer."""
_LOWEST_MODES, _MODES_TOGETHER = 3, 4
"""Modes of the steps' spectrum that are left out, and modes that are averaged, before its flatness is taken."""
_ALONG_PX, _ACROSS_PX = 16.0, 6.0
"""Spread of the Gaussian means: streaks are longer than the one and narrower than the other."""
_ALONG, _ACROSS = (129, 1), (1, 49)
"""Their kernels: four spreads to either side."""


def without_streaks(image: FloatImage) -> FloatImage:
    """A frame (H, W), float32, without its streaks; the very same array if it shows none.

    What differs from line to line but hardly along them is removed.
    """
    if not is_streaked(image):
        return image
    lines = cv2.GaussianBlur(image, _ALONG, sigmaX=_ALONG_PX)
    slow = cv2.GaussianBlur(lines, _ACROSS, sigmaX=0.0, sigmaY=_ACROSS_PX)
    return np.asarray(image - (lines - slow), np.float32)


def is_streaked(image: FloatImage) -> bool:
    """Whether a frame (H, W), float32, differs from line to line as only charging causes."""
    if min(image.shape) < 2 * _STRETCH_PX:
        return False
    across = np.diff(_stretches(image), axis=0)
    along = np.diff(_stretches(np.ascontiguousarray(image.T)), axis=0)
    common = np.sort((across[:, 1:] * across[:, :-1]).mean(axis=1))
    usual = float(common[: int(_USUAL * len(common))].mean()) / _USUAL_POWER
    if usual <= _STRIPED * float(np.square(along).mean()):
        return False
    return _flatness(across) >= _LEAST_FLATNESS


def _stretches(image: FloatImage) -> FloatImage:
    """Means over stretches of each line, (H, W / `_STRETCH_PX`)."""
    height, count = image.shape[0], image.shape[1] // _STRETCH_PX
    whole = image[:, : count * _STRETCH_PX]
    return np.asarray(whole.reshape(height, count, _STRETCH_PX).mean(axis=2))


def _flatness(steps: FloatImage) -> float:
    faded = steps * np.hanning(len(steps))[:, np.newaxis]
    power = np.square(np.abs(np.fft.rfft(faded, axis=0))).mean(axis=1)[_LOWEST_MODES:]
    whole = len(power) // _MODES_TOGETHER * _MODES_TOGETHER
    several = power[:whole].reshape(-1, _MODES_TOGETHER).mean(axis=1)
    return float(np.exp(np.log(several).mean()) / several.mean())
