"""What SEM image files say about their picture: magnification, and where a data bar begins.

Every maker defines magnification for a display width of its own: at "50.00 K X" a Zeiss shows 6 um, a COXEM EM-30
2.5 um. So the width of the field is what counts. It is the file's own field width or, failing that, its pixel size
times the number of pixels that this refers to (the file may have been reduced since). Only where a file has neither is
the maker's own magnification used.

| maker | where | keys |
|---|---|---|
| FEI, Thermo Fisher | TIFF tags 34680, 34682 | HorFieldsize, HFW, PixelWidth (m); ResolutionX, ResolutionY |
| the same, Helios | TIFF tag 34683, XML | BinaryResult's PixelSize (m) and ImageSize, Optics' ScanFieldOfView (m) |
| SIS (Soft Imaging, Olympus) | TIFF tag 33560, binary | size of a pixel, magnification |
| Zeiss | TIFF tag 34118 | AP_WIDTH, AP_IMAGE_PIXEL_SIZE, AP_PIXEL_SIZE (of 1024), AP_MAG |
| TESCAN | TIFF tag 50431, .hdr beside | PixelSizeX (m), ImageStripSize, Magnification |
| JEOL | .txt beside, TIFF tag 270 | $$SM_MICRON_MARKER over $$SM_MICRON_BAR, $CM_FULL_SIZE, $CM_MAG |
| Hitachi | .txt beside, TIFF tag 270 | PixelSize (nm), DataSize, Magnification |
| COXEM EM-30 | .txt beside | MAG (see `aisem`) |

Numbers are read with the decimal mark that the others of the same text prove. One that is there and cannot be read, or
can be in two ways, is an error and not nothing, and so are two that contradict each other.

Pure: bytes and texts in, `Metadata` out.
"""

import math
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from afdaemon.drivers.errors import ProtocolError
from afdaemon.drivers.wire.aisem import MAX_PARAMETER_BYTES, decode_parameters
from afdaemon.drivers.wire.fields import Fields, lines
from afdaemon.drivers.wire.text import decode_text
from afdaemon.drivers.wire.tiff import SIS, Page

MAX_TEXT_BYTES = 2**20
"""Texts beside images have some kilobytes."""
EM30 = "EM-30"
"""The maker whose own magnifications are those of afdaemon."""

_IMAGE_DESCRIPTION = 270
_ZEISS_KEYS = ("AP_", "DP_", "SV_")
_ZEISS_PIXELS = 1024
"""AP_PIXEL_SIZE refers to a picture that is this wide, whatever the width of the file."""
_ALIKE = 1.1
"""Widths of the same field, told in several ways and rounded, differ by no more than this factor."""
_SIS_HEAD = struct.Struct("<4s6x10x6x32sH")
"""What it begins with, its date and name; how many entries follow."""
_SIS_ENTRY, _SIS_SCALE = struct.Struct("<hhI"), struct.Struct("<10xhdd8xd")
"""The kind of an entry, and where it is; in that of kind 1: a power of ten, width and height of a pixel in so many
metres, and the magnification. From what tifffile and Bio-Formats found out: there is no description."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What a file says: its maker, the field's width or the maker's own magnification, the height above the data bar.

    Width or magnification may be None, but not both. `picture_px` is None where no bar is mentioned. `wd_um` is the
    commanded WD, known for the EM-30 only.
    """

    maker: str
    field_width_um: float | None = None
    magnification: float | None = None
    picture_px: int | None = None
    wd_um: float | None = None


@dataclass(frozen=True, slots=True)
class Size:
    """Width and height of the picture in the file, data bar included, in pixels."""

    width_px: int
    height_px: int


def from_page(page: Page, data: bytes) -> Metadata | None:
    """What the tags of a TIFF's page say, None if they give no magnification.

    Raises:
        ProtocolError: they give one that cannot be read for certain, or several that differ.
    """
    size = Size(page.width_px, page.height_px)
    texts = ((page.text(data, tag), read) for tag, read in _TAGS.items())
    told = [read(_decoded(text), size) for text, read in texts if text is not None]
    told.append(_sis(page, data, size))
    return _agreed([one for one in told if one is not None])


def from_text(data: bytes, size: Size) -> Metadata | None:
    """What a text file beside an image of `size` says, None if it gives no magnification.

    Raises:
        ProtocolError: it gives one that cannot be read for certain.
    """
    if len(data) > MAX_TEXT_BYTES:
        return None
    return _of_text(decode_text(data), size) or _em30(data)


def _agreed(told: list[Metadata]) -> Metadata | None:
    """The first that tells a width, else the first."""
    _one_width(one.field_width_um for one in told)
    return next((one for one in told if one.field_width_um), told[0] if told else None)


def _decoded(text: bytes) -> str:
    """Tags are UTF-8 or Latin 1, and some hold binary blocks between the texts."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _of_text(text: str, size: Size) -> Metadata | None:
    if "[SemImageFile]" in text:
        return _hitachi(text, size)
    if "$CM_" in text or "$$SM_" in text:
        return _jeol(text, size)
    if "PixelSizeX" in text:
        return _tescan(text, size)
    return None


# --- makers ---


def _fei(text: str, size: Size) -> Metadata | None:
    fields = Fields.of_lines(text)
    beam = fields.texts.get("beam.beam", "ebeam").lower()
    sections = (fields.texts.get("beam.scan", "scan").lower(), "scan", "escan", "iscan")
    pixel_um = fields.length_um(*(f"{name}.pixelwidth" for name in sections), unit="m")
    picture = (fields.number("image.resolutionx"), fields.number("image.resolutiony"))
    field_um = fields.length_um(*(f"{name}.horfieldsize" for name in sections), unit="m")
    width_um = (
        _one_width((field_um, _product(pixel_um, picture[0])))
        or fields.length_um(f"{beam}.hfw", "hfw", unit="m")
        or _product(pixel_um, size.width_px)
    )
    return _metadata("FEI", size, width_um=width_um, picture=picture)


def _fei_xml(text: str, size: Size) -> Metadata | None:
    fields = Fields.of_xml(text)
    pixel_um = fields.length_um("BinaryResult/PixelSize/X", unit="m")
    picture = (fields.number("BinaryResult/ImageSize/X"), fields.number("BinaryResult/ImageSize/Y"))
    width_um = (
        _product(pixel_um, picture[0])
        or fields.length_um("Optics/ScanFieldOfView/X", unit="m")
        or _product(pixel_um, size.width_px)
    )
    return _metadata("FEI", size, width_um=width_um, picture=picture)


def _sis(page: Page, data: bytes, size: Size) -> Metadata | None:
    """Some files have the tag, and nothing of this kind where it points to."""
    at = page.numbers.get(SIS, len(data))
    try:
        begins, _, entries = _SIS_HEAD.unpack_from(data, at)
        places = [
            _SIS_ENTRY.unpack_from(data, at + _SIS_HEAD.size + _SIS_ENTRY.size * n)
            for n in range(entries)
        ]
        scales = [_SIS_SCALE.unpack_from(data, where) for kind, _, where in places if kind == 1]
    except (struct.error, OverflowError):
        return None
    if begins != b"SIS0" or not scales:
        return None
    power, pixel, _, magnification = scales[0]
    width_um = pixel * float(f"1e{power + 6}") * size.width_px
    return _metadata("SIS", size, width_um=width_um, magnification=magnification)


def _zeiss(text: str, size: Size) -> Metadata | None:
    """The value of each key stands on the line after it, as `Name = value`."""
    pairs = pairwise(lines(text))
    fields = Fields.of(
        {key: told.partition("=")[2] for key, told in pairs if key.startswith(_ZEISS_KEYS)}
    )
    widths_um = (
        fields.length_um("AP_WIDTH"),
        _product(fields.length_um("AP_IMAGE_PIXEL_SIZE"), size.width_px),
        _product(fields.length_um("AP_PIXEL_SIZE"), _ZEISS_PIXELS),
    )
    return _metadata("Zeiss", size, width_um=_one_width(widths_um), else_from=(fields, "AP_MAG"))


def _tescan(text: str, size: Size) -> Metadata | None:
    """The tag holds blocks of such text between binary ones, one of them a thumbnail."""
    fields = Fields.of_lines(text)
    pixel_um = fields.length_um("pixelsizex", unit="m")
    strip = fields.number("imagestripsize")
    return _metadata(
        "TESCAN",
        size,
        width_um=_product(pixel_um, size.width_px),
        else_from=(fields, "magnification"),
        picture=(size.width_px, None if strip is None else size.height_px - strip),
    )


def _jeol(text: str, size: Size) -> Metadata | None:
    pairs = (line.partition(" ") for line in lines(text))
    fields = Fields.of({key: value for key, _, value in pairs if key.startswith("$")})
    marker_um = fields.length_um("$$SM_MICRON_MARKER")
    bar_px = fields.number("$$SM_MICRON_BAR")
    picture = fields.pair("$CM_FULL_SIZE")
    pixel_um = marker_um / bar_px if marker_um and bar_px else None
    return _metadata(
        "JEOL",
        size,
        width_um=_product(pixel_um, picture[0] or size.width_px),
        else_from=(fields, "$CM_MAG"),
        picture=picture,
    )


def _hitachi(text: str, size: Size) -> Metadata | None:
    fields = Fields.of_lines(text)
    picture = fields.pair("datasize")
    pixel_um = fields.length_um("pixelsize", unit="nm")
    return _metadata(
        "Hitachi",
        size,
        width_um=_product(pixel_um, picture[0] or size.width_px),
        else_from=(fields, "magnification"),
        picture=picture,
    )


def _em30(data: bytes) -> Metadata | None:
    """Any other text is none of its texts, which have a magnification and a WD."""
    if len(data) > MAX_PARAMETER_BYTES:
        return None
    try:
        told = decode_parameters(data)
    except ProtocolError:
        if {"mag", "wd"} <= Fields.of_lines(decode_text(data)).texts.keys():
            raise
        return None
    return Metadata(maker=EM30, magnification=told.magnification, wd_um=told.wd_um)


_TAGS: Mapping[int, Callable[[str, Size], Metadata | None]] = {
    34682: _fei,
    34680: _fei,
    34683: _fei_xml,
    34118: _zeiss,
    50431: _tescan,
    _IMAGE_DESCRIPTION: _of_text,
}


def _metadata(
    maker: str,
    size: Size,
    *,
    width_um: float | None,
    magnification: float | None = None,
    else_from: tuple[Fields, str] | None = None,
    picture: tuple[float | None, float | None] = (None, None),
) -> Metadata | None:
    """`else_from`: where the magnification is, if there is no width.

    `picture` is the width and height that the file gives for the picture without its bar, in pixels of its own.
    """
    width_um, magnification = _usable(width_um), _usable(magnification)
    if width_um is None and else_from is not None:
        fields, key = else_from
        magnification = fields.magnification(key)
    if width_um is None and magnification is None:
        return None
    width, height = picture
    rows = round(height * size.width_px / width) if width and height else None
    bar_follows = rows is not None and size.height_px / 2 < rows < size.height_px
    return Metadata(
        maker=maker,
        field_width_um=width_um,
        magnification=magnification,
        picture_px=rows if bar_follows else None,
    )


def _usable(number: float | None) -> float | None:
    """A finite number above 0, else None; products of what a file says may be neither."""
    return number if number is not None and 0.0 < number < math.inf else None


def _one_width(widths_um: Iterable[float | None]) -> float | None:
    """The first of the widths that a file gives its field. Raises `ProtocolError` where they differ."""
    told = [um for um in map(_usable, widths_um) if um is not None]
    if told and max(told) > _ALIKE * min(told):
        raise ProtocolError(
            f"by its numbers the field is {min(told):.4g} um wide and {max(told):.4g} um:"
            " has the picture been cut or reduced?"
        )
    return told[0] if told else None


def _product(one: float | None, other: float | None) -> float | None:
    return one * other if one and other else None
