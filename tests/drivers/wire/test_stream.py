"""The stream codec: exact bytes, and that nothing a peer can send does harm."""

import random
import struct
import zlib
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.drivers.wire import stream
from afdaemon.drivers.wire.messages import (
    KINDS,
    MAX_PAYLOAD_BYTES,
    MAX_TEXT_BYTES,
    Ack,
    Bye,
    Challenge,
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
    Proof,
    Refused,
    State,
    Welcome,
    payload_of,
)
from afdaemon.drivers.wire.stream import HEADER_BYTES, MAGIC, Decoder, Received, encode

A_FRAME = FrameData(
    answers=9,
    number=3,
    width_px=2,
    height_px=2,
    bits=8,
    encoding=Encoding.RAW,
    magnification=2000.0,
    wd_um=12345.6,
    pixel_nm=198.4375,
    dwell_ns=400.0,
    kv=15.0,
    start_us=1_000_000,
    end_us=1_042_720,
    data=b"\x00\x7f\x80\xff",
)

GOLDEN: dict[str, tuple[Message, int, str]] = {
    "hello": (
        Hello(name="afdaemon"),
        1,
        "41463330 01 01 0000 0a000000 01000000 f3e73527 010161666461656d6f6e 8638a0be",
    ),
    "welcome": (
        Welcome(answers=1, name="EM-30"),
        1,
        "41463330 01 02 0000 0a000000 01000000 f281d7be 0100000001454d2d3330 4b045bc5",
    ),
    "get_state": (
        GetState(),
        2,
        "41463330 01 03 0000 00000000 02000000 14ed2cfc 14ed2cfc",
    ),
    "state": (
        State(answers=2, wd_um=12345.6, magnification=2000.0),
        2,
        "41463330 01 04 0000 14000000 02000000 46c7e62d "
        "02000000cdcccccccc1cc8400000000000409f40 "
        "0b4723f3",
    ),
    "move": (
        Move(wd_um=12345.6, magnification=2000.0),
        3,
        "41463330 01 05 0000 10000000 03000000 19719ed0 cdcccccccc1cc8400000000000409f40 7fc5ff8e",
    ),
    "move_as_is": (
        Move(wd_um=12345.6),
        4,
        "41463330 01 05 0000 10000000 04000000 a049494d cdcccccccc1cc8400000000000000000 6939249f",
    ),
    "stage": (
        MoveStage(x_um=19000.0, y_um=-0.5),
        5,
        "41463330 01 06 0000 10000000 05000000 c448176c 00000000008ed240000000000000e0bf 34410c7d",
    ),
    "ack": (
        Ack(answers=3, clock_us=1_000_000, settle_us=150_000),
        3,
        "41463330 01 07 0000 10000000 03000000 d8c8f288 0300000040420f0000000000f0490200 70e27d9f",
    ),
    "refused": (
        Refused(answers=4, reason="범위 밖"),
        4,
        "41463330 01 08 0000 0e000000 04000000 be27ecef 04000000ebb294ec9c8420ebb096 86fcc20c",
    ),
    "grab": (
        Grab(),
        9,
        "41463330 01 09 0000 00000000 09000000 913282c9 913282c9",
    ),
    "frame": (
        A_FRAME,
        5,
        "41463330 01 0a 0000 4a000000 05000000 0d35eba2 "
        "09000000030000000200020008000000000000409f40cdcccccccc1cc8400000000000ce68400000"
        "0000000079400000000000002e4040420f000000000020e90f0000000000007f80ff "
        "f414ec69",
    ),
    "ping": (
        Ping(),
        0xFFFFFFFF,
        "41463330 01 0b 0000 00000000 ffffffff 39e45d32 39e45d32",
    ),
    "pong": (
        Pong(answers=0xFFFFFFFF),
        6,
        "41463330 01 0c 0000 04000000 06000000 7f80fc64 ffffffff 455f40df",
    ),
    "bye": (
        Bye(),
        11,
        "41463330 01 0d 0000 00000000 0b000000 988952d3 988952d3",
    ),
    "challenge": (
        Challenge(answers=1, nonce="a1b2c3"),
        1,
        "41463330 01 0e 0000 0a000000 01000000 3513cdb4 01000000613162326333 18176f3a",
    ),
    "proof": (
        Proof(proof="00ff"),
        12,
        "41463330 01 0f 0000 04000000 0c000000 1a06a392 30306666 6a1c70c2",
    ),
}
"""Byte by byte: magic, version, type, flags, length, sequence, header CRC | payload | CRC."""

FINITE = st.floats(allow_nan=False, allow_infinity=False)
ABOVE_0 = st.floats(min_value=1e-300, allow_nan=False, allow_infinity=False)
U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
TEXT = st.text(max_size=MAX_TEXT_BYTES // 4)


@st.composite
def frames(draw: st.DrawFn) -> FrameData:
    width, height = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    bits = draw(st.sampled_from((8, 16)))
    encoding = draw(st.sampled_from(Encoding))
    whole = width * height * bits // 8
    raw = encoding is Encoding.RAW
    start_us, end_us = sorted((draw(U64), draw(U64)))
    return FrameData(
        answers=draw(U32),
        number=draw(U32),
        width_px=width,
        height_px=height,
        bits=bits,
        encoding=encoding,
        magnification=draw(ABOVE_0),
        wd_um=draw(FINITE),
        pixel_nm=draw(ABOVE_0),
        dwell_ns=draw(FINITE),
        kv=draw(FINITE),
        start_us=start_us,
        end_us=end_us,
        data=draw(st.binary(min_size=whole if raw else 1, max_size=whole if raw else 99)),
    )


messages = st.one_of(
    st.builds(Hello, lowest=st.integers(0, 255), highest=st.integers(0, 255), name=TEXT),
    st.builds(Welcome, answers=U32, version=st.integers(0, 255), name=TEXT),
    st.builds(State, answers=U32, wd_um=FINITE, magnification=ABOVE_0),
    st.builds(Move, wd_um=FINITE, magnification=st.none() | ABOVE_0),
    st.builds(MoveStage, x_um=FINITE, y_um=FINITE),
    st.builds(Ack, answers=U32, clock_us=U64, settle_us=U32),
    st.builds(Refused, answers=U32, reason=TEXT),
    st.builds(Pong, answers=U32),
    st.builds(Challenge, answers=U32, nonce=TEXT),
    st.builds(Proof, proof=TEXT),
    st.sampled_from((GetState(), Grab(), Ping(), Bye())),
    frames(),
)
sequenced = st.tuples(messages, U32)


def heard(decoder: Decoder, pieces: Iterable[bytes]) -> list[Received]:
    """What a decoder makes of bytes that come in `pieces`."""
    found = []
    for piece in pieces:
        decoder.feed(piece)
        while (received := decoder.next_message()) is not None:
            found.append(received)
    return found


def heard_to_the_end(decoder: Decoder, data: bytes) -> list[Received]:
    """The same, when nothing more comes."""
    found = heard(decoder, [data])
    while decoder.pending:
        decoder.give_up()
        found += heard(decoder, [b""])
    return found


def cut(data: bytes, at: Iterable[int]) -> list[bytes]:
    places = sorted(place % (len(data) + 1) for place in at)
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


# --- what goes over the wire ---


@pytest.mark.parametrize("name", GOLDEN)
def test_the_bytes_of_each_message(name: str) -> None:
    message, sequence, text = GOLDEN[name]
    assert encode(message, sequence=sequence).hex() == text.replace(" ", "")
    assert heard(Decoder(), [bytes.fromhex(text)]) == [Received(sequence=sequence, message=message)]


def test_there_is_a_golden_message_of_each_type() -> None:
    assert {type(message) for message, _, _ in GOLDEN.values()} == set(KINDS)


@given(st.lists(sequenced, max_size=4), st.lists(st.integers(0, 10_000), max_size=6))
def test_whatever_is_sent_is_heard_however_it_is_split(
    sent: list[tuple[Message, int]], at: list[int]
) -> None:
    data = b"".join(encode(message, sequence=number) for message, number in sent)
    decoder = Decoder()
    found = heard(decoder, cut(data, at))
    assert [(one.message, one.sequence) for one in found] == sent
    assert decoder.losses == stream.Losses()
    assert not decoder.pending


@given(sequenced)
def test_byte_by_byte_is_the_same(sent: tuple[Message, int]) -> None:
    data = encode(sent[0], sequence=sent[1])
    pieces = [bytes([byte]) for byte in data]
    decoder = Decoder()
    assert heard(decoder, pieces[:-1]) == []
    assert [one.message for one in heard(decoder, pieces[-1:])] == [sent[0]]


def test_a_long_text_is_cut_at_a_letter() -> None:
    data = encode(Refused(answers=1, reason="밖" * 400), sequence=1)
    (received,) = heard(Decoder(), [data])
    assert isinstance(received.message, Refused)
    assert received.message.reason == "밖" * (MAX_TEXT_BYTES // 3)


UNSENDABLE: dict[str, Message] = {
    "no number": Move(wd_um=float("nan")),
    "infinite": MoveStage(x_um=float("inf"), y_um=0.0),
    "no magnification": State(answers=1, wd_um=1.0, magnification=0.0),
    "negative magnification": Move(wd_um=1.0, magnification=-1.0),
    "answers nothing": Pong(answers=-1),
    "time before the beginning": Ack(answers=1, clock_us=-1),
    "no surrogates": Hello(name="\ud800"),
    "too little data": replace(A_FRAME, data=b"x"),
    "no pixels": replace(A_FRAME, width_px=0, data=b""),
    "too wide": replace(A_FRAME, width_px=8193, height_px=1, data=bytes(8193)),
    "odd depth": replace(A_FRAME, bits=12),
    "empty jpeg": replace(A_FRAME, encoding=Encoding.JPEG, data=b""),
    "backwards": replace(A_FRAME, end_us=1),
}


@pytest.mark.parametrize("case", UNSENDABLE)
def test_what_no_reader_would_take_is_not_sent(case: str) -> None:
    with pytest.raises(ValueError, match="cannot be sent"):
        encode(UNSENDABLE[case], sequence=1)


# --- what should not ---


@given(st.binary(max_size=300), sequenced, st.binary(max_size=300), sequenced)
def test_garbage_between_messages_is_counted_and_skipped(
    before: bytes, first: tuple[Message, int], between: bytes, second: tuple[Message, int]
) -> None:
    one, two = (encode(message, sequence=number) for message, number in (first, second))
    decoder = Decoder()
    found = heard_to_the_end(decoder, before + one + between + two)
    assert [received.message for received in found] == [first[0], second[0]]
    lost = len(before) + len(between)
    assert decoder.losses.garbage_bytes + 4 * decoder.losses.messages >= lost


@given(sequenced, sequenced, st.integers(0, 10_000))
def test_after_a_message_that_was_cut_off_the_next_is_found(
    first: tuple[Message, int], second: tuple[Message, int], at: int
) -> None:
    one, two = (encode(message, sequence=number) for message, number in (first, second))
    found = heard_to_the_end(Decoder(), one[: at % len(one)] + two)
    assert [received.message for received in found] == [second[0]]


@given(sequenced, sequenced, st.integers(0, 10_000), st.integers(1, 255))
def test_a_damaged_byte_costs_that_message_and_no_other(
    first: tuple[Message, int], second: tuple[Message, int], at: int, flips: int
) -> None:
    one, two = (encode(message, sequence=number) for message, number in (first, second))
    damaged = bytearray(one)
    damaged[at % len(one)] ^= flips
    decoder = Decoder()
    found = heard_to_the_end(decoder, bytes(damaged) + two)
    assert [received.message for received in found] == [second[0]]
    assert decoder.losses.messages + decoder.losses.garbage_bytes > 0
    assert decoder.losses.last


@given(st.lists(sequenced, min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_no_mutation_makes_it_raise_or_invent_a_message(
    sent: list[tuple[Message, int]], chance: random.Random
) -> None:
    whole = [encode(message, sequence=number) for message, number in sent]
    data = bytearray(b"".join(whole))
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(4):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del data[at : at + chance.randint(1, 40)]
            case 2:
                data[at:at] = chance.randbytes(chance.randint(1, 40))
            case _:
                data[at:at] = chance.choice(whole)
        data = data or bytearray(b"x")
    for received in heard_to_the_end(Decoder(), bytes(data)):
        assert encode(received.message, sequence=received.sequence) in whole


@given(st.binary(max_size=2000))
def test_no_bytes_at_all_make_it_raise(data: bytes) -> None:
    assert heard_to_the_end(Decoder(), data) == []


def with_header(kind: int, payload: bytes, **values: int) -> bytes:
    """A message whose CRCs are right, whatever else is not."""
    length = values.get("length", len(payload))
    head = struct.pack("<4sBBHII", MAGIC, values.get("version", 1), kind, 0, length, 1)
    check = zlib.crc32(head)
    last = struct.pack("<I", zlib.crc32(payload, check))
    return head + struct.pack("<I", check) + payload + last


@pytest.mark.parametrize(
    ("kind", "length"),
    [(KINDS[FrameData], MAX_PAYLOAD_BYTES + 1), (KINDS[Move], 1000), (KINDS[Bye], 2**32 - 1)],
)
def test_a_header_that_claims_too_much_is_refused_at_once(kind: int, length: int) -> None:
    decoder = Decoder()
    lie = with_header(kind, b"", length=length)[:HEADER_BYTES]
    following = encode(Ping(), sequence=2)
    assert [one.message for one in heard(decoder, [lie, following])] == [Ping()]
    assert decoder.losses.bad_headers == 1
    assert "claims" in decoder.losses.last


def test_the_largest_frame_passes() -> None:
    frame = replace(A_FRAME, width_px=8192, height_px=8192, bits=16, data=bytes(2 * 8192**2))
    (received,) = heard(Decoder(), [encode(frame, sequence=1)])
    assert received.message == frame


@pytest.mark.parametrize(("version", "kind"), [(2, KINDS[Ping]), (1, 0), (1, 16), (0, KINDS[Bye])])
def test_another_version_or_type_is_left_and_named(version: int, kind: int) -> None:
    decoder = Decoder()
    assert heard(decoder, [with_header(kind, b"", version=version)]) == []
    assert decoder.losses.bad_headers == 1
    assert ("version" if version != 1 else "type") in decoder.losses.last


SENSELESS = {
    "state with no number": (State, struct.pack("<Idd", 1, float("nan"), 2000.0)),
    "state without magnification": (State, struct.pack("<Idd", 1, 1.0, 0.0)),
    "move that is short": (Move, b"\0" * 15),
    "move that is long": (Move, b"\0" * 17),
    "ping with words": (Ping, b"x"),
    "reason that is no text": (Refused, b"\0\0\0\0\xff"),
    "frame without a head": (FrameData, b"\0" * 20),
    "frame with a byte too few": (FrameData, payload_of(A_FRAME)[1][:-1]),
    "frame with a byte too many": (FrameData, payload_of(A_FRAME)[1] + b"x"),
}


@pytest.mark.parametrize("case", SENSELESS)
def test_a_payload_that_makes_no_sense_is_left_and_counted(case: str) -> None:
    kind, payload = SENSELESS[case]
    decoder = Decoder()
    following = encode(Bye(), sequence=2)
    found = heard(decoder, [with_header(KINDS[kind], payload) + following])
    assert [one.message for one in found] == [Bye()]
    assert decoder.losses.bad_payloads == 1


def test_a_header_does_not_go_with_another_messages_payload() -> None:
    first, second = (
        encode(State(answers=n, wd_um=1.0, magnification=2.0), sequence=n) for n in (1, 2)
    )
    decoder = Decoder()
    assert heard(decoder, [first[:HEADER_BYTES] + second[HEADER_BYTES:]]) == []
    assert decoder.losses.bad_crcs == 1


# --- time and memory ---


def work(monkeypatch: pytest.MonkeyPatch, data: bytes) -> int:
    """How many bytes a decoder runs its checksum over."""
    done = 0
    crc32 = zlib.crc32

    def counted(data: bytes | memoryview, start: int = 0) -> int:
        nonlocal done
        done += len(data)
        return crc32(data, start)

    with monkeypatch.context() as patch:
        patch.setattr(zlib, "crc32", counted)
        heard_to_the_end(Decoder(), data)
    return done


@pytest.mark.parametrize("size", [20_000, 80_000])
def test_messages_within_messages_take_linear_time(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    count = size // (2 * HEADER_BYTES)
    claims = b"".join(
        with_header(KINDS[FrameData], b"", length=size // 2)[:HEADER_BYTES] for _ in range(count)
    )
    data = claims + bytes(size // 2 + 100)
    assert work(monkeypatch, data) < 12 * len(data)
    assert work(monkeypatch, MAGIC * (size // 4)) < 12 * size


def test_a_decoder_that_was_led_astray_finds_the_next_message() -> None:
    claims = with_header(KINDS[FrameData], b"", length=10_000)[:HEADER_BYTES] * 2000
    found = heard_to_the_end(Decoder(), claims + bytes(20_000) + encode(Ping(), sequence=7))
    assert found == [Received(sequence=7, message=Ping())]


@given(st.lists(st.binary(min_size=1, max_size=200), max_size=30))
def test_it_never_holds_more_than_one_message(pieces: list[bytes]) -> None:
    decoder = Decoder()
    small = with_header(KINDS[Refused], b"\0\0\0\0")[:HEADER_BYTES]
    for piece in pieces:
        heard(decoder, [piece, small, piece])
        assert len(decoder._buffer) <= HEADER_BYTES + MAX_TEXT_BYTES + 32 + 4
