"""The age of a simulated world: the time that its drift, its phases and its lens depend on.

A client may pause for as long as it likes, links differ in speed, and a scaled clock turns a millisecond of real time
into many. So by default a world ages only with its own work: settling, scanning, driving the stage. Then the same
commands give the same frames, byte for byte, over every link and on every machine. With the clock it also ages while
idle, as an instrument does; a run is then repeatable only on a clock that is advanced by hand.
"""

from enum import StrEnum

from afdaemon.drivers.base import Clock


class Ageing(StrEnum):
    """What the world ages with."""

    WORK = "work"
    CLOCK = "clock"


class Age:
    """How old a world is, in seconds of `clock`; 0 when it is made."""

    def __init__(self, clock: Clock, ageing: Ageing) -> None:
        self._clock = clock
        self._ageing = ageing
        self._born_s = self._idle_since_s = clock.now_s()
        self._done_s = 0.0
        self._working: tuple[float, float] | None = None

    def now_s(self) -> float:
        """The age now; it never falls."""
        if self._ageing is Ageing.CLOCK:
            return self._clock.now_s() - self._born_s
        if self._working is None:
            return self._done_s
        began_s, takes_s = self._working
        return self._done_s + min(takes_s, self._clock.now_s() - began_s)

    def seen_s(self) -> float:
        """The age including the idle time since the last work: for read-backs, which change nothing."""
        if self._ageing is Ageing.CLOCK or self._working is not None:
            return self.now_s()
        return self._done_s + self._clock.now_s() - self._idle_since_s

    def reach(self, age_s: float) -> None:
        """Count the work that is over at `age_s` as done."""
        self._done_s = max(self._done_s, age_s)
        self._idle_since_s = self._clock.now_s()

    async def work(self, takes_s: float) -> float:
        """Work for `takes_s`; returns the age at which it began."""
        began_s = finished_s = self.now_s()
        self._working = self._clock.now_s(), takes_s
        try:
            await self._clock.sleep(takes_s)
            finished_s = began_s + takes_s
        finally:
            finished_s = max(finished_s, self.now_s())
            self._working = None
            self.reach(finished_s)
        return began_s
