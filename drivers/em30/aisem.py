"""An EM-30 behind the vendor's SEM control software: TCP for commands, a drop folder for frames."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from afdaemon.drivers.base import Clock
from afdaemon.drivers.counters import Tally
from afdaemon.drivers.em30.dropfolder import DropFolder
from afdaemon.drivers.em30.exchange import Exchange
from afdaemon.drivers.em30.identity import Identity
from afdaemon.drivers.em30.microscope import Em30Microscope
from afdaemon.drivers.em30.session import AisemSession
from afdaemon.drivers.em30.settings import AisemSettings
from afdaemon.drivers.em30.tcp import TcpLink
from afdaemon.drivers.errors import NotConnected
from afdaemon.drivers.settings import build
from afdaemon.drivers.wire import aisem as wire

FOLDER_CHECK_S = 0.5
"""How often the drop folder is looked for."""


class VendorLink(TcpLink):
    """The connection to the vendor's software, which is of no use without the drop folder."""

    _watching: asyncio.Task[None] | None = None

    def watch(self, folder: DropFolder, clock: Clock) -> None:
        """Break the link when the folder is gone, so that the cause is told although nothing is asked for."""
        self._watching = asyncio.create_task(self._watch(folder, clock), name="folder watch")

    async def close(self) -> None:
        """End the connection."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
        await super().close()

    async def _watch(self, folder: DropFolder, clock: Clock) -> None:
        while self.is_up:
            await clock.sleep(FOLDER_CHECK_S)
            try:
                await asyncio.to_thread(folder.check)
            except NotConnected as error:
                self.abort(str(error))


def open_aisem(settings: Mapping[str, object], clock: Clock) -> Em30Microscope:
    """The driver from a plain table of `AisemSettings`. Raises `SettingsError`."""
    plain = {key: Path(str(value)) if key == "folder" else value for key, value in settings.items()}
    return aisem_microscope(build(AisemSettings, plain), clock=clock)


def aisem_microscope(settings: AisemSettings, *, clock: Clock) -> Em30Microscope:
    """The driver."""
    folder = DropFolder(settings.folder, strict=not settings.accept_odd_jpegs)
    tally, identity = Tally(), Identity()

    async def open_session() -> AisemSession:
        await asyncio.to_thread(folder.check)
        link = await VendorLink.open(
            settings.host, settings.port, timeout_s=settings.connect_timeout_s
        )
        link.watch(folder, clock)
        exchange = Exchange(
            link,
            max_reply_bytes=wire.MAX_REPLY_BYTES,
            may_go_on=wire.may_go_on,
            is_refusal=wire.is_refusal,
        )
        session = AisemSession(
            exchange, folder, settings, clock=clock, tally=tally, identity=identity
        )
        await session.greet()
        return session

    name = f"em30 (aisem, {settings.host}:{settings.port})"
    return Em30Microscope(name, open_session, settings, clock=clock, tally=tally)
