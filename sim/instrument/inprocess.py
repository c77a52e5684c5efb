"""An `Instrument` as a microscope without any wire between: for tests, training and measurements of control alone.

It judges frames as the drivers of real links do: a frame that is damaged (detected as by a checksum), was sent before,
has a WD other than the commanded one, or repeats the grey values of the one before is dropped, counted and requested
again, at most `_MAX_DROPPED_IN_ROW` times.
"""

import asyncio
from collections import deque

from afdaemon.drivers.base import Clock, Frame, LinkStats, MicroscopeState, require_magnification
from afdaemon.drivers.counters import Tally
from afdaemon.drivers.errors import (
    CommandRefused,
    DriverError,
    FrameInvalid,
    FrameStale,
    LinkLost,
    LinkTimeout,
    NotConnected,
)
from afdaemon.sim.errors import OutOfReach
from afdaemon.sim.instrument.instrument import Instrument
from afdaemon.sim.instrument.world import RecordedFrame

_WD_TOLERANCE_UM = 2.0
MAGNIFICATION_TOLERANCE = 0.5
_MAX_DROPPED_IN_ROW = 5
"""These three are as in the drivers of real links: the defaults of `LinkSettings`, and `drivers.em30.evidence`."""
LOOK_S = 0.05
"""Pause between two checks whether an unplugged instrument is back."""


class InProcessMicroscope:
    """Implements `afdaemon.drivers.base.Microscope` on `instrument` and its clock."""

    def __init__(self, instrument: Instrument, *, clock: Clock) -> None:
        self._instrument = instrument
        self._clock = clock
        self._up = asyncio.Event()
        self._down = asyncio.Event()
        self._closed = False
        self._tally = Tally()
        self._target_um: float | None = None
        self._target_magnification: float | None = None
        self._arrived: deque[RecordedFrame] = deque()
        self._last: RecordedFrame | None = None
        instrument.on_unplug(self._break)

    @property
    def name(self) -> str:
        """What is simulated."""
        return f"em30 (in-process, {self._instrument.world.settings.specimen})"

    @property
    def connected(self) -> bool:
        """Whether `run` has begun, `close` has not been called, and the instrument is not unplugged."""
        return self._up.is_set()

    @property
    def why_down(self) -> DriverError | None:
        """Why it is not connected."""
        if self.connected:
            return None
        return NotConnected(
            "it is unplugged" if self._instrument.unplugged else "it is not running"
        )

    @property
    def stats(self) -> LinkStats:
        """Counters since the start."""
        return self._tally.stats

    @property
    def wd_tolerance_um(self) -> float:
        """As the drivers of real links have it by default."""
        return _WD_TOLERANCE_UM

    async def run(self) -> None:
        """Stay connected until cancelled or closed; reconnect after each break."""
        while not self._closed:
            while self._instrument.unplugged:
                await self._clock.sleep(LOOK_S)
            self._down.clear()
            self._up.set()
            self._tally.connected()
            await self._down.wait()

    async def wait_connected(self, timeout_s: float) -> None:
        """Return when `run` has begun, or raise `LinkTimeout`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._up.wait()
        except TimeoutError:
            raise LinkTimeout(f"{self.name} is not running") from None

    async def read_state(self) -> MicroscopeState:
        """WD (um), as read back, and magnification."""
        self._require_up()
        state = self._instrument.read_state()
        self._require_whole()
        return state

    async def move_wd(self, wd_um: float, magnification: float | None = None) -> None:
        """Command an absolute WD (um), and a magnification."""
        self._require_up()
        require_magnification(magnification)
        try:
            self._instrument.command(wd_um, magnification)
        except OutOfReach as error:
            raise CommandRefused(f"the instrument refused WD {wd_um} um: {error}") from error
        self._require_whole()
        self._target_um = wd_um
        self._target_magnification = magnification or self._target_magnification
        self._tally.moved()

    async def grab(self) -> Frame:
        """A frame exposed after the lens has settled."""
        problem: DriverError = FrameStale("none came")
        dropped = 0
        while dropped < _MAX_DROPPED_IN_ROW:
            self._require_up()
            if not self._arrived:
                self._arrived.extend(await self._instrument.frames())
                self._require_whole()
            if self._arrived:
                shot = self._arrived.popleft()
                found = self._problem(shot)
                if found is None:
                    return self._use(shot)
                problem = found
            else:
                problem = LinkTimeout("a frame was requested and never came")
            dropped += 1
        raise type(problem)(f"{dropped} frames in a row were not evidence: {problem}")

    async def close(self) -> None:
        """Disconnect."""
        self._closed = True
        self._break()

    def _problem(self, shot: RecordedFrame) -> DriverError | None:
        """Why this frame is not evidence of the commanded WD, counted by cause; None if it is."""
        data = shot.pixels.tobytes()
        if self._instrument.on_wire(data) != data:
            self._tally.invalid()
            return FrameInvalid("a frame was damaged on its way")
        last, self._last = self._last, shot
        if last is not None and shot.number <= last.number:
            self._last = last
            self._tally.stale()
            return FrameStale("it is older than the one before")
        if self._target_um is not None and abs(shot.wd_um - self._target_um) > _WD_TOLERANCE_UM:
            self._tally.mismatched()
            return FrameStale(
                f"it was taken at {shot.wd_um:.1f} um, commanded was {self._target_um:.1f} um"
            )
        wanted = self._target_magnification
        if wanted is not None and abs(shot.magnification - wanted) > MAGNIFICATION_TOLERANCE:
            self._tally.mismatched()
            return FrameStale(f"it was taken at magnification {shot.magnification}")
        if last is not None and last.pixels.tobytes() == data:
            self._tally.frozen()
            return FrameStale("it is identical to the one before")
        return None

    def _use(self, shot: RecordedFrame) -> Frame:
        shot.pixels.flags.writeable = False
        self._tally.used()
        return Frame(
            pixels=shot.pixels,
            wd_um=shot.wd_um,
            magnification=float(shot.magnification),
            sequence=self._tally.stats.frames,
            received_s=self._clock.now_s(),
        )

    def _require_up(self) -> None:
        if not self.connected:
            raise NotConnected(f"{self.name} is not running")

    def _require_whole(self) -> None:
        """Raise `LinkLost` if the link broke during an operation."""
        if self._instrument.breaks_at(1) is not None:
            self._break()
        if not self.connected:
            raise LinkLost("the connection broke during an operation")

    def _break(self) -> None:
        self._up.clear()
        self._arrived.clear()
        self._target_um = self._target_magnification = None
        self._down.set()
