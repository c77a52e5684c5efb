"""A fake daemon with a vendor door, and callers that know its token."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from afdaemon.api.fake import FakeBackend
from afdaemon.api.server import Doors
from tests.api.vendor.caller import TOKEN, Caller, Dial, Opened, dialled, opened


@pytest.fixture
async def daemon(folder: Path) -> AsyncIterator[tuple[Doors, FakeBackend]]:
    async with opened(folder) as both:
        yield both


@pytest.fixture
def backend(daemon: tuple[Doors, FakeBackend]) -> FakeBackend:
    return daemon[1]


@pytest.fixture
async def dial(daemon: tuple[Doors, FakeBackend]) -> AsyncIterator[Dial]:
    """Opens connections that end with the test."""
    async with AsyncExitStack() as stack:
        yield lambda: stack.enter_async_context(dialled(daemon[0]))


@pytest.fixture
async def caller(dial: Dial) -> Caller:
    """One that has shown the token."""
    caller = await dial()
    assert await caller.ask(f"TOKEN {TOKEN}") == "OK token"
    return caller


@pytest.fixture
def open_daemon(folder: Path) -> Opened:
    """Opens a daemon whose door is another than usual: keywords of `VendorPlace`."""
    return lambda **changed: opened(folder, **changed)


@pytest.fixture
def dial_to() -> Opened:
    """Opens a connection to those doors."""
    return dialled
