"""The numbers of the published procedure (Lee et al. 2021), and those of its authors' code."""

import math
from dataclasses import dataclass
from typing import ClassVar

from afdaemon.errors import ConfigError
from afdaemon.models.acnet.state import a_max_um
from afdaemon.models.optics import dof_um


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperProfile:
    """Parameters of the published procedure; the defaults are the paper's where it gives one.

    Search:
        search_score: a reading above it ends the search (score, 0 .. 9).
        stride_fraction: search stride as a fraction of A_max(m).
        search_window_a_max: how far the search goes to either side of the start, in A_max(m); 0 is
            the whole allowed range, as published.
        halvings: how often the stride is halved when the range is exhausted.
        both_directions: search towards shorter WD too, not only towards longer.
        min_search_readings: a search is not ended by fewer.
        max_search_readings: a search is given up after so many; 0 is as many as the range holds.
        searches: how often it is begun or, where a servo found no focus, goes on.
    Servo:
        stop_score: a score that cannot be bettered (9 is the top of the scale).
        patience: stop after so many readings without a new best,
        new_best_margin: one that is higher by more than this; a smaller difference is chance.
        max_servo_readings: stop after so many in any case.
        min_step_um: a shorter step is not sent; a reading is taken where the instrument stands.
        most_step_dof: no step is longer, in depths of focus, where the instrument is calibrated;
            elsewhere A_max(m) is the limit, as published.
    Verdict:
        fail_score: a best score below it is a failure.
        retries: how often the servo starts again from the best WD after a failure.
        verify_drop: the verifying score may be so much below the one it verifies.
        tie_margin: the start WD wins if its score comes this close to the best.
        flat_variance: a frame with std / mean below it shows nothing.
        saturated_fraction: frames with more saturated pixels than this show nothing either.
    Instrument:
        alpha_mrad: convergence semi-angle. ASSUMED, unless calibrated.
        calibrated: whether that angle was measured.
    """

    name: ClassVar[str] = "paper"

    search_score: float = 2.0
    stride_fraction: float = 1.0 / 3.0
    search_window_a_max: float = 4.0
    halvings: int = 2
    both_directions: bool = True
    min_search_readings: int = 1
    max_search_readings: int = 200
    searches: int = 3

    stop_score: float = 9.0
    patience: int = 5
    new_best_margin: float = 0.05
    max_servo_readings: int = 20
    min_step_um: float = 0.01
    most_step_dof: float = 4.0

    fail_score: float = 3.0
    retries: int = 1
    verify_drop: float = 3.0
    tie_margin: float = 0.0
    flat_variance: float = 0.02
    saturated_fraction: float = 0.5

    alpha_mrad: float = 5.0
    calibrated: bool = False

    def __post_init__(self) -> None:
        for name, (lo, hi) in _ALLOWED.items():
            value = getattr(self, name)
            if not lo <= value <= hi:
                raise ConfigError(f"{name} must be between {lo:g} and {hi:g}, got {value}")

    def most_step_um(self, magnification: float) -> float:
        """The longest servo step (um): c * DoF(m) where the depth of focus was measured, else A_max(m)."""
        if self.calibrated:
            return self.most_step_dof * dof_um(magnification, 1e-3 * self.alpha_mrad)
        return a_max_um(magnification)


_ALLOWED: dict[str, tuple[float, float]] = {
    "search_score": (0.0, 9.0),
    "stride_fraction": (0.01, 1.0),
    "search_window_a_max": (0.0, 1000.0),
    "halvings": (0, 6),
    "min_search_readings": (1, 100),
    "max_search_readings": (0, 100_000),
    "searches": (1, 100),
    "stop_score": (0.0, 9.0),
    "patience": (1, 100),
    "new_best_margin": (0.0, 9.0),
    "max_servo_readings": (1, 1000),
    "min_step_um": (0.0, 1000.0),
    "most_step_dof": (1.0, 1_000.0),
    "fail_score": (0.0, 9.0),
    "retries": (0, 10),
    "verify_drop": (0.0, 9.0),
    "tie_margin": (0.0, 9.0),
    "flat_variance": (0.0, math.inf),
    "saturated_fraction": (0.0, 1.0),
    "alpha_mrad": (0.1, 100.0),
}

PAPER = PaperProfile()
"""The published procedure."""

AUTHORS_ONLINE = PaperProfile(
    search_score=1.8,
    min_search_readings=4,
    both_directions=False,
    patience=8,
    searches=1,
    new_best_margin=0.0,
)
"""Where the authors' own online code differs from their paper."""
