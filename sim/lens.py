"""The objective lens: where the working distance stands at any time after a command. Pure."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Approach:
    """From `from_um` towards `to_um`, commanded at `since_s`; the distance left decays with `time_constant_s`."""

    from_um: float
    to_um: float
    since_s: float
    time_constant_s: float

    def at(self, now_s: float) -> float:
        """WD in um at `now_s`."""
        elapsed_s = max(0.0, now_s - self.since_s)
        return self.to_um + (self.from_um - self.to_um) * self._left(elapsed_s)

    def mean(self, start_s: float, end_s: float) -> float:
        """WD in um averaged over an exposure that may have begun before the command."""
        if end_s <= start_s:
            return self.at(end_s)
        before_s = min(max(0.0, self.since_s - start_s), end_s - start_s)
        begin_s = max(0.0, start_s - self.since_s)
        moving_s = end_s - start_s - before_s
        fall = self._left(begin_s) - self._left(begin_s + moving_s)
        excess_um = (self.from_um - self.to_um) * (before_s + self.time_constant_s * fall)
        return self.to_um + excess_um / (end_s - start_s)

    def _left(self, elapsed_s: float) -> float:
        """The share of the way that is left `elapsed_s` after the command."""
        if self.time_constant_s <= 0.0:
            return 0.0
        return math.exp(-elapsed_s / self.time_constant_s)
