"""The microscope for one caller at a time, and where it was last seen."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from afdaemon.control.limits import MotionGuard
from afdaemon.drivers.base import Microscope
from afdaemon.drivers.errors import NotConnected


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A WD (um), and the magnification if that is known too."""

    wd_um: float
    magnification: float | None = None


class Instrument:
    """Whoever uses the microscope holds it meanwhile; every move passes the guard."""

    def __init__(self, microscope: Microscope, guard: MotionGuard) -> None:
        self._microscope = microscope
        self._guard = guard
        self._lock = asyncio.Lock()
        self._seen: Seen | None = None

    @property
    def name(self) -> str:
        """Its name, for people."""
        return self._microscope.name

    @property
    def connected(self) -> bool:
        """Whether the link is up."""
        return self._microscope.connected

    @property
    def seen(self) -> Seen | None:
        """Where it was last seen; None if it has not been seen yet."""
        return self._seen

    def note(self, wd_um: float, magnification: float | None = None) -> None:
        """Note that a holder has seen it here."""
        if magnification is None and self._seen is not None:
            magnification = self._seen.magnification
        self._seen = Seen(wd_um=wd_um, magnification=magnification)

    def require_connected(self) -> None:
        """Raise `NotConnected` while the link is down."""
        if not self.connected:
            raise NotConnected(f"there is no link to {self.name}")

    def check(self, wd_um: float) -> None:
        """Raise `LimitError` unless it may be sent to `wd_um`."""
        self._guard.check(wd_um)

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Microscope]:
        """The microscope itself, with everybody else kept out."""
        async with self._lock:
            yield self._microscope

    async def look(self) -> Seen:
        """Ask it where it stands. Raises `DriverError`."""
        async with self.held() as microscope:
            now = await microscope.read_state()
        self.note(now.wd_um, now.magnification)
        return Seen(wd_um=now.wd_um, magnification=now.magnification)

    async def move(self, microscope: Microscope, wd_um: float) -> None:
        """Command an absolute WD (um) to the held `microscope`.

        Raises:
            LimitError: outside the limits; nothing was sent.
            DriverError: the instrument or its link failed.
        """
        self.check(wd_um)
        await microscope.move_wd(wd_um)
