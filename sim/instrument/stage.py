"""The specimen stage: where it is at any time after a command. Pure."""

import math
from dataclasses import dataclass
from typing import Self

Place = tuple[float, float]
"""x and y in um."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Travel:
    """A straight move at constant speed from `from_um` to `to_um`, begun at `since_s`, over after `takes_s`."""

    from_um: Place
    to_um: Place
    since_s: float
    takes_s: float

    @classmethod
    def resting(cls, place_um: Place) -> Self:
        """A stage that stands still."""
        return cls(from_um=place_um, to_um=place_um, since_s=0.0, takes_s=0.0)

    def onward(
        self, to_um: Place, *, now_s: float, speed_um_per_s: float, least_s: float
    ) -> "Travel":
        """The move to `to_um` that begins at `now_s` where the stage is then; it takes `least_s` at least."""
        from_um = self.at(now_s)
        takes_s = max(least_s, math.dist(from_um, to_um) / speed_um_per_s)
        return Travel(from_um=from_um, to_um=to_um, since_s=now_s, takes_s=takes_s)

    @property
    def until_s(self) -> float:
        """When it arrives."""
        return self.since_s + self.takes_s

    def at(self, now_s: float) -> Place:
        """Where it is at `now_s`."""
        if now_s < self.since_s:
            return self.from_um
        if now_s >= self.until_s:
            return self.to_um
        share = (now_s - self.since_s) / self.takes_s
        return (
            self.from_um[0] + share * (self.to_um[0] - self.from_um[0]),
            self.from_um[1] + share * (self.to_um[1] - self.from_um[1]),
        )

    def velocity_um_per_s(self, now_s: float) -> Place:
        """How fast it moves at `now_s`, along x and y."""
        if not self.since_s <= now_s < self.until_s:
            return 0.0, 0.0
        return (
            (self.to_um[0] - self.from_um[0]) / self.takes_s,
            (self.to_um[1] - self.from_um[1]) / self.takes_s,
        )
