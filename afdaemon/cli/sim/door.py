"""Where `afdaemon sim serve` can be reached, and what stands between it and its clients."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from afdaemon.drivers.base import Clock
    from afdaemon.sim.chaos.plan import Chaos
    from afdaemon.sim.instrument.instrument import Instrument
    from afdaemon.sim.links.aisem import AisemServer
    from afdaemon.sim.links.stream import StreamServer

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """Where the instrument can be reached, and what happens on the way.

    `folder`, `truth` and `keep_frames` belong only to the link `aisem`.
    """

    link: str
    host: str
    port: int | None
    folder: Path | None
    truth: Path | None
    keep_frames: Path | None
    chaos: "Chaos | None"


@asynccontextmanager
async def opened(
    wire: Wire, instrument: "Instrument", clock: "Clock"
) -> AsyncIterator[tuple[tuple[str, int], str]]:
    """Serve `instrument`: host and port, and what else to say about where it is. Raises `ServeError`."""
    async with AsyncExitStack() as stack:
        folder = _folder(wire, stack)
        own = _folder(None, stack) if folder is not None and wire.chaos is not None else folder
        server = _server(wire, instrument, clock, own)
        await stack.enter_async_context(server)
        address = server.address
        if wire.chaos is not None:
            from afdaemon.sim.chaos.folder import FolderRelay
            from afdaemon.sim.chaos.proxy import ChaosProxy

            if folder is not None and own is not None:
                relay = FolderRelay(wire.chaos, source=own, target=folder, clock=clock)
                await stack.enter_async_context(relay)
            proxy = ChaosProxy(
                wire.chaos, to=address, clock=clock, host=wire.host, port=_port(wire)
            )
            await stack.enter_async_context(proxy)
            address = proxy.address
        yield address, " link stream" if folder is None else f" folder {folder}"


def _folder(wire: Wire | None, stack: AsyncExitStack) -> Path | None:
    """The drop folder, or a temporary one; None for a link that has none."""
    if wire is not None and (wire.link == "stream" or wire.folder is not None):
        return wire.folder
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="afdaemon-em30-")))


def _port(wire: Wire) -> int:
    """The port to listen on; 0 for any free one."""
    if wire.port is not None:
        return wire.port
    from afdaemon.drivers.wire import aisem, stream

    return stream.DEFAULT_PORT if wire.link == "stream" else aisem.DEFAULT_PORT


def _server(
    wire: Wire, instrument: "Instrument", clock: "Clock", folder: Path | None
) -> "AisemServer | StreamServer":
    """The link's server, not started; behind a proxy it takes any free port of this machine."""
    is_behind = wire.chaos is not None
    host, port = (LOOPBACK, 0) if is_behind else (wire.host, _port(wire))
    if folder is None:
        from afdaemon.sim.links.stream import StreamServer

        return StreamServer(instrument, host=host, port=port)
    from afdaemon.sim.links.aisem import AisemServer

    return AisemServer(
        instrument,
        folder=folder,
        clock=clock,
        host=host,
        port=port,
        truth_file=wire.truth,
        keep_frames=wire.keep_frames,
    )
