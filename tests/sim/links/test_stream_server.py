"""The instrument side of the stream link, spoken to byte by byte."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from afdaemon.clock import ScaledClock
from afdaemon.drivers.wire.messages import (
    Ack,
    Answer,
    Bye,
    FrameData,
    GetState,
    Grab,
    Hello,
    Message,
    Move,
    MoveStage,
    Ping,
    Pong,
    Refused,
    State,
    Welcome,
)
from afdaemon.drivers.wire.stream import Decoder, encode
from afdaemon.sim.errors import ServeError
from afdaemon.sim.instrument.faults import FaultPlan, parse_rule
from afdaemon.sim.instrument.instrument import Instrument
from afdaemon.sim.instrument.settings import FrameMode, InstrumentSettings
from afdaemon.sim.instrument.world import RecordedFrame, World
from afdaemon.sim.links.stream import StreamServer

SETTINGS = InstrumentSettings(magnification=2000, seed=5, start_wd_um=12_000.0)
WAIT_S = 30.0


class Client:
    """Sends what it is told and hears what comes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.decoder = Decoder()
        self.sequence = 0

    def say(self, message: Message) -> int:
        self.sequence += 1
        self.writer.write(encode(message, sequence=self.sequence))
        return self.sequence

    async def hear(self) -> Answer | None:
        """The next answer; None at the end."""
        async with asyncio.timeout(WAIT_S):
            while (received := self.decoder.next_message()) is None:
                data = await self.reader.read(65536)
                if not data:
                    return None
                self.decoder.feed(data)
        assert isinstance(received.message, Answer)
        return received.message

    async def ask(self, message: Message) -> Answer | None:
        sequence = self.say(message)
        answer = await self.hear()
        assert answer is None or answer.answers == sequence
        return answer

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


@asynccontextmanager
async def client(server: StreamServer, *, greet: bool = True) -> AsyncIterator[Client]:
    client = Client(*await asyncio.open_connection(*server.address))
    if greet:
        assert isinstance(await client.ask(Hello()), Welcome)
    try:
        yield client
    finally:
        await client.close()


@pytest.fixture
def plan() -> FaultPlan:
    return FaultPlan(seed=5)


@pytest.fixture
async def instrument(plan: FaultPlan) -> Instrument:
    clock = ScaledClock(50.0)
    return Instrument(World(SETTINGS, clock=clock), plan, clock=clock)


@pytest.fixture
async def server(instrument: Instrument) -> AsyncIterator[StreamServer]:
    async with StreamServer(instrument) as server:
        yield server


async def test_a_session_from_hello_to_bye(server: StreamServer, instrument: Instrument) -> None:
    async with client(server) as one:
        state = await one.ask(GetState())
        assert isinstance(state, State)
        assert state.wd_um == pytest.approx(12_000.0, abs=2.0)
        assert state.magnification == 2000.0
        ack = await one.ask(Move(wd_um=12_500.0, magnification=3000.0))
        assert isinstance(ack, Ack)
        assert ack.settle_us == 150_000
        frame = await one.ask(Grab())
        assert isinstance(frame, FrameData)
        assert frame.start_us >= ack.clock_us + ack.settle_us
        assert frame.wd_um == pytest.approx(12_500.0, abs=2.0)
        assert frame.magnification == 3000.0
        assert (frame.width_px, frame.height_px, len(frame.data)) == (320, 240, 320 * 240)
        assert isinstance(await one.ask(Ping()), Pong)
        one.say(Bye())
        assert await one.hear() is None
    assert [command.wd_um for command in instrument.world.truth().commands] == [12_500.0]


async def test_a_move_without_magnification_leaves_it(
    server: StreamServer, instrument: Instrument
) -> None:
    async with client(server) as one:
        await one.ask(Move(wd_um=12_500.0))
    assert instrument.world.magnification == 2000


@pytest.mark.parametrize(
    "order",
    [
        Move(wd_um=60_000.0),
        Move(wd_um=12_000.0, magnification=1e9),
        MoveStage(x_um=0.0, y_um=0.0),
    ],
)
async def test_what_is_out_of_reach_is_refused_and_nothing_moves(
    server: StreamServer, instrument: Instrument, order: Message
) -> None:
    async with client(server) as one:
        answer = await one.ask(order)
        assert isinstance(answer, Refused)
        assert answer.reason
        assert isinstance(await one.ask(MoveStage(x_um=19_100.0, y_um=20_000.0)), Ack)
    assert instrument.world.truth().commands == ()


async def test_before_hello_nothing_is_done(server: StreamServer, instrument: Instrument) -> None:
    async with client(server, greet=False) as one:
        orders = (GetState(), Grab(), Move(wd_um=11_000.0), MoveStage(x_um=19_000.0, y_um=2e4))
        for order in orders:
            answer = await one.ask(order)
            assert isinstance(answer, Refused)
            assert answer.reason == "HELLO comes first"
    assert instrument.world.frames == 0


async def test_a_client_of_another_version_is_told(server: StreamServer) -> None:
    async with client(server, greet=False) as one:
        answer = await one.ask(Hello(lowest=2, highest=3))
        assert answer == Refused(
            answers=1, reason="version 2 to 3 is not supported: this side speaks 1"
        )


async def test_commands_are_answered_while_a_frame_is_taken(
    server: StreamServer, instrument: Instrument
) -> None:
    instrument.world.mode = FrameMode.FULL
    async with client(server) as one:
        grab = one.say(Grab())
        assert isinstance(await one.ask(Ping()), Pong)
        frame = await one.hear()
        assert isinstance(frame, FrameData)
        assert (frame.answers, frame.width_px) == (grab, 640)


async def test_frames_come_in_order_and_too_many_are_refused(server: StreamServer) -> None:
    async with client(server) as one:
        asked = [one.say(Grab()) for _ in range(20)]
        answers = [await one.hear() for _ in asked]
        frames = [answer for answer in answers if isinstance(answer, FrameData)]
        refused = [answer for answer in answers if isinstance(answer, Refused)]
        assert 16 <= len(frames) < 20
        assert len(frames) + len(refused) == 20
        numbers = [frame.number for frame in frames]
        assert numbers == sorted(set(numbers))
        order = [frame.answers for frame in frames]
        assert order == sorted(order)


async def test_a_second_client_is_told_so_and_hung_up_on(server: StreamServer) -> None:
    async with client(server) as first, client(server, greet=False) as second:
        answer = await second.ask(Hello())
        assert answer == Refused(answers=1, reason="another client is connected")
        assert await second.hear() is None
        assert isinstance(await first.ask(GetState()), State)
    async with client(server) as third:
        assert isinstance(await third.ask(GetState()), State)


async def test_garbage_and_half_messages_are_left(
    server: StreamServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up = asyncio.Event()
    whole = Decoder.give_up

    def give_up(decoder: Decoder) -> None:
        whole(decoder)
        given_up.set()

    monkeypatch.setattr(Decoder, "give_up", give_up)
    async with client(server) as one:
        one.writer.write(b"GET / HTTP/1.1\r\n\r\nAF30" + bytes(30))
        assert isinstance(await one.ask(Ping()), Pong)
        given_up.clear()
        one.writer.write(encode(Move(wd_um=11_000.0), sequence=77)[:-3])
        await given_up.wait()
        assert isinstance(await one.ask(Ping()), Pong)
        assert isinstance(await one.ask(GetState()), State)


@pytest.mark.parametrize("rule", ["frame-corrupt,times=1", "frame-truncated,times=1"])
async def test_a_frame_that_a_fault_damages_is_none(
    server: StreamServer, plan: FaultPlan, rule: str
) -> None:
    async with client(server) as one:
        plan.add(parse_rule(rule))
        one.say(Grab())
        second = one.say(Grab())
        frame = await one.hear()
        assert isinstance(frame, FrameData)
        assert frame.answers == second
        assert one.decoder.losses.messages >= 1


async def test_unplugged_it_hangs_up_and_lets_nobody_in(
    server: StreamServer, instrument: Instrument
) -> None:
    async with client(server) as one:
        instrument.unplug(1e6)
        with contextlib.suppress(ConnectionError):
            assert await one.hear() is None
        with contextlib.suppress(ConnectionError):
            async with client(server, greet=False) as other:
                assert await other.ask(Hello()) is None
        instrument.replug()
        async with client(server) as back:
            assert isinstance(await back.ask(GetState()), State)


async def test_a_port_in_use_is_one_sentence(server: StreamServer, instrument: Instrument) -> None:
    with pytest.raises(ServeError, match=r"cannot listen on 127\.0\.0\.1:\d+: Address already"):
        await StreamServer(instrument, port=server.address[1]).start()


async def test_stopped_in_mid_frame_nothing_is_left(
    instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    exposing = asyncio.Event()
    whole = World.expose

    async def expose(world: World) -> RecordedFrame:
        exposing.set()
        return await whole(world)

    monkeypatch.setattr(World, "expose", expose)
    server = StreamServer(instrument)
    await server.start()
    one = Client(*await asyncio.open_connection(*server.address))
    await one.ask(Hello())
    one.say(Grab())
    await exposing.wait()
    await server.stop()
    await server.stop()
    await one.close()
