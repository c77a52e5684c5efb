"""Who connects waits until there are descriptors for all who wait."""

import asyncio
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
import zmq

from afdaemon.api import descriptors, gate
from afdaemon.api.caps import QUEUED, Caps
from afdaemon.api.client import AsyncClient
from afdaemon.api.fake import FakeBackend
from afdaemon.api.gate import Gate
from afdaemon.api.porter import Guests, Porter
from afdaemon.api.rundir import Folder, held
from afdaemon.api.server import Doors

Until = Callable[[Callable[[], object]], Awaitable[None]]
FLOODED = 1_100
_DIALS = """
import socket, sys
kept = []
for number in range({count}):
    line = socket.socket(socket.AF_UNIX)
    line.setblocking(False)
    line.connect_ex(sys.argv[1] + "/" + ("control", "abort", "events")[number % 3] + ".sock")
    kept.append(line)
print("connected", flush=True)
sys.stdin.read()
"""


def open_now() -> int:
    """Descriptors of this process."""
    return len(list(Path("/dev/fd").iterdir()))


def test_what_is_open_is_counted_without_listing_it() -> None:
    """The list itself takes one more while it is read."""
    assert descriptors.open_now() in (open_now(), open_now() - 1)


@pytest.fixture
def ours(folder: Path) -> Iterator[tuple[Folder, Gate, "zmq.Socket[bytes]"]]:
    """A gate of a socket that nobody attends to."""
    with held(folder) as here, zmq.Context() as context, ExitStack() as stack:
        router = stack.enter_context(context.socket(zmq.ROUTER))
        router.setsockopt(zmq.LINGER, 0)
        address = f"ipc://{folder}/control.sock"
        porter = Porter(router, address, Guests("control", Caps().connections))
        stack.callback(porter.close)
        yield here, stack.enter_context(closing(Gate(router, "control.sock", here, porter))), router


def dialled(folder: Path) -> socket.socket:
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(1.0)
    line.connect(str(folder / "control.sock"))
    return line


def is_greeted(line: socket.socket, within_s: float = 5.0) -> bool:
    """libzmq has accepted the connection, and speaks first."""
    line.settimeout(within_s)
    try:
        return bool(line.recv(1))
    except TimeoutError:
        return False


def is_connected(line: socket.socket) -> bool:
    """Whether the other side has not hung up; reads what it said."""
    line.settimeout(0.05)
    try:
        while line.recv(100):
            pass
    except TimeoutError:
        return True
    return False


def test_nobody_is_let_in_until_the_thread_of_the_socket_says_so(
    ours: tuple[Folder, Gate, "zmq.Socket[bytes]"],
) -> None:
    here, entrance, _ = ours
    with dialled(here.path) as line:
        assert not is_greeted(line, within_s=0.2)
        entrance.admit()
        assert is_greeted(line)


def test_without_descriptors_enough_they_wait(
    ours: tuple[Folder, Gate, "zmq.Socket[bytes]"], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, entrance, _ = ours
    with dialled(here.path) as line:
        monkeypatch.setattr(descriptors, "is_room", lambda: False)
        entrance.admit()
        assert not is_greeted(line, within_s=0.2)
        monkeypatch.setattr(descriptors, "is_room", lambda: True)
        entrance.admit()
        assert is_greeted(line)


@contextmanager
def no_descriptor_free() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_a_single_descriptor_nobody_is_let_in_and_nothing_ends(
    ours: tuple[Folder, Gate, "zmq.Socket[bytes]"], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, entrance, _ = ours
    with dialled(here.path) as line:
        with no_descriptor_free():
            entrance.admit()
            with monkeypatch.context() as patched:  # taken by others since it was looked
                patched.setattr(descriptors, "is_room", lambda: True)
                entrance.admit()
            (here.path / "control.sock").unlink()
            entrance.mend()
        assert "Too many open files" in here.trouble
        assert not is_greeted(line, within_s=0.2)
        entrance.mend()
        assert is_greeted(line)


def test_a_listening_socket_that_has_a_connections_old_number_is_no_connection(
    ours: tuple[Folder, Gate, "zmq.Socket[bytes]"],
) -> None:
    """The porter is told of connections later, when they may have gone and their descriptors may listen."""
    here, entrance, _ = ours
    with ExitStack() as stack:
        for _ in range(2 * Caps().connections.each):
            number = os.dup(entrance.fileno())
            stack.callback(os.close, number)
            entrance._porter._came(number)
    with dialled(here.path) as line:
        entrance.admit()
        assert is_greeted(line)


def test_at_most_so_many_wait_whoever_comes(
    ours: tuple[Folder, Gate, "zmq.Socket[bytes]"],
) -> None:
    here, _, _ = ours
    with ExitStack() as stack:
        lines = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(3 * QUEUED)]
        for line in lines:
            line.setblocking(False)
        path = str(here.path / "control.sock")
        assert sum(line.connect_ex(path) == 0 for line in lines) == QUEUED + 1


def test_an_entrance_is_closed_when_all_have_gone_and_not_before(
    ours: tuple[Folder, Gate, "zmq.Socket[bytes]"],
) -> None:
    here, entrance, _ = ours
    with dialled(here.path) as stays:
        entrance.admit()
        assert is_greeted(stays)
        before = open_now()
        for _ in range(50):
            with dialled(here.path) as line:
                entrance.admit()
                assert is_greeted(line)
        assert open_now() <= before + 6
        assert is_connected(stays)


def test_a_folder_that_cannot_be_used_loses_nobody_who_waits(
    ours: tuple[Folder, Gate, "zmq.Socket[bytes]"], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, entrance, _ = ours
    with dialled(here.path) as line:
        with monkeypatch.context() as broken:
            broken.setattr(socket.socket, "listen", fail)
            entrance.admit()
        assert here.trouble
        entrance.admit()
        assert is_greeted(line)


def fail(*_args: object) -> None:
    raise OSError(28, os.strerror(28))


async def test_a_flood_of_connections_takes_no_more_descriptors_than_its_share(
    doors: Doors, backend: FakeBackend, folder: Path
) -> None:
    """The connections are opened faster than an interpreter can look at them."""
    most = 0
    async with AsyncClient(str(folder)) as client:
        await client.ping()
        before = open_now()
        flood = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _DIALS.format(count=FLOODED), str(folder),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert flood.stdout is not None
        connected = asyncio.create_task(flood.stdout.readline())
        while not connected.done():
            await client.ping()
            most = max(most, open_now())
        for _ in range(50):
            await client.ping()
            most = max(most, open_now())
        await flood.communicate(b"")
    shares, not_counted_yet = 3 * 2 * Caps().connections.each, gate.UNSEEN * (QUEUED + 1)
    assert most - before <= shares + not_counted_yet + 10


async def test_the_way_in_is_free_again_after_a_flood(
    doors: Doors, backend: FakeBackend, folder: Path, until: Until
) -> None:
    before = open_now()
    for _ in range(10):
        with ExitStack() as stack:
            for _ in range(2 * QUEUED):
                line = stack.enter_context(socket.socket(socket.AF_UNIX))
                line.setblocking(False)
                line.connect_ex(str(folder / "control.sock"))
            await asyncio.sleep(2 * gate.BETWEEN_S)
    async with AsyncClient(str(folder)) as client:
        await client.ping()
        await client.abort()
    async with AsyncClient(str(folder)) as client:
        await client.ping()
        await client.abort()
        await until(lambda: open_now() <= before + 30)
