"""Where the instrument may go: hard, site and session limits, and the guard every move passes.

The planner asks `Limits.within` and `Limits.nearest` and so proposes only what is allowed. The
guard trusts nobody: it checks the absolute target when the move is about to be sent, and rejects.
It never clips, because a clipped wrong number is a wrong move.
"""

import math
from dataclasses import dataclass

from afdaemon.errors import LimitError


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """A closed range of absolute working distances in um. Raises LimitError for ends that form none."""

    lo_um: float
    hi_um: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lo_um) and math.isfinite(self.hi_um)):
            raise LimitError(f"a range needs two finite ends, got {self}")
        if self.lo_um > self.hi_um:
            raise LimitError(f"a range starts at its lower end, got {self}")

    def __str__(self) -> str:
        return f"{self.lo_um:g} .. {self.hi_um:g} um"

    def holds(self, wd_um: float) -> bool:
        """Whether `wd_um` lies inside; never true of NaN or an infinity."""
        return self.lo_um <= wd_um <= self.hi_um


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The instrument's own range, and what the site and the session leave of it.

    Raises LimitError if the three have nothing in common.
    """

    hard: Range
    site: Range | None = None
    session: Range | None = None

    def __post_init__(self) -> None:
        lo_um, hi_um = self._bounds()
        if lo_um > hi_um:
            raise LimitError(f"the limits leave no working distance: {self}")

    def __str__(self) -> str:
        return ", ".join(f"{name} {limit}" for name, limit in self.named())

    def named(self) -> tuple[tuple[str, Range], ...]:
        """The ranges that are set, with their names."""
        pairs = (("hard", self.hard), ("site", self.site), ("session", self.session))
        return tuple((name, limit) for name, limit in pairs if limit is not None)

    @property
    def allowed(self) -> Range:
        """What all of them allow."""
        lo_um, hi_um = self._bounds()
        return Range(lo_um=lo_um, hi_um=hi_um)

    def within(self, wd_um: float) -> bool:
        """Whether all of them allow `wd_um`; never true of NaN or an infinity."""
        return all(limit.holds(wd_um) for _, limit in self.named())

    def nearest(self, wd_um: float) -> float:
        """The allowed WD nearest to `wd_um`: for planning, where a step may be shortened."""
        lo_um, hi_um = self._bounds()
        return min(max(wd_um, lo_um), hi_um)

    def _bounds(self) -> tuple[float, float]:
        limits = [limit for _, limit in self.named()]
        return max(limit.lo_um for limit in limits), min(limit.hi_um for limit in limits)


class MotionGuard:
    """The one gate in front of the instrument. `limits` may be replaced while a job runs."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    def check(self, target_wd_um: float) -> None:
        """Return if the instrument may be sent to the absolute `target_wd_um`.

        Raises LimitError, naming the value and the allowed range, for NaN, infinities and anything
        outside the hard, site or session limits.
        """
        if not math.isfinite(target_wd_um):
            raise LimitError(
                f"working distance {target_wd_um} um is not a number to move to; "
                f"allowed is {self.limits.allowed}"
            )
        for name, limit in self.limits.named():
            if not limit.holds(target_wd_um):
                raise LimitError(
                    f"working distance {target_wd_um:g} um is outside the {name} limits; "
                    f"allowed is {self.limits.allowed}"
                )

    def check_magnification(self, target: float, *, lowest: float, highest: float) -> None:
        """Return if the instrument may be sent to the magnification `target`.

        Raises LimitError, naming the value and the allowed range; NaN lies in none.
        """
        if not lowest <= target <= highest:
            raise LimitError(
                f"magnification {target:g} is outside what the job may use,"
                f" {lowest:g} to {highest:g}",
                remedy="set fast.lowest_magnification",
            )
