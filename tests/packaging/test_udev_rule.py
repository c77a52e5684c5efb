"""The udev rule is well formed, speaks of the driver's device, and gives no more than it says."""

import re
from pathlib import Path

import pytest

from afdaemon.drivers.em30.settings import UsbSettings
from afdaemon.drivers.em30.usb_device import UDEV_RULE

RULE = Path(__file__).parents[2] / UDEV_RULE
MATCHES = {"ACTION", "SUBSYSTEM", "ENV{DEVTYPE}", "ATTR{idVendor}", "ATTR{idProduct}"}
TERM = re.compile(r'(?P<key>[A-Z]+(?:\{\w+\})?)(?P<operator>==|!=|\+=|:=|=)"(?P<value>[^"]*)"')


def parse(line: str) -> list[tuple[str, str, str]]:
    """The terms (key, operator, value) of a rule as udev(7) has it. Raises `ValueError`."""
    terms = []
    for text in line.split(","):
        found = TERM.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"this is no term of a udev rule: {text!r}")
        terms.append((found["key"], found["operator"], found["value"]))
    return terms


@pytest.fixture
def rule() -> list[tuple[str, str, str]]:
    lines = [line for line in RULE.read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) == 1
    return parse(lines[0])


def test_it_matches_the_drivers_device_and_no_other(rule: list[tuple[str, str, str]]) -> None:
    settings = UsbSettings()
    matches = {key: (operator, value) for key, operator, value in rule if key in MATCHES}
    assert matches == {
        "ACTION": ("!=", "remove"),
        "SUBSYSTEM": ("==", "usb"),
        "ENV{DEVTYPE}": ("==", "usb_device"),
        "ATTR{idVendor}": ("==", f"{settings.vendor_id:04x}"),
        "ATTR{idProduct}": ("==", f"{settings.product_id:04x}"),
    }


def test_it_opens_the_device_to_a_group_and_to_the_seat_and_to_nobody_else(
    rule: list[tuple[str, str, str]],
) -> None:
    assert [term for term in rule if term[0] not in MATCHES] == [
        ("MODE", "=", "0660"),
        ("GROUP", "=", "plugdev"),
        ("TAG", "+=", "uaccess"),
        ("TAG", "+=", "systemd"),
        ("ENV{ID_MM_DEVICE_IGNORE}", "=", "1"),
    ]


def test_its_name_sorts_before_the_rule_that_acts_on_its_tag() -> None:
    assert RULE.name.endswith(".rules")
    assert RULE.name < "73-seat-late.rules"


@pytest.mark.parametrize("line", ['MODE="0660', "MODE=0660", 'mode="0660"', 'MODE=>"0660"', ""])
def test_what_udev_would_refuse_is_refused_here(line: str) -> None:
    with pytest.raises(ValueError, match="no term"):
        parse(line)
