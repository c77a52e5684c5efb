from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from afdaemon.clock import ManualClock
from afdaemon.drivers import registry
from afdaemon.drivers.base import Microscope
from afdaemon.drivers.errors import SettingsError
from afdaemon.drivers.registry import link_names, open_microscope

OFFERED = EntryPoints(
    [
        EntryPoint("borrowed", "afdaemon.drivers.em30.aisem:open_aisem", registry.GROUP),
        EntryPoint("broken", "no_such_package_at_all:open", registry.GROUP),
        EntryPoint("aisem", "no_such_package_at_all:open", registry.GROUP),
    ]
)


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "entry_points", OFFERED.select)


@pytest.mark.parametrize(
    ("link", "settings", "name"),
    [
        ("aisem", {"folder": "."}, "em30 (aisem, 127.0.0.1:9025)"),
        ("stream", {}, "em30 (stream, 127.0.0.1:9030)"),
        ("stream", {"host": "vendor-pc", "port": 1}, "em30 (stream, vendor-pc:1)"),
        ("usb", {}, "em30 (usb"),
    ],
)
def test_the_built_in_links_are_there(link: str, settings: dict[str, object], name: str) -> None:
    assert link in link_names()
    microscope = open_microscope(link, settings, clock=ManualClock())
    assert isinstance(microscope, Microscope)
    assert microscope.name.startswith(name)


def test_an_unknown_link_names_those_there_are() -> None:
    with pytest.raises(SettingsError, match="no driver for the link 'serial'; available: aisem"):
        open_microscope("serial", {}, clock=ManualClock())


@pytest.mark.usefixtures("offered")
def test_a_package_may_offer_a_link_but_not_take_one_over(tmp_path: Path) -> None:
    assert link_names() == ("aisem", "borrowed", "broken", "stream", "usb")
    for link in ("borrowed", "aisem"):
        opened = open_microscope(link, {"folder": tmp_path}, clock=ManualClock())
        assert not opened.connected
    with pytest.raises(SettingsError, match="'broken' cannot be loaded"):
        open_microscope("broken", {}, clock=ManualClock())


@pytest.mark.parametrize(
    ("link", "settings", "complaint"),
    [
        ("stream", {"folder": "."}, "there is no setting folder"),
        ("stream", {"port": 70_000}, "port must be a whole number from 1 to 65535"),
        ("stream", {"ping_s": 0}, "ping_s must be a number from 0.001 to 3600 s, not 0"),
        ("stream", {"host": ""}, "host must be a text that is not empty"),
        ("usb", {"vendor_id": 65536}, "vendor_id must be a whole number from 0 to 65535"),
        ("usb", {"host": "x"}, "there is no setting host"),
        ("aisem", {"folder": ".", "prot": 1}, "no setting prot; did you mean port?"),
        ("aisem", {"folder": ".", "port": 0}, "port must be a whole number from 1 to 65535, not 0"),
        ("aisem", {"folder": ".", "port": True}, "port must be a whole number"),
        (
            "aisem",
            {"folder": ".", "reply_timeout_s": float("nan")},
            "a number from 0.001 to 3600 s, not nan",
        ),
        ("aisem", {"folder": ".", "wd_tolerance_um": 0}, "a number above 0 to 1000 um, not 0"),
        ("aisem", {"folder": ".", "max_dropped_in_row": 0}, "whole number from 1 to 1000"),
        ("aisem", {"folder": ".", "host": ""}, "host must be a text that is not empty"),
    ],
)
def test_a_wrong_setting_is_told_by_name(
    link: str, settings: dict[str, object], complaint: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        open_microscope(link, settings, clock=ManualClock())
    assert complaint in str(caught.value)
