"""A fake daemon on real sockets, and the device that is connected to it."""

from pathlib import Path

import pytest

from afdaemon.api.fake import FakeBackend
from afdaemon.ophyd import Autofocus
from tests.api.conftest import backend, doors, folder

__all__ = ["backend", "doors", "folder"]


@pytest.fixture
async def em30(folder: Path, backend: FakeBackend) -> Autofocus:
    device = Autofocus(str(folder), name="em30", timeout_s=20.0)
    await device.connect()
    return device
