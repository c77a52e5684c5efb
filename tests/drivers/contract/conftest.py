"""The links that the contract is held against. A new one is a function, and a line in `RIGS`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from afdaemon.clock import ScaledClock, SystemClock
from afdaemon.drivers.base import Microscope
from afdaemon.drivers.bridge import em30_bridge
from afdaemon.drivers.em30.usb import open_usb
from afdaemon.drivers.registry import kept_up, open_microscope
from afdaemon.sim.instrument.faults import FaultPlan
from afdaemon.sim.instrument.inprocess import InProcessMicroscope
from afdaemon.sim.instrument.instrument import Instrument
from afdaemon.sim.instrument.settings import InstrumentSettings
from afdaemon.sim.instrument.world import World
from afdaemon.sim.links.aisem import AisemServer
from afdaemon.sim.links.stream import StreamServer
from afdaemon.sim.links.usb_server import UsbServer

SPEED = 50.0
START_WD_UM = 12_000.0
FOCUS_WD_UM = 11_000.0
SETTINGS = InstrumentSettings(
    magnification=2000, seed=5, start_wd_um=START_WD_UM, focus_wd_um=FOCUS_WD_UM
)
PATIENT = {
    "reconnect_first_s": 0.02,
    "reconnect_cap_s": 0.05,
    "frame_timeout_s": 30.0,
    "ask_again_s": 10.0,
}


@dataclass
class Rig:
    microscope: Microscope
    instrument: Instrument
    link: str

    @property
    def world(self) -> World:
        return self.instrument.world

    @property
    def commanded_um(self) -> list[float]:
        return [command.wd_um for command in self.world.truth().commands]


STEPS: dict[str, tuple[type, str, int]] = {
    "commanded": (Instrument, "command", 0),
    "answered": (Instrument, "command", 4),
    "settling": (World, "settle", 0),
    "exposing": (World, "expose", 0),
    "sending": (Instrument, "on_wire", 0),
    "sent": (Instrument, "on_wire", 4),
}
"""What the instrument does, and after how many further turns of the loop a moment has come."""


@dataclass
class Moment:
    """A moment of what has just been started: at once, or when the instrument has got so far."""

    begun: asyncio.Event
    turns: int = 0

    def arm(self) -> None:
        """What has happened so far does not count."""
        self.begun.clear()

    async def come(self) -> None:
        await asyncio.sleep(0)
        await self.begun.wait()
        for _ in range(self.turns):
            await asyncio.sleep(0)


class AtOnce(Moment):
    """What has been started has had one turn."""

    def arm(self) -> None:
        self.begun.set()


Patience = dict[str, float]
OpenMicroscope = Callable[[Instrument, Path, Patience], AbstractAsyncContextManager[Microscope]]


@asynccontextmanager
async def aisem(
    instrument: Instrument, folder: Path, patience: Patience
) -> AsyncIterator[Microscope]:
    clock = ScaledClock(SPEED)
    async with AisemServer(instrument, folder=folder, clock=clock) as server:
        settings = {"folder": folder, "port": server.address[1], "poll_s": 0.002, **patience}
        yield open_microscope("aisem", settings, clock=SystemClock())


@asynccontextmanager
async def stream(
    instrument: Instrument, folder: Path, patience: Patience
) -> AsyncIterator[Microscope]:
    async with StreamServer(instrument) as server:
        settings = {"port": server.address[1], **patience}
        yield open_microscope("stream", settings, clock=SystemClock())


@asynccontextmanager
async def bridge(
    instrument: Instrument, folder: Path, patience: Patience
) -> AsyncIterator[Microscope]:
    """The vendor's software, the bridge beside it, and the stream driver on the other side."""
    async with AisemServer(instrument, folder=folder, clock=ScaledClock(SPEED)) as server:
        words = ["--folder", str(folder), "--listen", "127.0.0.1:0"]
        vendor = f"127.0.0.1:{server.address[1]}"
        options = em30_bridge.parse_options([*words, "--vendor", vendor])
        async with em30_bridge.bridging(options) as (address, _):
            settings = {"port": address.port, **patience}
            yield open_microscope("stream", settings, clock=SystemClock())


@asynccontextmanager
async def usb(
    instrument: Instrument, folder: Path, patience: Patience
) -> AsyncIterator[Microscope]:
    async with UsbServer(instrument, clock=ScaledClock(SPEED)) as server:
        yield open_usb(patience, SystemClock(), backend=server.bus)


@asynccontextmanager
async def in_process(
    instrument: Instrument, folder: Path, patience: Patience
) -> AsyncIterator[Microscope]:
    yield InProcessMicroscope(instrument, clock=ScaledClock(SPEED))


RIGS: tuple[OpenMicroscope, ...] = (aisem, stream, bridge, usb, in_process)


@pytest.fixture(params=RIGS, ids=lambda open_link: open_link.__name__)
def link(request: pytest.FixtureRequest) -> OpenMicroscope:
    """Every link in turn."""
    open_link: OpenMicroscope = request.param
    return open_link


@pytest.fixture
def moment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Moment:
    """The one of `STEPS` that the test is parametrized with, or "at once"."""
    begun = asyncio.Event()
    if request.param == "at once":
        begun.set()
        return AtOnce(begun)
    owner, name, turns = STEPS[request.param]
    whole: Callable[..., Any] = getattr(owner, name)

    def noted(*arguments: object) -> Any:
        begun.set()
        return whole(*arguments)

    monkeypatch.setattr(owner, name, noted)
    return Moment(begun, turns)


@pytest.fixture
def plan() -> FaultPlan:
    """What goes wrong: nothing, until a test says so."""
    return FaultPlan(seed=SETTINGS.seed)


@pytest.fixture
def patience() -> Patience:
    """How long the driver waits: a busy machine is no fault."""
    return PATIENT


@pytest.fixture
async def idle(
    link: OpenMicroscope, plan: FaultPlan, patience: Patience, tmp_path: Path
) -> AsyncIterator[Rig]:
    """A microscope that has not been run yet."""
    clock = ScaledClock(SPEED)
    instrument = Instrument(World(SETTINGS, clock=clock), plan, clock=clock)
    async with link(instrument, tmp_path, patience) as microscope:
        yield Rig(microscope, instrument, link.__name__)
        await microscope.close()


@pytest.fixture
async def rig(idle: Rig) -> AsyncIterator[Rig]:
    """A connected microscope."""
    async with kept_up(idle.microscope):
        await idle.microscope.wait_connected(5.0)
        yield idle
