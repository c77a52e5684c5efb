"""The bridge as a process of its own, between a vendor program and a client of the stream link."""

import asyncio
import contextlib
import json
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pytest

from afdaemon.drivers.bridge import em30_bridge
from afdaemon.drivers.wire.aisem import Parameters, encode_parameters
from afdaemon.drivers.wire.messages import Answer, Hello, Message, Welcome
from afdaemon.drivers.wire.stream import Decoder, encode

NUMBERS = count()
PROGRAM = Path(em30_bridge.__file__)
ALONE = ("-I", "-S")
"""No site-packages, no environment, no current folder: nothing but the standard library can be imported."""
PATIENCE_S = 30.0
LAUNCH = """
import importlib.util, json, sys
_, path, constants, *words = sys.argv
spec = importlib.util.spec_from_file_location("em30_bridge", path)
bridge = sys.modules["em30_bridge"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bridge)
vars(bridge).update(json.loads(constants))
take = bridge.DropFolder.take

def told(folder, last_text):
    looked = take(folder, last_text)
    if isinstance(looked, bridge.Partial):
        bridge.log.info("looked at a pair with %d bytes of text", len(looked.text))
    return looked

bridge.DropFolder.take = told
sys.exit(bridge.main(words))
"""
"""Starts it with other constants, so that a test need not wait for the real ones; partial pairs are logged too."""


def is_old_enough(python: str) -> bool:
    """Whether `python` starts, and is the oldest Python that the bridge is for."""
    code = "import sys; sys.exit(sys.version_info[:2] != (3, 9))"
    try:
        return (
            subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0
        )
    except OSError:
        return False


def pythons() -> list[str]:
    """This Python, and a Python 3.9 where there is one."""
    places = ["python3.9", *map(str, Path.home().glob(".pyenv/versions/3.9*/bin/python3.9"))]
    return [sys.executable, *[python for python in places if is_old_enough(python)][:1]]


PYTHONS = pythons()


@dataclass
class Bridge:
    """The process, where it listens, and what it has logged so far."""

    process: asyncio.subprocess.Process
    port: int = 0
    lines: list[str] = field(default_factory=list)
    reading: "asyncio.Task[None] | None" = None
    silent: bool = False
    news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            async with self.news:
                self.lines.append(line.decode())
                self.news.notify_all()
        async with self.news:
            self.silent = True
            self.news.notify_all()

    async def says(self, text: str, times: int = 1) -> str:
        """The first line logged that has `text` in it, when there are so many of them."""

        def found() -> list[str]:
            return [line for line in self.lines if text in line]

        async with asyncio.timeout(PATIENCE_S), self.news:
            await self.news.wait_for(lambda: self.silent or len(found()) >= times)
        assert len(found()) >= times, self.lines
        return found()[0]

    async def end(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send a signal, and await its end."""
        assert self.reading is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(PATIENCE_S):
            code = await self.process.wait()
            await self.reading
        return code


@asynccontextmanager
async def running(
    folder: Path,
    vendor_port: int,
    *,
    python: str = sys.executable,
    port: int = 0,
    constants: Mapping[str, float] | None = None,
    options: Sequence[str] = (),
) -> AsyncIterator[Bridge]:
    """A bridge that listens; it is gone when the context ends."""
    program = ("-c", LAUNCH, str(PROGRAM), json.dumps(constants)) if constants else (str(PROGRAM),)
    where = ("--folder", str(folder), "--vendor", f"127.0.0.1:{vendor_port}")
    words = (*ALONE, *program, *where, "--listen", f"127.0.0.1:{port}", *options)
    process = await asyncio.create_subprocess_exec(python, *words, stderr=subprocess.PIPE)
    bridge = Bridge(process)
    bridge.reading = asyncio.create_task(bridge.read())
    try:
        line = await bridge.says("listening on ")
        bridge.port = int(line.partition("listening on ")[2].partition(",")[0].rpartition(":")[2])
        yield bridge
    finally:
        await bridge.end(signal.SIGKILL)


class HungUp(Exception):
    """The bridge has closed the connection."""


class Daemon:
    """A client of the stream link that asks one thing at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.sequence = 0
        self._decoder = Decoder()

    def send(self, message: Message) -> int:
        self.sequence += 1
        self.writer.write(encode(message, sequence=self.sequence))
        return self.sequence

    async def hear(self) -> Message:
        """The next message that comes, whatever it answers."""
        async with asyncio.timeout(PATIENCE_S):
            while (received := self._decoder.next_message()) is None:
                try:
                    data = await self.reader.read(65_536)
                except OSError as error:
                    raise HungUp from error
                if not data:
                    raise HungUp
                self._decoder.feed(data)
        return received.message

    async def ask(self, message: Message) -> Answer:
        """The answer to `message`; answers to others are passed over."""
        sequence = self.send(message)
        while True:
            answer = await self.hear()
            if getattr(answer, "answers", None) == sequence:
                assert isinstance(answer, Answer)
                return answer

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


@asynccontextmanager
async def visiting(port: int) -> AsyncIterator[Daemon]:
    """Connected to the bridge, and not yet introduced."""
    daemon = Daemon(*await asyncio.open_connection("127.0.0.1", port))
    try:
        yield daemon
    finally:
        await daemon.close()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Daemon]:
    """Connected to the bridge, and welcome; no other has its name."""
    async with visiting(port) as daemon:
        name = f"test {next(NUMBERS)}"
        assert isinstance(await daemon.ask(Hello(name=name)), Welcome)
        yield daemon


def a_jpeg(seed: int, *, width: int = 64, height: int = 48) -> bytes:
    image = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    done, data = cv2.imencode(".jpg", image)
    assert done
    return data.tobytes()


def a_text(wd_um: float, magnification: int = 2000) -> bytes:
    return encode_parameters(Parameters(wd_um=wd_um, magnification=magnification))


Reply = Callable[[float, int], bytes | None]


# The wire has no separators: what was sent word by word may arrive in one piece.
SAYINGS = re.compile(rb"Connected\.|COMM\.START\.|READY|GET_INFOR|FINISH|[A-Z]+,[-0-9.,]*|.+", re.S)


class Vendor:
    """A vendor program made of a script: each WDMAG takes the next reply of `script`, or is carried out honestly."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.script: list[Reply] = []
        self.heard: list[bytes] = []
        self.info: bytes | None = a_text(12_000.0)
        self.written = 0
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._talks: list[asyncio.Task[None]] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._talks.append(asyncio.create_task(self._talk(reader, writer)))

        self._server = await asyncio.start_server(welcome, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.hang_up()
        await asyncio.gather(*self._talks)
        await self._server.wait_closed()

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    @property
    def orders(self) -> list[bytes]:
        return [data for data in self.heard if data.startswith(b"WDMAG")]

    def put(self, image: bytes | None, text: bytes | None) -> None:
        for name, data in (("ResponseImage.jpg", image), ("ResponseImage.txt", text)):
            if data is not None:
                (self.folder / name).write_bytes(data)

    def carry_out(self, wd_um: float, magnification: int) -> bytes:
        self.written += 1
        self.put(a_jpeg(self.written), a_text(wd_um, magnification))
        return b"OK"

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(OSError):
            while data := await reader.read(1024):
                for words in SAYINGS.findall(data):
                    self.heard.append(words)
                    answer = self._answer(words)
                    if answer:
                        writer.write(answer)
        self._writers.discard(writer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    def _answer(self, data: bytes) -> bytes | None:
        if data == b"GET_INFOR":
            return self.info
        if not data.startswith(b"WDMAG,"):
            return None
        _, wd_mm, magnification = data.decode("ascii").split(",")
        reply = self.script.pop(0) if self.script else self.carry_out
        return reply(float(wd_mm) * 1000.0, int(magnification))


@pytest.fixture
async def vendor(tmp_path: Path) -> AsyncIterator[Vendor]:
    vendor = Vendor(tmp_path)
    await vendor.start()
    yield vendor
    await vendor.stop()


@pytest.fixture
def constants() -> dict[str, float]:
    """The bridge's own; a test that waits for one of them to pass sets it lower."""
    return {}


@pytest.fixture
async def bridge(vendor: Vendor, constants: dict[str, float]) -> AsyncIterator[Bridge]:
    """Between `vendor` and whoever comes."""
    async with running(vendor.folder, vendor.port, constants=constants) as bridge:
        await bridge.says("connected to the vendor")
        yield bridge


@pytest.fixture
async def daemon(bridge: Bridge) -> AsyncIterator[Daemon]:
    """Welcome at `bridge`."""
    async with connected(bridge.port) as daemon:
        yield daemon


@dataclass
class Kit:
    """What tests make more of."""

    run = staticmethod(running)
    visit = staticmethod(visiting)
    connect = staticmethod(connected)
    vendor = Vendor
    jpeg = staticmethod(a_jpeg)
    text = staticmethod(a_text)
    hung_up = HungUp


@pytest.fixture
def kit() -> Kit:
    return Kit()


@pytest.fixture(params=PYTHONS, ids=[Path(python).name for python in PYTHONS])
def python(request: pytest.FixtureRequest) -> str:
    """Each Python that is here to run the bridge with."""
    return str(request.param)
