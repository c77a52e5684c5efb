"""The stream driver against a peer that does everything wrong that one can do."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import pytest

from afdaemon.clock import ManualClock, SystemClock
from afdaemon.drivers.base import Clock
from afdaemon.drivers.counters import Tally
from afdaemon.drivers.em30.identity import Identity
from afdaemon.drivers.em30.microscope import Em30Microscope
from afdaemon.drivers.em30.settings import StreamSettings
from afdaemon.drivers.em30.stream import stream_microscope
from afdaemon.drivers.em30.stream_session import Client, StreamSession, open_stream_session
from afdaemon.drivers.em30.tcp import TcpLink
from afdaemon.drivers.errors import (
    CommandRefused,
    DriverError,
    FrameInvalid,
    FrameStale,
    LinkLost,
    LinkTimeout,
    NotConnected,
    ProtocolError,
)
from afdaemon.drivers.registry import kept_up
from afdaemon.drivers.wire.messages import (
    FRAME_HEAD_BYTES,
    Ack,
    Bye,
    Encoding,
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
from afdaemon.drivers.wire.stream import HEADER_BYTES, Decoder, encode

WD_UM = 12_345.6
SETTLE_US = 1_000
STEP_US = 10_000
WHOLE = HEADER_BYTES + FRAME_HEAD_BYTES + 16 * 12 + 4
"""How many bytes the peer's frame has on the wire."""

Answers = bytes | Message | list[bytes | Message] | None
Script = Callable[["Peer", Message, int], Answers]
Until = Callable[[Callable[[], object]], Awaitable[None]]


@dataclass
class Peer:
    """Each message takes the next answer of its type's script, or an honest one where that is at its end."""

    scripts: dict[type[Message], list[Script]] = field(default_factory=dict)
    heard: list[Message] = field(default_factory=list)
    sequences: list[int] = field(default_factory=list)
    wd_um: float = 12_000.0
    magnification: float = 2000.0
    clock_us: int = 0
    number: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    conversations: list["asyncio.Task[None]"] = field(default_factory=list)
    server: asyncio.Server | None = None
    port: int = 0

    async def start(self) -> None:
        def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.conversations.append(asyncio.create_task(self._converse(reader, writer)))

        self.server = await asyncio.start_server(welcome, "127.0.0.1", 0)
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

    def say(self, answers: Answers) -> None:
        for answer in answers if isinstance(answers, list) else [answers]:
            if answer is not None:
                data = answer if isinstance(answer, bytes) else encode(answer, sequence=1)
                self.writers[-1].write(data)

    def count(self, kind: type[Message]) -> int:
        return sum(isinstance(message, kind) for message in self.heard)

    def frame(self, answers: int, **other: object) -> FrameData:
        """An honest frame, but for what is `other`."""
        self.number += 1
        self.clock_us += STEP_US
        pixels = np.random.default_rng(self.number).integers(0, 256, (12, 16), dtype=np.uint8)
        honest = FrameData(
            answers=answers,
            number=self.number,
            width_px=16,
            height_px=12,
            bits=8,
            encoding=Encoding.RAW,
            magnification=self.magnification,
            wd_um=self.wd_um,
            pixel_nm=100.0,
            dwell_ns=400.0,
            kv=15.0,
            start_us=self.clock_us - STEP_US // 2,
            end_us=self.clock_us,
            data=pixels.tobytes(),
        )
        return replace(honest, **other)  # type: ignore[arg-type]  # the tests' own

    def honest(self, message: Message, sequence: int) -> Answers:
        self.clock_us += STEP_US
        match message:
            case Hello():
                return Welcome(answers=sequence, name="peer")
            case GetState():
                return State(answers=sequence, wd_um=self.wd_um, magnification=self.magnification)
            case Move():
                self.wd_um = message.wd_um
                self.magnification = message.magnification or self.magnification
                return Ack(answers=sequence, clock_us=self.clock_us, settle_us=SETTLE_US)
            case MoveStage():
                return Ack(answers=sequence, clock_us=self.clock_us, settle_us=SETTLE_US)
            case Grab():
                return self.frame(sequence)
            case Ping():
                return Pong(answers=sequence)
            case _:
                return None

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        decoder = Decoder()
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                decoder.feed(data)
                while (received := decoder.next_message()) is not None:
                    self.heard.append(received.message)
                    self.sequences.append(received.sequence)
                    script = self.scripts.get(type(received.message), [])
                    answer = script.pop(0) if script else Peer.honest
                    self.say(answer(self, received.message, received.sequence))
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        self.writers.remove(writer)


def silent(peer: Peer, message: Message, sequence: int) -> Answers:
    return None


def framed(**other: object) -> Script:
    """A frame of which something is not as it should be."""
    return lambda peer, _, sequence: peer.frame(sequence, **other)


def damaged(at: int, *, cut: bool = False) -> Script:
    """A frame with one byte wrong, or cut off there."""

    def answer(peer: Peer, _: Message, sequence: int) -> Answers:
        data = encode(peer.frame(sequence), sequence=1)
        return data[:at] if cut else data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    return answer


class HandClock(ManualClock):
    """Its sleeps end when it has been moved far enough."""

    def __init__(self) -> None:
        super().__init__()
        self._moved = asyncio.Event()

    def advance(self, seconds: float) -> None:
        super().advance(seconds)
        self._moved.set()
        self._moved = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        until_s = self.now_s() + seconds
        while self.now_s() < until_s:
            await self._moved.wait()


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    peer = Peer()
    await peer.start()
    yield peer
    await peer.stop()


def settings(peer: Peer, **waits: float) -> StreamSettings:
    """More patient than any test is long, but for `waits`."""
    patient = {
        "reply_timeout_s": 20.0,
        "frame_timeout_s": 20.0,
        "ask_again_s": 20.0,
        "ping_s": 20.0,
    }
    return StreamSettings(
        port=peer.port,
        max_dropped_in_row=3,
        reconnect_first_s=0.01,
        reconnect_cap_s=0.02,
        cut_off_s=waits.pop("cut_off_s", 0.05),
        **{**patient, **waits},  # type: ignore[arg-type]  # they are all seconds
    )


@asynccontextmanager
async def running(
    peer: Peer, clock: Clock | None = None, **waits: float
) -> AsyncIterator[Em30Microscope]:
    microscope = stream_microscope(settings(peer, **waits), clock=clock or SystemClock())
    async with kept_up(microscope):
        yield microscope


@asynccontextmanager
async def connected(
    peer: Peer, clock: Clock | None = None, **waits: float
) -> AsyncIterator[Em30Microscope]:
    async with running(peer, clock, **waits) as microscope:
        await microscope.wait_connected(5.0)
        yield microscope


@pytest.fixture
async def microscope(peer: Peer) -> AsyncIterator[Em30Microscope]:
    async with connected(peer) as microscope:
        yield microscope


async def test_a_session_as_it_goes_over_the_wire(
    peer: Peer, microscope: Em30Microscope, until: Until
) -> None:
    state = await microscope.read_state()
    await microscope.move_wd(WD_UM)
    frame = await microscope.grab()
    await microscope.close()
    await until(lambda: bool(peer.count(Bye)))
    hello, *rest = peer.heard
    assert isinstance(hello, Hello)
    assert re.fullmatch("afdaemon [0-9a-f]{8}", hello.name)
    assert rest == [
        GetState(),
        Move(wd_um=WD_UM, magnification=2000.0),
        Grab(),
        Bye(),
    ]
    assert peer.sequences == [1, 2, 3, 4, 5]
    assert (state.wd_um, state.magnification) == (12_000.0, 2000.0)
    assert (frame.wd_um, frame.magnification, frame.sequence) == (WD_UM, 2000.0, 1)
    assert frame.pixels.shape == (12, 16)
    assert not frame.pixels.flags.writeable


# --- frames that are no evidence ---

NO_EVIDENCE: dict[str, tuple[dict[str, object], str, str]] = {
    "exposed too early": ({"start_us": 0}, "dropped_stale", "before the last move had settled"),
    "other WD": ({"wd_um": WD_UM - 2.2}, "dropped_mismatch", r"taken at 12343\.4 um"),
    "other magnification": ({"magnification": 1900.0}, "dropped_mismatch", "magnification 1900"),
    "number before": ({"number": 1}, "dropped_stale", "it is number 1, after number"),
    "no JPEG": ({"encoding": Encoding.JPEG}, "dropped_invalid", "not a JPEG"),
}


@pytest.mark.parametrize("case", NO_EVIDENCE)
async def test_a_frame_that_is_no_evidence_is_dropped_counted_and_asked_again(
    peer: Peer, microscope: Em30Microscope, case: str
) -> None:
    other, counter, complaint = NO_EVIDENCE[case]
    await microscope.move_wd(WD_UM)
    await microscope.grab()
    peer.scripts[Grab] = [framed(**other)]
    assert (await microscope.grab()).wd_um == WD_UM
    assert getattr(microscope.stats, counter) == 1
    assert peer.count(Grab) == 3
    peer.scripts[Grab] = [framed(**other)] * 3
    error = FrameInvalid if counter == "dropped_invalid" else FrameStale
    with pytest.raises(error, match=f"3 frames in a row were not evidence: .*{complaint}"):
        await microscope.grab()
    assert getattr(microscope.stats, counter) == 4
    assert (await microscope.grab()).wd_um == WD_UM


async def test_a_wd_within_the_tolerance_is_the_commanded_one(
    peer: Peer, microscope: Em30Microscope
) -> None:
    await microscope.move_wd(WD_UM)
    peer.scripts[Grab] = [framed(wd_um=WD_UM + 2.05)]
    assert (await microscope.grab()).wd_um == WD_UM + 2.05
    assert peer.count(Grab) == 1


async def test_a_frozen_feed_is_dropped_however_new_it_claims_to_be(
    peer: Peer, microscope: Em30Microscope
) -> None:
    frozen = framed(data=bytes(16 * 12))
    peer.scripts[Grab] = [frozen, frozen]
    await microscope.move_wd(WD_UM)
    await microscope.grab()
    assert (await microscope.grab()).pixels.any()
    assert microscope.stats.dropped_frozen == 1
    peer.scripts[Grab] = [frozen] * 4
    await microscope.grab()
    with pytest.raises(FrameStale, match="identical"):
        await microscope.grab()


async def test_an_instrument_that_counts_anew_is_believed_after_one_failure(
    peer: Peer, microscope: Em30Microscope
) -> None:
    peer.number = 1000
    await microscope.grab()
    peer.number = 0
    with pytest.raises(FrameStale, match="after number 1001"):
        await microscope.grab()
    await microscope.grab()


async def test_without_a_command_a_frame_is_taken_where_the_instrument_stands(
    peer: Peer, microscope: Em30Microscope
) -> None:
    peer.wd_um = 9_999.0
    assert (await microscope.grab()).wd_um == 9_999.0
    assert peer.count(Move) == 0


# --- grey values ---


async def test_sixteen_bits_and_jpeg_are_read(peer: Peer, microscope: Em30Microscope) -> None:
    deep = np.arange(16 * 12, dtype=np.uint16).reshape(12, 16) * 300
    done, jpeg = cv2.imencode(".jpg", np.full((12, 16), 77, np.uint8))
    assert done
    peer.scripts[Grab] = [
        framed(bits=16, data=deep.astype("<u2").tobytes()),
        framed(encoding=Encoding.JPEG, data=jpeg.tobytes()),
    ]
    frame = await microscope.grab()
    assert frame.pixels.dtype == np.uint16
    assert np.array_equal(frame.pixels, deep)
    frame = await microscope.grab()
    assert frame.pixels.dtype == np.uint8
    assert frame.pixels.shape == (12, 16)
    assert abs(float(frame.pixels.mean()) - 77.0) < 2.0
    assert not frame.pixels.flags.writeable


async def test_a_jpeg_of_another_size_than_told_is_invalid(
    peer: Peer, microscope: Em30Microscope
) -> None:
    done, jpeg = cv2.imencode(".jpg", np.zeros((24, 16), np.uint8))
    assert done
    peer.scripts[Grab] = [framed(encoding=Encoding.JPEG, data=jpeg.tobytes())]
    await microscope.grab()
    assert microscope.stats.dropped_invalid == 1


# --- bytes that get lost ---


@pytest.mark.parametrize("at", [4, 8, 16, 20, 60, 200, WHOLE - 1])
async def test_a_damaged_frame_is_asked_for_again_at_once(
    peer: Peer, microscope: Em30Microscope, at: int
) -> None:
    peer.scripts[Grab] = [damaged(at)]
    await microscope.move_wd(WD_UM)
    async with asyncio.timeout(2.0):
        assert (await microscope.grab()).wd_um == WD_UM
    assert microscope.stats.dropped_invalid >= 1
    assert peer.count(Grab) == 2


@pytest.mark.parametrize("at", [1, 3, 4, 10, 20, 100, WHOLE - 1])
async def test_a_frame_that_stops_in_its_middle_is_given_up_and_asked_for_again(
    peer: Peer, microscope: Em30Microscope, at: int
) -> None:
    peer.scripts[Grab] = [damaged(at, cut=True)]
    async with asyncio.timeout(2.0):
        await microscope.grab()
    assert microscope.stats.dropped_invalid == 1
    assert peer.count(Grab) == 2


async def test_a_frame_whose_start_is_lost_is_asked_for_again(
    peer: Peer, microscope: Em30Microscope
) -> None:
    def headless(peer: Peer, _: Message, sequence: int) -> Answers:
        return encode(peer.frame(sequence), sequence=1)[4:]

    peer.scripts[Grab] = [headless]
    async with asyncio.timeout(2.0):
        await microscope.grab()
    assert microscope.stats.dropped_invalid == 1


async def test_garbage_before_a_frame_costs_nothing(peer: Peer, microscope: Em30Microscope) -> None:
    def noisy(peer: Peer, _: Message, sequence: int) -> Answers:
        return [b"\x00AF3\xff" * 1000, peer.frame(sequence)]

    peer.scripts[Grab] = [noisy]
    await microscope.grab()
    assert peer.count(Grab) == 1


async def test_only_damage_is_a_typed_error(peer: Peer, microscope: Em30Microscope) -> None:
    peer.scripts[Grab] = [damaged(100)] * 3
    with pytest.raises(FrameInvalid, match=r"3 frames in a row .* CRC"):
        await microscope.grab()
    assert microscope.connected


async def test_a_frame_that_never_comes_is_asked_again_and_then_a_time_out(peer: Peer) -> None:
    async with connected(peer, ask_again_s=0.05, frame_timeout_s=0.4) as microscope:
        peer.scripts[Grab] = [silent]
        await microscope.grab()
        assert peer.count(Grab) == 2
        peer.scripts[Grab] = [silent] * 100
        with pytest.raises(LinkTimeout, match=r"no usable frame within 0\.4 s"):
            await microscope.grab()
        assert peer.count(Grab) < 12
        assert microscope.connected


async def test_a_late_frame_of_the_same_grab_is_used(peer: Peer) -> None:
    late: list[int] = []

    def keep(peer: Peer, _: Message, sequence: int) -> Answers:
        late.append(sequence)
        return None

    async with connected(peer, ask_again_s=0.05) as microscope:
        peer.scripts[Grab] = [keep, silent, lambda peer, *_: peer.frame(late[0])]
        await microscope.grab()
        assert peer.count(Grab) == 3


# --- answers that nobody waits for ---


async def test_a_frame_sent_twice_counts_once(peer: Peer, microscope: Em30Microscope) -> None:
    def twice(peer: Peer, _: Message, sequence: int) -> Answers:
        frame = peer.frame(sequence)
        return [frame, frame]

    peer.scripts[Grab] = [twice]
    first = await microscope.grab()
    second = await microscope.grab()
    assert first.pixels.tobytes() != second.pixels.tobytes()
    assert microscope.stats.dropped_stale == 1
    assert microscope.stats.frames == 2


async def test_a_frame_of_a_cancelled_grab_is_not_the_next_ones(
    peer: Peer, microscope: Em30Microscope, until: Until
) -> None:
    asked: list[int] = []

    def keep(peer: Peer, _: Message, sequence: int) -> Answers:
        asked.append(sequence)
        return None

    peer.scripts[Grab] = [keep]
    await microscope.move_wd(12_000.0)
    grab = asyncio.create_task(microscope.grab())
    await until(lambda: bool(asked))
    grab.cancel()
    await asyncio.wait([grab])
    await microscope.move_wd(WD_UM)
    peer.scripts[Grab] = [lambda peer, _, n: [peer.frame(asked[0], wd_um=12_000.0), peer.frame(n)]]
    assert (await microscope.grab()).wd_um == WD_UM
    assert microscope.stats.dropped_stale == 1


async def test_the_answer_of_a_cancelled_move_is_not_the_next_ones(
    peer: Peer, microscope: Em30Microscope, until: Until
) -> None:
    asked: list[int] = []

    def keep(peer: Peer, _: Message, sequence: int) -> Answers:
        asked.append(sequence)
        return None

    await microscope.read_state()
    peer.scripts[Move] = [
        keep,
        lambda peer, _, n: [
            Ack(answers=asked[0], clock_us=0),
            Refused(answers=n, reason="out of reach"),
        ],
    ]
    move = asyncio.create_task(microscope.move_wd(13_000.0))
    await until(lambda: bool(asked))
    move.cancel()
    await asyncio.wait([move])
    with pytest.raises(CommandRefused, match=r"12345\.6 um: out of reach"):
        await microscope.move_wd(WD_UM)


async def test_a_cancelled_move_that_is_carried_out_holds_frames_back(
    peer: Peer, microscope: Em30Microscope, until: Until
) -> None:
    asked: list[int] = []

    def keep(peer: Peer, _: Message, sequence: int) -> Answers:
        asked.append(sequence)
        return None

    await microscope.read_state()
    peer.scripts[Move] = [keep]
    move = asyncio.create_task(microscope.move_wd(13_000.0))
    await until(lambda: bool(asked))
    move.cancel()
    await asyncio.wait([move])
    settled_us = peer.clock_us + 1_000_000
    peer.scripts[Grab] = [
        lambda peer, _, n: [Ack(answers=asked[0], clock_us=settled_us), peer.frame(n)],
        lambda peer, _, n: peer.frame(n, start_us=settled_us, end_us=settled_us),
    ]
    await microscope.grab()
    assert microscope.stats.dropped_stale == 1


async def test_answers_to_nothing_are_forgotten(peer: Peer, microscope: Em30Microscope) -> None:
    await microscope.read_state()
    strays: list[bytes | Message] = [
        Pong(answers=77),
        State(answers=0, wd_um=1.0, magnification=1.0),
        Refused(answers=9999, reason="no"),
        Welcome(answers=1, version=9),
        Ping(),
        Hello(),
        peer.frame(123),
    ]
    peer.say(strays * 50)
    assert (await microscope.read_state()).wd_um == 12_000.0
    assert microscope.stats.dropped_stale == 50
    assert microscope.connected


# --- commands ---


async def test_a_refusal_leaves_the_link_and_the_target(
    peer: Peer, microscope: Em30Microscope
) -> None:
    await microscope.move_wd(WD_UM)
    peer.scripts[Move] = [lambda peer, _, n: Refused(answers=n, reason="범위 밖")]
    with pytest.raises(CommandRefused, match=r"a move to WD 20000 um: 범위 밖"):
        await microscope.move_wd(20_000.0)
    peer.scripts[Grab] = [framed(wd_um=20_000.0)]
    assert (await microscope.grab()).wd_um == WD_UM
    assert (microscope.stats.moves, microscope.stats.dropped_mismatch) == (1, 1)


@pytest.mark.parametrize("kind", [GetState, Grab])
async def test_other_refusals_say_why(
    peer: Peer, microscope: Em30Microscope, kind: type[Message]
) -> None:
    peer.scripts[kind] = [lambda peer, _, n: Refused(answers=n, reason="the column vents")]
    with pytest.raises(CommandRefused, match="the column vents"):
        await (microscope.grab() if kind is Grab else microscope.read_state())
    assert microscope.connected


@pytest.mark.parametrize("kind", [GetState, Move, Grab])
async def test_an_answer_of_the_wrong_kind_is_a_protocol_error(
    peer: Peer, microscope: Em30Microscope, kind: type[Message], until: Until
) -> None:
    await microscope.read_state()
    peer.scripts[kind] = [lambda peer, _, n: Pong(answers=n)]
    work = {GetState: microscope.read_state, Grab: microscope.grab}.get(kind)
    with pytest.raises(ProtocolError, match="with Pong"):
        await (work() if work else microscope.move_wd(WD_UM))
    await until(lambda: microscope.stats.connects == 2)
    await microscope.move_wd(WD_UM)
    assert (await microscope.grab()).wd_um == WD_UM


async def test_a_value_that_the_wire_cannot_carry_is_refused_here(
    peer: Peer, microscope: Em30Microscope
) -> None:
    await microscope.move_wd(WD_UM)
    with pytest.raises(ProtocolError, match="the WD is nan"):
        await microscope.move_wd(float("nan"))
    assert peer.count(Move) == 1
    assert (await microscope.grab()).wd_um == WD_UM


async def test_an_unanswered_move_times_out_and_the_link_is_made_anew(peer: Peer) -> None:
    async with connected(peer, reply_timeout_s=0.1) as microscope:
        await microscope.read_state()
        peer.scripts[Move] = [silent]
        with pytest.raises(LinkTimeout, match=r"did not answer within 0\.1 s"):
            await microscope.move_wd(WD_UM)
        with pytest.raises(NotConnected, match="not answered in time"):
            await microscope.grab()
        await microscope.wait_connected(1.0)
        await microscope.move_wd(WD_UM)
        assert microscope.stats.connects == 2


async def test_the_stage_moves_and_holds_frames_back(peer: Peer) -> None:
    tally = Tally()
    wait = settings(peer)
    link = await TcpLink.open(wait.host, wait.port, timeout_s=5.0)
    session: StreamSession = await open_stream_session(
        link, wait, clock=SystemClock(), tally=tally, identity=Identity(), client=Client()
    )
    await session.move_stage(19_000.0, 20_000.0)
    peer.scripts[Grab] = [framed(start_us=0)]
    await session.grab(1)
    assert peer.heard[1] == MoveStage(x_um=19_000.0, y_um=20_000.0)
    assert tally.stats.dropped_stale == 1
    peer.scripts[MoveStage] = [lambda peer, _, n: Refused(answers=n, reason="the door is open")]
    with pytest.raises(CommandRefused, match="a move to 1, 2 um: the door is open"):
        await session.move_stage(1.0, 2.0)
    await session.finish()
    await session.finish()


# --- the link itself ---


@pytest.mark.parametrize("kind", [Move, Grab])
async def test_a_peer_that_dies_in_mid_operation_is_noticed_at_once(
    peer: Peer, microscope: Em30Microscope, kind: type[Message], until: Until
) -> None:
    await microscope.read_state()
    peer.scripts[kind] = [silent]
    task = asyncio.create_task(microscope.grab() if kind is Grab else microscope.move_wd(WD_UM))
    await until(lambda: bool(peer.count(kind)))
    peer.hang_up()
    async with asyncio.timeout(2.0):
        with pytest.raises(LinkLost):
            await task
    await microscope.wait_connected(5.0)
    await microscope.move_wd(WD_UM)
    assert (await microscope.grab()).wd_um == WD_UM


async def test_a_peer_that_falls_silent_is_noticed(peer: Peer, until: Until) -> None:
    async with connected(peer, ping_s=0.05, reply_timeout_s=0.1) as microscope:
        await until(lambda: peer.count(Ping) >= 3)
        assert microscope.stats.connects == 1
        peer.scripts[Ping] = [silent]
        await until(lambda: microscope.stats.connects == 2)
        assert (await microscope.read_state()).wd_um == 12_000.0


async def test_a_busy_peer_is_not_pinged(peer: Peer, until: Until) -> None:
    clock = HandClock()
    async with connected(peer, clock, ping_s=2.0) as microscope:
        for _ in range(40):
            await microscope.read_state()
            clock.advance(1.5)
        await microscope.read_state()
        assert peer.count(Ping) == 0
        clock.advance(2.0)
        await until(lambda: peer.count(Ping) == 1)


VERSIONS: dict[str, tuple[Script, str]] = {
    "welcomed with another": (
        lambda peer, _, n: Welcome(answers=n, version=2),
        "speaks version 2 of `stream`, this is 1",
    ),
    "headers of another": (
        lambda peer, _, n: encode(Welcome(answers=n), sequence=1)[:4] + b"\x02" + bytes(40),
        "does not speak our version",
    ),
    "another protocol": (lambda *_: b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak our"),
    "refused": (lambda peer, _, n: Refused(answers=n, reason="go away"), "the session: go away"),
    "no answer": (silent, r"did not answer within 0\.1 s"),
    "nonsense": (lambda peer, _, n: Pong(answers=n), "answered HELLO with Pong"),
}


@pytest.mark.parametrize("case", VERSIONS)
async def test_a_peer_that_cannot_be_greeted_is_told_by_cause(peer: Peer, case: str) -> None:
    answer, complaint = VERSIONS[case]
    peer.scripts[Hello] = [answer] * 1000
    async with running(peer, reply_timeout_s=0.1) as microscope:
        with pytest.raises(LinkTimeout, match=complaint):
            await microscope.wait_connected(0.4)
        assert not microscope.connected
        with pytest.raises(NotConnected, match=complaint):
            await microscope.grab()
        peer.scripts.clear()
        await microscope.wait_connected(5.0)


async def test_a_flood_of_nonsense_ends_in_a_typed_error_within_the_time(peer: Peer) -> None:
    async with connected(peer, frame_timeout_s=0.5, reply_timeout_s=0.5) as microscope:
        peer.scripts[Grab] = [lambda *_: b"AF30 and so on " * 200_000] * 10
        async with asyncio.timeout(5.0):
            with pytest.raises(DriverError):
                await microscope.grab()


async def test_nobody_there_is_said_with_the_address(peer: Peer) -> None:
    await peer.stop()
    async with running(peer) as microscope:
        with pytest.raises(LinkTimeout, match=rf"em30 \(stream, 127\.0\.0\.1:{peer.port}\)"):
            await microscope.wait_connected(0.1)
    await peer.start()


@pytest.mark.parametrize("is_closed_first", [True, False])
async def test_whenever_it_is_ended_nothing_of_it_is_left(
    peer: Peer, is_closed_first: bool
) -> None:
    """A session that was opened at the last moment would keep its link alive for ever."""
    for turns in range(60):
        microscope = stream_microscope(settings(peer), clock=SystemClock())
        running = asyncio.create_task(microscope.run())
        for _ in range(turns):
            await asyncio.sleep(0)
        if is_closed_first:
            closing = asyncio.create_task(microscope.close())
            await asyncio.sleep(0)
            running.cancel()
            await closing
        else:
            running.cancel()
            await asyncio.wait({running})
            await microscope.close()
        await asyncio.wait({running})
    async with asyncio.timeout(5.0):
        await asyncio.gather(*peer.conversations)
    assert peer.count(Hello) > 0
