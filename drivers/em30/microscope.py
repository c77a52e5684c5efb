"""A microscope that reconnects whenever its link breaks, whatever the link is."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from afdaemon.drivers import reconnect
from afdaemon.drivers.base import Clock, Frame, LinkStats, MicroscopeState, require_magnification
from afdaemon.drivers.counters import Tally
from afdaemon.drivers.em30.link import ByteLink
from afdaemon.drivers.em30.settings import LinkSettings
from afdaemon.drivers.errors import DriverError, LinkTimeout, NotConnected
from afdaemon.drivers.wire.messages import WD_RESOLUTION_UM
from afdaemon.pulse import Part


class Session(Protocol):
    """One connection to the instrument, and what has been learned since it was made. Its errors are `DriverError`s."""

    @property
    def link(self) -> ByteLink:
        """What it runs over."""
        ...

    async def read_state(self) -> MicroscopeState:
        """See `Microscope.read_state`."""
        ...

    async def move_wd(self, wd_um: float, magnification: float | None = None) -> None:
        """See `Microscope.move_wd`."""
        ...

    async def grab(self, sequence: int) -> Frame:
        """See `Microscope.grab`; the frame bears `sequence`."""
        ...

    async def finish(self) -> None:
        """Say goodbye if the link is up, and release everything. Safe to call twice."""
        ...


OpenSession = Callable[[], Awaitable[Session]]
"""Connects and greets. Raises `DriverError`, and leaves nothing behind when it fails or is cancelled."""


class Em30Microscope:
    """Implements `afdaemon.drivers.base.Microscope`: keeps one session up.

    A cancelled `run` leaves the session as it is: `close` ends and releases it. `parts` are the threads of its
    link, for whoever watches over them.
    """

    def __init__(
        self,
        name: str,
        open_session: OpenSession,
        settings: LinkSettings,
        *,
        clock: Clock,
        tally: Tally,
        parts: tuple[Part, ...] = (),
    ) -> None:
        self.parts = parts
        self._name = name
        self._open_session = open_session
        self._settings = settings
        self._clock = clock
        self._tally = tally
        self._session: Session | None = None
        self._up = asyncio.Event()
        self._closed = False
        self._failure: DriverError | None = None

    @property
    def name(self) -> str:
        """Link and address."""
        return self._name

    @property
    def connected(self) -> bool:
        """Whether the link is up now."""
        return self._session is not None and self._session.link.is_up

    @property
    def stats(self) -> LinkStats:
        """Counters since the start."""
        return self._tally.stats

    @property
    def wd_tolerance_um(self) -> float:
        """The setting, and the steps in which a wire tells the WD."""
        return self._settings.wd_tolerance_um + WD_RESOLUTION_UM

    async def run(self) -> None:
        """Connect, and connect again whenever the link breaks, until cancelled or closed."""
        delays = reconnect.Delays(
            first_s=self._settings.reconnect_first_s, cap_s=self._settings.reconnect_cap_s
        )
        state = reconnect.LinkState()
        event: reconnect.Event = reconnect.Begin()
        while not self._closed:
            state, action = reconnect.step(state, event, delays)
            match action:
                case reconnect.Open():
                    event = await self._open()
                case reconnect.Watch():
                    event = await self._watch()
                case reconnect.Delay(seconds=seconds):
                    await self._clock.sleep(seconds)
                    event = reconnect.DelayOver()

    async def wait_connected(self, timeout_s: float) -> None:
        """Return when the link is up, or raise `LinkTimeout` with the cause."""
        try:
            async with asyncio.timeout(timeout_s):
                while not self.connected:
                    self._up.clear()
                    await self._up.wait()
        except TimeoutError:
            down = self._why_down()
            raise LinkTimeout(
                f"no link to {self.name} within {timeout_s:g} s: {down}", remedy=down.remedy
            ) from None

    async def read_state(self) -> MicroscopeState:
        """WD and magnification, as the instrument reports them."""
        return await self._present_session().read_state()

    async def move_wd(self, wd_um: float, magnification: float | None = None) -> None:
        """Command an absolute WD (um), and a magnification; returns when it is acknowledged."""
        require_magnification(magnification)
        await self._present_session().move_wd(wd_um, magnification)

    async def grab(self) -> Frame:
        """A frame that may be used as evidence at the commanded WD."""
        return await self._present_session().grab(self.stats.frames + 1)

    async def close(self) -> None:
        """Say goodbye if the link is up, and release it."""
        self._closed = True
        self._failure = NotConnected("it was closed")
        session, self._session = self._session, None
        if session is not None:
            await session.finish()

    def _present_session(self) -> Session:
        if self._session is None or not self._session.link.is_up:
            down = self._why_down()
            raise NotConnected(f"the link to {self.name} is down: {down}", remedy=down.remedy)
        return self._session

    def _why_down(self) -> DriverError:
        """Why the last attempt failed, or why the link broke."""
        return self._failure or NotConnected(
            self._session.link.why_lost if self._session else "it has not been opened yet"
        )

    async def _open(self) -> reconnect.Event:
        try:
            session = await self._open_session()
        except DriverError as error:
            if not self._closed:
                self._failure = error
            return reconnect.NotOpened()
        if self._closed:
            await session.finish()
            return reconnect.NotOpened()
        self._failure = None
        self._session = session
        self._tally.connected()
        self._up.set()
        return reconnect.Opened()

    async def _watch(self) -> reconnect.Event:
        session = self._session
        if session is None:
            return reconnect.Lost(up_s=0.0)
        since_s = self._clock.now_s()
        await session.link.wait_lost()
        await session.finish()
        return reconnect.Lost(up_s=self._clock.now_s() - since_s)
