"""What the defocus network sees of the last readings, and the axis of its answer. Pure; no torch.

One frame shows about how far away the focus is; two at a known distance show on which side, because the specimen
cancels in the ratio of their spectra. So the network sees the newest reading's spectrum, and how the earlier ones
differ from it. Distances are in depths of focus (DoF), which makes them independent of the magnification.

    0 .. 17   newest spectrum less its mean, / 2        18   that mean, (m + 9) / 3
    19        newest u / 3                              20   logarithm of its error
    21 + 22 k, for the k-th reading before it (k = 0, 1, 2), all 0 if there is none:
        +0 is there (1)    +1 asinh of its WD less the newest, / 3    +2 .. +19 its spectrum less the newest
        +20 its u / 3      +21 logarithm of its error
    87        1 if the convergence angle is calibrated, 0 if it may be off by a factor of 2

u = -2 ln(b / b0) is AENet's estimate of the blur (see `afdaemon.models.aenet.network`).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afdaemon.models.frames.spectrum import BANDS

READINGS = 4
"""The last readings, which the network sees."""
BINS = 161
REACH_DOF = 200.0
AXIS_DOF: NDArray[np.float64] = np.sinh(
    np.linspace(-np.arcsinh(REACH_DOF), np.arcsinh(REACH_DOF), BINS)
)
"""Where the bins of the answer lie: distances of the present WD from the best one, in DoF; .07 apart at the middle."""

ANGLE_FACTOR = 2.0
"""Factor by which a convergence angle that was not calibrated may be off, either way."""
SCALES: NDArray[np.float64] = np.exp(np.linspace(-1.0, 1.0, 9) * math.log(ANGLE_FACTOR))
"""Bins of the true depth of focus in assumed ones: the assumed convergence angle over the true one."""

_NEWEST = BANDS + 3
_EARLIER = BANDS + 4
STATE_SIZE = _NEWEST + (READINGS - 1) * _EARLIER + 1
_SIDES = _NEWEST + 1 + _EARLIER * np.arange(READINGS - 1)


@dataclass(frozen=True, slots=True)
class Posterior:
    """The posterior of N jobs: the probability of each bin of `AXIS_DOF`, (N, 161), and of `SCALES`, (N, 9)."""

    mass: NDArray[np.float32]
    odds: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Histories:
    """The last readings of N jobs, newest first; what lies beyond `count` is ignored.

    WDs in DoF from any zero, float64 (N, 4); spectra (N, 4, 18), u and logarithm of its error (N, 4), float32;
    `count` of readings and `calibrated`, (N,).
    """

    wd_dof: NDArray[np.float64]
    bands: NDArray[np.float32]
    u: NDArray[np.float32]
    log_error: NDArray[np.float32]
    count: NDArray[np.int64]
    calibrated: NDArray[np.bool_]


def encode(seen: Histories) -> NDArray[np.float32]:
    """The network's input, float32 (N, 88), in the layout of this module."""
    x = np.zeros((len(seen.count), STATE_SIZE), np.float32)
    newest = seen.bands[:, 0]
    level = newest.mean(axis=1)
    x[:, :BANDS] = 0.5 * (newest - level[:, None])
    x[:, BANDS] = (level + 9.0) / 3.0
    x[:, BANDS + 1], x[:, BANDS + 2] = seen.u[:, 0] / 3.0, seen.log_error[:, 0]
    for k in range(1, READINGS):
        part = x[:, _NEWEST + (k - 1) * _EARLIER :][:, :_EARLIER]
        part[:, 0] = 1.0
        part[:, 1] = np.arcsinh(seen.wd_dof[:, k] - seen.wd_dof[:, 0]) / 3.0
        part[:, 2 : 2 + BANDS] = seen.bands[:, k] - newest
        part[:, 2 + BANDS], part[:, 3 + BANDS] = seen.u[:, k] / 3.0, seen.log_error[:, k]
        part[seen.count <= k] = 0.0
    x[:, -1] = seen.calibrated
    return x


def mirror() -> NDArray[np.float32]:
    """Factors (88,) that turn a state into the same one seen from the other side of focus."""
    factors = np.ones(STATE_SIZE, np.float32)
    factors[_SIDES] = -1.0
    return factors


def shares(defocus_dof: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """A distance (n,) as the lower of the two bins it lies between, and the share of the upper one."""
    return bins_around(np.arcsinh(defocus_dof) / np.arcsinh(REACH_DOF), BINS)


def scale_shares(scale: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The same for a scale (n,), on `SCALES`."""
    return bins_around(np.log(scale) / math.log(ANGLE_FACTOR), len(SCALES))


def bins_around(
    place: NDArray[np.float64], bins: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """A place (n,) on an axis from -1 to 1 of `bins` bins, as the lower of two of them and the share of the upper."""
    at = np.clip((place + 1.0) * 0.5 * (bins - 1), 0.0, bins - 1 - 1e-6)
    low = at.astype(np.int64)
    return low, np.asarray(at - low, np.float32)
