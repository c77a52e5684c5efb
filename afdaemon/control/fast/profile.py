"""The parameters of the fast procedure. Distances are in depths of focus (DoF) of the assumed convergence angle."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from afdaemon.control.profile import Profile, score
from afdaemon.errors import ConfigError
from afdaemon.spec import flag, number, whole

_DOF = "depths of focus"


@dataclass(frozen=True, slots=True, kw_only=True)
class FastProfile(Profile):
    """Parameters of the fast procedure."""

    name: ClassVar[str] = "fast"

    # Posterior
    confidence: float = number(
        0.94, 0.5, 0.999, "",
        "The job stops where the focus lies within 1 depth of focus with at least this probability.",
        formerly="sure",
    )  # fmt: skip
    confidence_drop: float = number(
        0.1, 0.0, 1.0, "",
        "With each reading after the fourth the required probability falls by this: a further reading adds little.",
        formerly="sure_drop",
    )  # fmt: skip
    least_confidence: float = number(
        0.6, 0.5, 0.999, "", "The required probability never falls below this.",
        formerly="least_sure",
    )  # fmt: skip
    near_dof: float = number(
        0.7, 0.05, 1.0, _DOF,
        "The last step, which no reading follows, is no longer than this; a longer one is followed by a reading.",
    )  # fmt: skip
    fewest_readings: int = whole(
        3, 1, 100,
        "The job does not stop before this many readings near each other: two locate the focus, one verifies.",
    )  # fmt: skip
    most_readings: int = whole(
        16, 1, 1000, "The job gives up after this many readings that the posterior led to."
    )
    probe_dof: float = number(
        4.0, 1.0, 50.0, _DOF, "Length of the step aside when the readings do not show on which side the focus lies."
    )  # fmt: skip
    most_step_dof: float = number(150.0, 1.0, 10_000.0, _DOF, "Longest step.")

    # Search
    capture_range_dof: float = number(
        90.0, 10.0, 200.0, _DOF,
        "Capture range: a frame shows hardly anything of a focus farther away than this.",
        formerly="far_dof",
    )  # fmt: skip
    stride_dof: float = number(
        165.0, 1.0, 1_000.0, _DOF,
        "Stride of the search for a focus out of capture range; half of it where the angle is not calibrated.",
    )  # fmt: skip
    stray_readings: int = whole(
        6, 2, 1_000, "The job searches after this many readings in a row that scored below focus."
    )
    most_local_steps: int = whole(
        4, 0, 10_000,
        "Most search steps of a job whose first reading was informative: its focus is not at the range's other end.",
        formerly="most_looks_around",
    )  # fmt: skip
    most_search_readings: int = whole(
        200, 0, 10_000, "Most search steps of a job whose first reading showed no trace of focus."
    )
    close_dof: float = number(
        8.0, 1.0, 100.0, _DOF,
        "Spacing of the search steps around a low peak of the score, and around the best place before giving up.",
    )  # fmt: skip
    most_close_steps: int = whole(
        6, 0, 1_000, "Most search steps at the spacing close_dof, for each of its two purposes.",
        formerly="most_close_looks",
    )  # fmt: skip
    ladder: bool = flag(
        False,
        "Whether the job first searches at lower magnifications, where a frame shows a focus that is farther away.",
    )  # fmt: skip
    lowest_magnification: float = number(
        500.0, 20.0, 1e6, "", "Lowest magnification that the ladder may use."
    )

    # Verdict
    agreed_drop: float = score(
        2.0, "A reading does not verify the focus if one elsewhere scored higher by more than this."
    )
    trusted_score: float = score(
        7.5, "A job about to give up first verifies the best place it saw, if that scored at least this."
    )  # fmt: skip
    settle_margin: float = score(
        0.5, "The job ends at another place instead if that scored higher by more than this."
    )

    def with_ladder(self, wanted: bool | None) -> Self:
        """The same with or without its ladder, if a job asks."""
        return self if wanted is None else replace(self, ladder=wanted)

    def __post_init__(self) -> None:
        Profile.__post_init__(self)
        if self.most_readings < self.fewest_readings:
            raise ConfigError(
                f"most_readings must be at least fewest_readings, {self.fewest_readings},"
                f" got {self.most_readings}"
            )


FAST = FastProfile()
"""The fast procedure on an instrument that was not calibrated."""
