"""What ACNet sees: 80 numbers made of a memory of 20 readings, and the action limit A_max(m).

The layout is that of the authors of Lee et al. 2021 (doi:10.1038/s41598-021-00412-5, Supplementary
Table S3). All differences are present minus past, the most recent reading first. The present WD is
left out on purpose, so that the network cannot learn one fixed WD as the best.

    0 .. 18   19 differences of WD, divided by A_max(m)
    19        present score / 10                  20 .. 38   19 differences of score / 10
    39        present variance (std / mean)       40 .. 58   19 differences of variance
    59        present entropy / 100               60 .. 78   19 differences of entropy / 100
    79        magnification / 100 000

Every function takes leading dimensions, so that the service (one state) and training (a batch)
share one encoding.
"""

from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from afdaemon.models.errors import ModelError
from afdaemon.models.optics import MAGNIFICATION_SCALE

MEMORY = 20
"""Readings in the memory, the present one included."""

STATE_SIZE = 80

WD_DIFFERENCES = slice(0, 19)
SCORE = 19
SCORE_DIFFERENCES = slice(20, 39)
VARIANCE = 39
VARIANCE_DIFFERENCES = slice(40, 59)
ENTROPY = 59
ENTROPY_DIFFERENCES = slice(60, 79)
MAGNIFICATION = 79

KINDS = {
    "score": (SCORE, *range(20, 39)),
    "variance": (VARIANCE, *range(40, 59)),
    "entropy": (ENTROPY, *range(60, 79)),
}
"""Places in the state of each measure that is taken of a frame."""

_SCORE_SCALE = 10.0
_ENTROPY_SCALE = 100.0


def places_of(kinds: Sequence[str]) -> list[int]:
    """Where the state holds these `KINDS`. Raises `ModelError` for any other name."""
    for kind in kinds:
        if kind not in KINDS:
            raise ModelError(
                f"ACNet sees nothing called {kind!r}", remedy=f"use some of {', '.join(KINDS)}"
            )
    return [place for kind in kinds for place in KINDS[kind]]


@overload
def a_max_um(magnification: float) -> float: ...
@overload
def a_max_um(magnification: NDArray[np.floating]) -> NDArray[np.float64]: ...
def a_max_um(magnification: float | NDArray[np.floating]) -> float | NDArray[np.float64]:
    """Largest WD step in um at a magnification: 1200 at low, 36 at high.

    Lee et al. 2021, equation 5. Takes a number or an array of any shape, and returns the same.
    """
    kilo = (np.asarray(magnification, dtype=np.float64) - 9000.0) / 1000.0
    limit: NDArray[np.float64] = 1200.0 * (-0.485 * np.tanh(kilo) + 0.515)
    return limit if isinstance(magnification, np.ndarray) else float(limit)


def fill_memory(newest_first: ArrayLike) -> NDArray[np.float64]:
    """A memory of 20 from a history of any length.

    Takes (..., n) with n >= 1, newest first; returns float64 (..., 20). A longer history loses its
    oldest values; a shorter one is padded with its oldest, so at the start of a job the whole memory
    is the first reading.
    """
    history = np.asarray(newest_first, dtype=np.float64)
    if history.ndim == 0 or history.shape[-1] == 0:
        raise ValueError("the history holds no reading")
    history = history[..., :MEMORY]
    missing = MEMORY - history.shape[-1]
    return np.concatenate([history, np.repeat(history[..., -1:], missing, axis=-1)], axis=-1)


def encode_state(
    *,
    wd_um: ArrayLike,
    score: ArrayLike,
    variance: ArrayLike,
    entropy: ArrayLike,
    magnification: ArrayLike,
) -> NDArray[np.float32]:
    """ACNet's input, float32 (..., 80), in the layout of this module.

    `wd_um` (um), `score` (0 .. 9), `variance` (std / mean of the 0..1 image) and `entropy` (bits)
    are memories (..., 20), the present reading first; `magnification` is that of the present
    reading, of shape (...) or a number. Raises ValueError if a memory does not hold 20 readings.
    """
    wds = _memory("wd_um", wd_um)
    scores = _memory("score", score) / _SCORE_SCALE
    variances = _memory("variance", variance)
    entropies = _memory("entropy", entropy) / _ENTROPY_SCALE
    shown = np.asarray(magnification, dtype=np.float64)
    leading = np.broadcast_shapes(wds.shape[:-1], shown.shape)
    state = np.empty((*leading, STATE_SIZE), dtype=np.float32)
    state[..., WD_DIFFERENCES] = _differences(wds) / a_max_um(shown)[..., np.newaxis]
    state[..., SCORE] = scores[..., 0]
    state[..., SCORE_DIFFERENCES] = _differences(scores)
    state[..., VARIANCE] = variances[..., 0]
    state[..., VARIANCE_DIFFERENCES] = _differences(variances)
    state[..., ENTROPY] = entropies[..., 0]
    state[..., ENTROPY_DIFFERENCES] = _differences(entropies)
    state[..., MAGNIFICATION] = shown / MAGNIFICATION_SCALE
    return state


def _memory(name: str, values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0 or array.shape[-1] != MEMORY:
        raise ValueError(
            f"{name} must hold {MEMORY} readings in its last dimension, got {array.shape}"
        )
    return array


def _differences(memory: NDArray[np.float64]) -> NDArray[np.float64]:
    """Present minus past, (..., 19)."""
    return memory[..., :1] - memory[..., 1:]
