"""Focus series: readings over the working distance at one place. ACNet is trained and tested on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from afdaemon.models.optics import TOP_SCORE
from afdaemon.models.training.kept_arrays import load_arrays, save_arrays

READ = ("score", "variance", "entropy")
_POINTS = 2001
"""Fewest grid points of a `SeriesBank`."""
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class FocusSeries:
    """One place and magnification over WD: offsets from the best WD in um, rising, and what was read there, all (n,).

    `dof_um` is the depth of focus, in which errors are measured.
    """

    magnification: float
    dof_um: float
    offset_um: Array
    score: Array
    variance: Array
    entropy: Array


def splined(series: FocusSeries, step_um: float = 1.0) -> FocusSeries:
    """The series every `step_um`, offsets counted from where its score is highest, as in Lee et al. 2021.

    They take this for the best WD, since the true one is not known.
    """
    fine_um = np.arange(series.offset_um[0], series.offset_um[-1] + 0.5 * step_um, step_um)
    filled = {name: CubicSpline(series.offset_um, getattr(series, name))(fine_um) for name in READ}
    filled["score"] = np.clip(filled["score"], 0.0, TOP_SCORE)  # a spline may overshoot
    return FocusSeries(
        magnification=series.magnification,
        dof_um=series.dof_um,
        offset_um=fine_um - fine_um[filled["score"].argmax()],
        **filled,
    )


def save_series(path: Path, series: Sequence[FocusSeries], facts: Mapping[str, Any]) -> None:
    """Write series of equal length, and how they were made."""
    arrays = {
        "places": np.array([(s.magnification, s.dof_um) for s in series]),
        "read": np.array([(s.offset_um, s.score, s.variance, s.entropy) for s in series]),
    }
    save_arrays(path, arrays, facts)


def load_series(path: Path, facts: Mapping[str, Any]) -> list[FocusSeries]:
    """What `save_series` wrote with the same facts.

    Raises:
        TrainingError: the file can't be read, or holds series that were made differently.
    """
    held = load_arrays(path, ("places", "read"), facts, what="focus series")
    return [
        FocusSeries(
            magnification=float(magnification),
            dof_um=float(dof_um),
            offset_um=offset_um,
            score=score,
            variance=variance,
            entropy=entropy,
        )
        for (magnification, dof_um), (offset_um, score, variance, entropy) in zip(
            held["places"], held["read"], strict=True
        )
    ]


class SeriesBank:
    """Focus series on one grid of equal steps, for looking many up at once."""

    def __init__(self, series: Sequence[FocusSeries]) -> None:
        points = max(_POINTS, *(len(s.offset_um) for s in series))
        self.magnification = np.array([s.magnification for s in series])
        self.dof_um = np.array([s.dof_um for s in series])
        self.reach_um = np.array([min(-s.offset_um[0], s.offset_um[-1]) for s in series])
        grid = np.linspace(-1.0, 1.0, points)
        self._points = points
        self._values = np.stack(
            [
                [np.interp(grid * reach, s.offset_um, getattr(s, name)) for name in READ]
                for s, reach in zip(series, self.reach_um, strict=True)
            ]
        )

    def __len__(self) -> int:
        """Number of series."""
        return len(self.magnification)

    def read(self, index: NDArray[np.intp], offset_um: Array) -> Array:
        """Score, variance, entropy, (3, n), of series `index` (n,) at `offset_um` (n,); constant beyond their ends."""
        place = (np.clip(offset_um / self.reach_um[index], -1.0, 1.0) + 1.0) / 2.0
        at = place * (self._points - 1)
        low = np.minimum(at.astype(np.intp), self._points - 2)
        share = at - low
        left, right = self._values[index, :, low], self._values[index, :, low + 1]
        return np.asarray((left * (1.0 - share)[:, None] + right * share[:, None]).T)
