"""A microscope that reconnects whenever its link breaks, whatever the link is."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

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
        self._wanted = asyncio.Event()
        self._waiting = 0
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
    def why_down(self) -> DriverError | None:
        """Why the last attempt to connect failed, or why the link broke; None while it is up."""
        if self.connected:
            return None
        return self._failure or NotConnected(
            self._session.link.why_lost if self._session else "it has not been opened yet"
        )

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
                    event = await self._pause(seconds)

    async def wait_connected(self, timeout_s: float) -> None:
        """Return when the link is up, or raise `LinkTimeout` with the cause.

        Meanwhile it is tried again every `reconnect_first_s`.
        """
        try:
            with self._waited_for():
                async with asyncio.timeout(timeout_s):
                    while not self.connected:
                        self._up.clear()
                        await self._up.wait()
        except TimeoutError:
            what = f"no link to {self.name} within {timeout_s:.3g} s"
            raise _because(what, self.why_down, LinkTimeout) from None

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
            raise _because(f"the link to {self.name} is down", self.why_down, NotConnected)
        return self._session

    # --- keeping it up ---

    @contextmanager
    def _waited_for(self) -> Iterator[None]:
        """Somebody waits for the link inside."""
        self._waiting += 1
        self._wanted.set()
        try:
            yield
        finally:
            self._waiting -= 1

    @property
    def _is_wanted(self) -> bool:
        return self._waiting > 0

    async def _pause(self, seconds: float) -> reconnect.Event:
        """Sleep so long, or until somebody begins to wait for the link."""
        until_s = self._clock.now_s() + seconds
        self._wanted.clear()
        sleeping = asyncio.ensure_future(self._clock.sleep(seconds))
        wanted = asyncio.ensure_future(self._wanted.wait())
        try:
            await asyncio.wait((sleeping, wanted), return_when=asyncio.FIRST_COMPLETED)
            is_over = sleeping.done()
        finally:
            for task in (sleeping, wanted):
                task.cancel()
            await asyncio.wait((sleeping, wanted))
        if is_over:
            return reconnect.DelayOver()
        return reconnect.Wanted(left_s=max(0.0, until_s - self._clock.now_s()))

    async def _open(self) -> reconnect.Event:
        try:
            session = await self._open_session()
        except DriverError as error:
            if not self._closed:
                self._failure = error
            return reconnect.NotOpened(is_wanted=self._is_wanted)
        if self._closed:
            await session.finish()
            return reconnect.NotOpened(is_wanted=self._is_wanted)
        self._failure = None
        self._session = session
        self._tally.connected()
        self._up.set()
        return reconnect.Opened()

    async def _watch(self) -> reconnect.Event:
        session = self._session
        if session is None:
            return reconnect.Lost(up_s=0.0, is_wanted=self._is_wanted)
        since_s = self._clock.now_s()
        await session.link.wait_lost()
        await session.finish()
        up_s = self._clock.now_s() - since_s
        return reconnect.Lost(up_s=up_s, is_wanted=self._is_wanted)


_Down = TypeVar("_Down", LinkTimeout, NotConnected)


def _because(what: str, cause: DriverError | None, kind: type[_Down]) -> _Down:
    """An error that says `what`, and the cause, with its remedy, if that is known."""
    if cause is None:  # it came up at this very moment
        return kind(what)
    return kind(f"{what}: {cause}", remedy=cause.remedy)
