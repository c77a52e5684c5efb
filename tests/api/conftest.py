"""A fake daemon on real sockets in a temporary folder."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from afdaemon.api.fake import FakeBackend, fake_daemon
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
    async with fake_daemon(doors, instance=INSTANCE) as fake:
        yield fake
