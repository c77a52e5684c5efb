import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.drivers.errors import CommandRefused, DriverError, ProtocolError
from afdaemon.drivers.wire.aisem import (
    HANDSHAKE,
    MAX_COMMANDS_BYTES,
    MAX_PARAMETER_BYTES,
    CommandDecoder,
    Message,
    Parameters,
    SetPosition,
    SetWdMag,
    Word,
    decode_parameters,
    decode_reply,
    encode,
    encode_parameters,
    encode_reply,
    may_go_on,
    require_acknowledged,
)

GOLDEN: list[tuple[Message, bytes]] = [
    (Word.CONNECTED, b"Connected."),
    (Word.COMM_START, b"COMM.START."),
    (Word.READY, b"READY"),
    (Word.GET_INFOR, b"GET_INFOR"),
    (SetWdMag(wd_um=12_400.0, magnification=2000), b"WDMAG,12.4,2000"),
    (SetWdMag(wd_um=9_000.1, magnification=10_000), b"WDMAG,9.0001,10000"),
    (SetPosition(x_um=15_000.0, y_um=-250.0), b"POSITION,15,-0.25"),
    (Word.FINISH, b"FINISH"),
]

LENGTHS_UM = st.floats(-1e6, 1e6)
MESSAGES = st.one_of(
    st.sampled_from(Word),
    st.builds(SetWdMag, wd_um=LENGTHS_UM, magnification=st.integers(1, 300_000)),
    st.builds(SetPosition, x_um=LENGTHS_UM, y_um=LENGTHS_UM),
)


def heard(chunks: list[bytes], *, silent: bool = True) -> list[Message]:
    decoder = CommandDecoder()
    messages: list[Message] = []
    for chunk in chunks:
        decoder.feed(chunk)
        while (message := decoder.next_message()) is not None:
            messages.append(message)
    while silent and decoder.pending:
        message = decoder.next_message(silent=True)
        assert message is not None
        messages.append(message)
    return messages


def agree(got: Message, sent: Message) -> bool:
    match got, sent:
        case SetWdMag(), SetWdMag():
            same_wd = abs(got.wd_um - sent.wd_um) < 0.1
            return same_wd and got.magnification == sent.magnification
        case SetPosition(), SetPosition():
            return abs(got.x_um - sent.x_um) < 0.1 and abs(got.y_um - sent.y_um) < 0.1
        case _:
            return got == sent


@pytest.mark.parametrize(("message", "data"), GOLDEN)
def test_golden_transcript(message: Message, data: bytes) -> None:
    assert encode(message) == data
    assert all(agree(got, message) for got in heard([data]))
    assert len(heard([data])) == 1


def test_a_whole_session_in_one_chunk_and_byte_by_byte() -> None:
    wanted = [message for message, _ in GOLDEN]
    data = b"".join(data for _, data in GOLDEN)
    for chunks in ([data], [bytes([byte]) for byte in data]):
        got = heard(chunks)
        assert len(got) == len(wanted)
        assert all(map(agree, got, wanted))


def test_the_handshake_needs_no_silence_but_numbers_do() -> None:
    assert heard([encode(word) for word in HANDSHAKE], silent=False) == list(HANDSHAKE)
    assert heard([b"WDMAG,12.4,20"], silent=False) == []
    assert heard([b"WDMAG,12.4,20", b"00"]) == [SetWdMag(wd_um=12_400.0, magnification=2000)]
    assert heard([b"WDMAG,12.4,2000\r\n"], silent=False) == [
        SetWdMag(wd_um=12_400.0, magnification=2000)
    ]


@given(messages=st.lists(MESSAGES, max_size=8), cuts=st.lists(st.integers(0, 200)))
def test_any_messages_in_any_chunks_round_trip(messages: list[Message], cuts: list[int]) -> None:
    data = b"".join(map(encode, messages))
    borders = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    got = heard([data[start:end] for start, end in pairwise(borders)])
    assert len(got) == len(messages)
    assert all(map(agree, got, messages))


@given(st.floats(-1e7, 1e7))
def test_a_length_never_needs_an_exponent_and_keeps_a_tenth_of_a_um(wd_um: float) -> None:
    data = encode(SetWdMag(wd_um=wd_um, magnification=1))
    text = data.split(b",")[1]
    assert b"e" not in text.lower()
    assert abs(float(text) * 1000.0 - wd_um) < 0.1


@pytest.mark.parametrize("wd_um", [math.nan, math.inf, -math.inf, 1e9])
def test_what_the_wire_cannot_carry_is_not_sent(wd_um: float) -> None:
    with pytest.raises(ProtocolError, match="beyond"):
        encode(SetWdMag(wd_um=wd_um, magnification=1000))


@pytest.mark.parametrize("magnification", [0, -5, 10**9])
def test_an_impossible_magnification_is_not_sent(magnification: int) -> None:
    with pytest.raises(ProtocolError, match="magnification"):
        encode(SetWdMag(wd_um=1.0, magnification=magnification))


@pytest.mark.parametrize(
    "data",
    [
        b"HELLO",
        b"WDMAG,1",
        b"WDMAG,1,2,3",
        b"WDMAG,nan,2000",
        b"WDMAG,1e3,2000",
        b"WDMAG,12.4,",
        b"WDMAG,12.4,0",
        b"WDMAG,12.4,20.5",
        b"WDMAG,1_0,20",
        b"WDMAG,\xff\xfe,20",
        b"POSITION,1",
        b"CONN",
        b"connected.",
    ],
)
def test_garbage_is_a_protocol_error_and_the_next_send_is_heard(data: bytes) -> None:
    decoder = CommandDecoder()
    decoder.feed(data)
    with pytest.raises(ProtocolError):
        decoder.next_message(silent=True)
    assert not decoder.pending
    decoder.feed(b"READY")
    assert decoder.next_message() is Word.READY


@given(st.lists(st.binary(max_size=60), max_size=6), st.data())
def test_any_mutation_raises_only_typed_errors(chunks: list[bytes], data: st.DataObject) -> None:
    sound = [encoded for _, encoded in GOLDEN]
    mixed = data.draw(st.permutations([*chunks, *sound]))
    decoder = CommandDecoder()
    for chunk in mixed:
        try:
            decoder.feed(chunk)
            while decoder.next_message(silent=data.draw(st.booleans())) is not None:
                pass
        except DriverError:
            continue


def test_the_command_buffer_is_capped() -> None:
    decoder = CommandDecoder()
    decoder.feed(b"WDMAG," + b"1" * (MAX_COMMANDS_BYTES - 6))
    with pytest.raises(ProtocolError, match="without a command"):
        decoder.feed(b"1")
    assert not decoder.pending


@given(st.text(alphabet="OK NG 확인 0123456789", min_size=1, max_size=200))
def test_replies_round_trip(text: str) -> None:
    assert decode_reply(encode_reply(text)) == text


@pytest.mark.parametrize("data", [b"", b"x" * 1025, b"\xff\xff\xff", "확".encode("euc_kr")[:1]])
def test_a_reply_that_is_none_is_a_protocol_error(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_reply(data)


@pytest.mark.parametrize("text", ["", "x" * 1025, "🙂"])
def test_a_reply_that_cannot_be_written_is_a_protocol_error(text: str) -> None:
    with pytest.raises(ProtocolError):
        encode_reply(text)


@pytest.mark.parametrize("text", ["OK", "OKOK", "anything", "12.4", "확인", "RANGE=1\nERROR=0"])
def test_any_other_text_acknowledges(text: str) -> None:
    require_acknowledged(text, command="WDMAG")


@pytest.mark.parametrize(
    "text",
    [
        "NG",
        "NG out of range",
        "ERROR 3",
        " error",
        "OKNG",
        "ok\r\nNG",
        "\0NG",
        "MAG=1\nWD=8 mm\nERROR 2",
    ],
)
def test_a_refusal_names_the_command(text: str) -> None:
    with pytest.raises(CommandRefused, match="WDMAG,60,2000"):
        require_acknowledged(text, command="WDMAG,60,2000")


def test_the_parameter_text_has_mag_on_line_9_and_wd_on_line_21() -> None:
    text = encode_parameters(Parameters(wd_um=12_400.25, magnification=2000)).decode("euc_kr")
    lines = text.splitlines()
    assert lines[8] == "MAG=2000"
    assert lines[20] == "WD=12400.250 um"
    assert text.endswith("\n")


@pytest.mark.parametrize(
    "text",
    [
        "a\nMAG=500\nWD=8000 um\n",
        "WD=8.0 mm\r\nMAG = 500\r\n",
        "\n" * 9 + "mag=500\n" + "\n" * 10 + "WD=+8000.0 UM",
        "MAG=500\rWD=8000um\r",
        "MAG=x500\nWD=8,000.0 um\n",
        "Mag=0,5k\nWd=8,0 mm\n",
        "MAG=500.0\nWD=8.000,0 µm\n",
        "MAG=500 X\nWD=8\u2009000 \u00b5m\n",
        "MAG=500,0\nWD=8.000 um\n",
        "NOTE=a=b\nMAG=500\nMAG=700\nWD=8000 um\nSCORE=focus 7\n",
    ],
)
def test_parameters_are_found_by_key_on_any_line(text: str) -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "cp949", "latin-1"):
        spelt = text.replace("\u00b5", "\u03bc") if encoding == "cp949" else text
        got = decode_parameters(spelt.encode(encoding, errors="ignore"))
        assert (got.wd_um, got.magnification) == (8000.0, 500)
        assert got.score == (7 if "SCORE" in text else None)


def test_a_magnification_need_not_be_whole() -> None:
    assert decode_parameters(b"MAG=2000.4\nWD=8 mm\n").magnification == 2000.4


@pytest.mark.parametrize(("line", "key"), [("WD=12,345 um", "WD"), ("MAG=2,000", "MAG")])
def test_what_is_ambiguous_is_refused_and_shown(line: str, key: str) -> None:
    text = f"{line}\nMAG=500\nWD=8000 um\n"
    with pytest.raises(
        ProtocolError, match=rf"{key} .* thousands .*'{line[len(key) + 1 :]}'"
    ) as told:
        decode_parameters(text.encode())
    assert "thousands separators" in told.value.remedy


@given(
    wd_um=st.floats(0.0, 1e6),
    magnification=st.integers(1, 300_000),
    score=st.none() | st.integers(0, 9),
    others=st.dictionaries(
        st.from_regex(r"[A-Z_]{3,12}", fullmatch=True).filter(
            lambda key: key not in {"MAG", "SCORE"}
        ),
        st.from_regex(r"[0-9A-Za-z.]{1,12}", fullmatch=True),
        max_size=4,
    ),
)
def test_parameters_round_trip(
    wd_um: float, magnification: int, score: int | None, others: dict[str, str]
) -> None:
    sent = Parameters(wd_um=wd_um, magnification=magnification, score=score, others=others)
    got = decode_parameters(encode_parameters(sent))
    assert abs(got.wd_um - wd_um) < 0.001
    assert got.magnification == magnification
    assert got.score == score
    assert {key: got.others[key] for key in others} == others


@pytest.mark.parametrize(
    "text",
    [
        "",
        "MAG=500\n",
        "WD=8000 um\n",
        "MAG=500\nWD=8000\n",
        "MAG=500\nWD=8000 cm\n",
        "MAG=500\nWD=8 m\n",
        "MAG=500 um\nWD=8000 um\n",
        "MAG=500\nWD=nan um\n",
        "MAG=500\nWD=99999999 um\n",
        "MAG=x\nWD=8000 um\n",
        "MAG=500\nWD=8000 um\nSCORE=good\n",
        "A=b\n" * MAX_PARAMETER_BYTES,
    ],
)
def test_a_parameter_text_without_what_is_needed_is_a_protocol_error(text: str) -> None:
    with pytest.raises(ProtocolError):
        decode_parameters(text.encode())


@given(st.binary(max_size=400), st.integers(0, 400), st.integers(0, 40))
def test_any_mutated_parameter_text_raises_only_typed_errors(
    junk: bytes, at: int, removed: int
) -> None:
    sound = encode_parameters(Parameters(wd_um=12_400.0, magnification=2000, score=3))
    try:
        got = decode_parameters(sound[:at] + junk + sound[at + removed :])
    except ProtocolError:
        return
    assert math.isfinite(got.wd_um)
    assert got.magnification >= 1


@pytest.mark.parametrize(
    "data",
    [b"N", b"n", b" E", b"ERR", b"erro", b"", b"O", b"MAG=2000\r\nW", b"MAG=2000\nWD=8000 u"],
)
def test_the_beginning_of_an_answer_is_no_answer_yet(data: bytes) -> None:
    assert may_go_on(data)


@pytest.mark.parametrize(
    "data",
    [b"NG", b"ERROR", b"NG: no", b"OK", b"Nein", b"\xb0\xa1", b"MAG=2000\nWD=8 mm\n", b"NG a=b"],
)
def test_anything_else_is(data: bytes) -> None:
    assert not may_go_on(data)
