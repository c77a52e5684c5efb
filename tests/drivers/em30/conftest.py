"""A vendor program made of a script: it answers and writes exactly what a test tells it to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from afdaemon.clock import SystemClock
from afdaemon.drivers.em30.aisem import aisem_microscope
from afdaemon.drivers.em30.microscope import Em30Microscope
from afdaemon.drivers.em30.settings import AisemSettings
from afdaemon.drivers.registry import kept_up
from afdaemon.drivers.wire.aisem import Parameters, SetWdMag, encode_parameters

PARAMETERS = encode_parameters(Parameters(wd_um=12_000.0, magnification=2000))


def a_jpeg(seed: int, *, width: int = 64, height: int = 48) -> bytes:
    image = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    done, data = cv2.imencode(".jpg", image)
    assert done
    return data.tobytes()


def a_text(wd_um: float, magnification: int = 2000) -> bytes:
    return encode_parameters(Parameters(wd_um=wd_um, magnification=magnification))


@dataclass
class Vendor:
    """Each WDMAG takes the next of `script`, or writes an honest pair when the script is at its end."""

    folder: Path
    script: list[Callable[[SetWdMag], bytes | None]] = field(default_factory=list)
    heard: list[bytes] = field(default_factory=list)
    info: bytes | None = PARAMETERS
    told: bytes = PARAMETERS
    """What it would answer to GET_INFOR, if no test had told it what to."""
    written: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    conversations: list["asyncio.Task[None]"] = field(default_factory=list)
    server: asyncio.Server | None = None
    port: int = 0

    async def start(self, port: int = 0) -> None:
        def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.conversations.append(asyncio.create_task(self._converse(reader, writer)))

        self.server = await asyncio.start_server(welcome, "127.0.0.1", port)
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self.server is not None
        self.server.close()
        self.hang_up()
        await self.server.wait_closed()
        await asyncio.gather(*self.conversations)

    def hang_up(self) -> None:
        for writer in self.writers:
            writer.transport.abort()

    @property
    def orders(self) -> list[bytes]:
        return [data for data in self.heard if data.startswith(b"WDMAG")]

    def put(self, image: bytes | None, text: bytes | None) -> None:
        self.written += 1
        for name, data in (("ResponseImage.jpg", image), ("ResponseImage.txt", text)):
            if data is not None:
                (self.folder / name).write_bytes(data)

    def honest(self, order: SetWdMag) -> bytes:
        self.put(a_jpeg(1000 + self.written), a_text(order.wd_um, order.magnification))
        return b"OK"

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        with contextlib.suppress(OSError):
            while data := await reader.read(1024):
                self.heard.append(data)
                answer = self._answer(data)
                if answer:
                    writer.write(answer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        self.writers.remove(writer)

    def _answer(self, data: bytes) -> bytes | None:
        if data == b"GET_INFOR":
            return self.info
        if not data.startswith(b"WDMAG,"):
            return None
        _, wd_mm, magnification = data.decode("ascii").split(",")
        order = SetWdMag(wd_um=float(wd_mm) * 1000.0, magnification=int(magnification))
        answer = (self.script.pop(0) if self.script else self.honest)(order)
        if answer == b"OK" and self.info == self.told:
            self.info = self.told = a_text(order.wd_um, order.magnification)
        return answer


@pytest.fixture
async def vendor(tmp_path: Path) -> AsyncIterator[Vendor]:
    vendor = Vendor(tmp_path)
    await vendor.start()
    yield vendor
    await vendor.stop()


@asynccontextmanager
async def connected(vendor: Vendor, **waits: Any) -> AsyncIterator[Em30Microscope]:
    settings = AisemSettings(
        folder=vendor.folder,
        port=vendor.port,
        poll_s=0.002,
        max_dropped_in_row=3,
        reconnect_first_s=0.01,
        reconnect_cap_s=0.02,
        **waits,
    )
    microscope = aisem_microscope(settings, clock=SystemClock())
    async with kept_up(microscope):
        await microscope.wait_connected(5.0)
        yield microscope


@pytest.fixture
async def microscope(vendor: Vendor) -> AsyncIterator[Em30Microscope]:
    """Connected to `vendor`, and more patient than any test is long."""
    async with connected(
        vendor, reply_timeout_s=20.0, frame_timeout_s=20.0, ask_again_s=20.0, half_written_s=20.0
    ) as microscope:
        yield microscope


@pytest.fixture
async def hasty(vendor: Vendor) -> AsyncIterator[Em30Microscope]:
    """Connected to `vendor`, with time-outs short enough to wait for."""
    async with connected(
        vendor, reply_timeout_s=0.2, frame_timeout_s=0.6, ask_again_s=0.2, half_written_s=0.05
    ) as microscope:
        yield microscope


@pytest.fixture
def jpeg() -> Callable[..., bytes]:
    return a_jpeg


@pytest.fixture
def text() -> Callable[..., bytes]:
    return a_text
