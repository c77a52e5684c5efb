from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.api.endpoints import check_bind, default_address, parse_endpoint
from afdaemon.errors import ConfigError


@pytest.mark.parametrize(
    "address",
    [
        "ipc:///run/af",
        "/run/af",
        "ipc:///run/af/",
        "ipc:///run/af/control.sock",
        "/run/af/abort.sock",
    ],
)
def test_a_folder_stands_for_three_sockets(address: str) -> None:
    places = parse_endpoint(address)
    assert places.folder == Path("/run/af")
    assert places.all == tuple(f"ipc:///run/af/{n}.sock" for n in ("control", "abort", "events"))
    assert parse_endpoint(places.address) == places


@pytest.mark.parametrize(
    ("address", "control"),
    [
        ("tcp://127.0.0.1:7000", "tcp://127.0.0.1:7000"),
        ("tcp://localhost", "tcp://127.0.0.1:60650"),
        ("tcp://[::1]:7000", "tcp://[::1]:7000"),
        ("tcp://lab-pc:7000", "tcp://lab-pc:7000"),
    ],
)
def test_a_tcp_port_stands_for_three_in_a_row(address: str, control: str) -> None:
    places = parse_endpoint(address)
    first = int(control.rpartition(":")[2]) if control.count(":") > 1 else 60650
    assert places.control == control
    assert [int(place.rpartition(":")[2]) for place in places.all] == [first, first + 1, first + 2]
    assert places.folder is None


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("", "is not the path of a folder"),
        ("ipc://", "is not the path of a folder"),
        ("ipc://*", "is not the path of a folder"),
        ("ipc://@abstract", "is not the path of a folder"),
        ("ipc:///a\x00b", "is not the path of a folder"),
        ("ipc:///" + "x" * 200, "too long for sockets"),
        ("udp://1.2.3.4:5", "is not an address of the daemon"),
        ("tcp://", "is not of the form"),
        ("tcp://host:port", "is not an address"),
        ("tcp://host:0", "port 0 does not leave room"),
        ("tcp://host:65534", "port 65534 does not leave room"),
        ("tcp://host:5/path", "is not of the form"),
        ("tcp://me@host:5", "is not of the form"),
    ],
)
def test_what_is_no_address_is_told_in_a_sentence(address: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as refused:
        parse_endpoint(address)
    assert refused.value.remedy


@given(st.text(max_size=300))
def test_any_text_is_an_address_or_refused(address: str) -> None:
    try:
        places = parse_endpoint(address)
    except ConfigError:
        return
    assert len({*places.all}) == 3


@pytest.mark.parametrize(
    ("address", "insecure", "allowed"),
    [
        ("/run/af", False, True),
        ("tcp://127.0.0.1:5", False, False),
        ("tcp://127.0.0.1:5", True, True),
        ("tcp://[::1]:5", True, True),
        ("tcp://localhost:5", True, True),
        ("tcp://*:5", True, False),
        ("tcp://0.0.0.0:5", True, False),
        ("tcp://192.168.1.2:5", True, False),
        ("tcp://lab-pc:5", True, False),
    ],
)
def test_where_the_daemon_may_listen(address: str, insecure: bool, allowed: bool) -> None:
    places = parse_endpoint(address)
    if allowed:
        check_bind(places, insecure=insecure, has_keys=False)
    else:
        with pytest.raises(ConfigError):
            check_bind(places, insecure=insecure, has_keys=False)


def test_both_ends_meet_where_the_setting_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFDAEMON_API__RUNTIME_DIR", "/run/here")
    assert default_address() == "ipc:///run/here"
    monkeypatch.delenv("AFDAEMON_API__RUNTIME_DIR")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert default_address() == "ipc:///run/user/7/afdaemon"


def test_with_keys_it_may_listen_anywhere_but_not_insecurely() -> None:
    for address in ("tcp://127.0.0.1:5", "tcp://0.0.0.0:5", "tcp://lab-pc:5"):
        check_bind(parse_endpoint(address), insecure=False, has_keys=True)
    with pytest.raises(ConfigError, match="open to the network"):
        check_bind(parse_endpoint("tcp://0.0.0.0:5"), insecure=True, has_keys=True)
