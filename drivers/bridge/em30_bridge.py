r"""The bridge between the vendor's EM-30 software and an autofocus daemon on another machine.

    vendor's software  <-- aisem: TCP 9025 and the drop folder -->  this program  <-- stream: TCP 9030 -->  daemon

It runs on the vendor's PC: one file, Python 3.9 or newer, nothing to install.

    python em30_bridge.py --folder C:\aisem --listen 0.0.0.0:9030 --allow 192.168.1.0/24
    python em30_bridge.py --folder C:\aisem --check

What it promises: a MOVE is acknowledged only after the vendor's software has answered, is never repeated by the bridge
itself, and is refused with the reason where it was not carried out. Where nobody can know (the vendor's software fell
silent, or its link broke during the command) the bridge hangs up on the daemon, which then knows that it does not know.
While the vendor's software is away the daemon is refused, with the reason.
A frame belongs to the last command: what lay in the folder before, or shows another WD, is never passed on. The JPEG
is passed on unchanged.

The stream link has no encryption and no password: it listens on this machine alone unless --allow names the networks
that may connect.

From top to bottom: the stream link's bytes, the vendor's words, the drop folder, the vendor's software, the daemon,
the command line. The bytes are those of afdaemon's own codecs, written again because this file may import nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hmac
import ipaddress
import itertools
import logging
import logging.handlers
import math
import os
import re
import secrets
import signal
import struct
import sys
import time
import unicodedata
import zlib
from collections import deque
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Callable, NamedTuple, NoReturn, TypeVar, Union, cast

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Sequence

__version__ = "1.0.0"

log = logging.getLogger("em30_bridge")

T = TypeVar("T")


class Trouble(Exception):
    """A request that was not carried out; the daemon gets the reason."""


class Broken(Exception):
    """The vendor's link broke during a request, which may or may not have been carried out: hang up on the daemon."""


class BadInput(Exception):
    """Bad input to the program: one sentence, exit code 2."""


def now_us() -> int:
    """This program's clock: the stream link's times are on it."""
    return time.monotonic_ns() // 1000


def now_s() -> float:
    """Monotonic seconds."""
    return time.monotonic()


async def within(work: Awaitable[T], timeout_s: float | None) -> T:
    """Its result, or `asyncio.TimeoutError` after so long.

    `asyncio.wait_for` does the same, but before Python 3.12 it loses a cancellation that comes together with the
    result: a program that is told to end then goes on.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=timeout_s)
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
        if task.cancelled():
            raise asyncio.TimeoutError
        return task.result()
    finally:
        task.cancel()


def on_one_line(text: object, longest: int = 160) -> str:
    """Text from outside, fit for a log line or a reason."""
    printable = "".join(c if c.isprintable() else " " for c in str(text))
    return " ".join(printable.split())[:longest]


def why(error: OSError) -> str:
    """What the operating system says."""
    return on_one_line(error.strerror or error)


# --- the stream link's bytes ---

MAGIC = b"AF30"
VERSION = 1
MAX_TEXT_BYTES = 512
MAX_FRAME_SIDE_PX = 8192
DEFAULT_LISTEN = "127.0.0.1:9030"


class Kind(IntEnum):
    """Types of messages."""

    HELLO = 1
    WELCOME = 2
    GET_STATE = 3
    STATE = 4
    MOVE = 5
    STAGE = 6
    ACK = 7
    REFUSED = 8
    GRAB = 9
    FRAME = 10
    PING = 11
    PONG = 12
    BYE = 13
    CHALLENGE = 14
    PROOF = 15


REQUESTS = frozenset(
    (
        Kind.HELLO,
        Kind.PROOF,
        Kind.GET_STATE,
        Kind.MOVE,
        Kind.STAGE,
        Kind.GRAB,
        Kind.PING,
        Kind.BYE,
    )
)
"""What a client may send."""


class Layout(NamedTuple):
    """How a payload is written: its numbers, a rule for each, and whether text or data follows.

    Rules: `.` anything, `f` finite, `p` finite and above 0, `z` that or 0.
    """

    numbers: struct.Struct
    rules: str
    tail: str = ""


LAYOUTS = {
    Kind.HELLO: Layout(struct.Struct("<BB"), "..", "text"),  # lowest, highest version; name
    Kind.WELCOME: Layout(struct.Struct("<IB"), "..", "text"),  # answers, version; name
    Kind.GET_STATE: Layout(struct.Struct("<"), ""),
    Kind.STATE: Layout(struct.Struct("<Idd"), ".fp"),  # answers, WD um, magnification
    Kind.MOVE: Layout(struct.Struct("<dd"), "fz"),  # WD um, magnification
    Kind.STAGE: Layout(struct.Struct("<dd"), "ff"),  # x um, y um
    Kind.ACK: Layout(struct.Struct("<IQI"), "..."),  # answers, clock us, settling us
    Kind.REFUSED: Layout(struct.Struct("<I"), ".", "text"),  # answers; reason
    Kind.GRAB: Layout(struct.Struct("<"), ""),
    # answers, number, width, height, bits, encoding, magnification, WD um, pixel nm, dwell ns, kV, start us, end us
    Kind.FRAME: Layout(struct.Struct("<IIHHBBdddddQQ"), "......pfpff..", "data"),
    Kind.PING: Layout(struct.Struct("<"), ""),
    Kind.PONG: Layout(struct.Struct("<I"), "."),  # answers
    Kind.BYE: Layout(struct.Struct("<"), ""),
    Kind.CHALLENGE: Layout(struct.Struct("<I"), ".", "text"),  # answers; nonce
    Kind.PROOF: Layout(struct.Struct("<"), "", "text"),  # proof
}
RAW, JPEG = 0, 1
MAX_PAYLOAD_BYTES = LAYOUTS[Kind.FRAME].numbers.size + 2 * MAX_FRAME_SIDE_PX**2

HEADER = struct.Struct("<4sBBHII")
CRC = struct.Struct("<I")
HEADER_BYTES = HEADER.size + CRC.size


class Message(NamedTuple):
    """A message: its numbers in the order of `LAYOUTS`, and its text (UTF-8) or data."""

    kind: Kind
    numbers: tuple[float, ...] = ()
    data: bytes = b""
    sequence: int = 0


def longest_payload(kind: Kind) -> int:
    """The most bytes that a payload of this kind may have."""
    return MAX_PAYLOAD_BYTES if kind is Kind.FRAME else MAX_TEXT_BYTES + 32


def text_bytes(text: str) -> bytes:
    """Text as it is sent: UTF-8, cut between two characters."""
    cut = text.encode("utf-8", errors="replace")[:MAX_TEXT_BYTES]
    return cut.decode("utf-8", errors="ignore").encode("utf-8")


def encode(message: Message) -> bytes:
    """The bytes of `message`. Raises `ValueError` for one that no reader would take."""
    try:
        payload = LAYOUTS[message.kind].numbers.pack(*message.numbers) + message.data
    except struct.error as error:
        raise ValueError(f"{message.kind.name} cannot be sent: {error}") from error
    if parse(message.kind, payload, 0) is None:
        raise ValueError(f"no reader would take this {message.kind.name}")
    sequence = message.sequence & 0xFFFFFFFF
    head = HEADER.pack(MAGIC, VERSION, message.kind, 0, len(payload), sequence)
    check = zlib.crc32(head)
    return b"".join((head, CRC.pack(check), payload, CRC.pack(zlib.crc32(payload, check))))


def parse(kind: Kind, payload: bytes, sequence: int) -> Message | None:
    """The message of that kind, or None where no such message can have this payload."""
    layout = LAYOUTS[kind]
    size = layout.numbers.size
    most = longest_payload(kind) if layout.tail else size
    if not size <= len(payload) <= most:
        return None
    numbers = layout.numbers.unpack_from(payload)
    message = Message(kind, numbers, payload[size:], sequence)
    return message if _makes_sense(message, layout) else None


def _makes_sense(message: Message, layout: Layout) -> bool:
    rules = zip(layout.rules, message.numbers)
    if not all(_keeps(rule, number) for rule, number in rules):
        return False
    if layout.tail == "text":
        try:
            message.data.decode("utf-8")
        except UnicodeDecodeError:
            return False
    return message.kind is not Kind.FRAME or _is_a_frame(message)


def _keeps(rule: str, number: float) -> bool:
    if rule == ".":
        return True
    least_ok = rule == "f" or number > 0.0 or (rule == "z" and number == 0.0)
    return math.isfinite(number) and least_ok


def _is_a_frame(message: Message) -> bool:
    _, _, width, height, bits, encoding, *_, start, end = message.numbers
    if not (0 < width <= MAX_FRAME_SIDE_PX and 0 < height <= MAX_FRAME_SIDE_PX):
        return False
    if bits not in (8, 16) or encoding not in (RAW, JPEG) or end < start:
        return False
    whole = width * height * bits // 8
    return len(message.data) == whole if encoding == RAW else bool(message.data)


class Decoder:
    """Messages of the `heard` kinds out of bytes; whatever else comes is skipped and counted in `lost`."""

    def __init__(self, heard: frozenset[Kind] = REQUESTS) -> None:
        self._heard = heard
        self._buffer = bytearray()
        self.lost = 0

    @property
    def pending(self) -> bool:
        """Whether bytes are held that may be the start of a message."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> None:
        """Append what has arrived."""
        self._buffer += data

    def next_message(self) -> Message | None:
        """The next whole message, or None until more bytes come."""
        while self._find_magic() and len(self._buffer) >= HEADER_BYTES:
            head = bytes(self._buffer[:HEADER_BYTES])
            claimed = self._read_header(head)
            if claimed is None:
                self._skip()
                continue
            kind, length, sequence = claimed
            end = HEADER_BYTES + length + CRC.size
            if len(self._buffer) < end:
                return None
            payload = bytes(self._buffer[HEADER_BYTES : end - CRC.size])
            told = CRC.unpack_from(self._buffer, end - CRC.size)[0]
            if told != zlib.crc32(payload, zlib.crc32(head[: HEADER.size])):
                self._skip()
                continue
            del self._buffer[:end]
            message = parse(kind, payload, sequence)
            if message is not None:
                return message
            self.lost += 1
        return None

    def give_up(self) -> None:
        """The sender has fallen silent in the middle of a message: look for the next one behind its start."""
        if self._buffer:
            self._skip()

    def _find_magic(self) -> bool:
        at = self._buffer.find(MAGIC)
        if at < 0:
            keep = next(n for n in (3, 2, 1, 0) if self._buffer.endswith(MAGIC[:n]))
            at = len(self._buffer) - keep
        if at:
            self.lost += 1
            del self._buffer[:at]
        return len(self._buffer) >= len(MAGIC)

    def _read_header(self, head: bytes) -> tuple[Kind, int, int] | None:
        _, version, number, _, length, sequence = HEADER.unpack_from(head)
        if CRC.unpack_from(head, HEADER.size)[0] != zlib.crc32(head[: HEADER.size]):
            return None
        if (
            version != VERSION
            or number not in self._heard
            or length > longest_payload(Kind(number))
        ):
            return None
        return Kind(number), length, sequence

    def _skip(self) -> None:
        del self._buffer[: len(MAGIC)]
        self.lost += 1


# --- the vendor's words ---

HANDSHAKE = (b"Connected.", b"COMM.START.", b"READY")
HANDSHAKE_GAP_S = 0.005
MAX_REPLY_BYTES = 1024
MAX_PARAMETER_BYTES = 16_384
VENDOR_ENCODING = "euc_kr"
ANSWERS = (b"OK", b"NG", b"ERROR")
SEPARATORS = b" \t\r\n\0"
WD_RESOLUTION_UM = 0.1
MAX_LENGTH_UM = 1e7
MAX_MAGNIFICATION = 10_000_000
REFERENCE_WIDTH_NM = 127e6
"""Width of the picture that magnification refers to. ASSUMED: the usual 127 mm."""

SAME_MAGNIFICATION, SAME_ROUNDED = 0.01, 0.5
"""Relative and absolute: a magnification that is shown may be rounded, or measured."""

_REFUSAL = re.compile(r"^[\s\0]*(?:OK\W*)*(?:NG|ERROR)(?!\s*=)", re.IGNORECASE | re.MULTILINE)
_TEXT_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))

_LONGEST_NUMBER = 64
_QUANTITY = re.compile(
    r"(?P<times>[x×])? ?(?P<number>[+-]?\.?[0-9](?:[0-9., ']*[0-9])?(?P<exponent>e[+-]?[0-9]{1,3})?)"
    r" ?(?P<unit>[^\d\s.,'+-][^\d\s]{0,7}(?: [^\d\s]{1,8})?)?"
)
_GROUPED = re.compile(r"[0-9]{1,3}(?P<by>[., '])[0-9]{3}(?:(?P=by)[0-9]{3})*")
_EITHER = re.compile(r"[1-9][0-9]{0,2}[.,][0-9]{3}")
_LATIN_1_UM = b"\xb5m".decode("cp949")
_WD_UNITS_UM = {"mm": 1e3, "um": 1.0, "μm": 1.0, _LATIN_1_UM: 1.0, "nm": 1e-3}
_TIMES = {"": 1.0, "x": 1.0, "×": 1.0, "k": 1e3, "kx": 1e3, "k x": 1e3, "k×": 1e3, "k ×": 1e3}


class Place(NamedTuple):
    """A working distance (um) and a magnification."""

    wd_um: float
    magnification: float

    def __str__(self) -> str:
        return f"WD {self.wd_um:.1f} um, {self.magnification:g}x"


def wdmag(place: Place) -> bytes:
    """The command that goes there. Raises `Trouble` for what the link cannot carry."""
    if not 1 <= place.magnification <= MAX_MAGNIFICATION:
        raise Trouble(
            f"a magnification lies in 1 to {MAX_MAGNIFICATION}, not {place.magnification:g}"
        )
    return f"WDMAG,{_mm_text(place.wd_um)},{round(place.magnification):d}".encode("ascii")


def position(x_um: float, y_um: float) -> bytes:
    """The command that moves the stage. Raises `Trouble` for what the link cannot carry."""
    return f"POSITION,{_mm_text(x_um)},{_mm_text(y_um)}".encode("ascii")


def refusal(reply: bytes) -> str:
    """The vendor's reason where its reply is, or ends in, a refusal, else "". ASSUMED: it starts with NG or ERROR."""
    if _REFUSAL.search(decode_text(reply)) is None:
        return ""
    try:
        return on_one_line(reply.decode(VENDOR_ENCODING))
    except UnicodeDecodeError:
        return on_one_line(decode_text(reply))


def may_go_on(reply: bytes) -> bool:
    """Whether a known answer, or a parameter text, may have come but for its end."""
    start = reply.lstrip(SEPARATORS).upper()
    if any(len(start) < len(word) and word.startswith(start) for word in ANSWERS):
        return True
    return (
        b"=" in reply
        and len(reply) <= MAX_REPLY_BYTES
        and not (is_parameters(reply) or refusal(reply))
    )


def report_may_go_on(reply: bytes) -> bool:
    """The same for the answer to GET_INFOR, which may also be broken off in its first key."""
    is_whole = is_parameters(reply) or refusal(reply) or reply.strip(SEPARATORS).upper() in ANSWERS
    return not is_whole


def is_parameters(reply: bytes) -> bool:
    """Whether a reply is a whole parameter text, which answers GET_INFOR and nothing else."""
    try:
        read_parameters(reply)
    except ValueError:
        return False
    return True


def decode_text(data: bytes) -> str:
    """By its mark, or else UTF-8, Korean (CP949, which holds EUC-KR), or Latin 1, which takes anything."""
    marked = [name for mark, name in _TEXT_MARKS if data.startswith(mark)]
    for name in marked or ("utf-8", "cp949"):
        with contextlib.suppress(UnicodeDecodeError):
            return data.decode(name)
    return data.decode("latin-1")


def read_fields(data: bytes) -> dict[str, str]:
    """The `KEY=value` lines of a parameter text. Raises `ValueError` for one that is too long."""
    if len(data) > MAX_PARAMETER_BYTES:
        raise ValueError(f"the parameter text has more than {MAX_PARAMETER_BYTES} bytes")
    fields: dict[str, str] = {}
    for line in decode_text(data).splitlines():
        key, equals, value = line.partition("=")
        if equals:
            fields.setdefault(key.strip().upper(), value.strip())
    return fields


def read_identity(data: bytes) -> str:
    """What tells one instrument from another; "" if the text says nothing of it. ASSUMED: the keys."""
    fields = read_fields(data)
    return " ".join(filter(None, (fields.get("MODEL"), fields.get("SERIAL"))))


def read_parameters(data: bytes) -> Place:
    """WD and magnification out of `KEY=value` lines in any order. Raises `ValueError`."""
    fields = read_fields(data)
    if "MAG" not in fields or "WD" not in fields:
        raise ValueError("the parameter text lacks MAG or WD")
    proved = {_proof(fields["WD"]), _proof(fields["MAG"])} - {""}
    decimal = proved.pop() if len(proved) == 1 else ""
    wd, unit, times = read_quantity(fields["WD"], decimal)
    number, factor, _ = read_quantity(fields["MAG"], decimal)
    if times or unit not in _WD_UNITS_UM or factor not in _TIMES:
        raise ValueError("MAG is not a number, or WD is not a number of um or mm")
    wd_um, magnification = wd * _WD_UNITS_UM[unit], number * _TIMES[factor]
    if abs(wd_um) > MAX_LENGTH_UM or not 1 <= magnification <= MAX_MAGNIFICATION:
        raise ValueError("MAG or WD is out of range")
    return Place(wd_um, magnification)


def read_quantity(text: str, decimal: str = "") -> tuple[float, str, bool]:
    """Number, unit in lower case, and whether `x` stood before it; `decimal` is the text's decimal mark, if known.

    A comma that may separate thousands or decimals is not guessed. Raises `ValueError`.
    """
    found, body = _matched(text)
    exponent = found["exponent"] or ""
    whole, mark, decimals = _parts(body, decimal)
    grouped = _GROUPED.fullmatch(whole)
    digits = whole.replace(grouped["by"], "") if grouped and grouped["by"] != mark else whole
    if not re.fullmatch("[0-9]+", digits + decimals):
        raise ValueError(f"not a number: {text[:40]!r}")
    value = float(f"{digits}.{decimals}{exponent}")
    if not math.isfinite(value):
        raise ValueError(f"not a number: {text[:40]!r}")
    is_below_0 = found["number"].startswith("-")
    return -value if is_below_0 else value, found["unit"] or "", found["times"] is not None


def _matched(text: str) -> tuple[re.Match[str], str]:
    """The parts of a quantity, and its digits and marks. Raises `ValueError`."""
    same = unicodedata.normalize("NFKC", text[: _LONGEST_NUMBER + 1]).casefold()
    plain = same.translate({0x2019: "'", 0x2212: "-", 0x9: " "}).strip()
    found = _QUANTITY.fullmatch(plain) if len(text) <= _LONGEST_NUMBER else None
    if found is None:
        raise ValueError(f"not a number: {text[:40]!r}")
    exponent = found["exponent"] or ""
    number = found["number"]
    return found, number[: len(number) - len(exponent)].lstrip("+-").rstrip()


def _parts(body: str, decimal: str) -> tuple[str, str, str]:
    last = max(body.rfind("."), body.rfind(","))
    mark = body[last] if last >= 0 else ""
    if not mark or body.count(mark) > 1:
        return body, "", ""
    if _EITHER.fullmatch(body) and mark != decimal:
        if decimal:
            return body, "", ""
        if mark == ",":
            raise ValueError(
                f"the comma in {body!r} may separate thousands or decimals: let the vendor's software write"
                " numbers with a decimal point and without thousands separators"
            )
    return body[:last], mark, body[last + 1 :]


def _proof(text: str) -> str:
    """The decimal mark that a number proves; "" if it proves none."""
    try:
        read_quantity(text)
        body = _matched(text)[1]
    except ValueError:
        return ""
    whole, mark, _ = _parts(body, "")
    grouped = _GROUPED.fullmatch(whole)
    if _EITHER.fullmatch(body):
        return ""
    return mark or {".": ",", ",": "."}.get(grouped["by"] if grouped else "", "")


def _mm_text(um: float) -> str:
    if not abs(um) <= MAX_LENGTH_UM:
        raise Trouble(f"a length of {um:g} um is beyond what the link carries")
    return f"{um / 1000.0:.4f}".rstrip("0").rstrip(".")


# --- the drop folder ---

IMAGE_NAME = "ResponseImage.jpg"
TEXT_NAME = "ResponseImage.txt"
MAX_IMAGE_BYTES = 32 * 1024 * 1024
MAX_FOLDER_ENTRIES = 4096
IN_USE_S = 0.6
"""How long to retry a file that the vendor's software still has open (Windows: sharing violation)."""
IN_USE_PAUSE_S = 0.02

_NO_SEGMENT = frozenset((0x01, *range(0xD0, 0xD8)))
_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN = 0xDA


def jpeg_size(data: bytes) -> tuple[int, int]:
    """(width, height) of a complete JPEG, from its header (ITU-T T.81, annex B). Raises `ValueError`."""
    if not (data.startswith(b"\xff\xd8") and data.rstrip(b"\0").endswith(b"\xff\xd9")):
        raise ValueError("the image is not a complete JPEG")
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _NO_SEGMENT or marker == 0xFF:
            at += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in _SIZE_MARKERS and length >= 7:
            height, width = struct.unpack_from(">HH", data[at + 5 : at + 9].ljust(4, b"\0"))
            if width and height:
                return width, height
        if marker in _SIZE_MARKERS or marker == _SCAN or length < 2:
            break
        at += 2 + length
    raise ValueError("the JPEG's header names no image size")


class Pair(NamedTuple):
    """A complete pair: the JPEG as it is, its size, and where, and by which instrument, its text says it was taken."""

    image: bytes
    width_px: int
    height_px: int
    place: Place
    identity: str = ""


class Partial(NamedTuple):
    """A pair that cannot be used yet, or (`hopeless`) ever: `why`. `text` is what its text held."""

    why: str
    text: bytes = b""
    hopeless: bool = False


class DropFolder:
    """The folder that the vendor's software writes pairs into. Everything here blocks: call it in a thread.

    Names are found in any case. A pair is complete when the picture has its end marker and the text its keys and its
    last line end; a text that stays the same from one look to the next is also taken without that line end.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def check(self) -> None:
        """Raise `BadInput` where the folder cannot be used."""
        if not self.path.is_dir():
            raise BadInput(f"the folder {self.path} does not exist, or is not a folder")
        probe = self.path / f".em30-bridge-{os.getpid()}"
        try:
            self._files()
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise BadInput(f"the folder {self.path} cannot be used: {why(error)}") from error

    def waiting(self) -> list[str]:
        """Names of the vendor's files that lie there."""
        return [path.name for paths in self._files().values() for path in paths]

    def clear(self) -> bool:
        """Remove what lies there; returns whether anything did. Raises `Trouble`."""
        try:
            found = [path for paths in self._files().values() for path in paths]
            for path in found:
                _unlink(path)
        except OSError as error:
            raise Trouble(
                f"an old frame cannot be removed from the drop folder: {why(error)}"
            ) from error
        return bool(found)

    def take(self, last_text: bytes) -> Pair | Partial | None:
        """Read, check and remove a pair; None when none is there. `last_text`: the text at the last look.

        Raises `Trouble` when it cannot be removed.
        """
        text = b""
        try:
            files = self._files()
            if len(files) < 2:
                return None
            text = _read(files[TEXT_NAME.lower()][0], MAX_PARAMETER_BYTES)
            image = _read(files[IMAGE_NAME.lower()][0], MAX_IMAGE_BYTES)
            if len(text) > MAX_PARAMETER_BYTES or len(image) > MAX_IMAGE_BYTES:
                return Partial("a file in the drop folder is too large", hopeless=True)
            width, height = jpeg_size(image)
            if max(width, height) > MAX_FRAME_SIDE_PX:
                return Partial(f"the image has {width} x {height} pixels", hopeless=True)
            if not text.endswith(b"\n") and text != last_text:
                return Partial("the text has no end yet", text)
            pair = Pair(image, width, height, read_parameters(text), read_identity(text))
        except ValueError as error:
            return Partial(str(error), text)
        except OSError as error:  # the vendor's software still has it open, or the share is away
            return Partial(why(error), text)
        self.clear()
        return pair

    def _files(self) -> dict[str, list[Path]]:
        """The vendor's files by their names in lower case. Raises `OSError`."""
        files: dict[str, list[Path]] = {}
        with os.scandir(self.path) as entries:
            for entry in itertools.islice(entries, MAX_FOLDER_ENTRIES):
                if entry.name.lower() in (IMAGE_NAME.lower(), TEXT_NAME.lower()):
                    files.setdefault(entry.name.lower(), []).append(Path(entry.path))
        return files


def _read(path: Path, cap: int) -> bytes:
    if not path.is_file():
        raise OSError(f"{path.name} is not a plain file")
    with path.open("rb") as file:
        return file.read(cap + 1)


def _unlink(path: Path) -> None:
    until_s = now_s() + IN_USE_S
    while not _unlinked(path, patient=now_s() < until_s):
        time.sleep(IN_USE_PAUSE_S)


def _unlinked(path: Path, *, patient: bool) -> bool:
    try:
        path.unlink()
    except PermissionError:
        if not patient:
            raise
        return False
    except FileNotFoundError:
        pass
    return True


# --- the vendor's software ---

QUIET_S = 0.01
"""Silence that ends a reply, which has no delimiter. The known server sends a reply in one piece."""
CONNECT_TIMEOUT_S = 2.0
REPLY_TIMEOUT_S = 1.0
INFOR_TIMEOUT_S = 0.5
ASK_AGAIN_S = 1.5
"""A command is repeated when no pair has come for this long."""
HALF_WRITTEN_S = 0.75
"""A pair that is still incomplete after this time is given up."""
POLL_S = 0.02
MAX_DROPPED = 5
"""A GRAB is refused after this many unusable pairs."""
MAX_OWED = 16
MAX_EARLIER = 16
"""Orders that are still owed a pair, and earlier places, that are remembered."""
READBACK_UM = 2.1
"""How far a frame's WD may lie from its order's. ASSUMED."""
RECONNECT_FIRST_S, RECONNECT_CAP_S, GOOD_AFTER_S = 0.25, 3.0, 5.0
STAGE_TIME_US = 5_000_000
"""Longest duration of a stage move, whose end nothing signals. ASSUMED: the known client waits 4 to 5 s."""

Wanted = Callable[[], bool]


class VendorLine(asyncio.Protocol):
    """One connection to the vendor's software: commands out, replies in. `over` is set when it has ended."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.why_over = ""
        self._held = bytearray()
        self._is_asked = False
        self._news = asyncio.Event()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Keep what fits; one byte more than that shows that there was too much."""
        self._held += data[: MAX_REPLY_BYTES + 1 - len(self._held)]
        self._news.set()
        refused = "" if self._is_asked else refusal(bytes(self._held))
        if refused:  # an answer too many: a command that counts as carried out was not
            self.abort(f"it refused what it had acknowledged, or nothing that was sent: {refused}")

    def connection_lost(self, exc: Exception | None) -> None:
        """The peer has gone."""
        said = refusal(bytes(self._held))
        self._end(f"it closed the connection: {said}" if said else "it closed the connection")

    def send(self, data: bytes) -> None:
        """Send a command, whether or not it has a reply. Raises `Broken` when the line is over."""
        if self.over.is_set() or self._transport is None:
            raise Broken(f"the link to the vendor's software broke: {self.why_over}")
        self._held.clear()
        self._transport.write(data)

    async def reply(
        self, timeout_s: float, may_go_on: Callable[[bytes], bool] = may_go_on
    ) -> bytes | None:
        """What the vendor's software replies; None if it says nothing. Raises `Broken` when the line breaks."""
        self._is_asked = True
        try:
            return await self._whole_reply(timeout_s, may_go_on)
        finally:
            self._is_asked = False

    async def _whole_reply(
        self, timeout_s: float, may_go_on: Callable[[bytes], bool]
    ) -> bytes | None:
        if not self._held:
            await self._more_within(timeout_s)
        until_s = now_s() + timeout_s
        while 0 < len(self._held) <= MAX_REPLY_BYTES:
            # "N" may be the beginning of a refusal: it is no answer yet
            wait_s = max(QUIET_S, until_s - now_s()) if may_go_on(bytes(self._held)) else QUIET_S
            if not await self._more_within(wait_s):
                break
        reply = bytes(self._held)
        self._held.clear()
        if len(reply) > MAX_REPLY_BYTES:
            self.abort("a reply had no end")
        if self.over.is_set():  # what was heard may be half a reply
            raise Broken(f"the link to the vendor's software broke: {self.why_over}")
        return reply or None

    async def _more_within(self, timeout_s: float) -> bool:
        if self.over.is_set():
            return False
        self._news.clear()
        try:
            await within(self._news.wait(), timeout_s)
        except asyncio.TimeoutError:
            return False
        return True

    def abort(self, cause: str) -> None:
        """End it now."""
        self._end(cause)
        if self._transport is not None:
            self._transport.abort()

    async def finish(self) -> None:
        """Say FINISH and hang up."""
        if self._transport is not None and not self.over.is_set():
            self._transport.write(b"FINISH")
            self._transport.close()
            with contextlib.suppress(asyncio.TimeoutError):
                await within(self.over.wait(), REPLY_TIMEOUT_S)

    def _end(self, cause: str) -> None:
        if not self.over.is_set():
            self.why_over = cause
            self.over.set()
            self._news.set()


class Order(NamedTuple):
    """A command that was acknowledged at `ack_us` and makes one pair."""

    place: Place
    ack_us: int


class Shot(NamedTuple):
    """A pair that belongs to the last command, and the earliest and latest time at which it was taken."""

    pair: Pair
    start_us: int
    end_us: int


class Session:
    """Commands and frames over one line.

    A broken session is discarded. What outlives it: `earlier`, the places commanded before, whose frames may still
    come, and `first`, what the instrument that was connected first told of itself.

    Every WDMAG makes exactly one pair, in order, after the column has settled. So the session keeps the orders whose
    pair is still owed: a move leaves one, `grab` takes it, or repeats the command when none is owed.
    """

    def __init__(
        self,
        line: VendorLine,
        folder: DropFolder,
        options: Options,
        earlier: deque[Place],
        first: set[str],
    ) -> None:
        self.line = line
        self._first = first
        self._folder = folder
        self._options = options
        self._target: Place | None = None
        self._known: Place | None = None
        self._is_seen = False  # what is known was reported, and not only commanded
        self._earlier = earlier
        self._owed: deque[Order] = deque(maxlen=MAX_OWED)
        self._evidence_us = 0  # a frame counts when its order was acknowledged no earlier
        self._infor_late = False

    async def greet(self) -> None:
        """Say the three words. ASSUMED: they are not answered."""
        for word in HANDSHAKE:
            self.line.send(word)
            await asyncio.sleep(HANDSHAKE_GAP_S)

    async def present(self) -> Place:
        """Where the instrument stands: by GET_INFOR, or as last known. Raises `Trouble`, `Broken`."""
        if not self._infor_late:
            self.line.send(b"GET_INFOR")
            reply = await self.line.reply(INFOR_TIMEOUT_S, report_may_go_on)
            self._infor_late = reply is None
            with contextlib.suppress(ValueError):
                self._known = read_parameters(reply or b"")
                self._is_seen = True
                self._require_same(read_identity(reply or b""))
        if self._known is None or not self._is_seen:
            raise Trouble(
                "WD and magnification are not known: the vendor's software does not answer GET_INFOR"
            )
        return self._known

    def _require_same(self, identity: str) -> None:
        """Hang up on another instrument than the first. Raises `Broken`."""
        if identity:
            if not self._first:
                self._first.add(identity)
            if identity not in self._first:
                first = next(iter(self._first))
                cause = f"another instrument answers, {identity}; the first was {first}: restart the bridge to use it"
                self.line.abort(cause)
                raise Broken(cause)

    async def move(self, wd_um: float, magnification: float) -> int:
        """Go there (magnification 0: keep it); returns the clock at the acknowledgement. Raises `Trouble`, `Broken`."""
        low, high = self._options.min_wd_um, self._options.max_wd_um
        if not low <= wd_um <= high:
            raise Trouble(
                f"WD {wd_um:g} um is outside {low:g} to {high:g} um, which this bridge was started with"
            )
        if not magnification:
            magnification = await self._present_magnification()
        self._evidence_us = await self._command(Place(wd_um, round(magnification)))
        return self._evidence_us

    async def _present_magnification(self) -> float:
        """As reported; what was commanded where that may be the same, for a report may be rounded."""
        shown = (self._known or await self.present()).magnification
        target = self._target
        is_target = target is not None and is_same(shown, target.magnification)
        return target.magnification if target is not None and is_target else shown

    def move_stage(self, x_um: float, y_um: float) -> int:
        """Send the stage there; returns the clock. There is no answer: frames wait until it must have arrived."""
        self.line.send(position(x_um, y_um))
        clock_us = now_us()
        self._evidence_us = clock_us + STAGE_TIME_US
        return clock_us

    async def grab(self, wanted: Wanted) -> Shot:
        """The pair that is owed, or one more at the present place. Raises `Trouble`, `Broken`."""
        while wanted() and now_us() < self._evidence_us:  # noqa: ASYNC110 - both come with time alone
            await asyncio.sleep(POLL_S)
        until_s = now_s() + self._options.frame_timeout_s
        problem = "none came"
        for _ in range(MAX_DROPPED):
            if not self._owed:
                await self._command(self._target or await self.present())
            looked = await self._next(until_s, wanted)
            if isinstance(looked, Shot):
                return looked
            if looked is None:
                await self._ask_again()
            problem = looked or problem
        raise Trouble(f"{MAX_DROPPED} frames in a row were not evidence: {problem}")

    async def _command(self, place: Place) -> int:
        """Send WDMAG and await its answer. What lies in the folder is older, and is removed first."""
        data = wdmag(place)
        if await asyncio.to_thread(self._folder.clear) and self._owed:
            self._owed.popleft()
        self._earlier.append(place)
        self.line.send(data)
        reply = await self._reply_to_wdmag()
        if reply is None:  # a late answer would be taken for that of the next command
            self.line.abort("a command was not answered in time")
            raise Broken(
                f"the vendor's software did not answer {data.decode()} within {REPLY_TIMEOUT_S:g} s"
            )
        refused = refusal(reply)
        if refused:
            raise Trouble(f"the vendor's software refused {data.decode()}: {refused}")
        ack_us = now_us()
        self._target = self._known = place
        self._is_seen = False
        self._owed.append(Order(place, ack_us))
        return ack_us

    async def _reply_to_wdmag(self) -> bytes | None:
        reply = await self.line.reply(REPLY_TIMEOUT_S)
        if self._infor_late and reply is not None:
            with contextlib.suppress(ValueError):
                read_parameters(reply)
                self._infor_late = False
                return await self.line.reply(REPLY_TIMEOUT_S)
        return reply

    async def _ask_again(self) -> None:
        """Repeat a command whose pair has not come. Of two pairs that may come now, the first is the first order's."""
        before = [order for order in self._owed if order.ack_us >= self._evidence_us]
        await self._command(self._target or await self.present())
        latest = self._owed[-1]
        self._owed.clear()
        self._owed.append(before[0] if before else latest)

    async def _next(self, until_s: float, wanted: Wanted) -> Shot | str | None:
        """The next pair of the last command; why one was dropped; None when it is time to ask again."""
        quiet_since_s, partial_since_s, partial = now_s(), math.inf, Partial("")
        while True:
            looked = await asyncio.to_thread(self._folder.take, partial.text)
            if isinstance(looked, Pair):
                shot = self._judge(looked)
                if shot is not None or not self._owed:
                    return shot or f"it was taken at {looked.place}"
                quiet_since_s, partial_since_s, partial = now_s(), math.inf, Partial("")
            elif looked is not None:
                partial, partial_since_s = looked, min(partial_since_s, now_s())
                if looked.hopeless or now_s() - partial_since_s >= HALF_WRITTEN_S:
                    await self._give_up()
                    return looked.why
            self._check(until_s, wanted, partial.why)
            if looked is None and now_s() - quiet_since_s >= ASK_AGAIN_S:
                return None
            await asyncio.sleep(POLL_S)

    def _check(self, until_s: float, wanted: Wanted, problem: str) -> None:
        if self.line.over.is_set():
            raise Broken(f"the link to the vendor's software broke: {self.line.why_over}")
        if not wanted():
            raise Trouble("nobody is waiting for the frame any more")
        if now_s() >= until_s:
            limit = f"no usable frame within {self._options.frame_timeout_s:g} s"
            raise Trouble(f"{limit}: {problem or 'nothing came; check the option --folder'}")

    async def _give_up(self) -> None:
        await asyncio.to_thread(self._folder.clear)
        if self._owed:
            self._owed.popleft()

    def _judge(self, pair: Pair) -> Shot | None:
        """The shot, or None for a pair of an older command. The pair, and those owed before it, are no longer owed.

        A pair that belongs to no command at all is passed on: the daemon decides what is evidence.
        """
        end_us = now_us()
        orders = list(self._owed)
        mine = next((n for n, order in enumerate(orders) if is_at(pair.place, order.place)), None)
        older = mine is None and any(is_at(pair.place, place) for place in self._earlier)
        mine = mine or 0
        for _ in orders[: mine + 1]:
            self._owed.popleft()
        is_other = pair.identity not in ("", *(self._first or [pair.identity]))
        if is_other or older or not orders or orders[mine].ack_us < self._evidence_us:
            return None
        self._known = pair.place
        self._is_seen = True
        return Shot(pair, orders[mine].ack_us, end_us)


def is_at(seen: Place, ordered: Place) -> bool:
    """Whether a frame may have been taken by this order."""
    return abs(seen.wd_um - ordered.wd_um) <= READBACK_UM and is_same(
        seen.magnification, ordered.magnification
    )


def is_same(one: float, other: float) -> bool:
    """Whether two magnifications may be one, differently written."""
    return math.isclose(one, other, rel_tol=SAME_MAGNIFICATION, abs_tol=SAME_ROUNDED)


class Vendor:
    """The vendor's software: keeps a session up, and lets one request at a time through."""

    def __init__(self, folder: DropFolder, options: Options) -> None:
        self._folder = folder
        self._options = options
        self._session: Session | None = None
        self._earlier: deque[Place] = deque(maxlen=MAX_EARLIER)
        self._first: set[str] = set()
        self._why_down = "it has not been reached yet"
        self._turn = asyncio.Lock()
        self.on_lost: Callable[[str], None] = log.debug

    async def keep_connected(self) -> None:
        """Connect, and connect again whenever the line ends, until cancelled."""
        delay_s = RECONNECT_FIRST_S
        while True:
            began_s = now_s()
            try:
                self._session = await self.connect()
            except CONNECT_ERRORS as error:
                self._complain(on_one_line(error) or "it does not answer")
            else:
                log.info("connected to the vendor's software at %s", self._options.vendor)
                await self._session.line.over.wait()
                self._complain(self._session.line.why_over)
                self.on_lost(self.problem())
            if now_s() - began_s >= GOOD_AFTER_S:
                delay_s = RECONNECT_FIRST_S
            await asyncio.sleep(delay_s)
            delay_s = min(2.0 * delay_s, RECONNECT_CAP_S)

    async def connect(self) -> Session:
        """A greeted session. Raises `CONNECT_ERRORS`."""
        loop = asyncio.get_running_loop()
        vendor = self._options.vendor
        line = VendorLine()
        session = Session(line, self._folder, self._options, self._earlier, self._first)
        try:
            opening = loop.create_connection(lambda: line, vendor.host, vendor.port)
            await within(opening, CONNECT_TIMEOUT_S)
            await session.greet()
            if self._first:  # is it the same instrument again?
                with contextlib.suppress(Trouble):
                    await session.present()
        except asyncio.CancelledError:
            line.abort("the bridge ends")
            raise
        return session

    def problem(self) -> str:
        """Why it cannot be asked for anything now; "" if it can."""
        if self._session is not None and not self._session.line.over.is_set():
            return ""
        return f"the vendor's software at {self._options.vendor} is not connected: {self._why_down}"

    def session(self) -> Session:
        """The session, which is up. Raises `Trouble` at once if it is down."""
        problem = self.problem()
        if self._session is None or problem:
            raise Trouble(problem)
        return self._session

    async def answer(self, request: Message, wanted: Wanted) -> Answer:
        """Carry out a request when its turn comes, if it is still `wanted` then. Raises `Trouble`, `Broken`."""
        self.session()
        async with self._turn:
            if not wanted():
                raise Trouble("nobody is waiting for the answer any more")
            session = self.session()
            if request.kind is Kind.MOVE:
                return await session.move(*request.numbers)
            if request.kind is Kind.STAGE:
                return session.move_stage(*request.numbers)
            if request.kind is Kind.GRAB:
                return await session.grab(wanted)
            return await session.present()

    async def finish(self) -> None:
        """Say FINISH, if the line is up."""
        if self._session is not None:
            await self._session.line.finish()

    def _complain(self, cause: str) -> None:
        if cause != self._why_down:
            address = self._options.vendor
            log.warning("the vendor's software at %s is not connected: %s", address, cause)
        self._why_down = cause


Answer = Union[int, Shot, Place]
"""The clock at an acknowledgement, a frame, or the state."""
CONNECT_ERRORS = (OSError, Broken, asyncio.TimeoutError)


# --- the daemon ---

SILENT_S = 5.0
"""A client that has been silent for this long, while nothing was owed to it, gives way to another."""
LEAST_TOKEN = 16
"""Characters of a token: fewer can be guessed by trying."""
HELLO_WITHIN_S = 5.0
"""A client that has not said HELLO by then is disconnected."""
CUT_OFF_S = 1.0
"""A message whose sender pauses for this long is given up."""
SEND_TIMEOUT_S = 10.0
"""A client that does not take an answer within this time is disconnected."""
MAX_STRANGERS = 8
"""Connections that have not been welcomed yet; more are turned away."""
MAX_WAITING = 16
"""Requests of a client that wait for their turn; more are refused."""
READ_BYTES = 65_536


class Visit:
    """One connection from a client. Its requests are accepted once its HELLO has been answered by WELCOME."""

    def __init__(
        self, server: DaemonServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.peer = peer_of(writer)
        self.gone = False
        self.welcome = False
        self.name = ""
        self._nonce = ""
        self._server = server
        self._reader = reader
        self._writer = writer
        self._decoder = Decoder()
        self._requests: asyncio.Queue[Message | None] = asyncio.Queue()
        self._busy_with: Message | None = None
        self._active_s = now_s()
        self._sequence = 0
        self._sending = asyncio.Lock()

    @property
    def silent_s(self) -> float:
        """How long it has been silent while nothing was owed to it."""
        return 0.0 if self._busy_with else now_s() - self._active_s

    async def hear(self) -> None:
        """Take requests until the client leaves. PING is answered at once, even while a request is under way."""
        began_s = self._active_s
        while not self.gone:
            data = await self._read()
            if data == b"" or (not self.welcome and now_s() - began_s > HELLO_WITHIN_S):
                return
            lost = self._decoder.lost
            self._decoder.feed(data or b"")
            message = self._decoder.next_message()
            while message is not None and message.kind is not Kind.BYE:
                self._active_s = now_s()
                await self._hear_one(message)
                message = self._decoder.next_message()
            if self._decoder.lost > lost:
                log.warning("%s sent bytes that are no message", self.peer)
            if message is not None:
                return

    async def work(self) -> None:
        """Carry out the requests in order."""
        while True:
            request = await self._requests.get()
            if request is None or self.gone:
                return
            self._busy_with = request
            await self._carry_out(request)

    def hang_up(self, cause: str) -> None:
        """Disconnect this client now."""
        if not self.gone:
            log.warning("hanging up on %s: %s", self.peer, cause)
        self.leave()
        self._writer.transport.abort()

    def leave(self) -> None:
        """Mark the client as gone: requests of its that have not begun are not carried out."""
        self.gone = True
        self._requests.put_nowait(None)

    async def _read(self) -> bytes | None:
        """What has come, empty at the end; None when the sender has paused in the middle of a message."""
        patience_s = CUT_OFF_S if self._decoder.pending or not self.welcome else None
        try:
            return await within(self._reader.read(READ_BYTES), patience_s)
        except asyncio.TimeoutError:
            self._decoder.give_up()
            return None

    async def _hear_one(self, message: Message) -> None:
        if message.kind is Kind.HELLO:
            await self._greet(message)
        elif message.kind is Kind.PROOF:
            await self._check_proof(message)
        elif not self.welcome:
            await self._refuse(message, "HELLO comes first")
        elif message.kind is Kind.PING:
            await self._send(Message(Kind.PONG, (message.sequence,)))
        elif self._requests.qsize() >= MAX_WAITING:
            await self._refuse(message, f"{MAX_WAITING} requests are already waiting")
        elif self._grabbing() and message.kind is Kind.GRAB:
            self._busy_with = message  # one frame answers both, and names the later one
        else:
            self._requests.put_nowait(message)

    async def _greet(self, hello: Message) -> None:
        lowest, highest = hello.numbers
        if not lowest <= VERSION <= highest:
            problem = f"this bridge speaks version {VERSION}, not {lowest} to {highest}"
            await self._turn_away(hello, problem)
            return
        if not self.welcome:
            self.name = hello.data.decode("utf-8")
        if self._server.token and not self.welcome:
            self._nonce = secrets.token_hex(16)
            await self._send(
                Message(Kind.CHALLENGE, (hello.sequence,), self._nonce.encode("ascii"))
            )
        else:
            await self._welcome(hello)

    async def _check_proof(self, proof: Message) -> None:
        nonce, self._nonce = self._nonce, ""
        wanted = hmac.new(self._server.token.encode("utf-8"), nonce.encode("ascii"), "sha256")
        if nonce and hmac.compare_digest(proof.data, wanted.hexdigest().encode("ascii")):
            await self._welcome(proof)
        else:
            log.warning("%s does not know the token", self.peer)
            await self._turn_away(proof, "its token is not that of --token-file")

    async def _welcome(self, request: Message) -> None:
        problem = self._server.seat(self)
        if problem:
            await self._turn_away(request, problem)
            return
        if not self.welcome:
            log.info("%s is connected: %s", self.peer, on_one_line(self.name))
        self.welcome = True
        name = text_bytes(f"em30-bridge {__version__}")
        await self._send(Message(Kind.WELCOME, (request.sequence, VERSION), name))

    async def _turn_away(self, request: Message, problem: str) -> None:
        await self._refuse(request, problem)
        self.leave()

    def _grabbing(self) -> bool:
        """Whether the frame under way is all that it wants."""
        present = self._busy_with
        return present is not None and present.kind is Kind.GRAB and self._requests.empty()

    def _waits_for(self, request: Message) -> bool:
        """Whether `request` is still wanted: any other request after it ends a GRAB."""
        return not self.gone and (request.kind is not Kind.GRAB or self._grabbing())

    async def _carry_out(self, request: Message) -> None:
        try:
            answer = await self._server.vendor.answer(request, lambda: self._waits_for(request))
        except Trouble as trouble:
            log.info("%s of %s is refused: %s", request.kind.name, self.peer, trouble)
            await self._refuse(self._done_with(request), str(trouble))
        except Broken as broken:
            self.hang_up(f"{request.kind.name} may or may not have been carried out: {broken}")
        else:
            await self._send(self._server.message_of(answer, self._done_with(request)))

    def _done_with(self, request: Message) -> Message:
        """The request that the answer names. To be called before it is sent: the client may ask again at once."""
        latest, self._busy_with = self._busy_with or request, None
        self._active_s = now_s()
        return latest

    async def _refuse(self, request: Message, reason: str) -> None:
        await self._send(Message(Kind.REFUSED, (request.sequence,), text_bytes(reason)))

    async def _send(self, message: Message) -> None:
        if self.gone:
            return
        self._sequence += 1
        self._writer.write(encode(message._replace(sequence=self._sequence)))
        try:
            async with self._sending:
                await within(self._writer.drain(), SEND_TIMEOUT_S)
        except asyncio.TimeoutError:
            self.hang_up(f"it takes nothing for {SEND_TIMEOUT_S:g} s")
        except OSError:
            self.leave()


class DaemonServer:
    """Listens for the daemon: one at a time, from the allowed networks only."""

    def __init__(self, vendor: Vendor, options: Options) -> None:
        self.vendor = vendor
        self.token = options.token
        self._options = options
        self._seated: Visit | None = None
        self._visits: set[Visit] = set()
        self._tasks: set[asyncio.Future[None]] = set()
        self._server: asyncio.Server | None = None
        self._frames = 0
        self._refused = ""
        vendor.on_lost = self._vendor_lost

    async def start(self) -> Address:
        """Listen; where. Raises `BadInput`."""
        listen = self._options.listen
        try:
            server = await asyncio.start_server(self._enter, listen.host, listen.port)
        except OSError as error:
            raise BadInput(f"cannot listen on {listen}: {why(error)}") from error
        self._server = server
        return Address(listen.host, server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Hang up and close the port."""
        if self._server is not None:
            self._server.close()
        for visit in tuple(self._visits):
            visit.hang_up("the bridge ends")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def seat(self, visit: Visit) -> str:
        """Why `visit` cannot be served now; "" if it can."""
        problem, other = self.vendor.problem(), self._seated
        if not problem and other is not None and other is not visit and not other.gone:
            if other.name == visit.name and visit.name:
                other.hang_up(f"{visit.peer} is the same client, and has come back")
            elif other.silent_s <= SILENT_S:
                problem = f"another client is connected: {other.peer}"
            else:
                other.hang_up(f"silent for {other.silent_s:.0f} s; {visit.peer} takes its place")
        if problem and problem != self._refused:  # a daemon keeps retrying: one line is enough
            log.warning("%s is refused: %s", visit.peer, problem)
        self._refused = problem
        self._seated = self._seated if problem else visit
        return problem

    def _vendor_lost(self, problem: str) -> None:
        """Hang up: without an instrument behind it the link is useless, and the daemon should know at once."""
        if self._seated is not None and not self._seated.gone:
            self._seated.hang_up(problem)

    def message_of(self, answer: Answer, request: Message) -> Message:
        """The message that carries an answer."""
        if isinstance(answer, Place):
            numbers = (request.sequence, answer.wd_um, float(answer.magnification))
            return Message(Kind.STATE, numbers)
        if isinstance(answer, Shot):
            self._frames += 1
            return frame_message(answer, request.sequence, self._frames)
        settle_us = STAGE_TIME_US if request.kind is Kind.STAGE else 0
        return Message(Kind.ACK, (request.sequence, answer, settle_us))

    def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        strangers = sum(not visit.welcome for visit in self._visits)
        if not self._may_enter(writer) or strangers >= MAX_STRANGERS:
            log.warning("%s is turned away", peer_of(writer))
            writer.transport.abort()
            return
        visit = Visit(self, reader, writer)
        self._visits.add(visit)
        self._spawn(visit.work())
        self._spawn(self._receive(visit, writer))

    def _may_enter(self, writer: asyncio.StreamWriter) -> bool:
        peer = writer.get_extra_info("peername")
        if not peer:
            return False
        address = ipaddress.ip_address(peer[0].partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._options.allow)

    async def _receive(self, visit: Visit, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError):  # the client has gone
                await visit.hear()
        finally:
            if visit.welcome and not visit.gone:
                log.info("%s has left", visit.peer)
            visit.leave()
            self._visits.discard(visit)
            writer.close()
            with contextlib.suppress(OSError, asyncio.TimeoutError):
                await within(writer.wait_closed(), SEND_TIMEOUT_S)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Future[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("a connection ended because of a bug in this program", exc_info=error)


def peer_of(writer: asyncio.StreamWriter) -> str:
    """Who is at the other end."""
    peer = writer.get_extra_info("peername")
    return f"{peer[0]}:{peer[1]}" if peer else "a client that has gone"


def frame_message(shot: Shot, answers: int, number: int) -> Message:
    """A FRAME with the JPEG as it is; dwell time and voltage are not known to the bridge: 0."""
    pair = shot.pair
    magnification = float(pair.place.magnification)
    pixel_nm = REFERENCE_WIDTH_NM / magnification / pair.width_px
    size = (pair.width_px, pair.height_px, 8, JPEG)
    optics = (magnification, pair.place.wd_um, pixel_nm, 0.0, 0.0)
    numbers = (answers, number, *size, *optics, shot.start_us, shot.end_us)
    return Message(Kind.FRAME, numbers, pair.image)


# --- the command line ---

LOG_BYTES, LOG_FILES = 1_000_000, 5
Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]


class Address(NamedTuple):
    """Host and port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Options(NamedTuple):
    """The options of the program."""

    folder: Path
    listen: Address
    vendor: Address
    allow: tuple[Network, ...]
    frame_timeout_s: float = 3.0
    log: Path | None = None
    check: bool = False
    token: str = ""
    min_wd_um: float = -math.inf
    max_wd_um: float = math.inf


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence."""

    def error(self, message: str) -> NoReturn:
        """As `argparse` asks for it."""
        raise BadInput(message)


def make_parser() -> Parser:
    """The options and their help."""
    parser = Parser(
        prog="em30_bridge.py",
        description="Bridge between the vendor's EM-30 software and an autofocus daemon.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--folder", type=Path, required=True, help="drop folder, e.g. C:\\aisem")
    add("--listen", default=DEFAULT_LISTEN, help="where the daemon connects (%(default)s)")
    add("--vendor", default="127.0.0.1:9025", help="the vendor's software (%(default)s)")
    add(
        "--allow",
        action="append",
        default=[],
        metavar="NETWORK",
        help="a network that may connect; may be repeated",
    )
    add(
        "--frame-timeout",
        type=float,
        default=3.0,
        metavar="S",
        help="longest wait for a frame in seconds (%(default)s)",
    )
    limits = "WD that the daemon may command (um); absent: any"
    add("--min-wd-um", type=float, default=-math.inf, metavar="UM", help=f"shortest {limits}")
    add("--max-wd-um", type=float, default=math.inf, metavar="UM", help=f"longest {limits}")
    add(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="a daemon must know the token in this file (its setting microscope.token_file)",
    )
    add("--log", type=Path, metavar="FILE", help="also log to this file, which is rotated")
    add("--check", action="store_true", help="check folder, port and vendor's software, then exit")
    version = f"em30_bridge {__version__}, stream version {VERSION}"
    add("--version", action="version", version=version)
    return parser


def parse_options(words: Sequence[str]) -> Options:
    """The options. Raises `BadInput`; `--help` and `--version` exit."""
    given = make_parser().parse_args(words)
    listen = parse_address(given.listen, "--listen", lowest_port=0)
    if not given.min_wd_um < given.max_wd_um:
        raise BadInput(
            f"--min-wd-um ({given.min_wd_um:g}) must be below --max-wd-um ({given.max_wd_um:g})"
        )
    return Options(
        folder=given.folder,
        listen=listen,
        token=read_token(given.token_file),
        min_wd_um=given.min_wd_um,
        max_wd_um=given.max_wd_um,
        vendor=parse_address(given.vendor, "--vendor", lowest_port=1),
        allow=parse_networks(given.allow, listen),
        frame_timeout_s=in_range(given.frame_timeout, "--frame-timeout", 0.1, 600.0, "s"),
        log=given.log,
        check=given.check,
    )


def read_token(path: Path | None) -> str:
    """The token in a file, or "" without one. Raises `BadInput`."""
    if path is None:
        return ""
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"--token-file {path} cannot be read: {error}") from error
    if len(token) < LEAST_TOKEN:
        raise BadInput(
            f"--token-file {path} holds {len(token)} characters; at least {LEAST_TOKEN} are needed"
        )
    return token


def parse_address(text: str, option: str, *, lowest_port: int) -> Address:
    """HOST:PORT, an IPv6 host in brackets. Raises `BadInput`."""
    host, _, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    number = int(port) if re.fullmatch("[0-9]{1,5}", port) else -1
    if not host or not lowest_port <= number <= 65535:
        raise BadInput(f"{option} is HOST:PORT, the port {lowest_port} to 65535, not {text!r}")
    return Address(host, number)


def parse_networks(texts: Sequence[str], listen: Address) -> tuple[Network, ...]:
    """Who may connect: the networks given, or this machine alone. Raises `BadInput`."""
    try:
        networks = tuple(ipaddress.ip_network(text, strict=False) for text in texts)
    except ValueError as error:
        raise BadInput(f"--allow is a network such as 192.168.1.0/24: {error}") from error
    try:
        own = listen.host == "localhost" or ipaddress.ip_address(listen.host).is_loopback
    except ValueError as error:
        raise BadInput(f"--listen takes an IP address of this machine: {error}") from error
    if not networks and not own:
        reason = "the link has no password and no encryption"
        raise BadInput(f"--listen {listen} needs --allow NETWORK: {reason}")
    return networks or (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


def in_range(value: float, option: str, low: float, high: float, unit: str) -> float:
    """`value`, which must lie in `low` to `high`. Raises `BadInput`."""
    if not low <= value <= high:
        raise BadInput(f"{option} lies in {low:g} to {high:g} {unit}, not {value:g}")
    return value


def start_log(path: Path | None) -> None:
    """Log to stderr, where there is one (pythonw has none), and to a rotated file. Raises `BadInput`."""
    handlers: list[logging.Handler] = [] if sys.stderr is None else [logging.StreamHandler()]
    if path is not None:
        rotated = logging.handlers.RotatingFileHandler
        try:
            file = rotated(path, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8")
        except OSError as error:
            raise BadInput(f"the log {path} cannot be written: {why(error)}") from error
        handlers.append(file)
    form = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    for handler in handlers:
        handler.setFormatter(form)
        log.addHandler(handler)
    log.setLevel(logging.INFO)


@contextlib.asynccontextmanager
async def bridging(options: Options) -> AsyncIterator[tuple[Address, asyncio.Future[None]]]:
    """Run the bridge; yields where it listens, and the task that keeps the vendor's link up. Raises `BadInput`."""
    vendor = Vendor(DropFolder(options.folder), options)
    server = DaemonServer(vendor, options)
    address = await server.start()
    log.info("listening on %s, folder %s", address, options.folder)
    keeper = asyncio.ensure_future(vendor.keep_connected())
    try:
        yield address, keeper
    finally:
        keeper.cancel()
        await server.stop()
        await vendor.finish()
        await asyncio.gather(keeper, return_exceptions=True)
        log.info("ended")


async def serve(options: Options) -> None:
    """Run until told to stop. Raises `BadInput`."""
    async with bridging(options) as (_, keeper):
        stop = asyncio.ensure_future(told_to_stop())
        await asyncio.wait({stop, keeper}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if keeper.done():
            keeper.result()


async def told_to_stop() -> None:
    """Return at SIGINT or SIGTERM. Windows has no such handlers: there Ctrl-C cancels the program."""
    stop = asyncio.Event()
    with contextlib.suppress(NotImplementedError):
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


async def check(options: Options) -> bool:
    """Report on folder, port and vendor's software; returns whether all is well. Nothing moves."""
    folder = DropFolder(options.folder)
    waiting = ", ".join(folder.waiting()) or "no frame"
    say(f"folder {options.folder}: usable; it contains {waiting}")
    vendor = Vendor(folder, options)
    port_free = await check_port(vendor, options)
    address = options.vendor
    try:
        session = await vendor.connect()
    except CONNECT_ERRORS as error:
        say(f"vendor's software at {address}: is not there: {on_one_line(error) or 'time-out'}")
        return False
    try:
        place = await session.present()
        say(f"vendor's software at {address}: is there, at {place}")
    except Trouble as error:
        say(f"vendor's software at {address}: is there; {error}")
    await session.line.finish()
    return port_free


async def check_port(vendor: Vendor, options: Options) -> bool:
    """Report whether the port is free."""
    server = DaemonServer(vendor, options)
    try:
        await server.start()
    except BadInput as error:
        say(f"daemon's port: {error}")
        return False
    await server.stop()
    say(f"daemon's port {options.listen}: is free; {len(options.allow)} networks may connect")
    return True


def say(text: str) -> None:
    """One line for the person at the terminal."""
    if sys.stdout is not None:
        printable = text.encode("ascii", errors="backslashreplace").decode("ascii")
        sys.stdout.write(f"{printable}\n")


def main(words: Sequence[str] | None = None) -> int:
    """Run; returns the exit code: 0 ended as told, 1 a check found something wrong, 2 bad input."""
    try:
        options = parse_options(sys.argv[1:] if words is None else words)
        DropFolder(options.folder).check()
        start_log(options.log)
        if options.check:
            return 0 if asyncio.run(check(options)) else 1
        asyncio.run(serve(options))
    except BadInput as error:
        if sys.stderr is not None:
            sys.stderr.write(f"em30_bridge: {on_one_line(error, 400)}.\n")
        return 2
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
