"""The bytes of the `aisem` link, both directions: commands, replies, parameter text. Pure.

Commands (client to instrument) are ASCII. The instrument's replies are EUC-KR text of at most 1024
bytes.

    Connected.  COMM.START.  READY     the handshake, one send each, about 5 ms apart
    WDMAG,<WD in mm>,<magnification>   go there, write one image pair; answered
    POSITION,<x in mm>,<y in mm>       move the stage; no answer
    GET_INFOR                          report the parameters; answered
    FINISH                             end of the session

**Where a message ends.** The link has neither delimiters nor lengths: one send is one message. TCP
keeps no such boundaries, so two sends may arrive as one chunk and one send as two. A word without
arguments ends with its last letter. A message with arguments ends where the next letter or line end
stands (no argument holds a letter: numbers are never written in scientific notation), or else where
the sender falls silent, which the caller, who has the clock, reports with `silent=True`.

Lengths are mm on the wire and um everywhere else. What the replies say is not known. ASSUMED: any
text acknowledges, unless one of its lines starts with `NG` or `ERROR`, also behind another
command's `OK`; GET_INFOR is answered with the parameter text that also comes with each image.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from afdaemon.drivers.errors import CommandRefused, ProtocolError
from afdaemon.drivers.wire import quantity
from afdaemon.drivers.wire.text import decode_strictly, decode_text, shown

DEFAULT_PORT = 9025
HANDSHAKE_GAP_S = 0.005
"""Pause between the words of the handshake."""

MAX_REPLY_BYTES = 1024
MAX_COMMANDS_BYTES = 4096
"""A peer that sends more without a command is not one of ours; the buffer must not grow."""
MAX_PARAMETER_BYTES = 16_384
"""The known files have about 40 short lines."""

ENCODING = "euc_kr"
WD_RESOLUTION_UM = 0.1
"""The smallest step of WD that WDMAG carries: mm with four decimals."""

_ANSWERS = (b"OK", b"NG", b"ERROR")
_REFUSAL = re.compile(r"^[\s\0]*(?:OK\W*)*(?:NG|ERROR)(?!\s*=)", re.IGNORECASE | re.MULTILINE)
MAX_LENGTH_UM = 1e7
MAX_MAGNIFICATION = 10_000_000


class Word(StrEnum):
    """Messages without arguments."""

    CONNECTED = "Connected."
    COMM_START = "COMM.START."
    READY = "READY"
    GET_INFOR = "GET_INFOR"
    FINISH = "FINISH"


HANDSHAKE = (Word.CONNECTED, Word.COMM_START, Word.READY)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetWdMag:
    """Go to the absolute WD `wd_um` (um) at `magnification`, and write one image pair."""

    wd_um: float
    magnification: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPosition:
    """Move the stage to `x_um`, `y_um` (um)."""

    x_um: float
    y_um: float


Message = Word | SetWdMag | SetPosition


# --- commands ---


def encode(message: Message) -> bytes:
    """One message as the bytes of one send.

    Raises `ProtocolError` for a value that the wire cannot carry.
    """
    match message:
        case Word():
            return message.value.encode("ascii")
        case SetWdMag(wd_um=wd_um, magnification=magnification):
            _check_magnification(magnification)
            return f"WDMAG,{_mm_text(wd_um)},{magnification:d}".encode("ascii")
        case SetPosition(x_um=x_um, y_um=y_um):
            return f"POSITION,{_mm_text(x_um)},{_mm_text(y_um)}".encode("ascii")


_COMMAND = re.compile(
    rb"(?P<word>Connected\.|COMM\.START\.|READY|GET_INFOR|FINISH)"
    rb"|(?P<name>WDMAG|POSITION),(?P<arguments>[^A-Za-z\r\n]*)"
)
_STARTS = (*(word.value.encode() for word in Word), b"WDMAG,", b"POSITION,")
_SEPARATORS = b" \t\r\n\0"


class CommandDecoder:
    """What the instrument receives: `feed` bytes as they come, then take messages until none is left.

    Whatever is not a command raises `ProtocolError` and empties the buffer, so that the next send is
    read afresh.
    """

    def __init__(self) -> None:
        self._buffer = b""

    @property
    def pending(self) -> bool:
        """Whether bytes are held that may be the start, or the whole, of one more message."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take bytes in. Raises `ProtocolError` when more are held than any command needs."""
        self._buffer = (self._buffer + data).lstrip(_SEPARATORS)
        if len(self._buffer) > MAX_COMMANDS_BYTES:
            self._buffer = b""
            raise ProtocolError(f"more than {MAX_COMMANDS_BYTES} bytes came without a command")

    def next_message(self, *, silent: bool = False) -> Message | None:
        """The next complete message, or None.

        `silent`: the sender has paused, so what is held is complete.
        """
        try:
            return self._next(silent=silent)
        except ProtocolError:
            self._buffer = b""
            raise

    def _next(self, *, silent: bool) -> Message | None:
        found = _COMMAND.match(self._buffer)
        if found is None:
            if self._buffer and (silent or not self._may_become_a_command()):
                raise ProtocolError(f"no command starts with {self._buffer[:40]!r}")
            return None
        open_ended = found["word"] is None and found.end() == len(self._buffer)
        if open_ended and not silent:
            return None
        self._buffer = self._buffer[found.end() :].lstrip(_SEPARATORS)
        if found["word"] is not None:
            return Word(found["word"].decode("ascii"))
        return _decode_arguments(found["name"], found["arguments"])

    def _may_become_a_command(self) -> bool:
        return any(start.startswith(self._buffer) for start in _STARTS)


def _decode_arguments(name: bytes, arguments: bytes) -> Message:
    texts = arguments.decode("ascii", errors="replace").strip(" \t\0").split(",")
    if len(texts) != 2:
        raise ProtocolError(f"{name.decode()} takes two numbers, got {arguments[:40]!r}")
    if name == b"POSITION":
        return SetPosition(x_um=_number(texts[0]) * 1000.0, y_um=_number(texts[1]) * 1000.0)
    return SetWdMag(wd_um=_number(texts[0]) * 1000.0, magnification=_magnification(texts[1]))


# --- replies ---


def encode_reply(text: str) -> bytes:
    """A reply as bytes. Raises `ProtocolError` when it is empty, too long or not EUC-KR text."""
    try:
        data = text.encode(ENCODING)
    except UnicodeEncodeError as error:
        raise ProtocolError(f"EUC-KR cannot write {text[error.start : error.end]!r}") from error
    _check_reply_size(data)
    return data


def decode_reply(data: bytes) -> str:
    """The text of a reply (at most 1024 bytes, EUC-KR or else marked or UTF-8). Raises `ProtocolError`."""
    _check_reply_size(data)
    try:
        return data.decode(ENCODING)
    except UnicodeDecodeError:
        return decode_strictly(data)


def may_go_on(data: bytes) -> bool:
    """Whether a reply that has come so far may be the beginning of more, which must be awaited then.

    It is one of the known answers but for its end, or a parameter text in which MAG or WD is not whole yet.
    """
    start = data.lstrip(_SEPARATORS).upper()
    if any(len(start) < len(word) and word.startswith(start) for word in _ANSWERS):
        return True
    return (
        b"=" in data
        and len(data) <= MAX_REPLY_BYTES
        and not (is_parameters(data) or is_refusal(data))
    )


def report_may_go_on(data: bytes) -> bool:
    """The same for the answer to GET_INFOR, which may also be broken off in its first key."""
    is_whole = (
        is_parameters(data) or is_refusal(data) or data.strip(_SEPARATORS).upper() in _ANSWERS
    )
    return not is_whole


def is_refusal(data: bytes) -> bool:
    """Whether a reply is a refusal, or ends in one. ASSUMED: a refusal starts with `NG` or `ERROR`."""
    return _REFUSAL.search(decode_text(data)) is not None


def is_parameters(data: bytes) -> bool:
    """Whether a reply is a whole parameter text, which answers GET_INFOR and nothing else."""
    try:
        decode_parameters(data)
    except ProtocolError:
        return False
    return True


def require_acknowledged(reply: str, *, command: str) -> None:
    """Raise `CommandRefused` when the reply is a refusal; see `is_refusal`."""
    if _REFUSAL.search(reply) is not None:
        told = " ".join(reply.split())[:120]
        raise CommandRefused(f"the instrument refused {command}: {told}")


def _check_reply_size(data: bytes) -> None:
    if not 0 < len(data) <= MAX_REPLY_BYTES:
        raise ProtocolError(f"a reply has 1 to {MAX_REPLY_BYTES} bytes, this one {len(data)}")


# --- parameter text ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What the instrument says about itself, or about the image that the text came with.

    `score` is the expert's 0..9 in labelled training files, otherwise None. `others` holds every
    further key, upper case, with its text.
    """

    wd_um: float
    magnification: float
    score: int | None = None
    others: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


_LINES = (
    "MODEL", "SERIAL", "DATE", "TIME", "WIDTH", "HEIGHT", "HV", "DETECTOR", "MAG", "SPOT", "BRIGHTNESS",
    "CONTRAST", "STAGE_X", "STAGE_Y", "STAGE_R", "STAGE_T", "SHIFT_X", "SHIFT_Y", "STIG_X", "STIG_Y", "WD",
)  # fmt: skip
"""Line by line from 1: MAG stands on line 9 and WD on line 21.

ASSUMED: the names of all the other keys.
"""

_SCORE = "SCORE"  # ASSUMED: the key of the expert's score
_SCORE_TEXT = re.compile(r"(.*[^0-9.,+-])?(?P<digit>[0-9])")  # not the last digit of 12 or 7.5
_WD_UNITS = ("um", "mm", "nm")


def encode_parameters(parameters: Parameters) -> bytes:
    """The text with MAG on line 9 and WD, in um, on line 21.

    Lines without a value in `others` are empty.
    """
    _check_magnification(parameters.magnification)
    _check_length(parameters.wd_um)
    values = {
        **parameters.others,
        "MAG": f"{parameters.magnification:.4f}".rstrip("0").rstrip("."),
        "WD": f"{parameters.wd_um:.3f} um",
    }
    keys = (*_LINES, *sorted(set(parameters.others) - set(_LINES)))
    lines = [f"{key}={values.get(key, '')}" for key in keys]
    if parameters.score is not None:
        lines.append(f"{_SCORE}={parameters.score}")
    try:
        return "".join(f"{line}\r\n" for line in lines).encode(ENCODING)
    except UnicodeEncodeError as error:
        raise ProtocolError("EUC-KR cannot write these parameters") from error


def decode_parameters(data: bytes) -> Parameters:
    """Read `KEY=value` lines, in any order, on any line, in any encoding; numbers as `quantity` reads them.

    MAG and WD must be there. Raises `ProtocolError`.
    """
    if len(data) > MAX_PARAMETER_BYTES:
        raise ProtocolError(f"the parameter text has more than {MAX_PARAMETER_BYTES} bytes")
    fields: dict[str, str] = {}
    for line in decode_text(data).splitlines():
        key, equals, value = line.partition("=")
        if equals:
            fields.setdefault(key.strip().upper(), value.strip())
    score = fields.pop(_SCORE, None)
    wd, magnification = _required(fields, "WD"), _required(fields, "MAG")
    decimal = quantity.decimal_mark((wd, magnification))
    return Parameters(
        magnification=_read_magnification(magnification, decimal),
        wd_um=_read_wd_um(wd, decimal),
        score=None if score is None else _last_digit(score),
        others=MappingProxyType(fields),
    )


def _required(fields: dict[str, str], key: str) -> str:
    try:
        return fields.pop(key)
    except KeyError:
        raise ProtocolError(f"the parameter text has no {key}") from None


def _read_wd_um(text: str, decimal: str) -> float:
    try:
        wd_um = quantity.length_um(text, decimal=decimal, units=_WD_UNITS)
        _check_length(wd_um)
    except ProtocolError as error:
        raise ProtocolError(f"WD cannot be read: {error}", remedy=error.remedy) from error
    return wd_um


def _read_magnification(text: str, decimal: str) -> float:
    try:
        magnification = quantity.magnification(text, decimal=decimal)
        _check_magnification(magnification)
    except ProtocolError as error:
        raise ProtocolError(f"MAG cannot be read: {error}", remedy=error.remedy) from error
    return magnification


def _last_digit(text: str) -> int:
    found = _SCORE_TEXT.fullmatch(text)
    if found is None:
        raise ProtocolError(f"{_SCORE} is a digit from 0 to 9, or ends in one, not {shown(text)}")
    return int(found["digit"])


# --- numbers of commands ---

_NUMBER = re.compile(r"[+-]?[0-9]{1,9}(\.[0-9]{0,9})?")


def _number(text: str) -> float:
    if _NUMBER.fullmatch(text.strip(" ")) is None:
        raise ProtocolError(f"not a number: {text[:40]!r}")
    return float(text)


def _magnification(text: str) -> int:
    number = _number(text)
    if number != int(number):
        raise ProtocolError(f"a magnification is a whole number, not {text[:40]!r}")
    _check_magnification(int(number))
    return int(number)


def _mm_text(um: float) -> str:
    """Millimetres with four decimals at most, and without an exponent: `12.4`."""
    _check_length(um)
    return f"{um / 1000.0:.4f}".rstrip("0").rstrip(".")


def _check_length(um: float) -> None:
    if not abs(um) <= MAX_LENGTH_UM:  # rejects NaN too
        raise ProtocolError(f"a length of {um} um is beyond what the link carries (10 m)")


def _check_magnification(magnification: float) -> None:
    if not 1 <= magnification <= MAX_MAGNIFICATION:  # rejects NaN too
        raise ProtocolError(
            f"a magnification lies in 1 to {MAX_MAGNIFICATION}, not {magnification:g}"
        )
