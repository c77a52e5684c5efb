"""Keys and values in the texts that programs of microscopes write, and the numbers among them. Pure."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from afdaemon.drivers.errors import ProtocolError
from afdaemon.drivers.wire import quantity
from afdaemon.drivers.wire.text import shown

_LINE_ENDS = re.compile(r"[\r\n\0]+")
_BRACKETS = {ord(mark): " " for mark in "()[]"}
_PAIR = re.compile(r"\s*([0-9]{1,6})\s*[xX* ]\s*([0-9]{1,6})")
_PLAIN_POWERS = ("0", "1")
"""FEI writes `unitPrefixPower="1"` beside numbers in the unit itself."""


@dataclass(frozen=True, slots=True)
class Fields:
    """Texts by their keys, and the decimal mark that their numbers prove ("" where they prove none).

    A number is None where there is none, or none above 0. Each reader raises `ProtocolError` for a text with digits
    that it cannot read, or can read in two ways.
    """

    texts: Mapping[str, str]
    decimal: str

    @classmethod
    def of(cls, texts: Mapping[str, str]) -> "Fields":
        """Of texts by their keys."""
        return cls(texts, quantity.decimal_mark(texts.values()))

    @classmethod
    def of_lines(cls, text: str) -> "Fields":
        """Of `key=value`, each under `key` (the first of that name) and under `section.key`; keys in lower case."""
        texts: dict[str, str] = {}
        section = ""
        for line in lines(text):
            if line.startswith("[") and line.rstrip().endswith("]"):
                section = line.strip()[1:-1].lower()
            key, equals, value = line.partition("=")
            if equals:
                name = key.strip().lower()
                texts.setdefault(name, value.strip())
                texts.setdefault(f"{section}.{name}", value.strip())
        return cls.of(texts)

    @classmethod
    def of_xml(cls, text: str) -> "Fields":
        """Of the leaves, each under its path below the root: `Optics/ScanFieldOfView/X`. None of what is not XML."""
        if "<!DOCTYPE" in text:  # without declarations, nothing in it can grow
            return cls.of({})
        try:
            root = ET.fromstring(text[max(0, text.find("<")) :].rstrip("\0 \r\n"))  # noqa: S314 - no DOCTYPE, no entities
        except (ET.ParseError, ValueError):
            return cls.of({})
        return cls.of(dict(_leaves(root, "")))

    def length_um(self, *keys: str, unit: str = "") -> float | None:
        """The length of the first key that has one, in um; `unit` is that of a bare number."""
        read = partial(quantity.length_um, unit=unit, decimal=self.decimal)
        return next((um for key in keys if (um := self._told(key, read)) is not None), None)

    def number(self, key: str) -> float | None:
        """A number without a unit."""
        return self._told(key, partial(quantity.number, decimal=self.decimal))

    def magnification(self, key: str) -> float | None:
        """A magnification. Here a point may separate thousands too: no known file writes three decimals."""
        marks = (self.decimal,) if self.decimal else (".", ",")
        read = {self._told(key, partial(quantity.magnification, decimal=mark)) for mark in marks}
        if len(read) > 1:
            raise ProtocolError(
                f"{key}: its mark may separate thousands or decimals: {shown(self.texts[key])}"
            )
        return read.pop()

    def pair(self, key: str) -> tuple[float | None, float | None]:
        """Two numbers as in `1280x960` or `1280 960`."""
        found = _PAIR.match(self.texts.get(key, ""))
        return (float(found[1]), float(found[2])) if found else (None, None)

    def _told(self, key: str, read: Callable[[str], float]) -> float | None:
        """Its unit may stand in brackets."""
        text = self.texts.get(key, "").translate(_BRACKETS).strip()
        try:
            number = read(text)
        except ProtocolError as error:
            if any(letter.isdigit() for letter in text):
                raise ProtocolError(f"{key}: {error}") from error
            return None
        return number if number > 0.0 else None


def lines(text: str) -> list[str]:
    """The lines of a text, whatever ends them; empty ones are left out."""
    return [line for line in _LINE_ENDS.split(text) if line]


def _leaves(element: ET.Element, path: str) -> Iterator[tuple[str, str]]:
    """Path and text of each leaf, and its unit where it has one."""
    for child in element:
        here = f"{path}/{child.tag.rpartition('}')[2]}".lstrip("/")
        if len(child):
            yield from _leaves(child, here)
        else:
            is_plain = child.get("unitPrefixPower", "1") in _PLAIN_POWERS
            unit = child.get("unit", "") if is_plain else "of a power"
            yield here, f"{(child.text or '').strip()} {unit}".strip()
