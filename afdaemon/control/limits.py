"""Where the instrument may go, and how much it may move: the limits, and the guard every move passes.

The planner asks `Limits.within` and `Limits.nearest` and so proposes only what is allowed. The
guard trusts nobody: it checks the absolute target when the move is about to be sent, and rejects.
It never clips, because a clipped wrong number is a wrong move.
"""

import math
from collections import deque
from dataclasses import dataclass

from afdaemon.errors import LimitError

_MINUTE_S = 60.0


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """How much a job may move the lens (um): in one step, in all, and in any minute. None: as much as it likes."""

    step_um: float | None = None
    travel_um: float | None = None
    travel_per_min_um: float | None = None

    def tightened(self, other: "Motion") -> "Motion":
        """What both allow."""
        return Motion(
            step_um=_least(self.step_um, other.step_um),
            travel_um=_least(self.travel_um, other.travel_um),
            travel_per_min_um=_least(self.travel_per_min_um, other.travel_per_min_um),
        )


class MotionGuard:
    """The one gate in front of the instrument, for one job or one errand: it remembers how far the lens has travelled.

    The way home is never refused for its length: it is what a refusal leads to.
    """

    def __init__(self, limits: Limits, motion: Motion = Motion()) -> None:
        self.limits = limits
        self.motion = motion
        self.travelled_um = 0.0
        self._lately: deque[tuple[float, float]] = deque()

    def stops(self, from_um: float, to_um: float) -> tuple[float, ...]:
        """The WDs (um) to stop at on the way, the end included: no step is longer than allowed.

        All are within the limits, also where the way begins outside them.
        """
        longest_um = self.motion.step_um
        if longest_um is None:
            return (to_um,)
        from_um = self.limits.nearest(from_um)
        steps = max(1, math.ceil(abs(to_um - from_um) / longest_um))
        between = (from_um + (to_um - from_um) * number / steps for number in range(1, steps))
        return (*between, to_um)

    def admit(
        self, target_wd_um: float, *, from_um: float, now_s: float, is_homeward: bool = False
    ) -> None:
        """Return if the lens may be sent from `from_um` to the absolute `target_wd_um` now; the move then counts.

        Raises LimitError as `check` does, and for a move that is too long, or one too many.
        """
        self.check(target_wd_um)
        way_um = abs(target_wd_um - from_um)
        while self._lately and self._lately[0][0] <= now_s - _MINUTE_S:
            self._lately.popleft()
        if not is_homeward:
            lately_um = sum(um for _, um in self._lately)
            motion = self.motion
            _require("the move", way_um, motion.step_um, "max_step_um")
            _require("the job's way", self.travelled_um + way_um, motion.travel_um, "max_travel_um")
            _require(
                "the way of one minute",
                lately_um + way_um,
                motion.travel_per_min_um,
                "max_travel_per_min_um",
            )
        self.travelled_um += way_um
        self._lately.append((now_s, way_um))

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


def _least(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else min(one, other)


def _require(what: str, um: float, most_um: float | None, key: str) -> None:
    """Raise LimitError if it is longer than allowed; the steps of an evenly divided way may differ by rounding."""
    if most_um is not None and um > most_um * (1.0 + 1e-9):
        raise LimitError(
            f"{what} would be {um:g} um, allowed are {most_um:g} um",
            remedy=f"check what asks for so much; limits.{key} allows more",
        )
