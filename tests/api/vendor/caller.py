"""A fake daemon with a vendor door, and a client of it that knows sockets and nothing else."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from afdaemon.api.fake import FakeBackend, fake_daemon
from afdaemon.api.server import Doors, open_doors
from afdaemon.api.vendor.access import VendorPlace
from afdaemon.clock import ManualClock

TOKEN = "0123456789abcdef"  # noqa: S105 - of a fake daemon
SOON_S = 20.0


class Caller:
    """A program that opens a connection to the door."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    def say(self, line: str | bytes) -> None:
        self.writer.write((line.encode() if isinstance(line, str) else line) + b"\n")

    async def line(self) -> str:
        """The next line; empty if the door has closed the connection."""
        async with asyncio.timeout(SOON_S):
            with suppress(ConnectionError):
                return (await self._reader.readline()).decode("ascii").rstrip("\r\n")
            return ""

    async def ask(self, line: str | bytes) -> str:
        self.say(line)
        return await self.line()

    async def call(self, method: str, request_id: str = "r", **params: Any) -> Any:
        request = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
        return json.loads(await self.ask(json.dumps(request)))

    async def until(self, word: str) -> str:
        """The next line that begins with `word`."""
        while not (line := await self.line()).startswith(word):
            assert line
        return line

    async def is_hung_up(self) -> bool:
        while await self.line():
            pass
        return True


Dial = Callable[[], Awaitable[Caller]]
Opened = Callable[..., Any]


def place(**changed: Any) -> VendorPlace:
    return VendorPlace(
        **{"host": "127.0.0.1", "port": 0, "idle_s": 60.0, "token": TOKEN, **changed}
    )


@asynccontextmanager
async def opened(folder: Path, **changed: Any) -> AsyncIterator[tuple[Doors, FakeBackend]]:
    """A daemon that listens, and its backend."""
    with open_doors(
        [str(folder)],
        instance="i-1",
        clock=ManualClock(),
        insecure=True,
        vendor=place(**changed),
    ) as doors:
        async with fake_daemon(doors, instance="i-1") as backend:
            await doors.answering.wait()
            yield doors, backend


def address_of(doors: Doors) -> tuple[str, int]:
    """Host and port of the vendor door."""
    assert doors.vendor is not None
    host, _, port = doors.vendor.rpartition(":")
    return host, int(port)


@asynccontextmanager
async def dialled(doors: Doors) -> AsyncIterator[Caller]:
    reader, writer = await asyncio.open_connection(*address_of(doors))
    try:
        yield Caller(reader, writer)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
