"""The numbers of the fast procedure."""

from dataclasses import dataclass
from typing import ClassVar

from afdaemon.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class FastProfile:
    """Parameters of the fast procedure. Distances in depths of focus (DoF) of the assumed convergence angle.

    Belief:
        sure: probability of ending within 1 DoF of the focus at which the job stops;
        sure_drop: so much less with each reading after four, for another one then tells little that is new,
        least_sure: but not at less than this.
        near_dof: and its last step, that no reading follows, is no longer; else the job reads there first.
        fewest_readings: it does not stop before so many near each other: two to know, one to verify.
        most_readings: it gives up after so many.
        probe_dof: how far it steps aside where it cannot tell the sides.
        most_step_dof: no step is longer.
    Search:
        far_dof: a focus farther away than this cannot be told where it is;
        stride_dof: then the job looks this far from where it has looked (half of it if the angle may be off);
        stray_readings: so too after so many readings in a row with scores that are failures;
        most_looks_around: it gives up after so many looks where the first reading told something;
        most_search_readings: and after so many where it did not.
        close_dof: around a low peak of the score it looks so far to either side, and before it gives up so far
            apart around the best place, or the start;
        most_close_looks: so often, each.
        ladder: before it strides, it looks at lower magnifications, which see further,
        lowest_magnification: but at none below this.
    Verdict:
        fail_score: below it AENet does not agree that this is focus.
        agreed_drop: nor if it has seen a score higher by more than this, elsewhere.
        trusted_score: where it gives up, a higher one seen is verified all the same.
        settle_margin: where a score was higher by more than this, the job ends there instead.
        flat_variance: a frame with std / mean below it shows nothing.
        saturated_fraction: frames with more saturated pixels than this show nothing either.
    Instrument:
        alpha_mrad: convergence semi-angle. ASSUMED, unless calibrated.
        calibrated: whether that angle was measured; else it may be off by a factor of 2.
    """

    name: ClassVar[str] = "fast"

    sure: float = 0.94
    sure_drop: float = 0.1
    least_sure: float = 0.6
    near_dof: float = 0.7
    fewest_readings: int = 3
    most_readings: int = 16
    probe_dof: float = 4.0
    most_step_dof: float = 150.0

    far_dof: float = 90.0
    stride_dof: float = 165.0
    stray_readings: int = 6
    most_looks_around: int = 4
    most_search_readings: int = 200
    close_dof: float = 8.0
    most_close_looks: int = 6
    ladder: bool = False
    lowest_magnification: float = 500.0

    fail_score: float = 3.0
    agreed_drop: float = 2.0
    trusted_score: float = 7.5
    settle_margin: float = 0.5
    flat_variance: float = 0.02
    saturated_fraction: float = 0.5

    alpha_mrad: float = 5.0
    calibrated: bool = False

    def __post_init__(self) -> None:
        for name, (lo, hi) in _ALLOWED.items():
            value = getattr(self, name)
            if not lo <= value <= hi:
                raise ConfigError(f"{name} must be between {lo:g} and {hi:g}, got {value}")
        if self.most_readings < self.fewest_readings:
            raise ConfigError(
                f"most_readings must be at least fewest_readings, {self.fewest_readings},"
                f" got {self.most_readings}"
            )


_ALLOWED: dict[str, tuple[float, float]] = {
    "sure": (0.5, 0.999),
    "sure_drop": (0.0, 1.0),
    "least_sure": (0.5, 0.999),
    "near_dof": (0.05, 1.0),
    "fewest_readings": (1, 100),
    "most_readings": (1, 1000),
    "probe_dof": (1.0, 50.0),
    "most_step_dof": (1.0, 10_000.0),
    "far_dof": (10.0, 200.0),
    "stride_dof": (1.0, 1_000.0),
    "stray_readings": (2, 1_000),
    "most_looks_around": (0, 10_000),
    "most_search_readings": (0, 10_000),
    "close_dof": (1.0, 100.0),
    "most_close_looks": (0, 1_000),
    "lowest_magnification": (20.0, 1e6),
    "fail_score": (0.0, 9.0),
    "agreed_drop": (0.0, 9.0),
    "trusted_score": (0.0, 9.0),
    "settle_margin": (0.0, 9.0),
    "flat_variance": (0.0, 1.0),
    "saturated_fraction": (0.0, 1.0),
    "alpha_mrad": (0.1, 100.0),
}

FAST = FastProfile()
"""The fast procedure on an instrument that was not calibrated."""
