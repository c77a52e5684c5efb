"""The parameters of the procedure with one posterior. Distances are in depths of focus (DoF)."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from afdaemon.control.profile import Profile
from afdaemon.spec import flag, number, whole

MISS_COST = 25.0
"""What training plays by."""
CAPTURE_DOF = 90.0
"""A frame shows hardly anything of a focus farther away than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AimProfile(Profile):
    """Parameters of the procedure with one posterior."""

    name: ClassVar[str] = "aim"

    miss_cost: float = number(
        MISS_COST, 2.0, 1_000.0, "readings",
        "Ending over 1 depth of focus off costs as much as so many readings. More is surer, and slower.",
    )  # fmt: skip
    most_search_readings: int = whole(
        200, 0, 10_000, "Most readings of a job none of whose frames showed anything to focus on."
    )
    ladder: bool = flag(
        False,
        "Whether the job first searches at lower magnifications, where a frame shows a focus that is farther away.",
    )  # fmt: skip
    lowest_magnification: float = number(
        500.0, 20.0, 1e6, "", "Lowest magnification that the ladder may use."
    )

    def with_ladder(self, wanted: bool | None) -> Self:
        """The same with or without its ladder, if a job asks."""
        return self if wanted is None else replace(self, ladder=wanted)
