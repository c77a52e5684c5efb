"""What every driver delivers: `Frame`, and the `Microscope` it comes from.

Units: working distance (WD) in micrometres, absolute; a positive move lengthens the working distance.
Times are seconds on the clock that the driver was given, unless the name says otherwise.
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from afdaemon.drivers.errors import CommandRefused, DriverError, ProtocolError

__all__ = [
    "MAX_FRAME_SIDE_PX",
    "Clock",
    "Frame",
    "LinkStats",
    "Microscope",
    "MicroscopeState",
    "require_magnification",
    "same_magnification",
]

MAX_FRAME_SIDE_PX = 8192
"""No frame larger than this is decoded: a peer must not choose how much memory we take."""


_SAME_MAGNIFICATION = 0.01
"""Relative: vendors' software rounds to three digits (`12.3kx`), and shows what it measured instead of what it set."""
_SAME_ROUNDED = 0.5
"""Absolute: or to whole numbers."""


def same_magnification(one: float, other: float) -> bool:
    """Whether two magnifications may be one, differently written. To all that is done here, 1 % makes no difference."""
    return math.isclose(one, other, rel_tol=_SAME_MAGNIFICATION, abs_tol=_SAME_ROUNDED)


def require_magnification(magnification: float | None) -> None:
    """Raise `CommandRefused` for a magnification that is not a number above 0; None is allowed."""
    if magnification is not None and not 0.0 < magnification < math.inf:
        raise CommandRefused(f"a magnification is a number above 0, not {magnification}")


class Clock(Protocol):
    """What a driver needs of a clock."""

    def now_s(self) -> float:
        """Monotonic seconds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One image that may be used as evidence at `wd_um`.

    `pixels` has shape (height, width), uint8 or uint16, and must not be written to. `sequence` grows by at least
    one from frame to frame of a connection. `received_s` is when the last byte arrived.
    """

    pixels: NDArray[np.uint8] | NDArray[np.uint16]
    wd_um: float
    magnification: float
    sequence: int
    received_s: float

    @property
    def width_px(self) -> int:
        """Width in pixels."""
        return int(self.pixels.shape[1])

    @property
    def height_px(self) -> int:
        """Height in pixels."""
        return int(self.pixels.shape[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroscopeState:
    """What the instrument reports about itself: working distance (um) and magnification.

    Where it did not answer, `is_reported` is False and the rest is what was commanded or seen last. Raises
    `ProtocolError` for what no instrument can report.
    """

    wd_um: float
    magnification: float
    is_reported: bool = True

    def __post_init__(self) -> None:
        if not (math.isfinite(self.wd_um) and 0.0 < self.magnification < math.inf):
            raise ProtocolError(
                f"the instrument reports a WD of {self.wd_um} um and a magnification of"
                f" {self.magnification}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkStats:
    """What a link has counted since it was opened. Dropped frames are counted by cause."""

    connects: int = 0
    moves: int = 0
    frames: int = 0
    dropped_stale: int = 0
    dropped_frozen: int = 0
    dropped_mismatch: int = 0
    dropped_invalid: int = 0


@runtime_checkable
class Microscope(Protocol):
    """An instrument as the service sees it. One caller at a time; all its errors are `DriverError`s.

    `run` keeps the link up (connects, reconnects) until it is cancelled. The other methods fail at once with
    `NotConnected` while the link is down.
    """

    @property
    def name(self) -> str:
        """What to call it in a status line, e.g. `em30 (aisem, 127.0.0.1:9025)`."""
        ...

    @property
    def connected(self) -> bool:
        """Whether the link is up now."""
        ...

    @property
    def why_down(self) -> DriverError | None:
        """Why there is no link, with a remedy; None while it is up."""
        ...

    @property
    def stats(self) -> LinkStats:
        """Counters since the start."""
        ...

    @property
    def wd_tolerance_um(self) -> float:
        """A WD that is read back is the commanded one if it differs by no more than this."""
        ...

    async def run(self) -> None:
        """Keep the link up until cancelled."""
        ...

    async def wait_connected(self, timeout_s: float) -> None:
        """Return when the link is up; raise `LinkTimeout` with the cause if it is not within `timeout_s`.

        Whoever waits has little time: a link that is down is tried again soon.
        """
        ...

    async def read_state(self) -> MicroscopeState:
        """Ask the instrument for its WD and magnification."""
        ...

    async def move_wd(self, wd_um: float, magnification: float | None = None) -> None:
        """Command an absolute WD, and a magnification; returns when the instrument has acknowledged it.

        Without a magnification the present one is kept. Raises `CommandRefused` for one that the instrument does not
        have or the link cannot set; then nothing was moved.
        """
        ...

    async def grab(self) -> Frame:
        """A frame exposed after the last commanded move had settled, read back at the commanded WD."""
        ...

    async def close(self) -> None:
        """End the session politely and release the link. Safe to call twice."""
        ...
