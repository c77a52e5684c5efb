"""An EM-30 behind whatever speaks `stream` over TCP, such as the bridge on the vendor's PC."""

from collections.abc import Mapping
from pathlib import Path

from afdaemon.drivers.base import Clock
from afdaemon.drivers.counters import Tally
from afdaemon.drivers.em30.identity import Identity
from afdaemon.drivers.em30.microscope import Em30Microscope
from afdaemon.drivers.em30.settings import StreamSettings
from afdaemon.drivers.em30.stream_session import Client, StreamSession, open_stream_session
from afdaemon.drivers.em30.tcp import TcpLink
from afdaemon.drivers.errors import SettingsError
from afdaemon.drivers.settings import build


def open_stream(settings: Mapping[str, object], clock: Clock) -> Em30Microscope:
    """The driver from a plain table of `StreamSettings`. Raises `SettingsError`."""
    given = settings.get("token_file")
    plain = {**settings, "token_file": None if given is None else Path(str(given))}
    return stream_microscope(build(StreamSettings, plain), clock=clock)


def stream_microscope(settings: StreamSettings, *, clock: Clock) -> Em30Microscope:
    """The driver. Raises `SettingsError` for a token that cannot be read."""
    tally, identity = Tally(), Identity()
    client = Client(token=_token_of(settings.token_file))

    async def open_session() -> StreamSession:
        link = await TcpLink.open(
            settings.host, settings.port, timeout_s=settings.connect_timeout_s
        )
        return await open_stream_session(
            link, settings, clock=clock, tally=tally, identity=identity, client=client
        )

    name = f"em30 (stream, {settings.host}:{settings.port})"
    return Em30Microscope(name, open_session, settings, clock=clock, tally=tally)


def _token_of(file: Path | None) -> str:
    """What the file holds, or "" without one. Raises `SettingsError`."""
    if file is None:
        return ""
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"token_file {file} cannot be read: {error}") from error
