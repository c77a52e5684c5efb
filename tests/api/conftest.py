"""A fake daemon on real sockets in a temporary folder."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from afdaemon.api.fake import FakeBackend
from afdaemon.api.server import Doors, open_doors
from afdaemon.clock import ManualClock

INSTANCE = "i-1"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short: pytest's own temporary paths can exceed what a socket's path may have."""
    with tempfile.TemporaryDirectory(prefix="af-") as name:
        yield Path(name)


@pytest.fixture
async def doors(folder: Path) -> AsyncIterator[Doors]:
    with open_doors([f"ipc://{folder}"], instance=INSTANCE, clock=ManualClock()) as opened:
        yield opened


@pytest.fixture
async def backend(doors: Doors) -> AsyncIterator[FakeBackend]:
    """Served until the test ends."""
    fake = FakeBackend(doors.events, instance=INSTANCE)
    serving = asyncio.create_task(doors.serve(fake))
    yield fake
    await fake.close()
    serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving
