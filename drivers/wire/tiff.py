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
_BEGINNINGS = {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}
_MAX_ENTRIES = 512
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _COLOUR = 254, 256, 257, 258, 259, 262
_SAMPLES, _PLANES, _KIND, _DEPTH = 277, 284, 339, 32997
SIS = 33560
"""Its number is where the structure of Soft Imaging's programs begins."""
_NUMBERS = {
    _SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _COLOUR, _SAMPLES, _PLANES, _KIND, _DEPTH, SIS,
}  # fmt: skip
_COMPRESSIONS = {
    2: "CCITT", 3: "CCITT", 4: "CCITT", 5: "LZW", 6: "old JPEG", 7: "JPEG", 8: "deflate",
    32773: "PackBits", 32946: "deflate", 33003: "JPEG 2000", 33005: "JPEG 2000", 34712: "JPEG 2000",
    34887: "LERC", 34925: "LZMA", 34933: "PNG", 34934: "JPEG XR", 22610: "JPEG XR",
    50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip
"""By the values of tag 259 (TIFF 6.0, libtiff's list and tifffile's)."""
_COMMON = {1, 2, 3, 4, 5, 7, 8, 32773, 32946}
_COMMON_BITS = {1, 8, 10, 12, 14, 16, 32, 64}
_WHITE_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 2, 3, 6
_FLOATING, _COMPLEX = 3, (5, 6)
_REDUCED_COPY = 1
_INTEGERS = {3: "H", 4: "I", 13: "I", 16: "Q"}
_BYTES = {1, 2, 6, 7}  # BYTE, ASCII, SBYTE, UNDEFINED


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of a TIFF: where its directory is, the numbers in it (the first of each tag), where its texts are."""

    at: int
    numbers: Mapping[int, int]
    spans: Mapping[int, tuple[int, int]]

    @property
    def width_px(self) -> int:
        """Its width in pixels, data bar included."""
        return self.numbers[_WIDTH]

    @property
    def height_px(self) -> int:
        """Its height in pixels, data bar included."""
        return self.numbers[_HEIGHT]

    @property
    def reduced(self) -> bool:
        """Whether it is a reduced copy of another."""
        return bool(self.numbers.get(_SUBFILE, 0) & _REDUCED_COPY)

    @property
    def bits(self) -> int:
        """Bits of a sample."""
        return self.numbers.get(_BITS, 1)

    @property
    def white_is_zero(self) -> bool:
        """Whether its grey values are those of a negative."""
        return self.numbers.get(_COLOUR) == _WHITE_IS_ZERO

    @property
    def oddity(self) -> str:
        """What OpenCV cannot read of it, or reads wrongly without a word, as tried with version 5.0; else ""."""
        return self._odd_packing() or self._odd_sample() or self._odd_colours()

    def _odd_packing(self) -> str:
        compression = self.numbers.get(_COMPRESSION, 1)
        if compression not in _COMMON:
            return f"packed with {_COMPRESSIONS.get(compression, f'method {compression}')}"
        return "of more than one layer" if self.numbers.get(_DEPTH, 1) > 1 else ""

    def _odd_sample(self) -> str:
        kind = self.numbers.get(_KIND, 1)
        if kind in _COMPLEX:
            return "of complex numbers"
        if kind == _FLOATING and self.bits not in (32, 64):
            return f"of floating numbers of {self.bits} bit"
        return "" if self.bits in _COMMON_BITS else f"of {self.bits} bit"

    def _odd_colours(self) -> str:
        samples, colour = self.numbers.get(_SAMPLES, 1), self.numbers.get(_COLOUR, 1)
        if self.numbers.get(_PLANES, 1) != 1 and samples > 1:
            read = colour == _RGB and samples == 3 and self.bits == 8
            return "" if read else f"of {samples} planes of {self.bits} bit"
        if samples == 1:
            return "of a palette of more than 256" if colour == _PALETTE and self.bits > 8 else ""
        read = colour in (_RGB, _YCBCR) if samples in (3, 4) else samples == 2 and self.bits == 8
        return "" if read else f"of {samples} samples of {self.bits} bit"

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
    return data[:4] in _BEGINNINGS


def pages(data: bytes) -> Iterator[Page]:
    """The pages, first to last.

    Raises:
        FrameInvalid: there is none; or at the first page that is cut off or has no size.
    """
    at, seen = _first(data), set[int]()
    if not at:
        raise FrameInvalid("the TIFF has no image in it")
    while at and at not in seen and len(seen) < _MAX_PAGES:
        seen.add(at)
        if at >= len(data):
            raise FrameInvalid(f"the TIFF is cut off: page {len(seen)} is missing")
        try:
            page, at = _read(data, _layout(data), at)
        except (struct.error, OverflowError) as error:
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
        (where,) = struct.unpack_from(layout.offset, data, at + head)
        if tag in _NUMBERS and kind in _INTEGERS and (kind != 16 or layout.big):
            form = layout.order + _INTEGERS[kind]
            is_here = struct.calcsize(form) * size <= inline
            numbers[tag] = struct.unpack_from(form, data, at + head if is_here else where)[0]
        elif kind in _BYTES and inline < size <= MAX_TEXT_BYTES:
            spans[tag] = (where, size)
        at += head + inline
    (following,) = struct.unpack_from(layout.offset, data, at)
    if not {_WIDTH, _HEIGHT} <= numbers.keys():
        raise FrameInvalid("the TIFF's directory names no image size")
    return Page(at=start, numbers=numbers, spans=spans), following
