"""Text as vendors' programs write it: which characters the bytes are, and a short form to show in messages. Pure."""

import codecs

from afdaemon.drivers.errors import ProtocolError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LONGEST_SHOWN = 40


def decode_text(data: bytes) -> str:
    """By its mark, or else UTF-8, Korean (CP949, which holds EUC-KR), or Latin 1, which takes anything."""
    try:
        return decode_strictly(data)
    except ProtocolError:
        return data.decode("latin-1")


def decode_strictly(data: bytes) -> str:
    """The same without Latin 1. Raises `ProtocolError`."""
    marked = [name for mark, name in _MARKS if data.startswith(mark)]
    for name in marked or ("utf-8", "cp949"):
        try:
            return data.decode(name)
        except UnicodeDecodeError:
            continue
    raise ProtocolError(f"it is no text in UTF-8, UTF-16, EUC-KR or CP949: {data[:40]!r}")


def shown(text: str) -> str:
    """Text from outside for a message: short, quoted, and what cannot be printed escaped."""
    return repr(text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "...")
