"""What systemd is told, over a real datagram socket."""

import os
import socket
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from afdaemon.service.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, str]]:
    """A service manager's socket, and its address as NOTIFY_SOCKET has it."""
    with (
        tempfile.TemporaryDirectory(prefix="af-") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening,
    ):
        name = f"afdaemon-test-{uuid.uuid4().hex}"
        is_path = request.param == "path"
        address = str(Path(folder) / "notify") if is_path else f"@{name}"
        listening.bind(address if is_path else f"\0{name}")
        listening.settimeout(5.0)
        yield listening, address


def test_each_message_is_one_datagram(manager: tuple[socket.socket, str]) -> None:
    listening, address = manager
    with Notifier(address) as notifier:
        notifier.status("one\nREADY=1 line")
        notifier.ready()
        notifier.alive()
        notifier.stopping()
        notifier.status("x" * 10_000)
    told = [listening.recv(65536) for _ in range(5)]
    assert told[:4] == [b"STATUS=one READY=1 line", b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]
    assert len(told[4]) < 1000


def test_the_environment_says_whom_and_how_often_and_children_do_not_learn_it(
    manager: tuple[socket.socket, str],
) -> None:
    listening, address = manager
    environ = {
        "NOTIFY_SOCKET": address,
        "WATCHDOG_USEC": "30000000",
        "WATCHDOG_PID": str(os.getpid()),
        "HOME": "/",
    }
    with Notifier.from_environment(environ) as notifier:
        assert (notifier.is_heard, notifier.watchdog_s) == (True, 30.0)
        notifier.alive()
    assert listening.recv(100) == b"WATCHDOG=1"
    assert environ == {"HOME": "/"}


@pytest.mark.parametrize(
    ("usec", "pid"), [("30000000", "1"), ("soon", None), ("0", None), ("-5", None), ("", None)]
)
def test_a_watchdog_of_another_process_or_none_is_not_ours(usec: str, pid: str | None) -> None:
    environ = {"WATCHDOG_USEC": usec} | ({} if pid is None else {"WATCHDOG_PID": pid})
    assert Notifier.from_environment(environ).watchdog_s is None


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "/nowhere/at/all"])
def test_where_nobody_listens_nothing_happens(address: str) -> None:
    with Notifier(address) as notifier:
        for _ in range(3):
            notifier.ready()
        assert notifier.is_heard is address.startswith("/")


def test_a_manager_that_does_not_read_holds_nobody_up(manager: tuple[socket.socket, str]) -> None:
    listening, address = manager
    with Notifier(address) as notifier:
        notifier._socket.settimeout(0.01)  # type: ignore[union-attr]
        for _ in range(3000):
            notifier.alive()
            if notifier._has_complained:
                break
        assert notifier._has_complained
    assert listening.recv(100) == b"WATCHDOG=1"
