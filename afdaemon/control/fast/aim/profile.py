"""The parameters of the procedure with one posterior. Distances are in depths of focus (DoF)."""

from dataclasses import dataclass
from typing import ClassVar

from afdaemon.control.profile import Profile
from afdaemon.spec import number, whole

MISS_COST = 25.0
"""What training plays by."""


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
