"""What the posterior's network sees of a job: each reading is a token, and their order does not matter. Pure; no torch.

Two frames at a known distance show on which side of them the focus lies, because the specimen cancels in the ratio of
their spectra; so a token holds its spectrum and how that differs from the newest one. AENet's standardised input hides
how much contrast there is; the tokens show it: past the first zero of the blur's transfer a lattice comes back sharp,
but faint. A place that was looked at and showed nothing is evidence as well.

Distances are in depths of focus (DoF) of the assumed convergence angle, which makes them independent of magnification.

    0            1 for the newest reading
    1            asinh of its WD less the newest, / 3
    2 .. 19      its spectrum less its mean, / 2            20   that mean, (m + 9) / 3
    21 .. 38     its spectrum less the newest, / 2
    39, 40       u / 3, and the logarithm of its error      41   u less the newest, / 3
    42, 43       logarithm of the contrast, and that less the newest
    44           1 if its frame is doubted                  45   share that is masked
    46           how many readings ago, / 8                 47   1 if the convergence angle is calibrated

u = -2 ln(b / b0) is AENet's estimate of the blur (see `afdaemon.models.aenet.network`).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from afdaemon.models.defocus.state import bins_around
from afdaemon.models.frames.spectrum import BANDS

BINS = 201
REACH_DOF = 6_000.0
"""Further than the range of working distances is wide, at any magnification below 30 000."""
_TOP = math.asinh(REACH_DOF)
AXIS_DOF: NDArray[np.float64] = np.sinh(np.linspace(-_TOP, _TOP, BINS))
"""Where the bins of the answer lie: distances of the newest WD from the best one, in DoF; .09 apart at the middle."""
OUTCOMES = BINS + 1
"""The last one: the frames show nothing that could be focused."""

MOST_READINGS = 12
"""Readings that the network sees at once, and learns from; of more, `control` chooses."""
_ABSOLUTE, _LEVEL, _RELATIVE, _U = 2, 2 + BANDS, 3 + BANDS, 3 + 2 * BANDS
_CONTRAST = _U + 3
TOKEN = _CONTRAST + 6
_SIDE = 1
"""The only number of a token that changes its sign on the other side of focus."""
_LEAST_CONTRAST = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Histories:
    """The readings of N jobs, newest first, up to K of each; what lies beyond `count` is ignored.

    WDs in DoF from any zero, float64 (N, K); spectra (N, K, 18); u, logarithm of its error, contrast (standard
    deviation over mean), doubt (0 or 1) and masked share (N, K), float32; `ago` (N, K) counts readings; `count` and
    `calibrated`, (N,).
    """

    wd_dof: NDArray[np.float64]
    bands: NDArray[np.float32]
    u: NDArray[np.float32]
    log_error: NDArray[np.float32]
    contrast: NDArray[np.float32]
    doubted: NDArray[np.float32]
    masked: NDArray[np.float32]
    ago: NDArray[np.float32]
    count: NDArray[np.int64]
    calibrated: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Posterior:
    """Of N jobs: the probability of each bin of `AXIS_DOF`, (N, 201), of nothing to see, (N,), and of `SCALES`, (N, 9).

    The bins sum to 1: where the focus lies if there is any.
    """

    mass: NDArray[np.float64]
    nothing: NDArray[np.float64]
    odds: NDArray[np.float64]


def encode(seen: Histories) -> NDArray[np.float32]:
    """The network's input, float32 (N, K, 48), in the layout of this module."""
    jobs, readings = seen.wd_dof.shape
    x = np.zeros((jobs, readings, TOKEN), np.float32)
    x[:, 0, 0] = 1.0
    x[:, :, _SIDE] = np.arcsinh(seen.wd_dof - seen.wd_dof[:, :1]) / 3.0
    level = seen.bands.mean(axis=2)
    x[:, :, _ABSOLUTE:_LEVEL] = 0.5 * (seen.bands - level[:, :, None])
    x[:, :, _LEVEL] = (level + 9.0) / 3.0
    x[:, :, _RELATIVE:_U] = 0.5 * (seen.bands - seen.bands[:, :1])
    x[:, :, _U], x[:, :, _U + 1] = seen.u / 3.0, seen.log_error
    x[:, :, _U + 2] = (seen.u - seen.u[:, :1]) / 3.0
    contrast = np.log(np.maximum(seen.contrast, _LEAST_CONTRAST))
    x[:, :, _CONTRAST], x[:, :, _CONTRAST + 1] = contrast, contrast - contrast[:, :1]
    x[:, :, _CONTRAST + 2], x[:, :, _CONTRAST + 3] = seen.doubted, seen.masked
    x[:, :, _CONTRAST + 4] = seen.ago / 8.0
    x[:, :, _CONTRAST + 5] = seen.calibrated[:, None]
    x[absent(seen.count, readings)] = 0.0
    return x


def absent(count: NDArray[np.int64], readings: int) -> NDArray[np.bool_]:
    """Which of (N, K) tokens are no readings."""
    return np.asarray(np.arange(readings)[None, :] >= count[:, None])


def mirror() -> NDArray[np.float32]:
    """Factors (48,) that turn a token into the same one seen from the other side of focus."""
    factors = np.ones(TOKEN, np.float32)
    factors[_SIDE] = -1.0
    return factors


def shares(defocus_dof: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """A distance (n,) as the lower of the two bins it lies between, and the share of the upper one."""
    return bins_around(np.arcsinh(defocus_dof) / _TOP, BINS)
