"""TIFF files: their pages and texts, without decoding a pixel. Classic (42) and big (43) ones; TIFF 6.0, section 2.

Pages are a chain of directories, each of which points to the next. Files come from anywhere: a circular chain ends, and
what a tag promises is checked against the size of the file.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from afdaemon.drivers.errors import FrameInvalid

_MAX_PAGES = 4096
"""No chain of directories is followed further."""
MAX_TEXT_BYTES = 2**20
"""The longest known (TESCAN's, with a thumbnail in it) have some 100 KB."""

_ORDER = {b"II": "<", b"MM": ">"}
_MAX_ENTRIES = 512
_WIDTH, _HEIGHT, _SUBFILE, _COMPRESSION = 256, 257, 254, 259
_COMPRESSIONS = {
    5: "LZW", 7: "JPEG", 8: "deflate", 32773: "PackBits", 32946: "deflate", 33003: "JPEG 2000",
    33005: "JPEG 2000", 34712: "JPEG 2000", 34925: "LZMA", 50000: "Zstandard", 50001: "WebP",
    50002: "JPEG XL",
}  # fmt: skip
"""By the values of tag 259 (TIFF 6.0 and libtiff's list)."""
_REDUCED_COPY = 1
_INTEGERS = {3: "H", 4: "I", 16: "Q"}
_BYTES = {1, 2, 6, 7}  # BYTE, ASCII, SBYTE, UNDEFINED


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page: its size, whether it is a reduced copy of another, and where its directory and texts are.

    `compression` is its name, "" where there is none.
    """

    width_px: int
    height_px: int
    reduced: bool
    compression: str
    at: int
    spans: Mapping[int, tuple[int, int]]

    def text(self, data: bytes, tag: int) -> bytes | None:
        """The bytes that a tag holds, None where the page has no such tag or `data` is too short for it."""
        start, size = self.spans.get(tag, (0, 0))
        return data[start : start + size] if 0 < size <= len(data) - start else None


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a directory is written: byte order, and the formats of its count, of an entry, and of an offset."""

    order: str
    big: bool

    @property
    def first_at(self) -> int:
        return 8 if self.big else 4

    @property
    def offset(self) -> str:
        return self.order + ("Q" if self.big else "I")

    @property
    def count(self) -> str:
        return self.order + ("Q" if self.big else "H")

    @property
    def entry(self) -> str:
        """Tag, type, count; the value or its offset follows."""
        return self.order + ("HHQ" if self.big else "HHI")


def is_tiff(data: bytes) -> bool:
    """Whether the bytes begin like a TIFF."""
    return data[:2] in _ORDER


def pages(data: bytes) -> Iterator[Page]:
    """The pages, first to last.

    Raises:
        FrameInvalid: at the first page that is cut off or has no size.
    """
    at, seen = _first(data), set[int]()
    while at and at not in seen and len(seen) < _MAX_PAGES:
        seen.add(at)
        if at >= len(data):
            raise FrameInvalid(f"the TIFF is cut off: page {len(seen)} is missing")
        try:
            page, at = _read(data, _layout(data), at)
        except struct.error as error:
            raise FrameInvalid(f"the TIFF is cut off in page {len(seen)}") from error
        yield page


def only(data: bytes, page: Page) -> bytes:
    """The same file as if it began with this page: what a decoder of single images takes."""
    layout = _layout(data)
    offset = struct.pack(layout.offset, page.at)
    return data[: layout.first_at] + offset + data[layout.first_at + len(offset) :]


def _layout(data: bytes) -> _Layout:
    order = _ORDER[data[:2]]
    return _Layout(order, struct.unpack_from(order + "H", data, 2)[0] == 43)


def _first(data: bytes) -> int:
    try:
        layout = _layout(data)
        return int(struct.unpack_from(layout.offset, data, layout.first_at)[0])
    except struct.error as error:
        raise FrameInvalid("the TIFF is cut off in its header") from error


def _read(data: bytes, layout: _Layout, at: int) -> tuple[Page, int]:
    """The page whose directory starts at `at`, and where the next one is (0 after the last)."""
    start = at
    (count,) = struct.unpack_from(layout.count, data, at)
    if count > _MAX_ENTRIES:
        raise FrameInvalid(f"a directory of the TIFF has {count} entries")
    at += struct.calcsize(layout.count)
    head, inline = struct.calcsize(layout.entry), struct.calcsize(layout.offset)
    numbers: dict[int, int] = {}
    spans: dict[int, tuple[int, int]] = {}
    for _ in range(count):
        tag, kind, size = struct.unpack_from(layout.entry, data, at)
        if kind in _INTEGERS and (kind != 16 or layout.big):
            numbers[tag] = struct.unpack_from(layout.order + _INTEGERS[kind], data, at + head)[0]
        elif kind in _BYTES and inline < size <= MAX_TEXT_BYTES:
            spans[tag] = (struct.unpack_from(layout.offset, data, at + head)[0], size)
        at += head + inline
    (following,) = struct.unpack_from(layout.offset, data, at)
    if not {_WIDTH, _HEIGHT} <= numbers.keys():
        raise FrameInvalid("the TIFF's directory names no image size")
    page = Page(
        width_px=numbers[_WIDTH],
        height_px=numbers[_HEIGHT],
        reduced=bool(numbers.get(_SUBFILE, 0) & _REDUCED_COPY),
        compression=_compression(numbers.get(_COMPRESSION, 1)),
        at=start,
        spans=spans,
    )
    return page, following


def _compression(number: int) -> str:
    return "" if number == 1 else _COMPRESSIONS.get(number, f"method {number}")
