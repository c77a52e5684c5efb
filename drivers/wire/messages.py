"""The messages of the `stream` link, and their payloads in bytes. Pure.

    client -> instrument                     instrument -> client
    HELLO  versions, name                    WELCOME version, name             or CHALLENGE nonce
    PROOF  HMAC of the nonce with the token  WELCOME                           or REFUSED
    GET_STATE                                STATE   WD um, magnification
    MOVE   WD um, magnification (0: as is)   ACK     clock us, settling us     or REFUSED reason
    STAGE  x um, y um                        ACK                               or REFUSED
    GRAB                                     FRAME   how it was taken, grey values             or REFUSED
    PING                                     PONG
    BYE                                      -

A frame's grey values are raw (little-endian) or, from a bridge, the vendor's JPEG. Times: the instrument's clock, us.
"""

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from afdaemon.drivers.base import MAX_FRAME_SIDE_PX

VERSION = 1
MAX_TEXT_BYTES = 512
WD_RESOLUTION_UM = 0.1
"""How much the wires alone may change a WD read back: the link on a bridge's other side has steps of 0.1 um."""


class Encoding(IntEnum):
    """How a frame's grey values are written."""

    RAW = 0
    JPEG = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """The client's first message: the versions it speaks, and its name."""

    lowest: int = VERSION
    highest: int = VERSION
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The instrument's answer to HELLO: the version they will speak, and its name."""

    answers: int
    version: int = VERSION
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """First prove that you know the token, without telling it: HMAC-SHA-256 of this `nonce`."""

    answers: int
    nonce: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The answer to a CHALLENGE, in hexadecimal digits."""

    proof: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GetState:
    """Where does the instrument stand?"""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Working distance as read back (um), and magnification."""

    answers: int
    wd_um: float
    magnification: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Go to a working distance (um, absolute); `magnification` None leaves it as it is."""

    wd_um: float
    magnification: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveStage:
    """Go to a place (um, absolute)."""

    x_um: float
    y_um: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """Carried out at `clock_us`; a frame whose exposure begins at least `settle_us` later is evidence."""

    answers: int
    clock_us: int
    settle_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Not carried out: `reason`."""

    answers: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Grab:
    """Expose a frame when the last move has settled, and send it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameData:
    """A frame; `number` advances with each exposure, `data` is the grey values in `encoding`.

    The exposure lasted from `start_us` to `end_us`; `wd_um` was read back, `dwell_ns` is the time on a pixel.
    """

    answers: int
    number: int
    width_px: int
    height_px: int
    bits: int
    encoding: Encoding
    magnification: float
    wd_um: float
    pixel_nm: float
    dwell_ns: float
    kv: float
    start_us: int
    end_us: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """Are you there?"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pong:
    """I am."""

    answers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bye:
    """The session ends."""


Message = (
    Hello | Welcome | GetState | State | Move | MoveStage | Ack | Refused | Grab | FrameData
    | Ping | Pong | Bye | Challenge | Proof
)  # fmt: skip
Answer = Welcome | Challenge | State | Ack | Refused | FrameData | Pong

_HELLO = struct.Struct("<BB")
_WELCOME = struct.Struct("<IB")
_STATE = struct.Struct("<Idd")
_PLACE = struct.Struct("<dd")
_ACK = struct.Struct("<IQI")
_ANSWER = struct.Struct("<I")
_FRAME = struct.Struct("<IIHHBBdddddQQ")
FRAME_HEAD_BYTES = _FRAME.size
MAX_PAYLOAD_BYTES = FRAME_HEAD_BYTES + 2 * MAX_FRAME_SIDE_PX**2


class BadPayload(ValueError):
    """A payload that no message of its type may have."""


def payload_of(message: Message) -> tuple[int, bytes]:
    """(type, payload) of `message`. Raises `ValueError` for one that no reader would take."""
    kind = KINDS[type(message)]
    try:
        payload = _pack(message)
        parse(kind, payload)
    except (struct.error, ValueError) as error:
        raise ValueError(f"this {type(message).__name__} cannot be sent: {error}") from error
    return kind, payload


def parse(kind: int, payload: bytes) -> Message:
    """The message of type `kind`. Raises `BadPayload`."""
    if len(payload) > longest(kind):
        raise BadPayload(f"it has {len(payload)} bytes, more than {longest(kind)}")
    try:
        return _PARSERS[kind](payload)
    except (struct.error, UnicodeDecodeError) as error:
        raise BadPayload(str(error)) from error


def longest(kind: int) -> int:
    """The most bytes that a payload of this type may have."""
    return MAX_PAYLOAD_BYTES if kind == KINDS[FrameData] else MAX_TEXT_BYTES + 32


def _pack(message: Message) -> bytes:
    match message:
        case Hello():
            return _HELLO.pack(message.lowest, message.highest) + _text(message.name)
        case Proof():
            return _text(message.proof)
        case Move():
            return _PLACE.pack(message.wd_um, message.magnification or 0.0)
        case MoveStage():
            return _PLACE.pack(message.x_um, message.y_um)
        case GetState() | Grab() | Ping() | Bye():
            return b""
        case _:
            return _pack_answer(message)


def _pack_answer(message: Answer) -> bytes:
    match message:
        case Welcome():
            return _WELCOME.pack(message.answers, message.version) + _text(message.name)
        case State():
            return _STATE.pack(message.answers, message.wd_um, message.magnification)
        case Ack():
            return _ACK.pack(message.answers, message.clock_us, message.settle_us)
        case Refused():
            return _ANSWER.pack(message.answers) + _text(message.reason)
        case Challenge():
            return _ANSWER.pack(message.answers) + _text(message.nonce)
        case FrameData():
            return _frame_head(message) + message.data
        case Pong():
            return _ANSWER.pack(message.answers)


def _frame_head(frame: FrameData) -> bytes:
    return _FRAME.pack(
        frame.answers,
        frame.number,
        frame.width_px,
        frame.height_px,
        frame.bits,
        frame.encoding,
        frame.magnification,
        frame.wd_um,
        frame.pixel_nm,
        frame.dwell_ns,
        frame.kv,
        frame.start_us,
        frame.end_us,
    )


def _text(text: str) -> bytes:
    return text.encode()[:MAX_TEXT_BYTES].decode(errors="ignore").encode()


def _finite(value: float, name: str, above: float = -math.inf) -> float:
    if not above < value < math.inf:
        raise BadPayload(f"{name} is {value}")
    return value


def _above_0(value: float, name: str) -> float:
    return _finite(value, name, above=0.0)


def _exactly(form: struct.Struct, payload: bytes) -> tuple[int | float, ...]:
    if len(payload) != form.size:
        raise BadPayload(f"it has {len(payload)} bytes, not {form.size}")
    return form.unpack(payload)


def _nothing(make: Callable[[], Message]) -> Callable[[bytes], Message]:
    def parse(payload: bytes) -> Message:
        if payload:
            raise BadPayload(f"it has {len(payload)} bytes, not 0")
        return make()

    return parse


def _hello(payload: bytes) -> Message:
    lowest, highest = _HELLO.unpack_from(payload)
    return Hello(lowest=lowest, highest=highest, name=payload[_HELLO.size :].decode())


def _welcome(payload: bytes) -> Message:
    answers, version = _WELCOME.unpack_from(payload)
    return Welcome(answers=answers, version=version, name=payload[_WELCOME.size :].decode())


def _state(payload: bytes) -> Message:
    answers, wd_um, magnification = _exactly(_STATE, payload)
    return State(
        answers=int(answers),
        wd_um=_finite(wd_um, "the WD"),
        magnification=_above_0(magnification, "the magnification"),
    )


def _move(payload: bytes) -> Message:
    wd_um, magnification = _exactly(_PLACE, payload)
    return Move(
        wd_um=_finite(wd_um, "the WD"),
        magnification=_above_0(magnification, "the magnification") if magnification else None,
    )


def _stage(payload: bytes) -> Message:
    x_um, y_um = _exactly(_PLACE, payload)
    return MoveStage(x_um=_finite(x_um, "x"), y_um=_finite(y_um, "y"))


def _ack(payload: bytes) -> Message:
    answers, clock_us, settle_us = _exactly(_ACK, payload)
    return Ack(answers=int(answers), clock_us=int(clock_us), settle_us=int(settle_us))


def _refused(payload: bytes) -> Message:
    (answers,) = _ANSWER.unpack_from(payload)
    return Refused(answers=answers, reason=payload[_ANSWER.size :].decode())


def _challenge(payload: bytes) -> Message:
    (answers,) = _ANSWER.unpack_from(payload)
    return Challenge(answers=answers, nonce=payload[_ANSWER.size :].decode())


def _pong(payload: bytes) -> Message:
    (answers,) = _exactly(_ANSWER, payload)
    return Pong(answers=int(answers))


def _frame(payload: bytes) -> Message:
    answers, number, width, height, bits, encoding, mag, wd, pixel, dwell, kv, start, end = (
        _FRAME.unpack_from(payload)
    )
    if not (0 < width <= MAX_FRAME_SIDE_PX and 0 < height <= MAX_FRAME_SIDE_PX):
        raise BadPayload(f"it has {width} x {height} pixels")
    if bits not in (8, 16):
        raise BadPayload(f"it has {bits} bits a pixel")
    if encoding not in tuple(Encoding):
        raise BadPayload(f"its encoding is {encoding}")
    data = payload[FRAME_HEAD_BYTES:]
    whole = width * height * bits // 8
    if len(data) != whole if encoding == Encoding.RAW else not data:
        raise BadPayload(f"it has {len(data)} bytes of grey values, not {whole}")
    if end < start:
        raise BadPayload("its exposure ended before it began")
    return FrameData(
        answers=answers,
        number=number,
        width_px=width,
        height_px=height,
        bits=bits,
        encoding=Encoding(encoding),
        magnification=_above_0(mag, "the magnification"),
        wd_um=_finite(wd, "the WD"),
        pixel_nm=_above_0(pixel, "the pixel size"),
        dwell_ns=_finite(dwell, "the dwell time"),
        kv=_finite(kv, "the voltage"),
        start_us=start,
        end_us=end,
        data=data,
    )


KINDS: dict[type[Message], int] = {
    kind: number
    for number, kind in enumerate(
        (Hello, Welcome, GetState, State, Move, MoveStage, Ack, Refused, Grab, FrameData,
         Ping, Pong, Bye, Challenge, Proof),
        start=1,
    )
}  # fmt: skip
_PARSERS: dict[int, Callable[[bytes], Message]] = {
    KINDS[Hello]: _hello,
    KINDS[Welcome]: _welcome,
    KINDS[GetState]: _nothing(GetState),
    KINDS[State]: _state,
    KINDS[Move]: _move,
    KINDS[MoveStage]: _stage,
    KINDS[Ack]: _ack,
    KINDS[Refused]: _refused,
    KINDS[Grab]: _nothing(Grab),
    KINDS[FrameData]: _frame,
    KINDS[Ping]: _nothing(Ping),
    KINDS[Pong]: _pong,
    KINDS[Bye]: _nothing(Bye),
    KINDS[Challenge]: _challenge,
    KINDS[Proof]: lambda payload: Proof(proof=payload.decode()),
}
