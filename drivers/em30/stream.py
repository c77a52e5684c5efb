"""An EM-30 behind whatever speaks `stream` over TCP, such as the bridge on the vendor's PC."""

from collections.abc import Mapping

from afdaemon.drivers.base import Clock
from afdaemon.drivers.counters import Tally
from afdaemon.drivers.em30.identity import Identity
from afdaemon.drivers.em30.microscope import Em30Microscope
from afdaemon.drivers.em30.settings import StreamSettings
from afdaemon.drivers.em30.stream_session import StreamSession, open_stream_session
from afdaemon.drivers.em30.tcp import TcpLink
from afdaemon.drivers.settings import build


def open_stream(settings: Mapping[str, object], clock: Clock) -> Em30Microscope:
    """The driver from a plain table of `StreamSettings`. Raises `SettingsError`."""
    return stream_microscope(build(StreamSettings, settings), clock=clock)


def stream_microscope(settings: StreamSettings, *, clock: Clock) -> Em30Microscope:
    """The driver."""
    tally, identity = Tally(), Identity()

    async def open_session() -> StreamSession:
        link = await TcpLink.open(
            settings.host, settings.port, timeout_s=settings.connect_timeout_s
        )
        return await open_stream_session(
            link, settings, clock=clock, tally=tally, identity=identity
        )

    name = f"em30 (stream, {settings.host}:{settings.port})"
    return Em30Microscope(name, open_session, settings, clock=clock, tally=tally)
