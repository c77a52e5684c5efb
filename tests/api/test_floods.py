"""Greedy and broken clients on real sockets: they alone are refused."""

import asyncio
import re
import resource
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import structlog
import zmq
import zmq.asyncio

from afdaemon.api import descriptors, server
from afdaemon.api.allowance import Pace
from afdaemon.api.caps import TOPICS, WAITS, Caps, Rate, Share
from afdaemon.api.client import AsyncClient
from afdaemon.api.dispatch import Dispatcher
from afdaemon.api.fake import FakeBackend, fake_daemon
from afdaemon.api.porter import Guests, Porter, client_of, give_memory_back
from afdaemon.api.server import Doors, open_doors
from afdaemon.clock import ManualClock
from afdaemon.errors import ConfigError, RequestRefused, Unreachable

Until = Callable[[Callable[[], object]], Awaitable[None]]
FEW = Caps(connections=Share(each=3, all=6))


@pytest.fixture
async def few(folder: Path) -> AsyncIterator[FakeBackend]:
    """A daemon that allows three connections of a client."""
    with open_doors([str(folder)], instance="i-1", clock=ManualClock(), caps=FEW) as doors:
        async with fake_daemon(doors, instance="i-1") as backend:
            yield backend


@pytest.fixture
def dial(folder: Path) -> Iterator[Callable[[str], socket.socket]]:
    """Opens plain connections to a socket."""
    with ExitStack() as stack:

        def opened(name: str) -> socket.socket:
            line = stack.enter_context(closing(socket.socket(socket.AF_UNIX)))
            line.settimeout(5.0)
            line.connect(str(folder / name))
            return line

        yield opened


def is_closed(line: socket.socket) -> bool:
    """Whether the other side hangs up; what it says before that doesn't matter."""
    try:
        while line.recv(4096):
            pass
    except ConnectionResetError:
        pass
    return True


async def pings_without_end(client: AsyncClient) -> None:
    """Some may be answered before the connections are counted."""
    while True:
        await client.ping()


def another_process_pings(folder: Path) -> None:
    """Raises if it is not answered."""
    script = f"from afdaemon.api.client import Client\nwith Client('{folder}') as c: c.ping()"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=20.0)


@pytest.mark.parametrize("name", ["control.sock", "abort.sock", "events.sock"])
async def test_a_connection_too_many_is_closed_and_a_place_that_is_given_up_can_be_had(
    few: FakeBackend, dial: Callable[[str], socket.socket], name: str
) -> None:
    kept = [dial(name) for _ in range(3)]
    assert await asyncio.to_thread(is_closed, dial(name))
    kept.pop().close()

    def is_welcome() -> bool:
        line = dial(name)
        line.settimeout(0.2)
        try:
            return bool(line.recv(1))
        except OSError:
            return False

    async with asyncio.timeout(20.0):
        while not await asyncio.to_thread(is_welcome):
            pass


async def test_a_client_with_all_the_connections_it_may_have_locks_nobody_out(
    few: FakeBackend, folder: Path, dial: Callable[[str], socket.socket]
) -> None:
    _kept = [dial("control.sock") for _ in range(3)]
    async with AsyncClient(str(folder)) as mine, asyncio.timeout(30.0):
        with pytest.raises(Unreachable):
            await pings_without_end(mine)
        await mine.abort()  # the abort socket has places of its own
    await asyncio.to_thread(another_process_pings, folder)


async def test_subscriptions_too_many_end_a_connection_and_nobody_elses(
    few: FakeBackend, folder: Path, until: Until
) -> None:
    context = zmq.asyncio.Context()
    greedy = context.socket(zmq.XSUB)
    monitor = greedy.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    greedy.connect(f"ipc://{folder}/events.sock")
    async with AsyncClient(str(folder)) as client, client.events("job.") as events:
        for number in range(5 * TOPICS):
            await greedy.send(b"\x01job.%d" % number)
        async with asyncio.timeout(5.0):
            await monitor.recv_multipart()
        assert (await client.start(request_id="one")).job == "one"
        assert (await anext(events)).topic == "job.one"
    greedy.disable_monitor()
    monitor.close()
    greedy.close(linger=0)
    context.term()


async def test_a_topic_that_is_too_long_ends_its_connection(
    few: FakeBackend, dial: Callable[[str], socket.socket]
) -> None:
    line = dial("events.sock")
    line.sendall(b"\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL".ljust(64, b"\0"))
    line.sendall(
        b"\4\x1a\5READY\x0bSocket-Type\0\0\0\3SUB" + b"\2\0\0\0\0\0\0\1\x91\1" + 400 * b"x"
    )
    assert await asyncio.to_thread(is_closed, line)


@pytest.mark.parametrize("revision", [b"\0", b"\1"])
async def test_the_old_protocol_is_refused_because_its_messages_do_not_say_whose_they_are(
    few: FakeBackend, dial: Callable[[str], socket.socket], revision: bytes
) -> None:
    line = dial("events.sock")
    line.sendall(b"\xff\0\0\0\0\0\0\0\1\x7f" + revision + b"\2\0\0\5\0\1abc")
    assert await asyncio.to_thread(is_closed, line)


async def test_calls_that_wait_are_capped_and_the_others_go_on(
    backend: FakeBackend, folder: Path
) -> None:
    backend.release.clear()
    async with AsyncClient(str(folder)) as client:
        await client.start(request_id="one")
        waits = [asyncio.create_task(client.wait("one", 10.0)) for _ in range(WAITS.each + 3)]
        done, waiting = await asyncio.wait(waits, timeout=0.5)
        refused = [task.exception() for task in done]
        assert [isinstance(error, RequestRefused) for error in refused] == [True] * 3
        assert "32 calls that wait for a job under way" in str(refused[0])
        await client.ping()
        await asyncio.to_thread(another_process_pings, folder)
        backend.release.set()
        assert all(job.converged for job in await asyncio.gather(*waiting))
        assert (await client.wait("one", 10.0)).converged


@pytest.mark.parametrize("share", [Share(each=1, all=9), Share(each=9, all=1)])
async def test_requests_too_many_are_refused_not_queued(
    folder: Path, monkeypatch: pytest.MonkeyPatch, share: Share
) -> None:
    monkeypatch.setattr(server, "REQUESTS", share)
    with open_doors([str(folder)], instance="i-1", clock=ManualClock()) as doors:
        async with (
            fake_daemon(doors, instance="i-1") as backend,
            AsyncClient(str(folder)) as client,
        ):
            backend.release.clear()
            await client.start(request_id="one")
            waiting = asyncio.create_task(client.wait("one", 10.0))
            while not (await asyncio.wait([waiting], timeout=0.05))[0]:
                with pytest.raises(RequestRefused, match="1 requests under way") as refused:
                    await client.ping()
                assert refused.value.kind == "overloaded"
                backend.release.set()
            assert (await client.ping()).pong


async def test_bytes_too_many_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BYTES", Share(each=4_000, all=9_000))
    with open_doors([str(folder)], instance="i-1", clock=ManualClock()) as doors:
        async with (
            fake_daemon(doors, instance="i-1") as backend,
            AsyncClient(str(folder)) as client,
        ):
            with pytest.raises(RequestRefused, match="bytes of requests under way; at most 4000"):
                await client.score_image(bytes(4_000), 1_000.0)
            assert backend.images == []
            assert (await client.score_image(bytes(3_000), 1_000.0)).score


class Ready:
    """A socket on which a message is always waiting."""

    def __init__(self) -> None:
        self.received = 0

    async def recv_multipart(self, *, copy: bool) -> list[zmq.Frame]:
        self._count()
        return [zmq.Frame(b"a"), zmq.Frame(b"{}")]

    async def recv(self, *, copy: bool) -> zmq.Frame:
        self._count()
        return zmq.Frame(b"\x01x")

    async def send_multipart(self, _message: object, *, flags: int) -> None:
        pass

    def _count(self) -> None:
        self.received += 1
        if self.received > 2_000:
            raise OverflowError

    def monitor(self, *_args: object) -> None:
        pass


@pytest.mark.parametrize("door", ["control", "events"])
async def test_a_flood_leaves_the_event_loop_to_the_others(
    doors: Doors, folder: Path, monkeypatch: pytest.MonkeyPatch, door: str
) -> None:
    """A receive that finds a message does not wait, so that the loop itself has to."""
    ready = Ready()
    control = doors._control
    monkeypatch.setattr(control, "_received", Pace(Rate(per_s=1e9, burst=1)))
    serving: Awaitable[None]
    entry = (control if door == "control" else doors.events).entries[0]
    whole, entry.socket = entry.socket, cast("zmq.asyncio.Socket", ready)
    if door == "control":
        backend = FakeBackend(doors.events, instance="i-1")
        serving = control.serve(Dispatcher(backend, instance="i-1"))
    else:
        serving = doors.events.run()
    turns = 0
    task = asyncio.ensure_future(serving)
    while not task.done():
        turns += 1
        await asyncio.sleep(0)
    entry.socket = whole
    assert task.exception() is not None
    assert turns >= ready.received


async def test_a_client_that_asks_too_fast_is_slowed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "ANSWERED", Rate(per_s=20.0, burst=2))
    with open_doors([str(folder)], instance="i-1", clock=ManualClock()) as doors:
        async with fake_daemon(doors, instance="i-1"), AsyncClient(str(folder)) as client:
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            for _ in range(8):
                await client.ping()
            assert loop.time() - began_s >= 0.2


def test_only_connections_of_our_own_are_shut_down(folder: Path) -> None:
    """libzmq may have closed a descriptor, and somebody opened it anew, before it is shut down."""
    here = Path("/proc/self/fd")
    with (
        zmq.Context() as context,
        context.socket(zmq.ROUTER) as router,
        closing(Porter(router, f"ipc://{folder}/x.sock", Guests("x", FEW.connections))) as porter,
    ):
        one, other = socket.socketpair()
        with one, other, (folder / "file").open("w") as file:
            before = len(list(here.iterdir()))
            porter._shut(one.fileno(), client_of(one), "of no matter")
            porter._shut(file.fileno(), "nobody", "of no matter")
            assert len(list(here.iterdir())) == before
            other.sendall(b"still there")
            assert one.recv(100) == b"still there"
            closed = one.fileno()
        porter._shut(closed, "nobody", "of no matter")


def test_giving_memory_back_is_harmless() -> None:
    give_memory_back()


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The limits of open files, soft and hard, without those of the test."""
    here = SimpleNamespace(**{**vars(resource), "now": (1024, 4096)})
    here.getrlimit = lambda _which: here.now
    here.setrlimit = lambda _which, to: setattr(here, "now", to)
    monkeypatch.setattr(descriptors, "resource", here)
    return here


def test_the_limit_of_open_files_is_raised(limits: SimpleNamespace) -> None:
    with structlog.testing.capture_logs() as said:
        assert descriptors.secure(Caps(), tcp=True) == 4096
    assert limits.now == (4096, 4096)
    assert said == []


@pytest.mark.parametrize(("tcp", "events"), [(False, []), (True, ["few_descriptors"])])
def test_a_limit_that_only_the_fastest_flood_by_tcp_exceeds_is_a_warning(
    limits: SimpleNamespace, tcp: bool, events: list[str]
) -> None:
    limits.now = (1024, 1024)
    with structlog.testing.capture_logs() as said:
        assert descriptors.secure(Caps(), tcp=tcp) == 1024
    assert [one["event"] for one in said] == events


@pytest.mark.parametrize(("hard", "remedy"), [(600, "most_connections to 62$"), (100, r"-n\)$")])
def test_too_few_open_files_are_refused_with_what_to_do(
    limits: SimpleNamespace, hard: int, remedy: str
) -> None:
    limits.now = (hard, hard)
    with pytest.raises(ConfigError, match=f"may open {hard} files") as refused:
        descriptors.secure(Caps(), tcp=False)
    assert re.search(remedy, refused.value.remedy)


def test_the_vendor_door_needs_some_more(limits: SimpleNamespace) -> None:
    least = descriptors.needed(Caps())
    limits.now = (least, least)
    assert descriptors.secure(Caps(), tcp=False) == least
    with pytest.raises(ConfigError, match=f"may open {least} files"):
        descriptors.secure(Caps(), tcp=False, vendor=True)


def test_no_limit_is_enough(limits: SimpleNamespace) -> None:
    limits.now = (1024, resource.RLIM_INFINITY)
    descriptors.secure(Caps(connections=Share(each=1, all=10**6)), tcp=True)
