"""Numbers with units, as anybody may write them: read rightly, or refused."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.drivers.errors import ProtocolError
from afdaemon.drivers.wire.quantity import decimal_mark, length_um, magnification, number
from afdaemon.drivers.wire.text import decode_strictly, decode_text, shown

LOCALES = [
    (".", ""), (".", ","), (".", " "), (".", "\u00a0"), (".", "'"), (".", "\u2019"),
    (",", ""), (",", "."), (",", " "), (",", "\u202f"), (",", "\u2009"), (",", "'"),
]  # fmt: skip
UNITS_UM = {
    "um": 1.0, "µm": 1.0, "μm": 1.0, "UM": 1.0, "㎛": 1.0, "mm": 1e3, "MM": 1e3, "㎜": 1e3, "nm": 1e-3,
}  # fmt: skip
SPACES = st.sampled_from(["", " ", "\u00a0", "\u202f"])


def written(value: float, decimals: int, decimal: str, thousands: str) -> str:
    return f"{value:,.{decimals}f}".translate({ord(","): thousands, ord("."): decimal})


def may_be_thousands(text: str, decimal: str) -> bool:
    """Whether a lone comma stands where either could be meant, or a lone point separates thousands."""
    whole, mark, rest = text.partition("," if "," in text else ".")
    lone = bool(mark) and rest.isdigit() and whole.lstrip("-").isdigit()
    group = len(rest) == 3 and len(whole.lstrip("-")) <= 3 and not whole.lstrip("-").startswith("0")
    return lone and group and (mark == "," or decimal == ",")


@given(
    value=st.floats(-1e7, 1e7),
    decimals=st.integers(0, 4),
    locale=st.sampled_from(LOCALES),
    unit=st.sampled_from(sorted(UNITS_UM)),
    space=SPACES,
)
def test_a_length_comes_back_whatever_the_locale(
    value: float, decimals: int, locale: tuple[str, str], unit: str, space: str
) -> None:
    text = written(value, decimals, *locale)
    meant = round(value, decimals) * UNITS_UM[unit]
    if may_be_thousands(text, locale[0]):
        if "," in text:
            with pytest.raises(ProtocolError, match="comma"):
                length_um(text + space + unit)
        meant_with_hint = length_um(text + space + unit, decimal=locale[0])
        assert meant_with_hint == pytest.approx(meant, rel=1e-9)
    else:
        assert length_um(text + space + unit) == pytest.approx(meant, rel=1e-9)


@given(
    value=st.integers(1, 9_999_999),
    form=st.sampled_from(["{}", "x{}", "X{}", "×{}", "{}x", "{} X", "{}×", " {} "]),
    locale=st.sampled_from(LOCALES),
)
def test_a_magnification_comes_back(value: int, form: str, locale: tuple[str, str]) -> None:
    text = written(value, 0, *locale)
    if not may_be_thousands(text, locale[0]):
        assert magnification(form.format(text)) == value
    assert magnification(form.format(text), decimal=locale[0]) == value


@given(
    tenths=st.integers(1, 9_999), form=st.sampled_from(["{}k", "{} K", "{}kx", "{} K X", "x{}k"])
)
def test_a_magnification_in_thousands_comes_back(tenths: int, form: str) -> None:
    for mark in ".,":
        text = form.format(f"{tenths // 10}{mark}{tenths % 10}")
        assert magnification(text) == pytest.approx(100.0 * tenths)


@given(
    st.text(st.sampled_from("0123456789.,' x×kuµmn+-e\u00a0"), max_size=14) | st.text(max_size=80)
)
def test_anything_is_a_finite_number_or_a_typed_error(text: str) -> None:
    for read in (number, length_um, magnification):
        told = "a number"
        try:
            assert math.isfinite(read(text))
        except ProtocolError as error:
            told = str(error)
        assert len(told) < 300
        assert told.isprintable()


@pytest.mark.parametrize("text", ["12,345", "1,000", "999,999", "-1,234"])
def test_a_comma_that_may_be_either_is_refused_and_shown(text: str) -> None:
    with pytest.raises(ProtocolError, match=text) as told:
        number(text)
    assert "decimal point" in told.value.remedy


@pytest.mark.parametrize(
    ("text", "value"),
    [("0,345", 0.345), ("1234,567", 1234.567), ("12,34", 12.34), ("12,3456", 12.3456),
     ("12,345,678", 12_345_678.0), ("12.345", 12.345), (".5", 0.5), ("1.5E-6", 1.5e-6),
     ("+8", 8.0), ("\u22128", -8.0), ("1,727e-3", 1.727e-3), ("1.727e-3", 1.727e-3)],
)  # fmt: skip
def test_what_can_mean_one_thing_only_is_read(text: str, value: float) -> None:
    assert number(text) == pytest.approx(value)


@pytest.mark.parametrize(
    "text",
    ["", "x", "1,23,456", "1.2.3", "12 34", "1,2345,6", "1.234,567.8", "1_000", "0x10", "nan", "inf",
     "1e999", "١٢", "½", "12 um", "--1", "1,", "1.", ",", "1" * 65],
)  # fmt: skip
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        number(text)


@pytest.mark.parametrize("text", ["12 in", "12", "x12 um", "12 um um", "12 kx"])
def test_a_length_has_a_known_unit(text: str) -> None:
    with pytest.raises(ProtocolError):
        length_um(text)


def test_other_numbers_of_the_text_tell_what_a_comma_is() -> None:
    assert decimal_mark(["2000", "12.400,5 um"]) == ","
    assert decimal_mark(["12,400.5 um", "garbage"]) == "."
    assert decimal_mark(["12,345,678"]) == "."
    assert decimal_mark(["12.345", "12,345", "7"]) == ""
    assert decimal_mark(["1.5", "1,5"]) == ""
    assert number("12,345", decimal=",") == pytest.approx(12.345)
    assert number("12,345", decimal=".") == 12_345.0
    assert number("12.345", decimal=",") == 12_345.0


def test_the_micro_sign_survives_every_encoding() -> None:
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "latin-1"):
        assert length_um(decode_text("12,5 \u00b5m".encode(encoding))) == 12.5
    for encoding in ("utf-8", "utf-16", "euc_kr", "cp949"):
        assert length_um(decode_text("12,5 \u03bcm".encode(encoding))) == 12.5


def test_bytes_that_are_no_text_are_told() -> None:
    assert decode_text(b"\xff\xff") == "\xff\xff"
    with pytest.raises(ProtocolError, match="no text"):
        decode_strictly(b"\xff\xff")


def test_what_is_shown_is_short_and_printable() -> None:
    assert shown("a\x00\x1b" + 100 * "b").isprintable()
    assert len(shown(1000 * "x")) <= 42
