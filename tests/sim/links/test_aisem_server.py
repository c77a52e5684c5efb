"""The instrument side of the wire, spoken to with bare sockets."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from afdaemon.clock import ScaledClock
from afdaemon.drivers.wire.aisem import CommandDecoder, decode_parameters
from afdaemon.sim.errors import ServeError
from afdaemon.sim.instrument.instrument import Instrument
from afdaemon.sim.instrument.settings import FrameMode, InstrumentSettings
from afdaemon.sim.instrument.world import World
from afdaemon.sim.links.aisem import MAX_FRAMES_DUE, AisemServer

SETTINGS = InstrumentSettings(
    magnification=2000, seed=3, start_wd_um=12_000.0, focus_wd_um=11_000.0
)
Until = Callable[[Callable[[], object]], Awaitable[None]]
HANDSHAKE = (b"Connected.", b"COMM.START.", b"READY")


class LookClock(ScaledClock):
    """The server's: it sleeps only between two looks at a pair that nobody has taken yet."""

    looks = 0

    async def sleep(self, seconds: float) -> None:
        self.looks += 1
        await super().sleep(seconds)


@dataclass
class Bench:
    world: World
    server: AisemServer
    folder: Path
    truth_file: Path
    clock: LookClock
    until: Until

    @property
    def image(self) -> Path:
        return self.folder / "ResponseImage.jpg"

    @property
    def text(self) -> Path:
        return self.folder / "ResponseImage.txt"

    async def written(self) -> None:
        await self.until(lambda: self.image.exists() and self.text.exists())

    async def pair(self) -> tuple[np.ndarray, bytes]:
        """Wait for a pair and take it away, as a client does."""
        await self.written()
        pixels = cv2.imread(str(self.image), cv2.IMREAD_UNCHANGED)
        assert pixels is not None
        text = self.text.read_bytes()
        self.image.unlink()
        self.text.unlink()
        return pixels, text


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, *chunks: bytes) -> None:
        for chunk in chunks:
            self.writer.write(chunk)

    async def ask(self, chunk: bytes) -> bytes:
        self.send(chunk)
        return await self.answer()

    async def answer(self) -> bytes:
        async with asyncio.timeout(30.0):
            return await self.reader.read(1024)


@pytest.fixture
async def instrument(tmp_path: Path, until: Until) -> AsyncIterator[Bench]:
    clock, look_clock = ScaledClock(50.0), LookClock(50.0)
    world = World(SETTINGS, clock=clock)
    folder, truth_file = tmp_path / "drop", tmp_path / "truth.json"
    device = Instrument(world, clock=clock)
    server = AisemServer(device, folder=folder, clock=look_clock, truth_file=truth_file)
    async with server:
        yield Bench(world, server, folder, truth_file, look_clock, until)


@pytest.fixture
async def stranger(instrument: Bench) -> AsyncIterator[Client]:
    """A client that has not said its greeting."""
    client = Client(*await asyncio.open_connection(*instrument.server.address))
    yield client
    client.writer.close()
    await client.writer.wait_closed()


@pytest.fixture
def client(stranger: Client) -> Client:
    stranger.send(*HANDSHAKE)
    return stranger


async def test_a_command_is_acknowledged_and_makes_one_pair(
    instrument: Bench, client: Client
) -> None:
    assert await client.ask(b"WDMAG,11.2,3000") == b"OK"
    pixels, text = await instrument.pair()
    assert pixels.shape == (240, 320)
    lines = text.decode("euc_kr").splitlines()
    assert lines[8] == "MAG=3000"
    assert lines[20].startswith("WD=11")
    assert decode_parameters(text).wd_um == pytest.approx(11_200.0, abs=1.5)
    assert list(instrument.folder.iterdir()) == []
    assert await client.ask(b"WDMAG,11.9,3000") == b"OK"
    _, text = await instrument.pair()  # they come in order, so nothing came between
    assert decode_parameters(text).wd_um == pytest.approx(11_900.0, abs=1.5)
    assert list(instrument.folder.iterdir()) == []
    assert instrument.world.frames == 2


async def test_the_next_pair_waits_until_the_one_before_is_taken(
    instrument: Bench, client: Client
) -> None:
    assert await client.ask(b"WDMAG,11.2,2000") == b"OK"
    assert await client.ask(b"WDMAG,11.9,2000") == b"OK"
    await instrument.written()
    first = instrument.image.read_bytes()
    await instrument.until(lambda: instrument.clock.looks >= 50)
    assert instrument.image.read_bytes() == first
    await instrument.pair()
    _, text = await instrument.pair()
    assert decode_parameters(text).wd_um == pytest.approx(11_900.0, abs=1.5)


@pytest.mark.parametrize(
    "chunks",
    [
        (b"Connected.COMM.START.READYWDMAG,11.2,2000",),
        (b"Conne", b"cted.COMM.", b"START.REA", b"DYWDMAG,11.", b"2,2000"),
        (*HANDSHAKE, b"WDMAG,11.2,2000\r\n"),
    ],
)
async def test_messages_may_come_in_any_pieces(
    instrument: Bench, stranger: Client, chunks: tuple[bytes, ...]
) -> None:
    stranger.send(*chunks)
    assert await stranger.answer() == b"OK"
    assert [order.wd_um for order in instrument.world.truth().commands] == [11_200.0]


async def test_get_infor_tells_wd_and_magnification_in_one_answer(client: Client) -> None:
    answer = await client.ask(b"GET_INFOR")
    assert len(answer) <= 1024
    got = decode_parameters(answer)
    assert got.wd_um == pytest.approx(12_000.0, abs=1.5)
    assert got.magnification == 2000


async def test_the_wire_never_carries_the_truth(instrument: Bench, client: Client) -> None:
    await client.ask(b"WDMAG,12.4,2000")
    heard = await client.ask(b"GET_INFOR")
    _, text = await instrument.pair()
    for told in (heard, text):
        assert b"11000" not in told
        assert b"FOCUS" not in told.upper()


@pytest.mark.parametrize(
    "order", [b"WDMAG,60,2000", b"WDMAG,0.1,2000", b"WDMAG,-12,2000", b"WDMAG,12,1"]
)
async def test_what_is_out_of_reach_is_refused_and_nothing_moves(
    instrument: Bench, client: Client, order: bytes
) -> None:
    assert (await client.ask(order)).startswith(b"NG ")
    assert instrument.world.truth().commands == ()
    assert await client.ask(b"WDMAG,11.2,3000") == b"OK"
    _, text = await instrument.pair()  # they come in order, so nothing came before
    assert decode_parameters(text).wd_um == pytest.approx(11_200.0, abs=1.5)
    assert decode_parameters(text).magnification == 3000
    assert list(instrument.folder.iterdir()) == []
    assert instrument.world.frames == 1


@pytest.mark.parametrize("junk", [b"HELLO", b"WDMAG,nan,2000", b"\x00\xff\xfe", b"WDMAG,1e4,2"])
async def test_garbage_is_told_and_the_session_goes_on(client: Client, junk: bytes) -> None:
    assert (await client.ask(junk)).startswith(b"ERROR ")
    assert await client.ask(b"WDMAG,11.2,2000") == b"OK"


async def test_a_flood_without_a_command_is_told_and_forgotten(
    client: Client, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    flood = b"WDMAG," + b"1" * 100_000
    fed = bytearray()
    whole = CommandDecoder.feed

    def feed(decoder: CommandDecoder, data: bytes) -> None:
        fed.extend(data)
        whole(decoder, data)

    monkeypatch.setattr(CommandDecoder, "feed", feed)
    assert (await client.ask(flood)).startswith(b"ERROR ")
    await until(lambda: fed.endswith(flood))
    client.send(b"WDMAG,11.2,2000")
    heard = b""
    while not heard.endswith(b"OK"):
        more = await client.answer()
        assert more
        heard += more


async def test_commands_before_the_handshake_are_refused(
    instrument: Bench, stranger: Client
) -> None:
    assert (await stranger.ask(b"WDMAG,11.2,2000")).startswith(b"NG ")
    assert instrument.world.truth().commands == ()


async def test_a_second_client_is_told_and_hung_up_on(instrument: Bench, client: Client) -> None:
    await client.ask(b"GET_INFOR")
    reader, writer = await asyncio.open_connection(*instrument.server.address)
    assert (await reader.read()).startswith(b"ERROR another client")
    writer.close()
    await writer.wait_closed()
    assert await client.ask(b"WDMAG,11.2,2000") == b"OK"


async def test_after_finish_the_next_client_is_served(instrument: Bench, client: Client) -> None:
    client.send(b"FINISH")
    assert await client.answer() == b""
    reader, writer = await asyncio.open_connection(*instrument.server.address)
    other = Client(reader, writer)
    other.send(*HANDSHAKE)
    assert await other.ask(b"WDMAG,11.2,2000") == b"OK"
    writer.close()
    await writer.wait_closed()


async def test_frames_that_nobody_takes_do_not_pile_up(client: Client) -> None:
    answers = [await client.ask(b"WDMAG,11.2,2000") for _ in range(MAX_FRAMES_DUE + 4)]
    assert answers[0] == b"OK"
    assert answers[-1].startswith(b"NG ")


async def test_the_frame_mode_can_be_set(instrument: Bench, client: Client) -> None:
    instrument.world.mode = FrameMode.FULL
    await client.ask(b"WDMAG,11.2,2000")
    pixels, _ = await instrument.pair()
    assert pixels.shape == (480, 640)


async def test_the_truth_file_holds_each_command_before_it_is_acknowledged(
    instrument: Bench, client: Client
) -> None:
    assert json.loads(instrument.truth_file.read_text())["commands"] == []
    told = {}
    for wd_mm, count in ((b"11.2", 1), (b"12", 2)):
        await client.ask(b"WDMAG," + wd_mm + b",2000")
        told = json.loads(instrument.truth_file.read_text())
        assert len(told["commands"]) == count
        assert told["commands"][-1]["wd_um"] == pytest.approx(float(wd_mm) * 1000.0)
    assert told["focus_wd_um"] == pytest.approx(11_000.0, abs=0.1)
    assert told["start_wd_um"] == 12_000.0


async def test_stopped_it_hangs_up_and_the_port_is_free(instrument: Bench, client: Client) -> None:
    await client.ask(b"GET_INFOR")
    await instrument.server.stop()
    await instrument.server.stop()
    assert await client.answer() == b""
    host, port = instrument.server.address
    clock = ScaledClock(50.0)
    device = Instrument(instrument.world, clock=clock)
    again = AisemServer(device, folder=instrument.folder, clock=clock, port=port)
    async with again:
        assert again.address == (host, port)


async def test_a_folder_that_goes_away_ends_the_session(instrument: Bench, client: Client) -> None:
    instrument.folder.rmdir()
    await client.ask(b"WDMAG,11.2,2000")
    with contextlib.suppress(ConnectionResetError):
        assert await client.answer() == b""
    assert client.reader.at_eof() or client.reader.exception() is not None


async def test_a_port_in_use_is_one_clear_error(instrument: Bench, tmp_path: Path) -> None:
    _, port = instrument.server.address
    clock = ScaledClock(1.0)
    device = Instrument(instrument.world, clock=clock)
    second = AisemServer(device, folder=tmp_path / "drop2", clock=clock, port=port)
    with pytest.raises(ServeError, match=rf"127\.0\.0\.1:{port}: Address already in use"):
        await second.start()
    assert not (tmp_path / "drop2").exists()


async def test_a_folder_that_is_a_file_is_one_clear_error(
    instrument: Bench, tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    plain.write_text("")
    clock = ScaledClock(1.0)
    device = Instrument(instrument.world, clock=clock)
    with pytest.raises(ServeError, match="drop folder"):
        await AisemServer(device, folder=plain, clock=clock).start()
