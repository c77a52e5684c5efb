"""What each fault looks like on the wires, to bare sockets and a bare drop folder."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest

from afdaemon.clock import ScaledClock
from afdaemon.drivers.errors import DriverError
from afdaemon.drivers.wire.aisem import decode_parameters
from afdaemon.drivers.wire.messages import Ack, FrameData, Grab, Hello, Message, Move, Welcome
from afdaemon.drivers.wire.stream import Decoder, encode
from afdaemon.sim.instrument.faults import Fault, FaultPlan, parse_rule
from afdaemon.sim.instrument.instrument import Instrument
from afdaemon.sim.instrument.settings import InstrumentSettings
from afdaemon.sim.instrument.world import World
from afdaemon.sim.links.aisem import IMAGE_NAME, TEXT_NAME, AisemServer
from afdaemon.sim.links.stream import StreamServer

Until = Callable[[Callable[[], object]], Awaitable[None]]

SPEED = 50.0
SETTINGS = InstrumentSettings(
    specimen="tem_grid", seed=3, start_wd_um=12_000.0, focus_wd_um=11_500.0
)
ENOUGH_S = 30.0
"""What has not come then does not come."""


@dataclass
class Came:
    """A frame as it came; what could not be made out is None."""

    data: bytes
    pixels: np.ndarray | None = None
    wd_um: float | None = None
    number: int | None = None


@dataclass
class Aisem:
    """A client of the drop folder. Each move brings a pair."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    folder: Path
    until: Until

    async def move(self, wd_um: float) -> bool:
        self.writer.write(f"WDMAG,{wd_um / 1000.0:.4f},2000".encode())
        async with asyncio.timeout(ENOUGH_S):
            return await self.reader.read(1024) == b"OK"

    async def frames(self, count: int) -> list[Came]:
        return [await self._pair() for _ in range(count)]

    async def _pair(self) -> Came:
        image, text = self.folder / IMAGE_NAME, self.folder / TEXT_NAME
        await self.until(lambda: image.exists() and text.exists())
        data, words = image.read_bytes(), text.read_bytes()
        text.unlink()
        image.unlink()
        found = Came(data + words)
        if data.endswith(b"\xff\xd9"):
            found.pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        with contextlib.suppress(DriverError):
            found.wd_um = decode_parameters(words).wd_um
        return found


@dataclass
class Stream:
    """A client that asks for a frame when it wants one."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    decoder: Decoder = field(default_factory=Decoder)

    async def ask(self, message: Message) -> Message:
        self.writer.write(encode(message, sequence=1))
        async with asyncio.timeout(ENOUGH_S):
            while (received := self.decoder.next_message()) is None:
                await self._hear()
        return received.message

    async def move(self, wd_um: float) -> bool:
        return isinstance(await self.ask(Move(wd_um=wd_um)), Ack)

    async def frames(self, count: int) -> list[Came]:
        """Ask once, and wait for so many."""
        self.writer.write(encode(Grab(), sequence=2))
        came: list[Came] = []
        async with asyncio.timeout(ENOUGH_S):
            while len(came) < count:
                await self._hear()
                while (received := self.decoder.next_message()) is not None:
                    frame = received.message
                    assert isinstance(frame, FrameData)
                    pixels = np.frombuffer(frame.data, np.uint8).reshape(240, 320)
                    came.append(Came(frame.data, pixels, frame.wd_um, frame.number))
        return came

    async def _hear(self) -> None:
        data = await self.reader.read(2**17)
        if not data:
            raise ConnectionResetError
        self.decoder.feed(data)


Client = Aisem | Stream


@dataclass
class Bench:
    instrument: Instrument
    address: tuple[str, int]
    connect: Callable[[], AbstractAsyncContextManager[Client]]


@asynccontextmanager
async def aisem(instrument: Instrument, folder: Path, until: Until) -> AsyncIterator[Bench]:
    async with AisemServer(instrument, folder=folder, clock=ScaledClock(SPEED)) as server:

        @asynccontextmanager
        async def connect() -> AsyncIterator[Client]:
            reader, writer = await asyncio.open_connection(*server.address)
            writer.write(b"Connected.COMM.START.READY")
            yield Aisem(reader, writer, folder, until)
            await close(writer)

        yield Bench(instrument, server.address, connect)


@asynccontextmanager
async def stream(instrument: Instrument, folder: Path, until: Until) -> AsyncIterator[Bench]:
    async with StreamServer(instrument) as server:

        @asynccontextmanager
        async def connect() -> AsyncIterator[Client]:
            client = Stream(*await asyncio.open_connection(*server.address))
            assert isinstance(await client.ask(Hello()), Welcome)
            yield client
            await close(client.writer)

        yield Bench(instrument, server.address, connect)


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@pytest.fixture(params=[aisem, stream], ids=lambda link: link.__name__)
async def bench(
    request: pytest.FixtureRequest, tmp_path: Path, until: Until
) -> AsyncIterator[Bench]:
    clock = ScaledClock(SPEED)
    instrument = Instrument(World(SETTINGS, clock=clock), FaultPlan(seed=3), clock=clock)
    async with request.param(instrument, tmp_path, until) as bench:
        yield bench


@pytest.fixture
async def client(bench: Bench) -> AsyncIterator[Client]:
    async with bench.connect() as client:
        yield client


@pytest.fixture
def goes_wrong(bench: Bench) -> Callable[[str], None]:
    """Let something go wrong from now on."""
    return lambda rule: bench.instrument.plan.set(parse_rule(rule))


GoesWrong = Callable[[str], None]


async def one_frame(client: Client, wd_um: float) -> Came:
    assert await client.move(wd_um)
    [came] = await client.frames(1)
    return came


async def test_nothing_goes_wrong_by_itself(client: Client) -> None:
    for wd_um in (12_300.0, 11_900.0):
        came = await one_frame(client, wd_um)
        assert came.wd_um == pytest.approx(wd_um, abs=2.0)
        assert came.pixels is not None


async def test_a_missing_frame_does_not_come(client: Client, goes_wrong: GoesWrong) -> None:
    goes_wrong("frame-missing,times=1")
    assert await client.move(12_300.0)
    await client.frames(0)
    assert (await one_frame(client, 11_900.0)).wd_um == pytest.approx(11_900.0, abs=2.0)


async def test_a_delayed_frame_comes_later(
    client: Client, bench: Bench, goes_wrong: GoesWrong
) -> None:
    goes_wrong("frame-delayed,amount=20")
    began_us = bench.instrument.now_us()
    assert (await one_frame(client, 12_300.0)).wd_um == pytest.approx(12_300.0, abs=2.0)
    assert bench.instrument.now_us() - began_us >= 20_000_000


async def test_a_duplicated_frame_comes_twice(client: Client, goes_wrong: GoesWrong) -> None:
    goes_wrong("frame-duplicated,times=1")
    assert await client.move(12_300.0)
    first, second = await client.frames(2)
    assert first.data == second.data
    assert first.number == second.number


@pytest.mark.parametrize("bench", [stream], indirect=True)
@pytest.mark.parametrize("rule", ["frame-truncated,amount=0.4", "frame-corrupt", "frame-holed"])
async def test_a_damaged_message_is_told_by_its_checksum(
    client: Client, goes_wrong: GoesWrong, rule: str
) -> None:
    assert isinstance(client, Stream)
    goes_wrong(f"{rule},times=1")
    assert await client.move(12_300.0)
    await client.frames(0)
    assert (await one_frame(client, 11_900.0)).number == 2
    assert client.decoder.losses.messages == 1


@pytest.mark.parametrize("bench", [aisem], indirect=True)
async def test_a_truncated_pair_cannot_be_read(client: Client, goes_wrong: GoesWrong) -> None:
    goes_wrong("frame-truncated,amount=0.4")
    came = await one_frame(client, 12_300.0)
    assert came.pixels is None or came.wd_um is None


@pytest.mark.parametrize("bench", [aisem], indirect=True)
async def test_a_corrupt_pair_is_another_than_was_made(
    client: Client, goes_wrong: GoesWrong, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[bytes] = []
    damage = FaultPlan.damage

    def noted(plan: FaultPlan, data: bytes, count: int) -> bytes:
        made.append(data)
        return damage(plan, data, count)

    monkeypatch.setattr(FaultPlan, "damage", noted)
    goes_wrong("frame-corrupt")
    came = await one_frame(client, 12_300.0)
    assert len(made) == 1
    assert made[0] not in came.data


async def test_a_frozen_frame_repeats_its_picture(client: Client, goes_wrong: GoesWrong) -> None:
    first = await one_frame(client, 12_300.0)
    goes_wrong("frame-frozen")
    again = await one_frame(client, 11_900.0)
    assert first.pixels is not None
    assert again.pixels is not None
    assert np.array_equal(first.pixels, again.pixels)
    assert again.wd_um == pytest.approx(11_900.0, abs=2.0)


async def test_a_stale_frame_is_the_older_one_again(client: Client, goes_wrong: GoesWrong) -> None:
    first = await one_frame(client, 12_300.0)
    goes_wrong("frame-stale,times=1")
    assert (await one_frame(client, 11_900.0)).data == first.data
    assert (await one_frame(client, 11_900.0)).wd_um == pytest.approx(11_900.0, abs=2.0)


async def test_out_of_order_two_frames_come_the_newer_first(
    client: Client, goes_wrong: GoesWrong
) -> None:
    goes_wrong("frame-out-of-order,times=1")
    assert await client.move(12_300.0)
    first, second = await client.frames(2)
    assert first.data != second.data
    if isinstance(client, Stream):
        assert first.number == 2
        assert second.number == 1


@pytest.mark.parametrize(
    ("rule", "reached_um"),
    [
        ("wd-ignored", 12_000.0),
        ("wd-late,amount=500", 12_000.0),
        ("wd-overshot,amount=70", 12_370.0),
    ],
)
async def test_an_acknowledged_command_that_goes_wrong_shows_in_the_frame(
    client: Client, goes_wrong: GoesWrong, rule: str, reached_um: float
) -> None:
    goes_wrong(rule)
    assert (await one_frame(client, 12_300.0)).wd_um == pytest.approx(reached_um, abs=3.0)


async def test_a_refused_command_is_answered_so(client: Client, goes_wrong: GoesWrong) -> None:
    goes_wrong("wd-refused,times=1")
    assert not await client.move(12_300.0)
    assert await client.move(12_300.0)


async def test_a_wrong_read_back_is_told(
    client: Client, bench: Bench, goes_wrong: GoesWrong
) -> None:
    goes_wrong("readback-wrong,amount=-40")
    assert (await one_frame(client, 12_300.0)).wd_um == pytest.approx(12_260.0, abs=2.0)
    assert bench.instrument.truth().wd_um == pytest.approx(12_300.0, abs=2.0)


@pytest.mark.parametrize(("share", "heard"), [("0", 0), ("0.5", 1)])
async def test_a_reset_breaks_an_answer_off(
    client: Client, goes_wrong: GoesWrong, share: str, heard: int
) -> None:
    goes_wrong(f"reset,amount={share}")
    order = Move(wd_um=12_300.0)
    client.writer.write(
        b"WDMAG,12.3,2000" if isinstance(client, Aisem) else encode(order, sequence=1)
    )
    got = bytearray()
    with pytest.raises(ConnectionResetError):
        await read_all(client.reader, got)
    assert len(got) >= heard
    assert bytes(got) in (b"", b"O") or got.startswith(b"AF30")


async def read_all(reader: asyncio.StreamReader, got: bytearray) -> None:
    while data := await reader.read(1024):
        got += data


async def test_unplugged_it_hangs_up_and_lets_nobody_in(bench: Bench, client: Client) -> None:
    bench.instrument.unplug(1e6)
    with pytest.raises(ConnectionResetError):
        await client.reader.read(1024)
    with contextlib.suppress(ConnectionResetError):
        reader, writer = await asyncio.open_connection(*bench.address)
        try:
            writer.write(b"READY")
            assert await reader.read(1024) == b""
        finally:
            await close(writer)
    bench.instrument.replug()
    async with bench.connect() as again:
        assert (await one_frame(again, 12_300.0)).pixels is not None


@pytest.mark.parametrize(("fault", "low", "high"), [("saturated", 250, 255), ("blank", 10, 14)])
async def test_a_detector_out_of_its_range_shows(
    client: Client, goes_wrong: GoesWrong, fault: str, low: float, high: float
) -> None:
    goes_wrong(fault)
    came = await one_frame(client, 12_300.0)
    assert came.pixels is not None
    assert low <= came.pixels.mean() <= high


def test_every_fault_is_here() -> None:
    here = Path(__file__).read_text()
    assert [fault for fault in Fault if fault not in here and fault is not Fault.UNPLUG] == []
