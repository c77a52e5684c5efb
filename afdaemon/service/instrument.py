"""The microscope for one caller at a time, and where it was last seen."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from afdaemon.control.limits import Motion, MotionGuard
from afdaemon.drivers.base import Microscope, MicroscopeState
from afdaemon.drivers.errors import DriverError, NotConnected
from afdaemon.errors import FaultError
from afdaemon.job.bench import DEADLINES, Bench
from afdaemon.job.lens import Misplaced, TakenOver, way

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A WD (um), and the magnification if that is known too."""

    wd_um: float
    magnification: float | None = None


class Instrument:
    """Whoever uses the microscope of `bench` holds it meanwhile; every move passes the guard."""

    def __init__(self, bench: Bench) -> None:
        self._microscope = bench.microscope
        self._guard = bench.guard
        self._lens = bench.lens
        self._approach_um = bench.approach_um
        self._lock = asyncio.Lock()
        self._seen: Seen | None = None
        self._journal = bench.journal
        self._fault: str | None = None

    async def open(self) -> None:
        """Learn whether it did what it was told before the daemon was started. Raises `JournalError`."""
        self._fault = await asyncio.to_thread(self._journal.fault)

    @property
    def name(self) -> str:
        """Its name, for people."""
        return self._microscope.name

    @property
    def connected(self) -> bool:
        """Whether the link is up."""
        return self._microscope.connected

    @property
    def why_down(self) -> DriverError | None:
        """Why there is no link; None while there is one."""
        return self._microscope.why_down

    @property
    def seen(self) -> Seen | None:
        """Where it was last seen; None if it has not been seen yet."""
        return self._seen

    def note(self, wd_um: float, magnification: float | None = None) -> None:
        """Note that a holder has seen it here."""
        if magnification is None and self._seen is not None:
            magnification = self._seen.magnification
        self._seen = Seen(wd_um=wd_um, magnification=magnification)

    def lose_sight(self) -> None:
        """Note that nobody knows where it stands."""
        self._seen = None

    @property
    def fault(self) -> str | None:
        """In what it did not do what it was told; None if it did, or somebody has reset that."""
        return self._fault

    async def distrust(self, why: str) -> None:
        """It did not do what it was told: nothing moves it until somebody resets that, whatever happens meanwhile."""
        self._fault = why
        log.error("fault", detail=why)
        await asyncio.to_thread(self._journal.distrust, why)

    async def trust(self) -> None:
        """Somebody has looked after it."""
        if self._fault is not None:
            self._fault = None
            await asyncio.to_thread(self._journal.trust)

    def require_trusted(self) -> None:
        """Raise `FaultError` while it is in fault."""
        if self._fault is not None:
            raise FaultError(f"the instrument did not do what it was told: {self._fault}")

    def require_connected(self) -> None:
        """Raise `NotConnected` while the link is down."""
        down = self.why_down
        if down is not None:
            raise NotConnected(f"there is no link to {self.name}: {down}", remedy=down.remedy)

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
        async with self.held():
            return await self.see()

    async def see(self) -> Seen:
        """The same, for a caller that holds it."""
        now = await self._microscope.read_state()
        self.note(now.wd_um, now.magnification)
        return Seen(wd_um=now.wd_um, magnification=now.magnification)

    async def at_rest(self) -> MicroscopeState:
        """The same, once its lens stands still. Raises `DriverError`."""
        now = await self._lens.at_rest(DEADLINES.move_s)
        self.note(now.wd_um, now.magnification)
        return now

    def way(self, from_um: float, to_um: float, step_um: float | None) -> tuple[float, ...]:
        """Where a move (um) may have been interrupted, the end included; `step_um` was the job's own longest step."""
        motion = self._guard.motion.tightened(Motion(step_um=step_um))
        return way(MotionGuard(self._guard.limits, motion), from_um, to_um, self._approach_um)

    def is_same_wd(self, one_um: float, other_um: float) -> bool:
        """Whether two WDs (um) are one within the tolerance of a read-back."""
        return abs(one_um - other_um) <= self._microscope.wd_tolerance_um

    async def move(self, wd_um: float, magnification: float | None = None) -> Seen:
        """Bring the instrument, which the caller holds, to an absolute WD (um); returns once it is read back there.

        Raises:
            LimitError: outside the limits; nothing was sent.
            DriverError: it did not get there; its `seen`, if it has one, is where it stands instead.
        """
        self.check(wd_um)
        try:
            await self._lens.bring(wd_um, magnification, DEADLINES.restore_s)
        except Misplaced as error:
            self.note(error.seen.wd_um, error.seen.magnification)
            if not isinstance(error, TakenOver):
                await self.distrust(str(error))
            raise
        except DriverError:
            self.lose_sight()
            raise
        place = self._lens.place
        self.note(wd_um, place.magnification if place is not None else None)
        return Seen(wd_um=wd_um, magnification=self._seen.magnification if self._seen else None)
