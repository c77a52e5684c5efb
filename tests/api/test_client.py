import asyncio
import errno
from pathlib import Path

import pytest

from afdaemon.api import probe
from afdaemon.api.client import AsyncClient, Client
from afdaemon.api.fake import FOCUS_UM, FakeBackend, fake_daemon
from afdaemon.api.schemas import Event, Job, JobState
from afdaemon.api.server import Doors, open_doors
from afdaemon.clock import ManualClock, SystemClock
from afdaemon.drivers.errors import NotConnected
from afdaemon.errors import RequestRefused, Unreachable, UsageError, VersionMismatch


async def test_everything_a_client_can_ask(backend: FakeBackend, folder: Path) -> None:
    async with AsyncClient(str(folder)) as client:
        assert (await client.hello()).protocol == "1.3"
        assert (await client.ping()).instance == "i-1"
        assert (await client.status()).state == "ready"
        assert (await client.wd()).wd_um == 12_000.0
        assert (await client.set_wd(13_000.0, dry_run=True)).dry_run
        assert backend.moves == []
        assert (await client.set_wd(13_000.0)).wd_um == 13_000.0
        assert (await client.limits()).max_um == 50_000.0
        assert (await client.abort()).job is None
        assert (await client.score_image()).wd_um == 13_000.0
        assert (await client.score_image(b"pixels", 500.0)).magnification == 500.0
        assert backend.images == [None, b"pixels"]
        started = await client.start(request_id="one")
        assert (await client.wait("one", 5.0)) == await client.job("one")
    assert started.job == "one"


async def test_events_begin_with_the_job_and_miss_nothing(
    backend: FakeBackend, folder: Path
) -> None:
    told: list[Event] = []

    def tell(event: Event) -> None:
        told.append(event)
        if event.data.get("reading") == backend.steps:
            backend.release.set()

    async with AsyncClient(str(folder)) as client:
        for _ in range(20):
            told.clear()
            backend.release.clear()
            job = await client.autofocus(on_event=tell)
            assert job.state is JobState.SUCCEEDED
            progress = [event for event in told if event.type == "progress"]
            assert [event.data["reading"] for event in progress] == [1, 2, 3]
            assert {event.request_id for event in told} == {job.job}
            sequence = [event.seq for event in told]
            assert sequence == list(range(sequence[0], sequence[0] + len(told)))


async def test_the_synchronous_client_sees_the_same(backend: FakeBackend, folder: Path) -> None:
    told: list[Event] = []
    backend.release.clear()
    loop = asyncio.get_running_loop()

    def tell(event: Event) -> None:
        told.append(event)
        if event.data.get("reading") == backend.steps:
            loop.call_soon_threadsafe(backend.release.set)

    def focus() -> Job:
        with Client(f"ipc://{folder}") as client:
            assert client.hello().instance == client.ping().instance
            assert client.status().microscope.connected
            return client.autofocus(on_event=tell)

    job = await asyncio.to_thread(focus)
    assert job.converged
    assert job.best_wd_um == FOCUS_UM
    assert [event.data["reading"] for event in told if event.type == "progress"] == [1, 2, 3]


async def test_a_job_is_aborted_by_the_id_its_client_chose(
    backend: FakeBackend, folder: Path
) -> None:
    backend.release.clear()
    moving = asyncio.Event()
    async with AsyncClient(str(folder)) as client:
        running = asyncio.create_task(
            client.autofocus(request_id="mine", on_event=lambda _event: moving.set())
        )
        await moving.wait()
        assert (await client.abort("mine")).job == "mine"
        job = await running
    assert job.state is JobState.ABORTED
    assert job.restored


async def test_refusals_carry_their_kind(backend: FakeBackend, folder: Path) -> None:
    async with AsyncClient(str(folder)) as client:
        with pytest.raises(RequestRefused, match="outside 5000 to 50000 um") as limit:
            await client.set_wd(60_000.0)
        assert limit.value.kind == "limit"
        with pytest.raises(RequestRefused, match="there is no job nine") as unknown:
            await client.job("nine")
        assert unknown.value.kind == "job_not_found"
        backend.error = NotConnected("the link is down")
        with pytest.raises(RequestRefused, match="the link is down") as device:
            await client.wd()
        assert device.value.kind == "device"
        assert "cable" in device.value.remedy


@pytest.mark.parametrize("wd_um", [float("nan"), float("inf"), -1.0, 1e9])
async def test_what_no_daemon_would_take_is_not_sent(
    backend: FakeBackend, folder: Path, wd_um: float
) -> None:
    async with AsyncClient(str(folder)) as client:
        with pytest.raises(UsageError, match=r"wd_um = .* must be a number from 0 up to 1000000"):
            await client.set_wd(wd_um)
    assert backend.moves == []


def test_not_running_is_told_within_two_seconds(folder: Path) -> None:
    clock = SystemClock()
    began_s = clock.now_s()
    with Client(str(folder)) as client, pytest.raises(Unreachable, match="no daemon answers at"):
        client.ping()
    assert clock.now_s() - began_s < 2.0


async def test_not_running_is_told_to_the_asyncio_client_too(folder: Path) -> None:
    async with AsyncClient(str(folder)) as client:
        with pytest.raises(Unreachable, match="no daemon answers at"):
            await client.ping()
        with pytest.raises(Unreachable, match="no daemon answers at"):
            await client.autofocus()


async def test_a_daemon_that_hangs_is_told_apart_from_one_that_is_not_there(
    doors: Doors, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncClient(str(folder)) as client:
        with pytest.raises(Unreachable, match=r"did not let this program in within 5 s"):
            await client.ping()


async def test_a_daemon_that_hangs_later_is_told_by_what_it_did_not_answer(
    doors: Doors, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with AsyncClient(str(folder)) as client:
        async with fake_daemon(doors, instance="i-1"):
            await client.ping()
        monkeypatch.setattr("afdaemon.api.asks.ANSWER_S", 0.05)
        with pytest.raises(Unreachable, match=r"did not answer job\.wait within 0\.05 s"):
            await client.wait("one", 0.0)


async def test_a_socket_that_this_user_may_not_use_is_told_as_that(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "_trouble_at", lambda _path: errno.EACCES)
    async with AsyncClient(str(folder)) as client:
        with pytest.raises(Unreachable, match="may not connect") as refused:
            await client.ping()
    assert "its group" in refused.value.remedy


async def test_another_major_version_is_refused(
    backend: FakeBackend, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("afdaemon.api.wire.PROTOCOL", "2.0")
    async with AsyncClient(str(folder)) as client:
        with pytest.raises(VersionMismatch, match=r'speaks protocol "2\.0", this daemon 1\.3'):
            await client.ping()


async def test_an_unreadable_image_is_told_before_anything_is_sent(folder: Path) -> None:
    async with AsyncClient(str(folder)) as client:
        with pytest.raises(UsageError, match=r"nowhere\.png cannot be read: No such file"):
            await client.score_image(folder / "nowhere.png", 500.0)


async def test_nothing_is_delivered_to_a_daemon_that_comes_later(folder: Path) -> None:
    async with AsyncClient(str(folder)) as client:
        with pytest.raises(Unreachable):
            await client.set_wd(20_000.0)
        with open_doors([str(folder)], instance="later", clock=ManualClock()) as doors:
            async with fake_daemon(doors, instance="later") as fake:
                assert (await client.ping()).instance == "later"
                assert fake.moves == []
