"""The bridge's own codecs against those of the package: the same bytes, both ways."""

from dataclasses import fields

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afdaemon.drivers.bridge import em30_bridge as bridge
from afdaemon.drivers.errors import FrameInvalid, ProtocolError
from afdaemon.drivers.wire import aisem, jpeg, messages, stream
from afdaemon.drivers.wire.messages import (
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
)

U8, U16, U32, U64 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))
FINITE = st.floats(allow_nan=False, allow_infinity=False)
POSITIVE = st.floats(min_value=0.0, exclude_min=True, allow_infinity=False)
TEXT = st.text(st.characters(codec="utf-8"), max_size=700)
SIDE = st.integers(1, 12)


@st.composite
def frames(draw: st.DrawFn) -> FrameData:
    width, height, bits = draw(SIDE), draw(SIDE), draw(st.sampled_from((8, 16)))
    encoding = draw(st.sampled_from(Encoding))
    size = width * height * bits // 8
    start, end = sorted((draw(U64), draw(U64)))
    raw = st.binary(min_size=size, max_size=size)
    return FrameData(
        answers=draw(U32),
        number=draw(U32),
        width_px=width,
        height_px=height,
        bits=bits,
        encoding=encoding,
        magnification=draw(POSITIVE),
        wd_um=draw(FINITE),
        pixel_nm=draw(POSITIVE),
        dwell_ns=draw(FINITE),
        kv=draw(FINITE),
        start_us=start,
        end_us=end,
        data=draw(raw if encoding is Encoding.RAW else st.binary(min_size=1, max_size=99)),
    )


REQUESTS = st.one_of(
    st.builds(Hello, lowest=U8, highest=U8, name=TEXT),
    st.just(GetState()),
    st.builds(Move, wd_um=FINITE, magnification=st.none() | POSITIVE),
    st.builds(MoveStage, x_um=FINITE, y_um=FINITE),
    st.just(Grab()),
    st.just(Ping()),
    st.just(Bye()),
    st.builds(Proof, proof=TEXT),
)
ANSWERS = st.one_of(
    st.builds(Welcome, answers=U32, version=U8, name=TEXT),
    st.builds(State, answers=U32, wd_um=FINITE, magnification=POSITIVE),
    st.builds(Ack, answers=U32, clock_us=U64, settle_us=U32),
    st.builds(Refused, answers=U32, reason=TEXT),
    frames(),
    st.builds(Pong, answers=U32),
    st.builds(Challenge, answers=U32, nonce=TEXT),
)
EVERY_KIND = frozenset(bridge.Kind)


def as_the_bridge_has_it(message: Message, sequence: int) -> bridge.Message:
    """The bridge's form of the same message."""
    kind = bridge.Kind(messages.KINDS[type(message)])
    numbers: list[float] = []
    data = b""
    for field in fields(message):
        value = getattr(message, field.name)
        if isinstance(value, str):
            data = bridge.text_bytes(value)
        elif isinstance(value, bytes):
            data = value
        else:
            numbers.append(0 if value is None else value)
    return bridge.Message(kind, tuple(numbers), data, sequence)


def heard_by_bridge(data: bytes) -> list[bridge.Message]:
    decoder = bridge.Decoder(EVERY_KIND)
    decoder.feed(data)
    return list(iter(decoder.next_message, None))


def heard_by_package(data: bytes) -> list[stream.Received]:
    decoder = stream.Decoder()
    decoder.feed(data)
    return list(iter(decoder.next_message, None))


def test_both_know_the_same_kinds_and_caps() -> None:
    package = {number: kind.__name__ for kind, number in messages.KINDS.items()}
    assert sorted(package) == sorted(bridge.Kind)
    assert bridge.VERSION == messages.VERSION
    assert bridge.MAX_PAYLOAD_BYTES == messages.MAX_PAYLOAD_BYTES
    for kind in bridge.Kind:
        assert bridge.longest_payload(kind) == messages.longest(kind)


@given(message=REQUESTS | ANSWERS, sequence=U32)
def test_both_write_the_same_bytes(message: Message, sequence: int) -> None:
    theirs = stream.encode(message, sequence=sequence)
    assert bridge.encode(as_the_bridge_has_it(message, sequence)) == theirs


@given(message=REQUESTS | ANSWERS, sequence=U32)
def test_each_reads_what_the_other_writes(message: Message, sequence: int) -> None:
    (mine,) = heard_by_bridge(stream.encode(message, sequence=sequence))
    assert mine == as_the_bridge_has_it(message, sequence)
    (theirs,) = heard_by_package(bridge.encode(mine))
    assert as_the_bridge_has_it(theirs.message, theirs.sequence) == mine


@settings(max_examples=400)
@given(
    whole=st.lists(REQUESTS | ANSWERS, min_size=1, max_size=4),
    junk=st.binary(max_size=30),
    at=st.integers(0, 400),
    flips=st.lists(st.tuples(st.integers(0, 10**4), st.integers(1, 255)), max_size=3),
    cut=st.integers(0, 40),
)
def test_both_hear_the_same_in_damaged_bytes(
    whole: list[Message], junk: bytes, at: int, flips: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(b"".join(stream.encode(m, sequence=n) for n, m in enumerate(whole)))
    data[at:at] = junk
    for place, mask in flips:
        data[place % len(data)] ^= mask
    del data[len(data) // 2 : len(data) // 2 + cut]
    theirs = heard_by_package(bytes(data))
    assert heard_by_bridge(bytes(data)) == [
        as_the_bridge_has_it(received.message, received.sequence) for received in theirs
    ]


@given(kind=st.sampled_from(sorted(messages.KINDS.values())), payload=st.binary(max_size=120))
def test_both_find_the_same_payloads_senseless(kind: int, payload: bytes) -> None:
    mine = bridge.parse(bridge.Kind(kind), payload, 0)
    try:
        theirs = messages.parse(kind, payload)
    except messages.BadPayload:
        assert mine is None
    else:
        assert mine == as_the_bridge_has_it(theirs, 0)


@given(data=st.binary(max_size=2000))
def test_no_bytes_make_it_raise_and_none_are_held_for_long(data: bytes) -> None:
    decoder = bridge.Decoder()
    decoder.feed(data)
    assert list(iter(decoder.next_message, None)) == []
    while decoder.pending:
        decoder.give_up()
        assert decoder.next_message() is None


def test_a_client_cannot_announce_more_than_a_request_needs() -> None:
    frame = FrameData(
        answers=1, number=1, width_px=9, height_px=9, bits=8, encoding=Encoding.RAW,
        magnification=1.0, wd_um=1.0, pixel_nm=1.0, dwell_ns=0.0, kv=0.0, start_us=0, end_us=0,
        data=bytes(81),
    )  # fmt: skip
    decoder = bridge.Decoder()
    decoder.feed(stream.encode(frame, sequence=1)[:60])
    assert decoder.next_message() is None
    decoder.feed(stream.encode(Ping(), sequence=2))
    message = decoder.next_message()
    assert message is not None
    assert message.kind is bridge.Kind.PING


# --- the vendor's words ---


@given(wd_um=st.floats(allow_nan=True), magnification=st.integers(-5, 2 * 10**7))
def test_both_command_the_vendor_in_the_same_words(wd_um: float, magnification: int) -> None:
    try:
        theirs = aisem.encode(aisem.SetWdMag(wd_um=wd_um, magnification=magnification))
    except ProtocolError:
        with pytest.raises(bridge.Trouble):
            bridge.wdmag(bridge.Place(wd_um, magnification))
    else:
        assert bridge.wdmag(bridge.Place(wd_um, magnification)) == theirs


LINES = st.sampled_from(
    ("MAG=2000", "mag = 300", "MAG=20.5", "MAG=0", "WD=12400.0 um", "wd=12.4 MM", "WD=1e4 um",
     "WD=12400", "WD= nan um", "KV=15", "no sign", "MAG=", "WD=99999999 mm", "MAG=x2.0k", "MAG=2,000",
     "MAG=2.000,5", "WD=12,4mm", "WD=12.345 um", "WD=12,345 um", "WD=12 345,5 µm", "WD=12'345 nm", "WD=9 m")
)  # fmt: skip
REPLIES = (
    b"OK",
    b"NG",
    b"ERR",
    b"OR",
    b" ",
    b"\0",
    b"MAG=2000\r\n",
    b"WD=12 mm\r\n",
    b"WD=12 m",
    b"=",
)
QUANTITIES = st.text(st.sampled_from("0123456789.,' x×kuµmn+-e\u00a0"), max_size=12)
ENCODINGS = st.sampled_from(("euc_kr", "cp949", "utf-8", "utf-8-sig", "utf-16", "latin-1"))


@given(
    lines=st.lists(LINES | st.text(max_size=20), max_size=6),
    wd=QUANTITIES,
    magnification=QUANTITIES,
    encoding=ENCODINGS,
)
def test_both_read_the_same_out_of_a_parameter_text(
    lines: list[str], wd: str, magnification: str, encoding: str
) -> None:
    more = [f"WD={wd} um", f"MAG={magnification}"]
    data = "\r\n".join([*lines, *more]).encode(encoding, errors="replace")
    try:
        theirs = aisem.decode_parameters(data)
    except ProtocolError:
        with pytest.raises(ValueError, match=r"."):
            bridge.read_parameters(data)
    else:
        assert bridge.read_parameters(data) == (theirs.wd_um, theirs.magnification)


@pytest.mark.parametrize(
    "reply",
    [b"OK", b"NG no", b" error: x", "고NG".encode("euc_kr"), b"\xff", b"OKNG", b"OK\r\nNG", b"\0NG", b"ERROR=0",
     "NG".encode("utf-16")],
)  # fmt: skip
def test_both_take_the_same_replies_for_a_no(reply: bytes) -> None:
    assert bool(bridge.refusal(reply)) == aisem.is_refusal(reply)


@given(reply=st.lists(st.sampled_from(REPLIES) | st.binary(max_size=4), max_size=4).map(b"".join))
def test_both_await_the_same_ends_of_replies(reply: bytes) -> None:
    assert bridge.may_go_on(reply) == aisem.may_go_on(reply)
    assert bridge.report_may_go_on(reply) == aisem.report_may_go_on(reply)
    assert bridge.is_parameters(reply) == aisem.is_parameters(reply)


def a_picture() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", pixels)[1].tobytes()


PICTURE = a_picture()


@given(
    cut=st.integers(0, len(PICTURE)),
    flips=st.lists(st.tuples(st.integers(0, 700), st.integers(1, 255)), max_size=3),
)
def test_both_see_the_same_size_in_a_jpeg(cut: int, flips: list[tuple[int, int]]) -> None:
    data = bytearray(PICTURE[:cut] + b"\xff\xd9" if cut < len(PICTURE) else PICTURE)
    for place, mask in flips:
        data[place % len(data)] ^= mask
    try:
        theirs = jpeg.jpeg_size(bytes(data))
    except FrameInvalid:
        with pytest.raises(ValueError, match=r"."):
            bridge.jpeg_size(bytes(data))
    else:
        assert bridge.jpeg_size(bytes(data)) == theirs
