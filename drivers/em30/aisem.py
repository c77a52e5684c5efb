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
from afdaemon.drivers.settings import build
from afdaemon.drivers.wire import aisem as wire


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
        link = await TcpLink.open(
            settings.host, settings.port, timeout_s=settings.connect_timeout_s
        )
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
