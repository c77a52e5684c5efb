import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import zmq
import zmq.asyncio
from zmq.utils.monitor import recv_monitor_message

from afdaemon.api import wire
from afdaemon.api.access.roles import Caller, Role
from afdaemon.api.client import AsyncClient, Client
from afdaemon.api.fake import FakeBackend, fake_daemon
from afdaemon.api.rundir import held
from afdaemon.api.schemas import Aborted, AutofocusParams
from afdaemon.api.server import Doors, open_doors
from afdaemon.clock import ManualClock, SystemClock
from afdaemon.errors import BusyError, ConfigError

Until = Callable[[Callable[[], object]], Awaitable[None]]

PING = b'{"jsonrpc":"2.0","id":"a","method":"server.ping"}'
ME = Caller(name="user 0", role=Role.ADMIN)
PONG = b'{"jsonrpc":"2.0","id":"a","result":{"instance":"i-1","pong":true}}'


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def opened(stack: ExitStack, *addresses: str, insecure: bool = False) -> Doors:
    return stack.enter_context(
        open_doors(addresses, instance="i-2", clock=ManualClock(), insecure=insecure)
    )


@pytest.fixture
async def context() -> AsyncIterator[zmq.asyncio.Context]:
    made = zmq.asyncio.Context()
    yield made
    made.destroy(linger=0)


@pytest.mark.parametrize("kind", [zmq.DEALER, zmq.REQ])
async def test_a_raw_client_needs_nothing_of_ours(
    backend: FakeBackend, folder: Path, context: zmq.asyncio.Context, kind: zmq.SocketType
) -> None:
    line = context.socket(kind)
    for name in ("control", "abort"):
        line.connect(f"ipc://{folder}/{name}.sock")
        await line.send(PING)
        assert await line.recv_multipart() == [PONG]
        line.disconnect(f"ipc://{folder}/{name}.sock")


async def test_a_ping_is_answered_while_jobs_are_waited_for(
    backend: FakeBackend, folder: Path
) -> None:
    backend.release.clear()
    async with AsyncClient(str(folder)) as client:
        running = asyncio.create_task(client.autofocus(request_id="long"))
        waiting = [asyncio.create_task(client.wait("long", 10.0)) for _ in range(10)]
        for _ in range(20):
            await client.ping()
        assert not running.done()
        backend.release.set()
        assert (await running).converged
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_an_abort_is_answered_while_the_event_loop_is_blocked(
    backend: FakeBackend, folder: Path
) -> None:
    backend.release.clear()
    answers: list[Aborted] = []
    took_s: list[float] = []

    def abort() -> None:
        clock = SystemClock()
        with Client(str(folder)) as client:
            began_s = clock.now_s()
            answers.append(client.abort())
            took_s.append(clock.now_s() - began_s)

    async with AsyncClient(str(folder)) as client:
        await client.start(request_id="one")
        thread = threading.Thread(target=abort)
        thread.start()
        assert backend.aborted.wait(5.0)  # blocks the loop until the abort has come through
        thread.join()
        assert (await client.wait("one", 5.0)).state == "aborted"
    assert answers == [Aborted(job="one")]
    assert took_s[0] < 1.0


async def test_a_second_daemon_is_refused_and_the_first_goes_on(
    backend: FakeBackend, folder: Path
) -> None:
    holder = rf"process {os.getpid()}\) already serves {folder}"
    with ExitStack() as stack, pytest.raises(BusyError, match=holder):
        opened(stack, str(folder))
    async with AsyncClient(str(folder)) as client:
        assert (await client.ping()).instance == "i-1"


@pytest.fixture
def killed(folder: Path) -> Path:
    """The folder of a daemon that was killed."""
    script = (
        "import asyncio, os\n"
        "from afdaemon.api.server import open_doors\n"
        "from afdaemon.clock import SystemClock\n"
        "async def main():\n"
        f"    with open_doors(['{folder}'], instance='x', clock=SystemClock()):\n"
        "        os._exit(9)\n"
        "asyncio.run(main())\n"
    )
    died = subprocess.run([sys.executable, "-c", script], check=False)
    assert died.returncode == 9
    assert names_in(folder) >= {"control.sock", "abort.sock"}
    return folder


async def test_what_a_killed_daemon_leaves_behind_blocks_nobody(killed: Path) -> None:
    with ExitStack() as stack:
        doors = opened(stack, str(killed))
        async with fake_daemon(doors, instance="i-2"), AsyncClient(str(killed)) as client:
            assert (await client.ping()).instance == "i-2"


async def test_a_daemon_that_ends_takes_its_sockets_with_it(folder: Path) -> None:
    for _ in range(3):
        with ExitStack() as stack:
            opened(stack, str(folder))
            assert len(names_in(folder)) == 4
        assert names_in(folder) == {"daemon.lock"}


async def test_sockets_are_for_owner_and_group(doors: Doors, folder: Path) -> None:
    for name in ("control", "abort", "events"):
        assert stat.S_IMODE((folder / f"{name}.sock").stat().st_mode) == 0o660


async def test_a_missing_folder_is_made_for_owner_and_group(folder: Path) -> None:
    with ExitStack() as stack:
        opened(stack, str(folder / "a" / "b"))
        assert stat.S_IMODE((folder / "a" / "b").stat().st_mode) & 0o027 == 0


def test_a_folder_that_everybody_may_write_to_is_refused(folder: Path) -> None:
    folder.chmod(0o1777)
    with pytest.raises(ConfigError, match=r"is open to others \(mode 1777\)"), held(folder):
        pass


def test_a_file_where_the_folder_should_be_is_refused(folder: Path) -> None:
    (folder / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot hold the sockets"), held(folder / "file"):
        pass


async def test_a_client_that_vanishes_breaks_nothing(
    backend: FakeBackend, folder: Path, context: zmq.asyncio.Context
) -> None:
    backend.release.clear()
    await backend.start(AutofocusParams(), "one", ME)
    line = context.socket(zmq.DEALER)
    line.connect(f"ipc://{folder}/control.sock")
    wait = {"jsonrpc": "2.0", "id": "w", "method": "job.wait", "params": {"job": "one"}}
    await line.send(json.dumps(wait).encode())
    await line.send(PING)
    assert await line.recv() == PONG
    line.close(linger=0)
    async with AsyncClient(str(folder)) as client:
        backend.release.set()
        assert (await client.wait("one", 5.0)).converged
        await client.ping()


async def test_a_message_larger_than_the_cap_only_ends_its_sender(
    backend: FakeBackend,
    folder: Path,
    context: zmq.asyncio.Context,
) -> None:
    line = context.socket(zmq.DEALER)
    monitor = line.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    line.connect(f"ipc://{folder}/abort.sock")
    await line.send(b"x" * (wire.MAX_REQUEST_BYTES + 1))
    assert (await recv_monitor_message(monitor))["event"] == zmq.EVENT_DISCONNECTED
    await line.send(PING)
    assert await line.recv_multipart() == [PONG]
    line.disable_monitor()
    monitor.close()
    async with AsyncClient(str(folder)) as client:
        assert (await client.abort()).job is None


async def test_garbage_on_the_socket_itself_breaks_nothing(
    backend: FakeBackend, folder: Path
) -> None:
    async with AsyncClient(str(folder)) as client:
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, b"", b"\x00" * 500):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as raw:
                raw.connect(str(folder / "control.sock"))
                raw.sendall(garbage)
            await client.ping()


async def test_tcp_needs_insecure_and_loopback(folder: Path) -> None:
    with ExitStack() as stack:
        with pytest.raises(ConfigError, match="let anybody who reaches it move the microscope"):
            opened(stack, str(folder), "tcp://127.0.0.1:60650")
        with pytest.raises(ConfigError, match="open to the network"):
            opened(stack, str(folder), "tcp://0.0.0.0:60650", insecure=True)


async def test_tcp_beside_ipc(folder: Path, free_ports: int) -> None:
    address = f"tcp://127.0.0.1:{free_ports}"
    with ExitStack() as stack:
        doors = opened(stack, str(folder), address, insecure=True)
        async with fake_daemon(doors, instance="i-2"):
            for place in (address, str(folder)):
                async with AsyncClient(place) as client:
                    assert (await client.autofocus()).converged
                    assert (await client.abort()).job is None
        with pytest.raises(BusyError, match="another program already listens on tcp"):
            opened(stack, str(folder / "other"), address, insecure=True)


async def test_doors_are_served_once(backend: FakeBackend, doors: Doors) -> None:
    """Two threads on one abort socket would end the process."""
    with pytest.raises(RuntimeError, match="already answered"):
        await doors.serve(backend)


async def test_a_dead_abort_thread_ends_the_service(
    doors: Doors, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    def broken(*_args: object) -> bytes:
        raise SystemError("thread died")

    monkeypatch.setattr("afdaemon.api.dispatch.AbortDispatcher.answer", broken)
    fake = FakeBackend(doors.events, instance="i-1")
    serving = asyncio.create_task(doors.serve(fake))
    async with AsyncClient(str(folder)) as client:
        asking = asyncio.create_task(client.abort())
        await asyncio.wait([serving])
        asking.cancel()
        await asyncio.wait([asking])
    assert isinstance(serving.exception(), ExceptionGroup)
