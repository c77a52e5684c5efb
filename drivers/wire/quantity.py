"""Numbers with units as programs all over the world write them. Pure.

    12400.5 um    12400,5um    12,400.5 µm    12.400,5 μm    12 400,5 UM    12'400.5 ㎛    1.24e4 um
    2000   x2000   2000x   ×2000   2.0kx   2 k   50.00 K X   2000.4

A mark with exactly three digits behind it, and one to three in front, may separate thousands or decimals. A point is
then a decimal point, as in the known files. A comma is not guessed: only another number of the same text can tell
(`decimal_mark`), or an exponent, which nobody writes behind separated thousands. Spaces of any width and apostrophes
separate thousands, nothing else does.
"""

import math
import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from afdaemon.drivers.errors import ProtocolError
from afdaemon.drivers.wire.text import shown

_LONGEST = 64
"""No number that we know is written with more characters."""
REMEDY = (
    "let the vendor's software write numbers with a decimal point and without thousands separators"
    " (in Windows: Region, Additional settings)"
)

_QUANTITY = re.compile(
    r"(?P<times>[x×])? ?(?P<number>[+-]?\.?[0-9](?:[0-9., ']*[0-9])?(?P<exponent>e[+-]?[0-9]{1,3})?)"
    r" ?(?P<unit>[^\d\s.,'+-][^\d\s]{0,7}(?: [^\d\s]{1,8})?)?"
)
_GROUPED = re.compile(r"[0-9]{1,3}(?P<by>[., '])[0-9]{3}(?:(?P=by)[0-9]{3})*")
_EITHER = re.compile(r"[1-9][0-9]{0,2}[.,][0-9]{3}")
"""Thousands or decimals: nobody can tell."""

_LATIN_1_UM = b"\xb5m".decode("cp949")
"""Latin 1's `µm` in a text that was read as Korean, where these two bytes are one syllable."""
_UM = {
    "m": 1e6,
    "cm": 1e4,
    "mm": 1e3,
    "um": 1.0,
    "μm": 1.0,
    _LATIN_1_UM: 1.0,
    "nm": 1e-3,
    "pm": 1e-6,
}
_TIMES = {"": 1.0, "x": 1.0, "×": 1.0, "k": 1e3, "kx": 1e3, "k x": 1e3, "k×": 1e3, "k ×": 1e3}


@dataclass(frozen=True, slots=True)
class _Read:
    """A number, its unit in lower case, whether `x` stood before it, and the decimal mark that it proves."""

    value: float
    unit: str
    times: bool = False
    proves: str = ""


def decimal_mark(texts: Iterable[str]) -> str:
    """The decimal mark that these quantities of one text prove, `.` or `,`; "" if none does, or they disagree."""
    proved = set[str]()
    for text in texts:
        try:
            proved.add(_read(text, "").proves)
        except ProtocolError:
            continue
    proved.discard("")
    return proved.pop() if len(proved) == 1 else ""


def number(text: str, *, decimal: str = "") -> float:
    """A number without a unit. `decimal` is the text's decimal mark, if known. Raises `ProtocolError`."""
    read = _read(text, decimal)
    if read.unit or read.times:
        raise ProtocolError(f"it is not a number alone: {shown(text)}", remedy=REMEDY)
    return read.value


def length_um(
    text: str, *, decimal: str = "", units: Collection[str] = tuple(_UM), unit: str = ""
) -> float:
    """A length in um; `units` are allowed, `unit` is that of a bare number. Raises `ProtocolError`."""
    read = _read(text, decimal)
    scale = _UM.get(read.unit or unit)
    is_allowed = any(scale == _UM[allowed] for allowed in units)
    if scale is None or not is_allowed or read.times:
        known = " or ".join(filter(str.isascii, units))
        raise ProtocolError(f"it is not a number and {known}: {shown(text)}")
    return read.value * scale


def magnification(text: str, *, decimal: str = "") -> float:
    """A magnification. Raises `ProtocolError`."""
    read = _read(text, decimal)
    scale = _TIMES.get(read.unit)
    if scale is None:
        raise ProtocolError(
            f"it is not a magnification such as 2000, x2000 or 2.0kx: {shown(text)}"
        )
    return read.value * scale


def _read(text: str, decimal: str) -> _Read:
    found = _QUANTITY.fullmatch(_plain(text)) if len(text) <= _LONGEST else None
    if found is None:
        raise ProtocolError(f"it is not a number: {shown(text)}")
    sign, exponent = found["number"][0], found["exponent"] or ""
    body = found["number"].removesuffix(exponent).lstrip("+-").rstrip()
    is_either = _EITHER.fullmatch(body) is not None and not exponent
    whole, mark, decimals = _parts(body, decimal, text, is_either=is_either)
    grouped = _GROUPED.fullmatch(whole)
    by = grouped["by"] if grouped else ""
    digits = whole.replace(by, "") if by and by != mark else whole
    is_number = re.fullmatch("[0-9]+", digits + decimals) is not None
    value = float(f"{digits}.{decimals}{exponent}") if is_number else math.nan
    if not math.isfinite(value):
        raise ProtocolError(f"it is not a number: {shown(text)}", remedy=REMEDY)
    return _Read(
        -value if sign == "-" else value,
        found["unit"] or "",
        found["times"] is not None,
        _proof(body, mark, by),
    )


def _plain(text: str) -> str:
    """One way to write what is written in several: widths of spaces, kinds of µ, upper and lower case, signs."""
    same = unicodedata.normalize("NFKC", text).casefold()
    return same.translate({0x2019: "'", 0x2212: "-", 0x9: " "}).strip()


def _parts(body: str, decimal: str, text: str, *, is_either: bool) -> tuple[str, str, str]:
    """(whole part, decimal mark, decimals); the mark is "" where there are no decimals."""
    last = max(body.rfind("."), body.rfind(","))
    mark = body[last] if last >= 0 else ""
    if not mark or body.count(mark) > 1:
        return body, "", ""
    if is_either and mark != decimal:
        if decimal:
            return body, "", ""
        if mark == ",":
            raise ProtocolError(
                f"the comma may separate thousands or decimals: {shown(text)}", remedy=REMEDY
            )
    return body[:last], mark, body[last + 1 :]


def _proof(body: str, mark: str, by: str) -> str:
    """The decimal mark that a number proves: its own, or that which is not its thousands separator."""
    if _EITHER.fullmatch(body):
        return ""
    return mark or {".": ",", ",": "."}.get(by, "")
