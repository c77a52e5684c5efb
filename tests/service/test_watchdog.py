"""A stuck part is noticed within its deadline, said, and ends the process; here each of the four is really stuck.

Looks are taken by hand with times of ours, except where the watchdog's own thread is what is tested.
"""

import asyncio
import socket
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
import zmq
from structlog.testing import capture_logs

from afdaemon.api import abort
from afdaemon.api.abort import AbortDoor
from afdaemon.api.access.callers import Access, Users
from afdaemon.api.caps import Caps
from afdaemon.api.endpoints import parse_endpoint
from afdaemon.api.places import Place
from afdaemon.api.rundir import Folder, held
from afdaemon.clock import ManualClock, SystemClock
from afdaemon.control.procedures import Laws
from afdaemon.drivers.base import Frame
from afdaemon.drivers.em30 import usb
from afdaemon.drivers.em30.settings import UsbSettings
from afdaemon.drivers.em30.usb import UsbLink
from afdaemon.models.frames.measures import Measures
from afdaemon.pulse import Part
from afdaemon.service import scoring, watchdog
from afdaemon.service.notify import Notifier
from afdaemon.service.scoring import Networks, ScoringThread
from afdaemon.service.watchdog import EXIT_STUCK, Watchdog

Until = Callable[[Callable[[], object]], Awaitable[None]]
ENDS_S = 10.0
FRAME = Frame(
    pixels=np.zeros((64, 64), np.uint8),
    wd_um=12_000.0,
    magnification=2000.0,
    sequence=1,
    received_s=0.0,
)


class Manager:
    """A service manager: what it was told."""

    def __init__(self, listening: socket.socket, address: str) -> None:
        self.address = address
        self._socket = listening
        self._socket.setblocking(False)

    def told(self) -> list[str]:
        """Since it was asked last."""
        messages = []
        while True:
            try:
                messages.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return messages


@pytest.fixture
def manager() -> Iterator[Manager]:
    with (
        tempfile.TemporaryDirectory(prefix="af-") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening,
    ):
        address = str(Path(folder) / "notify")
        listening.bind(address)
        yield Manager(listening, address)


@pytest.fixture
def ended() -> list[int]:
    """The exit codes with which the process would have ended."""
    return []


@pytest.fixture
def dog(manager: Manager, ended: list[int]) -> Iterator[Watchdog]:
    """A watchdog on a clock that stands still: its own thread is not started."""
    with (
        Notifier(manager.address) as notifier,
        Watchdog(notifier, clock=ManualClock(), come_home=lambda: None, end=ended.append) as made,
    ):
        yield made


def is_noticed(dog: Watchdog, manager: Manager, deadline_s: float, name: str) -> None:
    """systemd is fed until the deadline, and told from then on what is stuck and nothing else."""
    dog.turn(0.0)
    manager.told()
    passed_s = 0.0
    while passed_s + 1.0 < deadline_s:
        assert dog.turn(1.0) == []
        passed_s += 1.0
        assert manager.told() == ["WATCHDOG=1"]
    with capture_logs() as lines:
        found = dog.turn(1.0)
    assert [one.part for one in found] == [name]
    assert manager.told() == [f"STATUS=the {name} has made no progress for {deadline_s:.0f} s"]
    (line,) = [line for line in lines if line["event"] == "part_stuck"]
    assert (line["part"], "File" in line["stack"]) == (name, True)
    dog.say("ready")
    assert manager.told() == [], "the reason is not overwritten"


async def test_a_blocked_event_loop_is_noticed(dog: Watchdog, manager: Manager) -> None:
    async with dog.loop_watched():
        await asyncio.sleep(0)  # the heart beats once; the turns below block the loop
        is_noticed(dog, manager, watchdog.LOOP_DEADLINE_S, "event loop")


async def test_a_loop_that_goes_on_is_not_stuck(dog: Watchdog, until: Until) -> None:
    async with dog.loop_watched():
        (part,) = dog._parts
        await asyncio.sleep(0)
        (work,) = part.under_way
        before = work.turns
        await until(lambda: work.turns > before)
    assert part.under_way == ()


def hanging(released: threading.Event) -> Networks:
    """Networks that never come to an end by themselves."""

    def score(_pixels: object, _magnification: float) -> Measures:
        released.wait()
        return Measures(score=1.0, contrast=0.3, entropy=5.0)

    return Networks(score=score, laws=Laws(step=lambda _: 0.0), hashes={})


async def test_a_stuck_scoring_thread_is_noticed_and_an_idle_one_is_not(
    dog: Watchdog, manager: Manager, until: Until
) -> None:
    released = threading.Event()
    with closing(ScoringThread(lambda: hanging(released))) as thread:
        await thread.open()
        dog.watch(thread.parts)
        for _ in range(100):
            assert dog.turn(1.0) == []
            assert manager.told() == ["WATCHDOG=1"]
        scored = asyncio.create_task(thread.read(FRAME))
        await until(lambda: thread.parts[0].under_way)
        try:
            is_noticed(dog, manager, scoring.SCORING_DEADLINE_S, "scoring thread")
        finally:
            released.set()
            await asyncio.wait({scored})


def place_of(name: str, folder: Folder) -> Place:
    return Place(at=parse_endpoint(name), callers=Users(Access()), folder=folder)


@pytest.fixture
async def door() -> AsyncIterator[tuple[AbortDoor, Path]]:
    with (
        tempfile.TemporaryDirectory(prefix="af-") as name,
        held(Path(name)) as folder,
        closing(AbortDoor([place_of(name, folder)], Caps().connections)) as made,
    ):
        yield made, Path(name)


async def test_a_stuck_abort_thread_is_noticed_and_an_idle_one_is_not(
    dog: Watchdog,
    manager: Manager,
    door: tuple[AbortDoor, Path],
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(abort, "_TURN_MS", 5)
    opened, folder = door
    released, asked = threading.Event(), threading.Event()

    def answer(*_args: object) -> bytes:
        asked.set()
        released.wait()
        return b"{}"

    opened.start(answer)
    dog.watch([opened.part])
    await until(lambda: opened.part.under_way)
    (work,) = opened.part.under_way
    for _ in range(10):
        before = work.turns
        await until(lambda before=before: work.turns > before)  # type: ignore[misc]
        assert dog.turn(1.0) == []
    context = zmq.Context()
    with context, closing(context.socket(zmq.DEALER)) as client:
        client.connect(f"ipc://{folder}/abort.sock")
        client.send(b"abort")
        await asyncio.to_thread(asked.wait)
        try:
            is_noticed(dog, manager, abort.DEADLINE_S, "abort socket's thread")
        finally:
            released.set()
        client.poll(5000)


async def test_a_stuck_device_thread_is_noticed_also_after_its_link_was_given_up(
    dog: Watchdog, manager: Manager, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    released, reading = threading.Event(), threading.Event()

    class Device:
        serial = ""
        stalls = 0

        def write(self, data: memoryview) -> int:
            return len(data)

        def read(self) -> bytes:
            reading.set()
            released.wait()
            return b""

        def close(self) -> None: ...

    monkeypatch.setattr(usb, "open_device", lambda _settings, _backend: Device())
    monkeypatch.setattr(usb, "CLOSE_S", 0.01)
    part = Part("thread that owns the USB device", usb.THREAD_DEADLINE_S)
    dog.watch([part])
    link = await UsbLink.open(UsbSettings(), part=part)
    await asyncio.to_thread(reading.wait)
    await link.close()
    try:
        is_noticed(dog, manager, usb.THREAD_DEADLINE_S, part.name)
    finally:
        released.set()
    await until(lambda: not part.under_way)


@contextmanager
def running(
    manager: Manager, ended: list[int], come_home: Callable[[], None]
) -> Iterator[Watchdog]:
    """A watchdog at work in its own thread, with real time."""
    with (
        Notifier(manager.address, watchdog_s=0.02) as notifier,
        Watchdog(notifier, clock=SystemClock(), come_home=come_home, end=ended.append) as made,
    ):
        yield made


async def test_its_thread_feeds_systemd_until_a_part_is_stuck_and_waits_for_the_lens(
    manager: Manager, ended: list[int], until: Until
) -> None:
    asked = threading.Event()
    told: list[str] = []

    def heard(message: str) -> bool:
        told.extend(manager.told())
        return message in told

    with running(manager, ended, asked.set) as dog:
        part = Part("reader", 0.05)
        dog.watch([part])
        dog.ready()
        await until(lambda: heard("WATCHDOG=1"))
        with part.busy():
            await asyncio.to_thread(asked.wait, ENDS_S)
            assert ended == [], "the lens is not home yet"
            dog.is_home()
            await until(lambda: ended)
    assert ended == [EXIT_STUCK]
    told.extend(manager.told())
    assert told[0] == "READY=1"
    assert told[-1].startswith("STATUS=the reader has made no progress")


async def test_the_process_ends_though_the_lens_cannot_come_home_and_nobody_reads_the_log(
    manager: Manager, ended: list[int], until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "_HOME_S", 0.05)
    monkeypatch.setattr(watchdog, "_SAY_S", 0.05)
    released = threading.Event()
    monkeypatch.setattr(watchdog, "_log_stuck", lambda _one: released.wait())

    def closed_loop() -> None:
        raise RuntimeError("the event loop is closed")

    with running(manager, ended, closed_loop) as dog:
        part = Part("reader", 0.05)
        dog.watch([part])
        dog.ready()
        with part.busy():
            await until(lambda: ended)
    assert ended == [EXIT_STUCK]
    released.set()
