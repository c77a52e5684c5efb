"""A fake daemon on real sockets, and the device that is connected to it."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from afdaemon.api.fake import FakeBackend, fake_daemon
from afdaemon.api.server import open_doors
from afdaemon.clock import ManualClock
from afdaemon.ophyd import Autofocus

INSTANCE = "i-1"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short: sockets go there."""
    with tempfile.TemporaryDirectory(prefix="af-") as name:
        yield Path(name)


@pytest.fixture
async def backend(folder: Path) -> AsyncIterator[FakeBackend]:
    """Served until the test ends."""
    with open_doors([f"ipc://{folder}"], instance=INSTANCE, clock=ManualClock()) as doors:
        async with fake_daemon(doors, instance=INSTANCE) as fake:
            yield fake


@pytest.fixture
async def em30(folder: Path, backend: FakeBackend) -> Autofocus:
    device = Autofocus(str(folder), name="em30", timeout_s=20.0)
    await device.connect()
    return device
