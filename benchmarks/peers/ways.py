"""Searches for the sharpest WD as others do them. They see frames, and know where they may search; nothing else.

None of them verifies what it found, tells failure from success, or goes back: they end where they measured best.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from afdaemon.models.frames.preprocess import FloatImage, to_unit
from afdaemon.models.scorers.classical import normalised_variance, tenengrad

Pixels = NDArray[np.uint8]
Look = Callable[[float], Pixels]
"""Goes to a WD (um) and returns the frame seen there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Where to search: from `start_um`, `reach_um` to either side within the limits; `dof_um` is fine enough.

    `pixel_um` is that of the frames, `alpha_rad` the convergence semi-angle.
    """

    start_um: float
    reach_um: float
    dof_um: float
    lowest_um: float
    highest_um: float
    pixel_um: float
    alpha_rad: float

    @property
    def ends_um(self) -> tuple[float, float]:
        """The shortest and the longest WD of the search."""
        return (
            max(self.lowest_um, self.start_um - self.reach_um),
            min(self.highest_um, self.start_um + self.reach_um),
        )


def brent(look: Look, window: Window) -> float:
    """Brent's search for the maximum of the normalised variance, as in Micro-Manager's OughtaFocus."""
    found = minimize_scalar(
        lambda wd_um: -normalised_variance(to_unit(look(float(wd_um)))),
        bounds=window.ends_um,
        method="bounded",
        options={"xatol": 0.5 * window.dof_um},
    )
    return float(found.x)


def dichotomy(look: Look, window: Window) -> float:
    """Steps that are halved where the middle is best, on the standard deviation, as in Odemis."""
    low_um, high_um = window.ends_um
    seen: dict[float, float] = {}

    def measure(wd_um: float) -> float:
        if wd_um not in seen:
            seen[wd_um] = float(look(wd_um).std())
        return seen[wd_um]

    here_um, step_um = window.start_um, 0.5 * window.reach_um
    while step_um > 0.5 * window.dof_um:
        around = [min(max(here_um + k * step_um, low_um), high_um) for k in (-1, 0, 1)]
        best_um = max(around, key=measure)
        if best_um == here_um:
            step_um *= 0.5
        here_um = best_um
    return here_um


def grid(look: Look, window: Window, points: int = 11) -> float:
    """Two sweeps of `points` frames, the second between the neighbours of the first's best, as in fibsem-os."""

    def sweep(low_um: float, high_um: float) -> tuple[float, float, float]:
        """The best place and its neighbours."""
        places = np.linspace(low_um, high_um, points)
        best = int(np.argmax([tenengrad(_smoothed(look(float(wd_um)))) for wd_um in places]))
        below, above = max(best - 1, 0), min(best + 1, points - 1)
        return float(places[best]), float(places[below]), float(places[above])

    _, low_um, high_um = sweep(*window.ends_um)
    return sweep(low_um, high_um)[0]


def _smoothed(pixels: Pixels) -> FloatImage:
    return np.asarray(cv2.GaussianBlur(to_unit(pixels), (0, 0), 1.0), np.float32)


WAYS: Mapping[str, Callable[[Look, Window], float]] = {
    "Brent": brent,
    "dichotomy": dichotomy,
    "grid": grid,
}
"""By the name in the table: each is "in the way of" what its docstring names."""
