"""How well scores agree with the truth. Pure; all on the 0..9 scale, as the published tables are.

Each function takes two arrays of the same n > 0 numbers, (n,): what was predicted and what is true.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

_PRECISION_SCALE = 10.0
"""Error that counts as no precision at all (Lee et al. 2021, eq. 1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """The measures of Lee et al. 2021, table 1, plus root mean square error and rank correlation."""

    frames: int
    mse: float
    rmse: float
    accuracy: float
    precision: float
    correlation: float
    rank_correlation: float


def agreement(predicted: Numbers, true: Numbers) -> Agreement:
    """All measures at once."""
    return Agreement(
        frames=len(true),
        mse=mse(predicted, true),
        rmse=rmse(predicted, true),
        accuracy=accuracy(predicted, true),
        precision=precision(predicted, true),
        correlation=pearson(predicted, true),
        rank_correlation=spearman(predicted, true),
    )


def mse(predicted: Numbers, true: Numbers) -> float:
    """Mean square error."""
    return float(np.mean((predicted - true) ** 2))


def rmse(predicted: Numbers, true: Numbers) -> float:
    """Root of the mean square error."""
    return float(np.sqrt(mse(predicted, true)))


def accuracy(predicted: Numbers, true: Numbers, within: float = 1.0) -> float:
    """Share of errors of at most `within`."""
    return float(np.mean(np.abs(predicted - true) <= within))


def precision(predicted: Numbers, true: Numbers) -> float:
    """Mean of 1 - |error| / 10 (Lee et al. 2021, eq. 1)."""
    return float(np.mean(1.0 - np.abs(predicted - true) / _PRECISION_SCALE))


def pearson(predicted: Numbers, true: Numbers) -> float:
    """Linear correlation; 0 where either does not vary and it is undefined."""
    a, b = predicted - np.mean(predicted), true - np.mean(true)
    norm = float(np.sqrt(np.sum(a**2) * np.sum(b**2)))
    return float(np.sum(a * b)) / norm if norm > 0.0 else 0.0


def spearman(predicted: Numbers, true: Numbers) -> float:
    """Correlation of the ranks; equal values share the mean of theirs."""
    return pearson(ranks(predicted), ranks(true))


def ranks(values: Numbers) -> Numbers:
    """Ranks from 1 on; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - 0.5 * (counts - 1))[place], np.float64)
