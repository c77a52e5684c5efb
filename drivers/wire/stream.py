"""The bytes of the `stream` link, the same over TCP and over USB bulk endpoints. Pure.

ASSUMED: this framing is our own. No public description of the vendor's USB protocol exists; a real one would replace
this module.

The messages themselves are in `afdaemon.drivers.wire.messages`. One on the wire, all numbers little-endian:

    magic "AF30" | version u8 | type u8 | flags u16 | length u32 | sequence u32 | header CRC-32 | payload | CRC-32

The header's CRC covers the 16 bytes before it, so that a damaged length is never trusted. The last CRC covers those
16 bytes and the payload; the header's CRC is left out, because a CRC over data and their own CRC does not depend on the
data. `flags` is 0 and ignored. `sequence` counts the sender's messages; an answer names the sequence that it
answers. A reader that meets garbage, a damaged message or one that was cut off continues at the next magic and counts
what it lost; no bytes make it raise, and none make it hold more than one message of `MAX_PAYLOAD_BYTES`.
"""

import struct
import zlib
from dataclasses import dataclass

from afdaemon.drivers.wire.messages import (
    KINDS,
    VERSION,
    BadPayload,
    Message,
    longest,
    parse,
    payload_of,
)

MAGIC = b"AF30"
DEFAULT_PORT = 9030
USB_VENDOR_ID, USB_PRODUCT_ID = 0x1209, 0x0001
"""ASSUMED: those that pid.codes sets aside for tests."""

_HEADER = struct.Struct("<4sBBHII")
_CRC = struct.Struct("<I")
HEADER_BYTES = _HEADER.size + _CRC.size
_CHECKS_A_BYTE = 8
NO_MESSAGE = "bytes came that are no message"


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A message and its sender's sequence number."""

    sequence: int
    message: Message


@dataclass(slots=True)
class Losses:
    """What a decoder could not use: stray bytes, and messages by cause; `last` describes the last one in words."""

    garbage_bytes: int = 0
    bad_headers: int = 0
    bad_crcs: int = 0
    bad_payloads: int = 0
    cut_off: int = 0
    last: str = ""

    @property
    def messages(self) -> int:
        """How many messages were lost."""
        return self.bad_headers + self.bad_crcs + self.bad_payloads + self.cut_off


def encode(message: Message, *, sequence: int) -> bytes:
    """The bytes of `message`. Raises `ValueError` for a value that the wire cannot carry."""
    kind, payload = payload_of(message)
    head = _HEADER.pack(MAGIC, VERSION, kind, 0, len(payload), sequence & 0xFFFFFFFF)
    check = zlib.crc32(head)
    return b"".join((head, _CRC.pack(check), payload, _CRC.pack(zlib.crc32(payload, check))))


class Decoder:
    """Messages out of bytes: `feed` them as they come, then take messages until there is none.

    A message that turns out damaged is searched for others, as it may have been cut off. Where such messages are nested
    in each other, the search ends after `_CHECKS_A_BYTE` checks of each byte, so that the time stays linear.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._credit_bytes = 0
        self.losses = Losses()

    @property
    def pending(self) -> bool:
        """Whether bytes are held that may be the start of a message."""
        return bool(self._buffer)

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Append what has arrived."""
        self._buffer += data
        self._credit_bytes += _CHECKS_A_BYTE * len(data)

    def next_message(self) -> Received | None:
        """The next whole message, or None until more bytes come."""
        while self._find_magic() and len(self._buffer) >= HEADER_BYTES:
            head = bytes(self._buffer[:HEADER_BYTES])
            problem, kind, length, sequence = _read_header(head)
            if problem:
                self._skip("bad_headers", problem)
                continue
            end = HEADER_BYTES + length + _CRC.size
            if len(self._buffer) < end:
                return None
            if not self._is_whole(end):
                self._skip("bad_crcs", "a message's CRC is wrong", self._pay(end))
                continue
            payload = self._take(end)
            try:
                return Received(sequence=sequence, message=parse(kind, payload))
            except BadPayload as error:
                self._count("bad_payloads", f"a message of type {kind} makes no sense: {error}")
        return None

    def give_up(self) -> None:
        """The sender has fallen silent in the middle of a message: look for the next one behind its start."""
        if self._buffer:
            self._skip("cut_off", "a message was cut off")

    def _is_whole(self, end: int) -> bool:
        with memoryview(self._buffer) as view, view[HEADER_BYTES : end - _CRC.size] as payload:
            header_crc: int = _CRC.unpack_from(view, _HEADER.size)[0]
            told: int = _CRC.unpack_from(view, end - _CRC.size)[0]
            return told == zlib.crc32(payload, header_crc)

    def _take(self, end: int) -> bytes:
        with memoryview(self._buffer) as view, view[HEADER_BYTES : end - _CRC.size] as covered:
            payload = bytes(covered)
        del self._buffer[:end]
        return payload

    def _pay(self, end: int) -> int:
        """How much of a damaged message of `end` bytes to skip: its magic, or all of it when the checks are used up."""
        self._credit_bytes = min(self._credit_bytes, _CHECKS_A_BYTE * len(self._buffer)) - end
        return len(MAGIC) if self._credit_bytes > 0 else end

    def _find_magic(self) -> bool:
        """Drop what precedes the next magic, or the beginning of one; returns whether the magic is complete."""
        at = self._buffer.find(MAGIC)
        if at < 0:
            keep = next(n for n in (3, 2, 1, 0) if self._buffer.endswith(MAGIC[:n]))
            at = len(self._buffer) - keep
        if at:
            self.losses.garbage_bytes += at
            self.losses.last = self.losses.last or NO_MESSAGE
            del self._buffer[:at]
        return len(self._buffer) >= len(MAGIC)

    def _skip(self, cause: str, why: str, length: int = len(MAGIC)) -> None:
        """Skip the present message: the next may begin inside what it claimed."""
        del self._buffer[:length]
        self._count(cause, why)

    def _count(self, cause: str, why: str) -> None:
        setattr(self.losses, cause, getattr(self.losses, cause) + 1)
        self.losses.last = why


def _read_header(head: bytes) -> tuple[str, int, int, int]:
    """(what is wrong, type, length, sequence); nothing is wrong where the first is empty."""
    _, version, kind, _, length, sequence = _HEADER.unpack_from(head)
    problem = ""
    if _CRC.unpack_from(head, _HEADER.size)[0] != zlib.crc32(head[: _HEADER.size]):
        problem = "a header's CRC is wrong"
    elif version != VERSION:
        problem = f"the peer speaks version {version}, this is version {VERSION}"
    elif kind not in KINDS.values():
        problem = f"there is no message of type {kind}"
    elif length > longest(kind):
        problem = f"a message of type {kind} claims {length} bytes"
    return problem, kind, length, sequence
