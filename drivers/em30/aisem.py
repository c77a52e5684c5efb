"""An EM-30 behind the vendor's SEM control software: TCP for commands, a drop folder for frames.

`AisemMicroscope` keeps one `AisemSession` up; the session knows commands and frames.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from afdaemon.drivers import reconnect
from afdaemon.drivers.base import Clock, Frame, LinkStats, MicroscopeState
from afdaemon.drivers.em30.dropfolder import DropFolder
from afdaemon.drivers.em30.session import AisemSession
from afdaemon.drivers.em30.settings import AisemSettings
from afdaemon.drivers.em30.tcp import TcpLink
from afdaemon.drivers.errors import DriverError, LinkTimeout, NotConnected
from afdaemon.drivers.settings import build
from afdaemon.drivers.tally import Tally
from afdaemon.drivers.wire import aisem as wire


def open_aisem(settings: Mapping[str, object], clock: Clock) -> "AisemMicroscope":
    """The driver from a plain table of `AisemSettings`. Raises `SettingsError`."""
    plain = {key: Path(str(value)) if key == "folder" else value for key, value in settings.items()}
    return AisemMicroscope(build(AisemSettings, plain), clock=clock)


class AisemMicroscope:
    """The driver.

    A cancelled `run` leaves the link as it is: `close` says FINISH and releases it.
    """

    def __init__(self, settings: AisemSettings, *, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._folder = DropFolder(settings.folder)
        self._session: AisemSession | None = None
        self._up = asyncio.Event()
        self._closed = False
        self._failure: DriverError | None = None
        self._tally = Tally()

    @property
    def name(self) -> str:
        """Link and address."""
        return f"em30 (aisem, {self._settings.host}:{self._settings.port})"

    @property
    def connected(self) -> bool:
        """Whether the link is up now."""
        return self._session is not None and self._session.link.is_up

    @property
    def stats(self) -> LinkStats:
        """Counters since the start."""
        return self._tally.stats

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
        """WD and magnification, by GET_INFOR, or as last known where that is not answered."""
        return await self._present_session().read_state()

    async def move_wd(self, wd_um: float) -> None:
        """Command an absolute WD (um) by WDMAG; returns when it is acknowledged."""
        await self._present_session().move_wd(wd_um)

    async def grab(self) -> Frame:
        """A frame that may be used as evidence at the commanded WD."""
        return await self._present_session().grab(self.stats.frames + 1)

    async def close(self) -> None:
        """Say FINISH if the link is up, and release it."""
        self._closed = True
        self._failure = NotConnected("it was closed")
        session, self._session = self._session, None
        if session is not None:
            await session.finish()

    def _present_session(self) -> AisemSession:
        if self._session is None or not self._session.link.is_up:
            down = self._why_down()
            raise NotConnected(f"the link to {self.name} is down: {down}", remedy=down.remedy)
        return self._session

    def _why_down(self) -> DriverError:
        """Why the last attempt failed, or why the link broke that was up before."""
        return self._failure or NotConnected(
            self._session.link.why_lost if self._session else "it has not been opened yet"
        )

    async def _open(self) -> reconnect.Event:
        try:
            await asyncio.to_thread(self._folder.check)
            link = await TcpLink.open(
                self._settings.host,
                self._settings.port,
                timeout_s=self._settings.connect_timeout_s,
                max_reply_bytes=wire.MAX_REPLY_BYTES,
            )
            session = AisemSession(
                link, self._folder, self._settings, clock=self._clock, tally=self._tally
            )
            await self._greet(session)
        except DriverError as error:
            self._failure = error
            return reconnect.Refused()
        self._failure = None
        self._session = session
        self._tally.connected()
        self._up.set()
        return reconnect.Opened()

    async def _greet(self, session: AisemSession) -> None:
        greeted = False
        try:
            await session.greet()
            greeted = not self._closed
        finally:
            if not greeted:
                await session.link.close()
        session.link.check()

    async def _watch(self) -> reconnect.Event:
        session = self._session
        if session is None:
            return reconnect.Lost(up_s=0.0)
        since_s = self._clock.now_s()
        await session.link.wait_lost()
        await session.link.close()
        return reconnect.Lost(up_s=self._clock.now_s() - since_s)
