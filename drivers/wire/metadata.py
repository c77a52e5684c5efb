"""What SEM image files say about their picture: magnification, and where a data bar begins.

Every maker defines magnification for a display width of its own: at "50.00 K X" a Zeiss shows 6 um, a COXEM EM-30
2.5 um. So the width of the field is what counts. It is the file's own field width or, failing that, its pixel size
times the number of pixels that this refers to (the file may have been reduced since). Only where a file has neither is
the maker's own magnification used.

| maker | where | keys |
|---|---|---|
| FEI, Thermo Fisher | TIFF tags 34680, 34682 | HorFieldsize, HFW, PixelWidth (m); ResolutionX, ResolutionY |
| Zeiss | TIFF tag 34118 | AP_WIDTH, AP_IMAGE_PIXEL_SIZE, AP_PIXEL_SIZE (of 1024), AP_MAG |
| TESCAN | TIFF tag 50431, .hdr beside | PixelSizeX (m), ImageStripSize, Magnification |
| JEOL | .txt beside, TIFF tag 270 | $$SM_MICRON_MARKER over $$SM_MICRON_BAR, $CM_FULL_SIZE, $CM_MAG |
| Hitachi | .txt beside, TIFF tag 270 | PixelSize (nm), DataSize, Magnification |
| COXEM EM-30 | .txt beside | MAG (see `aisem`) |

Pure: bytes and texts in, `Metadata` out.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

from afdaemon.drivers.errors import ProtocolError
from afdaemon.drivers.wire import quantity
from afdaemon.drivers.wire.aisem import MAX_PARAMETER_BYTES, decode_parameters
from afdaemon.drivers.wire.text import decode_text
from afdaemon.drivers.wire.tiff import Page

MAX_TEXT_BYTES = 2**20
"""Texts beside images have some kilobytes."""

_IMAGE_DESCRIPTION = 270
_ZEISS_PIXELS = 1024
"""AP_PIXEL_SIZE refers to a picture that is this wide, whatever the width of the file."""


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
    """What the tags of a TIFF's page say, None if they give no magnification."""
    size = Size(page.width_px, page.height_px)
    for tag, read in _TAGS.items():
        held = page.text(data, tag)
        told = None if held is None else read(held.decode("latin-1"), size)
        if told is not None:
            return told
    return None


def from_text(data: bytes, size: Size) -> Metadata | None:
    """What a text file beside an image of `size` says, None if it gives no magnification."""
    if len(data) > MAX_TEXT_BYTES:
        return None
    return _of_text(decode_text(data), size) or _em30(data)


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
    fields = _fields(text)
    beam, scan = fields.get("beam.beam", "ebeam"), fields.get("beam.scan", "scan")
    sections = (scan.lower(), "scan", "escan", "iscan")
    width_um = _first_length(
        fields, [f"{name}.horfieldsize" for name in sections] + [f"{beam.lower()}.hfw", "hfw"], "m"
    )
    pixel_um = _first_length(fields, [f"{name}.pixelwidth" for name in sections], "m")
    pixels = _number(fields.get("image.resolutionx"))
    return _metadata(
        "FEI",
        size,
        width_um=width_um or _product(pixel_um, pixels or size.width_px),
        picture=(pixels, _number(fields.get("image.resolutiony"))),
    )


def _zeiss(text: str, size: Size) -> Metadata | None:
    """The value of each key stands on the line after it, as `Name = value`."""
    fields = {
        key: told.partition("=")[2].strip()
        for key, told in pairwise(re.split(r"[\r\n]+", text))
        if key.startswith("AP_")
    }
    width_um = (
        _length_um(fields.get("AP_WIDTH"))
        or _product(_length_um(fields.get("AP_IMAGE_PIXEL_SIZE")), size.width_px)
        or _product(_length_um(fields.get("AP_PIXEL_SIZE")), _ZEISS_PIXELS)
    )
    magnification = _magnification(fields.get("AP_MAG"))
    return _metadata("Zeiss", size, width_um=width_um, magnification=magnification)


def _tescan(text: str, size: Size) -> Metadata | None:
    """The tag holds blocks of such text between binary ones, one of them a thumbnail."""
    fields = _fields(text)
    pixel_um = _length_um(fields.get("pixelsizex"), "m")
    strip = _number(fields.get("imagestripsize"))
    return _metadata(
        "TESCAN",
        size,
        width_um=_product(pixel_um, size.width_px),
        magnification=_magnification(fields.get("magnification")),
        picture=(size.width_px, None if strip is None else size.height_px - strip),
    )


def _jeol(text: str, size: Size) -> Metadata | None:
    fields = {
        key: value.strip()
        for key, _, value in (line.partition(" ") for line in text.splitlines())
        if key.startswith("$")
    }
    marker_um = _length_um(fields.get("$$SM_MICRON_MARKER"))
    bar_px = _number(fields.get("$$SM_MICRON_BAR"))
    picture = _pair(fields.get("$CM_FULL_SIZE", ""))
    width_um = None
    if marker_um and bar_px:
        width_um = marker_um / bar_px * (picture[0] or size.width_px)
    magnification = _magnification(fields.get("$CM_MAG"))
    return _metadata("JEOL", size, width_um=width_um, magnification=magnification, picture=picture)


def _hitachi(text: str, size: Size) -> Metadata | None:
    fields = _fields(text)
    picture = _pair(fields.get("datasize", ""))
    pixel_um = _length_um(fields.get("pixelsize"), "nm")
    return _metadata(
        "Hitachi",
        size,
        width_um=_product(pixel_um, picture[0] or size.width_px),
        magnification=_magnification(fields.get("magnification")),
        picture=picture,
    )


def _em30(data: bytes) -> Metadata | None:
    if len(data) > MAX_PARAMETER_BYTES:
        return None
    try:
        told = decode_parameters(data)
    except ProtocolError:
        return None
    return Metadata(maker="EM-30", magnification=told.magnification, wd_um=told.wd_um)


_TAGS: Mapping[int, Callable[[str, Size], Metadata | None]] = {
    34682: _fei,
    34680: _fei,
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
    picture: tuple[float | None, float | None] = (None, None),
) -> Metadata | None:
    """`picture` is the width and height that the file gives for the picture without its bar, in pixels of its own."""
    width_um, magnification = _usable(width_um), _usable(magnification)
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


# --- texts and numbers ---


def _fields(text: str) -> dict[str, str]:
    """`key=value` lines, each under `key` (the first of that name) and under `section.key`; keys in lower case."""
    fields: dict[str, str] = {}
    section = ""
    for line in re.split(r"[\r\n\0]+", text):
        if line.startswith("[") and line.rstrip().endswith("]"):
            section = line.strip()[1:-1].lower()
        key, equals, value = line.partition("=")
        if equals:
            name = key.strip().lower()
            fields.setdefault(name, value.strip())
            fields.setdefault(f"{section}.{name}", value.strip())
    return fields


_BRACKETS = {ord(mark): " " for mark in "()[]"}


def _told(text: str | None, read: Callable[[str], float]) -> float | None:
    """The positive number that `read` finds in a text, or None; its unit may stand in brackets."""
    try:
        return _usable(read((text or "").translate(_BRACKETS).strip()))
    except ProtocolError:
        return None


def _length_um(text: str | None, unit: str = "") -> float | None:
    """A positive length in um; `unit` is that of a bare number. None for anything else."""
    return _told(text, partial(quantity.length_um, unit=unit))


def _magnification(text: str | None) -> float | None:
    return _told(text, quantity.magnification)


def _number(text: str | None) -> float | None:
    return _told(text, quantity.number)


def _pair(text: str) -> tuple[float | None, float | None]:
    """Two numbers as in `1280x960` or `1280 960`."""
    found = re.match(r"\s*([0-9]{1,6})\s*[xX* ]\s*([0-9]{1,6})", text)
    return (float(found[1]), float(found[2])) if found else (None, None)


def _product(one: float | None, other: float | None) -> float | None:
    return one * other if one and other else None


def _first_length(fields: Mapping[str, str], keys: list[str], unit: str) -> float | None:
    return next((um for key in keys if (um := _length_um(fields.get(key), unit))), None)
