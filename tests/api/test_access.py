"""Keys and roles on real sockets: who is let in over tcp, what they may do there, and what the others are told."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import zmq
import zmq.asyncio

from afdaemon.api import lines, probe
from afdaemon.api.access import keys
from afdaemon.api.access.callers import Access
from afdaemon.api.access.roles import Role
from afdaemon.api.client import AsyncClient, Client
from afdaemon.api.fake import FakeBackend, fake_daemon
from afdaemon.api.server import Doors, open_doors
from afdaemon.clock import ManualClock, SystemClock
from afdaemon.errors import (
    AccessError,
    AfdaemonError,
    ConfigError,
    RequestRefused,
    Unreachable,
    VersionMismatch,
)

Until = Callable[[Callable[[], object]], Awaitable[None]]
Said = Callable[..., Awaitable[AfdaemonError]]


@dataclass(frozen=True, slots=True)
class Lab:
    """A folder with keys, and where the daemon that knows them listens."""

    folder: Path
    address: str

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    def key(self, role: Role, name: str = "") -> Path:
        """The key file of a new client."""
        name = name or role.value
        keys.hand_out(self.keys, name, role, self.folder / f"{name}.key")
        return self.folder / f"{name}.key"

    def client(self, key: Path | str) -> AsyncClient:
        return AsyncClient(self.address, key=key)


@pytest.fixture
def lab(folder: Path, free_ports: int) -> Lab:
    return Lab(folder, f"tcp://127.0.0.1:{free_ports}")


@pytest.fixture
async def keyed_doors(lab: Lab) -> AsyncIterator[Doors]:
    """Open on tcp and on ipc, not served."""
    places = [str(lab.folder), lab.address]
    access = Access(keys=lab.keys)
    with open_doors(places, instance="i-1", clock=ManualClock(), access=access) as doors:
        yield doors


@pytest.fixture
async def daemon(keyed_doors: Doors) -> AsyncIterator[FakeBackend]:
    async with fake_daemon(keyed_doors, instance="i-1") as fake:
        yield fake


@pytest.fixture(params=["synchronous", "asyncio"])
def said(request: pytest.FixtureRequest) -> Said:
    """What a client is told that wants to set the WD."""

    def asked(address: str, key: Path | str) -> AfdaemonError:
        with Client(address, key=key) as client, pytest.raises(AfdaemonError) as told:
            client.set_wd(12_345.0)
        return told.value

    async def asked_async(address: str, key: Path | str) -> AfdaemonError:
        async with AsyncClient(address, key=key) as client:
            with pytest.raises(AfdaemonError) as told:
                await client.set_wd(12_345.0)
        return told.value

    async def ask(address: str, key: Path | str = "") -> AfdaemonError:
        if request.param == "asyncio":
            return await asked_async(address, key)
        return await asyncio.to_thread(asked, address, key)

    return ask


def other_key(lab: Lab) -> Path:
    """Of a client that the daemon does not know."""
    key = lab.key(Role.ADMIN, "gone")
    keys.revoke(lab.keys, "gone")
    return key


async def test_1_a_key_that_the_daemon_does_not_know(
    lab: Lab, daemon: FakeBackend, said: Said
) -> None:
    clock = SystemClock()
    began_s = clock.now_s()
    error = await said(lab.address, other_key(lab))
    assert isinstance(error, AccessError)
    assert str(error).endswith("does not know this client's key, or not any more")
    assert "afctl keys new" in error.remedy
    assert clock.now_s() - began_s < lines._CONNECT_S, "a refusal is heard at once"


async def test_2_a_viewer_s_key_for_a_call_that_moves(
    lab: Lab, daemon: FakeBackend, said: Said
) -> None:
    error = await said(lab.address, lab.key(Role.VIEWER))
    assert isinstance(error, RequestRefused)
    assert str(error) == "focus.set needs the role automation, and key viewer is viewer"
    assert (error.kind, error.code) == ("forbidden", -32012)
    assert "afctl keys new NAME --role ROLE" in error.remedy
    assert daemon.moves == []


async def test_3_no_key(lab: Lab, daemon: FakeBackend, said: Said) -> None:
    error = await said(lab.address)
    assert isinstance(error, AccessError)
    assert str(error).endswith("wants a key, and this client has none")
    assert "--key, or AFCTL_KEY" in error.remedy


async def test_4_the_key_of_another_daemon(lab: Lab, daemon: FakeBackend, said: Said) -> None:
    key = lab.folder / "other.key"
    keys.hand_out(lab.folder / "elsewhere", "other", Role.ADMIN, key)
    error = await said(lab.address, key)
    assert isinstance(error, AccessError)
    assert str(error).endswith("is not the one that this client's key was made for")


async def test_5_another_version_of_the_protocol(
    lab: Lab, daemon: FakeBackend, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("afdaemon.api.wire.PROTOCOL", "2.0")
    error = await said(lab.address, lab.key(Role.ADMIN))
    assert isinstance(error, VersionMismatch)


async def test_6_no_daemon(lab: Lab, said: Said) -> None:
    error = await said(lab.address, lab.key(Role.ADMIN))
    assert isinstance(error, Unreachable)
    assert str(error) == f"no daemon answers at {lab.address}"


async def test_7_a_daemon_that_hangs(lab: Lab, said: Said) -> None:
    port = int(lab.address.rpartition(":")[2])
    with closing(socket.create_server(("127.0.0.1", port))):
        error = await said(lab.address, lab.key(Role.ADMIN))
    assert isinstance(error, Unreachable)
    assert str(error).endswith("accepts a connection and says nothing: it hangs")


async def test_7_a_daemon_that_hangs_behind_its_door(
    lab: Lab, keyed_doors: Doors, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("afdaemon.api.asks._WORK_S", 0.1)
    error = await said(lab.address, lab.key(Role.ADMIN))
    assert isinstance(error, Unreachable)
    assert str(error).endswith(r"did not answer focus.set within 0.1 s")


async def test_a_key_for_a_daemon_that_uses_none(folder: Path, free_ports: int, said: Said) -> None:
    lab = Lab(folder, f"tcp://127.0.0.1:{free_ports}")
    with open_doors([lab.address], instance="i", clock=ManualClock(), insecure=True) as doors:
        async with fake_daemon(doors, instance="i"):
            error = await said(lab.address, lab.key(Role.ADMIN))
            async with lab.client("") as client:
                assert (await client.hello()).role == "admin"
    assert isinstance(error, AccessError)
    assert "uses no keys" in str(error)


async def test_what_is_no_daemon_is_told_as_that(lab: Lab, said: Said) -> None:
    def other(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-x\r\n" + b"x" * 64)

    port = int(lab.address.rpartition(":")[2])
    async with await asyncio.start_server(other, "127.0.0.1", port):
        error = await said(lab.address, lab.key(Role.ADMIN))
    assert str(error).endswith("is not an afdaemon")


async def test_who_has_too_many_connections_is_not_told_that_the_key_is_wrong() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        looking = asyncio.to_thread(probe.found_at, *server.getsockname())
        task = asyncio.ensure_future(looking)
        line, _ = await asyncio.to_thread(server.accept)
        line.sendall(b"\xff" + bytes(8) + b"\x7f")
        line.close()
        assert await task is probe.Found.CLOSED


async def test_every_role_may_do_its_own_and_no_more(lab: Lab, daemon: FakeBackend) -> None:
    async with lab.client(lab.key(Role.VIEWER)) as viewer:
        assert (await viewer.hello()).role == "viewer"
        assert (await viewer.status()).state == "ready"
        for refused in (viewer.autofocus(), viewer.abort(), viewer.score_image(), viewer.reset()):
            with pytest.raises(RequestRefused, match="needs the role") as error:
                await refused
            assert error.value.kind == "forbidden"
    async with lab.client(lab.key(Role.AUTOMATION)) as automation:
        assert (await automation.autofocus()).converged
        with pytest.raises(RequestRefused, match=r"fault\.reset needs the role operator"):
            await automation.reset()
    async with lab.client(lab.key(Role.OPERATOR)) as operator:
        assert (await operator.reset()).was is None
    async with AsyncClient(str(lab.folder)) as local:
        assert (await local.hello()).role == "admin"


async def test_a_job_is_ended_by_its_owner_or_an_operator(lab: Lab, daemon: FakeBackend) -> None:
    daemon.release.clear()
    mine, other, operator = (
        lab.client(lab.key(role, name))
        for role, name in (
            (Role.AUTOMATION, "mine"), (Role.AUTOMATION, "other"), (Role.OPERATOR, "operator"),
        )
    )  # fmt: skip
    async with mine, other, operator:
        for ends in (mine, operator):
            job = (await mine.start()).job
            for named in (job, None):
                with pytest.raises(RequestRefused, match="which key mine started") as refused:
                    await other.abort(named)
                assert refused.value.kind == "forbidden"
            assert not (await mine.job(job)).state.final
            assert (await ends.abort()).job == job
            assert (await mine.wait(job, 5.0)).state == "aborted"


async def heard_by(events: AsyncIterator[object]) -> object:
    async with asyncio.timeout(5.0):
        return await anext(events)


async def test_revoked_while_connected(
    lab: Lab, daemon: FakeBackend, keyed_doors: Doors, until: Until
) -> None:
    kept, lost = lab.client(lab.key(Role.VIEWER, "kept")), lab.client(lab.key(Role.VIEWER, "lost"))
    async with (
        kept, lost, kept.events("state") as goes_on, lost.events("state") as ends,
    ):  # fmt: skip
        await lost.ping()
        with pytest.raises(RequestRefused, match="needs the role automation"):
            await lost.abort()
        keyed_doors.events.publish("state", "state", {"number": 1})
        assert await heard_by(goes_on)
        assert await heard_by(ends)
        keys.revoke(lab.keys, "lost")
        keyed_doors.events.publish("state", "state", {"number": 2})
        with pytest.raises(RequestRefused, match="the key of this client is not known") as refused:
            await lost.ping()
        assert refused.value.kind == "forbidden"
        with pytest.raises(RequestRefused, match="is not known here"):
            await lost.abort()
        assert await heard_by(goes_on)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await anext(ends)
        await kept.ping()
    async with lab.client(lab.folder / "lost.key") as again:
        with pytest.raises(AccessError):
            await again.ping()


async def test_a_client_that_was_refused_is_let_in_once_its_key_is_known(
    lab: Lab, daemon: FakeBackend
) -> None:
    key = lab.key(Role.VIEWER, "anna")
    entered = lab.keys / "clients" / "anna.json"
    kept = entered.read_bytes()
    entered.unlink()
    async with lab.client(key) as client:
        with pytest.raises(AccessError):
            await client.ping()
        entered.write_bytes(kept)
        await client.ping()


@pytest.mark.parametrize("key", ["none", "unknown"])
async def test_the_event_socket_tells_strangers_nothing(
    lab: Lab, daemon: FakeBackend, keyed_doors: Doors, key: str
) -> None:
    context = zmq.asyncio.Context()
    stranger = context.socket(zmq.SUB)
    if key == "unknown":
        server = keys.server_key(lab.keys).public
        stranger.curve_publickey, stranger.curve_secretkey = zmq.curve_keypair()
        stranger.curve_serverkey = server.encode()
    stranger.subscribe("")
    stranger.connect(keyed_doors.endpoints[1].events)
    async with lab.client(lab.key(Role.VIEWER)) as friend, friend.events("state") as events:
        for _ in range(5):
            keyed_doors.events.publish("state", "state", {})
            assert await heard_by(events)
            assert not await stranger.poll(50)
    context.destroy(linger=0)


async def test_a_broken_key_file_keeps_nobody_else_out(
    lab: Lab, daemon: FakeBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    clients = lab.keys / "clients"
    anna = lab.key(Role.VIEWER, "anna")
    for name, raw in (("a", b"{"), ("b", b"\xff" * 5000), ("c", b'{"role": "king"}')):
        (clients / f"{name}.json").write_bytes(raw)
        async with lab.client(anna) as client:
            assert (await client.hello()).role == "viewer"
    assert "c.json is not a file of this kind" in capsys.readouterr().out


async def test_a_lookup_that_fails_refuses_that_client_and_serves_the_next(
    lab: Lab,
    daemon: FakeBackend,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    key = lab.key(Role.VIEWER)

    def broken(_folder: Path) -> keys.Known:
        raise RuntimeError("bug")

    with monkeypatch.context() as patch:
        patch.setattr(keys, "known", broken)
        async with lab.client(key) as client:
            with pytest.raises(AccessError):
                await client.ping()
    assert "key_lookup_failed" in capsys.readouterr().out
    async with lab.client(key) as client:
        await client.ping()


async def test_a_flood_of_wrong_keys_leaves_the_others_served(
    lab: Lab, daemon: FakeBackend
) -> None:
    server = keys.server_key(lab.keys).public.encode()
    port = lab.address.rpartition(":")[2]
    done = asyncio.Event()
    context = zmq.Context()

    async def flood() -> int:
        count = 0
        while not done.is_set() or count < 200:
            with context.socket(zmq.DEALER) as line:
                line.setsockopt(zmq.LINGER, 0)
                line.curve_publickey, line.curve_secretkey = zmq.curve_keypair()
                line.curve_serverkey = server
                line.connect(f"tcp://127.0.0.2:0;127.0.0.1:{port}")
                await asyncio.sleep(0.002)
            count += 1
        return count

    flooding = asyncio.create_task(flood())
    async with lab.client(lab.key(Role.AUTOMATION)) as connected:
        for _ in range(10):
            async with asyncio.timeout(5.0):
                await connected.ping()
                await connected.abort()
            async with lab.client(lab.folder / "automation.key") as new, asyncio.timeout(10.0):
                await new.ping()
    async with AsyncClient(str(lab.folder)) as local:
        await local.ping()
    done.set()
    assert await flooding >= 200
    context.term()


async def test_the_watchdog_sees_the_thread_that_lets_clients_in(
    keyed_doors: Doors, until: Until
) -> None:
    (part,) = (part for part in keyed_doors.parts if part.name == "keys' thread")
    await until(lambda: part.under_way)


async def test_there_is_no_tcp_with_a_key_that_others_may_read(lab: Lab) -> None:
    keys.server_key(lab.keys)
    (lab.keys / "server.key").chmod(0o644)
    with (
        pytest.raises(ConfigError, match="open to others"),
        open_doors([lab.address], instance="i", clock=ManualClock(), access=Access(keys=lab.keys)),
    ):
        pass
