"""The vendor door on a real socket: the button, its status bar, and clients that mean no good."""

import asyncio
import json
import socket
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import pytest
import structlog

from afdaemon.api import caps
from afdaemon.api.dispatch import AbortDispatcher, Dispatcher
from afdaemon.api.fake import FakeBackend
from afdaemon.api.server import Doors, open_doors
from afdaemon.api.vendor.access import AllowList, VendorPlace
from afdaemon.api.vendor.door import VendorDoor
from afdaemon.api.vendor.service import Service
from afdaemon.clock import ManualClock, SystemClock
from afdaemon.drivers.errors import LinkLost
from afdaemon.errors import BusyError, ConfigError
from tests.api.vendor.caller import TOKEN, Caller, Dial, Opened, address_of

Until = Callable[[Callable[[], object]], Awaitable[None]]
Daemon = tuple[Doors, FakeBackend]


def job_in(line: str) -> str:
    return line.partition("job=")[2].partition(" ")[0]


async def test_the_button_is_pressed_and_the_status_bar_follows(
    caller: Caller, backend: FakeBackend
) -> None:
    job_id = job_in(await caller.ask("AUTOFOCUS"))
    assert [await caller.line() for _ in range(4)] == [
        "PROGRESS reading 1 of at most 3, score 3.0, WD 12145.0 um",
        "PROGRESS reading 2 of at most 3, score 6.0, WD 12245.0 um",
        "PROGRESS reading 3 of at most 3, score 9.0, WD 12345.0 um",
        "FOCUSED wd_um=12345.0 score=8.50",
    ]
    assert backend.jobs[job_id].converged
    assert (await caller.ask("ping"), await caller.ask("STATUS")) == (
        "OK ping",
        "OK status state=ready microscope=connected wd_um=12345.0 magnification=2000",
    )


async def test_abort_ends_the_job_and_the_button_hears_of_it(
    caller: Caller, backend: FakeBackend
) -> None:
    backend.release.clear()
    job_id = job_in(await caller.ask("AUTOFOCUS"))
    await caller.until("PROGRESS reading 3")
    assert await caller.ask("ABORT") == f"OK abort job={job_id}"
    assert await caller.line() == (
        "FAILED reason=aborted restored=yes wd_um=12000.0: by the vendor's software"
    )
    assert await caller.ask("ABORT") == "OK abort job=none"


async def test_an_abort_is_answered_while_the_event_loop_is_blocked(
    daemon: Daemon, caller: Caller
) -> None:
    doors, backend = daemon
    backend.release.clear()
    await caller.ask("AUTOFOCUS")
    await caller.until("PROGRESS reading 3")
    answers: list[bytes] = []
    took_s: list[float] = []

    def press() -> None:
        clock = SystemClock()
        with socket.create_connection(address_of(doors)) as line, line.makefile("rb") as lines:
            line.sendall(f"TOKEN {TOKEN}\r\n".encode())
            lines.readline()
            began_s = clock.now_s()
            line.sendall(b"STATUS\r\nABORT\r\n")  # the status has to wait for the loop
            answers.append(lines.readline())
            took_s.append(clock.now_s() - began_s)

    thread = threading.Thread(target=press)
    thread.start()
    assert backend.aborted.wait(10.0)  # blocks the loop until the abort has come through
    thread.join()
    assert answers[0].startswith(b"OK abort job=")
    assert took_s[0] < 1.0
    assert (await caller.line()).startswith("FAILED reason=aborted")


class SlowStart:
    """Makes starts of a backend wait, as they do while the networks are loaded."""

    def __init__(self, backend: FakeBackend, patch: pytest.MonkeyPatch) -> None:
        self.waiting, self.go_on = asyncio.Event(), asyncio.Event()
        self.now_waiting = 0
        self._start = backend.start
        patch.setattr(backend, "start", self._slowly)

    async def _slowly(self, *args: object) -> object:
        self.waiting.set()
        self.now_waiting += 1
        try:
            await self.go_on.wait()
        finally:
            self.now_waiting -= 1
        return await self._start(*args)  # type: ignore[arg-type]


async def test_a_job_that_is_aborted_before_it_begins_never_begins(
    caller: Caller, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SlowStart(backend, monkeypatch)
    caller.say("AUTOFOCUS")
    await slow.waiting.wait()
    assert (await caller.ask("ABORT")).startswith("OK abort job=")
    assert await caller.line() == (
        "FAILED reason=aborted restored=yes: called off by the vendor's software before it began"
    )
    slow.go_on.set()
    assert (await caller.ask("STATUS")).startswith("OK status state=ready")
    assert (backend.jobs, backend.moves) == ({}, [])


@pytest.mark.parametrize("method", ["autofocus.start", "autofocus.run", "line"])
@pytest.mark.parametrize("when", ["before it begins", "in its middle"])
async def test_a_client_that_breaks_off_ends_its_job(
    dial: Dial,
    backend: FakeBackend,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    when: str,
) -> None:
    backend.release.clear()
    slow = SlowStart(backend, monkeypatch)
    if when == "in its middle":
        slow.go_on.set()
    caller = await dial()
    await caller.ask(f"TOKEN {TOKEN}")
    request = {"jsonrpc": "2.0", "id": "mine", "method": method}
    caller.say("AUTOFOCUS" if method == "line" else json.dumps(request))
    await slow.waiting.wait()
    if when == "in its middle":
        await until(lambda: backend.moves)
        caller.writer.close()
        await until(lambda: backend.aborted.is_set())
        assert backend.aborted_by == "the vendor's connection broke"
    else:
        caller.writer.close()
        await until(lambda: not slow.now_waiting)
        assert backend.jobs == {}
    slow.go_on.set()
    last = await dial()
    await last.ask(f"TOKEN {TOKEN}")
    async with asyncio.timeout(10.0):
        while not (await last.ask("STATUS")).startswith("OK status state=ready"):
            pass
    assert all(job.state == "aborted" for job in backend.jobs.values())


async def test_detach_leaves_the_job_running(
    dial: Dial, backend: FakeBackend, until: Until
) -> None:
    backend.release.clear()
    caller = await dial()
    await caller.ask(f"TOKEN {TOKEN}")
    assert await caller.ask("DETACH") == "OK detach"
    job_id = job_in(await caller.ask("AUTOFOCUS"))
    await caller.until("PROGRESS reading 3")
    caller.writer.close()
    other = await dial()
    await other.ask(f"TOKEN {TOKEN}")
    assert f"job={job_id}" in await other.ask("STATUS")
    backend.release.set()
    await until(lambda: backend.jobs[job_id].converged)
    assert not backend.aborted.is_set()


async def test_another_clients_job_outlives_this_one(
    caller: Caller, dial: Dial, backend: FakeBackend
) -> None:
    backend.release.clear()
    await caller.ask("AUTOFOCUS")
    other = await dial()
    await other.ask(f"TOKEN {TOKEN}")
    assert (await other.ask("AUTOFOCUS")).startswith("ERROR busy: the job ")
    other.writer.close()
    await caller.until("PROGRESS reading 3")
    backend.release.set()
    assert await caller.line() == "FOCUSED wd_um=12345.0 score=8.50"


async def test_a_job_that_cannot_begin_is_an_error_with_a_remedy(
    caller: Caller, backend: FakeBackend
) -> None:
    backend.error = LinkLost("the cable is out", remedy="plug it in")
    assert await caller.ask("AUTOFOCUS") == "ERROR device: the cable is out; plug it in"
    backend.error = RuntimeError("a bug, of which nobody outside hears")
    with structlog.testing.capture_logs():
        assert (await caller.ask("STATUS")).startswith("ERROR internal: ")
    assert await caller.ask("PING") == "OK ping"


# Who may not


async def test_a_wrong_token_ends_the_connection_and_is_logged(dial: Dial) -> None:
    with structlog.testing.capture_logs() as logs:
        caller = await dial()
        assert (await caller.ask("TOKEN fedcba9876543210")).startswith("ERROR token: that is not")
        assert await caller.is_hung_up()
    assert [one["reason"] for one in logs] == ["does not know the token"]


@pytest.mark.parametrize("line", ["AUTOFOCUS", "ABORT", "STATUS", "PING", "DETACH"])
async def test_without_the_token_nothing_is_done(
    dial: Dial, backend: FakeBackend, line: str
) -> None:
    caller = await dial()
    assert (await caller.ask(line)).startswith("ERROR token: the token is missing; the first line")
    assert await caller.ask(f"TOKEN {TOKEN}") == "OK token"
    assert (backend.jobs, backend.aborted.is_set()) == ({}, False)


async def test_who_does_not_show_the_token_is_sent_away(
    open_daemon: Opened, dial_to: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("afdaemon.api.vendor.connection.VENDOR_HELLO_S", 0.05)
    async with open_daemon() as (doors, _), dial_to(doors) as caller:
        assert (await caller.line()).startswith("ERROR token: no token came within 0.05 s")
        assert await caller.is_hung_up()


async def test_an_address_that_is_not_allowed_is_told_so_and_closed(
    open_daemon: Opened, dial_to: Opened
) -> None:
    async with open_daemon(allow=AllowList("127.0.0.2")) as (doors, _), dial_to(doors) as caller:
        with structlog.testing.capture_logs():
            line = await caller.line()
        assert line == "ERROR address: 127.0.0.1 may not connect; add it to vendor.allow"
        assert await caller.is_hung_up()


async def test_on_this_machine_it_may_do_without_a_token(
    open_daemon: Opened, dial_to: Opened
) -> None:
    async with open_daemon(token="") as (doors, _), dial_to(doors) as caller:
        assert await caller.ask("PING") == "OK ping"
        assert await caller.ask("TOKEN whatever") == "OK token"


async def test_a_browser_that_is_led_here_presses_no_button(
    open_daemon: Opened, dial_to: Opened
) -> None:
    """A page may let a browser send what it likes, but not as the first line."""
    async with open_daemon(token="") as (doors, backend), dial_to(doors) as caller:
        caller.say("POST / HTTP/1.1\r\nHost: 127.0.0.1:60655\r\n\r\nAUTOFOCUS\r\n")
        assert (await caller.line()).startswith("ERROR invalid_request: there is no command POST")
        assert await caller.is_hung_up()
        assert backend.jobs == {}


# What is too much


async def test_a_line_of_a_megabyte_ends_its_sender_alone(caller: Caller, dial: Dial) -> None:
    other = await dial()
    await other.ask(f"TOKEN {TOKEN}")
    caller.say(b"x" * 1_000_000)
    assert (await caller.line()).startswith(
        "ERROR invalid_request: the line is longer than 65536 bytes"
    )
    assert await caller.is_hung_up()
    assert await other.ask("PING") == "OK ping"


@pytest.mark.parametrize("garbage", [b"\x00" * 500, b"\xff\xfe\n" * 50, b"{" * 60_000, b"[]\n\n\n"])
async def test_garbage_breaks_nothing(caller: Caller, dial: Dial, garbage: bytes) -> None:
    other = await dial()
    other.say(garbage)
    assert await caller.ask("PING") == "OK ping"
    caller.say(garbage)
    last = await dial()
    assert await last.ask(f"TOKEN {TOKEN}") == "OK token"
    assert await last.ask("PING") == "OK ping"


async def let_in(dial: Dial) -> Caller:
    """A caller that comes again until it is let in, as long as others crowd the door."""
    async with asyncio.timeout(20.0):
        while True:
            caller = await dial()
            if await caller.ask(f"TOKEN {TOKEN}") == "OK token":
                return caller


async def test_a_thousand_connections_shut_nobody_out_who_knows_the_token(
    daemon: Daemon, caller: Caller, dial: Dial
) -> None:
    host, port = address_of(daemon[0])
    with structlog.testing.capture_logs(), ExitStack() as stack:
        for number in range(1_000):
            line = stack.enter_context(socket.socket())
            line.setblocking(False)
            line.connect_ex((host, port))
            if number % 50 == 0:
                assert await caller.ask("PING") == "OK ping"
        late = await let_in(dial)
        assert (await late.ask("STATUS")).startswith("OK status state=ready")
        assert await caller.ask("PING") == "OK ping"


async def test_of_those_who_know_the_token_one_address_has_its_share(
    dial: Dial, daemon: Daemon
) -> None:
    share = caps.VENDOR_CONNECTIONS.each
    with structlog.testing.capture_logs():
        kept = [await dial() for _ in range(share)]
        for one in kept:
            assert await one.ask(f"TOKEN {TOKEN}") == "OK token"
        over = await dial()
        assert (await over.ask(f"TOKEN {TOKEN}")).startswith("ERROR overloaded: 127.0.0.1: has 8")
        assert await over.is_hung_up()
    assert [await one.ask("PING") for one in kept] == ["OK ping"] * share


async def test_requests_too_many_at_once_are_refused_one_by_one(
    caller: Caller, backend: FakeBackend
) -> None:
    backend.release.clear()
    await caller.call("autofocus.start", "one")
    wait = {"jsonrpc": "2.0", "method": "job.wait", "params": {"job": "one"}}
    for number in range(caps.VENDOR_REQUESTS.each + 1):
        caller.say(json.dumps({**wait, "id": number}))
    refused = json.loads(await caller.line())
    assert (refused["id"], refused["error"]["data"]["kind"]) == (
        caps.VENDOR_REQUESTS.each,
        "overloaded",
    )
    assert await caller.ask("ABORT") == "OK abort job=one"


async def test_a_flood_of_lines_is_slowed_and_hurts_nobody_else(caller: Caller, dial: Dial) -> None:
    other = await dial()
    await other.ask(f"TOKEN {TOKEN}")
    clock = SystemClock()
    began_s = clock.now_s()
    for _ in range(caps.VENDOR_LINES.burst + 25):
        caller.say("PING")
    for number in range(caps.VENDOR_LINES.burst + 25):
        assert await caller.line() == "OK ping"
        if number == caps.VENDOR_LINES.burst:
            assert await other.ask("PING") == "OK ping"
    assert clock.now_s() - began_s >= 0.4


async def test_a_client_that_does_not_read_is_cut_off_and_its_job_is_ended(
    daemon: Daemon, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    doors, backend = daemon
    backend.release.clear()
    monkeypatch.setattr("afdaemon.api.vendor.connection.VENDOR_UNSENT_BYTES", 1_000)
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        line.connect(address_of(doors))
        ask = b'{"jsonrpc":"2.0","id":"d","method":"rpc.discover"}\n'
        line.sendall(f"TOKEN {TOKEN}\nAUTOFOCUS\n".encode() + 200 * ask)
        await until(lambda: backend.aborted.is_set())


async def test_a_client_that_is_idle_is_sent_away_but_not_while_its_job_runs(
    open_daemon: Opened, dial_to: Opened
) -> None:
    async with open_daemon(idle_s=0.5, token="") as (doors, backend):
        backend.release.clear()
        async with dial_to(doors) as caller, AsyncExitStack() as stack:
            await caller.call("autofocus.start", "one")
            quiet = await stack.enter_async_context(dial_to(doors))
            assert (await quiet.line()).startswith("ERROR idle: no line came for 0.5 s")
            assert await quiet.is_hung_up()
            assert not backend.aborted.is_set()
            backend.release.set()
            assert (await caller.line()).startswith("ERROR idle")


# The door's life


async def test_a_second_daemon_on_the_same_port_is_refused(daemon: Daemon, folder: Path) -> None:
    _, port = address_of(daemon[0])
    vendor = VendorPlace(host="127.0.0.1", port=port, idle_s=1.0, token=TOKEN)
    with (
        pytest.raises(BusyError, match=rf"another program already listens on 127\.0\.0\.1:{port}"),
        open_doors([str(folder / "b")], instance="i", clock=ManualClock(), vendor=vendor),
    ):
        pass


async def test_an_address_that_is_not_of_this_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"cannot listen on 203\.0\.113\.7:0"):
        VendorDoor(VendorPlace(host="203.0.113.7", port=0, idle_s=1.0, token=TOKEN))


async def test_its_thread_is_watched_and_its_end_ends_the_service(
    open_daemon: Opened, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_args: object) -> None:
        raise SystemError("thread died")

    monkeypatch.setattr(VendorDoor, "_listen", broken)
    with open_doors(
        [],
        instance="i",
        clock=ManualClock(),
        vendor=VendorPlace(host="127.0.0.1", port=0, idle_s=1.0, token=TOKEN),
    ) as doors:
        assert [part.name for part in doors.parts] == [
            "abort socket's thread",
            "vendor door's thread",
        ]
        with pytest.raises(ExceptionGroup):
            await doors.serve(FakeBackend(doors.events, instance="i"))


async def test_while_it_serves_its_thread_makes_progress(daemon: Daemon, until: Until) -> None:
    part = daemon[0].parts[1]
    (work,) = part.under_way
    turns = work.turns
    await until(lambda: work.turns > turns)


async def test_when_the_service_ends_what_is_under_way_is_given_up(
    backend: FakeBackend, until: Until
) -> None:
    service = Service(
        Dispatcher(backend, instance="i"), AbortDispatcher(backend.abort, instance="i")
    )
    backend.release.clear()
    run = b'{"jsonrpc":"2.0","id":"one","method":"autofocus.run"}'
    asked = await asyncio.to_thread(service.ask, run, "c")
    await until(lambda: backend.jobs)
    await service.end()
    late = await asyncio.to_thread(service.ask, run, "c")
    for future in (asked, late):
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wrap_future(future)
