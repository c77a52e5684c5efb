"""Time, passed in. This is the only module that imports `time`; everything else gets a `Clock`.

`SystemClock` is real time, `ScaledClock` runs a simulated instrument faster than real time, and `ManualClock`
stands still until a test or a sleeper moves it.
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Monotonic seconds, a way to wait, and the calendar for log lines."""

    def now_s(self) -> float:
        """Monotonic time in seconds; only differences mean anything."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait `seconds` of this clock's time."""
        ...

    def utc(self) -> datetime:
        """Calendar time, timezone-aware."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_s(self) -> float:
        """Monotonic time in seconds."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait in real time."""
        await asyncio.sleep(max(0.0, seconds))

    def utc(self) -> datetime:
        """Calendar time, timezone-aware."""
        return datetime.now(UTC)


class ScaledClock:
    """Real time, `speed` times as fast: a simulated instrument that does not keep its tests waiting."""

    def __init__(self, speed: float) -> None:
        if not 0.0 < speed < float("inf"):
            raise ValueError(f"speed must be a positive number, got {speed}")
        self._speed = speed
        self._origin_s = time.monotonic()
        self._origin_utc = datetime.now(UTC)

    def now_s(self) -> float:
        """Scaled monotonic time in seconds."""
        return (time.monotonic() - self._origin_s) * self._speed

    async def sleep(self, seconds: float) -> None:
        """Wait `seconds / speed` of real time."""
        await asyncio.sleep(max(0.0, seconds) / self._speed)

    def utc(self) -> datetime:
        """Calendar time at the scaled rate."""
        return self._origin_utc + timedelta(seconds=self.now_s())


class ManualClock:
    """A clock that only moves when told to; its `sleep` moves it and yields once to the event loop."""

    def __init__(self, start_s: float = 0.0) -> None:
        self._now_s = start_s

    def now_s(self) -> float:
        """The time it was moved to."""
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Move forward; a clock never goes back."""
        if seconds < 0.0:
            raise ValueError(f"a monotonic clock cannot go back ({seconds} s)")
        self._now_s += seconds

    async def sleep(self, seconds: float) -> None:
        """Move forward at once and let other tasks run."""
        self.advance(max(0.0, seconds))
        await asyncio.sleep(0)

    def utc(self) -> datetime:
        """The epoch plus the manual time."""
        return datetime.fromtimestamp(self._now_s, UTC)
