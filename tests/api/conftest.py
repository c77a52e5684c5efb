"""A fake daemon on real sockets in a temporary folder."""

import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
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


@pytest.fixture
def free_ports() -> int:
    """The first of three ports in a row that nobody uses."""
    for port in range(42000, 60000, 7):
        with ExitStack() as stack:
            try:
                for i in range(3):
                    probe = stack.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", port + i))
            except OSError:
                continue
            return port
    raise AssertionError("no free ports")
