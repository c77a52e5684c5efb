"""Whatever happens on the way, on whatever link: a frame is true or there is a typed error, soon; then all is well."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from afdaemon.clock import ScaledClock, SystemClock
from afdaemon.drivers.base import Frame, Microscope
from afdaemon.drivers.em30.usb import open_usb
from afdaemon.drivers.errors import DriverError
from afdaemon.drivers.registry import kept_up, open_microscope
from afdaemon.sim.chaos.folder import FolderRelay
from afdaemon.sim.chaos.plan import Chaos, Rule, Trouble, Way
from afdaemon.sim.chaos.proxy import ChaosProxy
from afdaemon.sim.instrument.instrument import Instrument
from afdaemon.sim.instrument.settings import InstrumentSettings
from afdaemon.sim.instrument.world import World
from afdaemon.sim.links.aisem import AisemServer
from afdaemon.sim.links.stream import StreamServer
from afdaemon.sim.links.usb_server import UsbServer

SPEED = 50.0
BOUND_S = 10.0
TOLERANCE_UM = 4.0
HASTY = {
    "reply_timeout_s": 0.3,
    "frame_timeout_s": 1.5,
    "ask_again_s": 0.5,
    "reconnect_first_s": 0.02,
}
SETTINGS = InstrumentSettings(seed=5, start_wd_um=12_000.0, focus_wd_um=11_000.0)
Open = Callable[[Instrument, Chaos, Path], AbstractAsyncContextManager[Microscope]]


@asynccontextmanager
async def aisem(instrument: Instrument, chaos: Chaos, folder: Path) -> AsyncIterator[Microscope]:
    clock, its, ours = SystemClock(), folder / "its", folder / "ours"
    async with (
        AisemServer(instrument, folder=its, clock=ScaledClock(SPEED)) as server,
        FolderRelay(chaos, source=its, target=ours, clock=clock),
        ChaosProxy(chaos, to=server.address, clock=clock) as proxy,
    ):
        settings = {"folder": ours, "port": proxy.address[1], "half_written_s": 0.3, **HASTY}
        yield open_microscope("aisem", settings, clock=clock)


@asynccontextmanager
async def stream(instrument: Instrument, chaos: Chaos, folder: Path) -> AsyncIterator[Microscope]:
    async with (
        StreamServer(instrument) as server,
        ChaosProxy(chaos, to=server.address, clock=SystemClock()) as proxy,
    ):
        settings = {"port": proxy.address[1], **HASTY}
        yield open_microscope("stream", settings, clock=SystemClock())


@asynccontextmanager
async def usb(instrument: Instrument, chaos: Chaos, folder: Path) -> AsyncIterator[Microscope]:
    clock = SystemClock()
    async with UsbServer(instrument, clock=clock, chaos=chaos) as server:
        yield open_usb(HASTY, clock, backend=server.bus)


async def attempt(microscope: Microscope, wd_um: float) -> Frame | DriverError:
    """A move and a frame, or the error that they ended in, within the bound."""
    try:
        async with asyncio.timeout(BOUND_S):
            await microscope.wait_connected(BOUND_S / 2)
            await microscope.move_wd(wd_um)
            return await microscope.grab()
    except DriverError as error:
        return error


async def recovered(microscope: Microscope, wd_um: float) -> Frame:
    """A move and a frame, as soon as it works."""
    async with asyncio.timeout(BOUND_S):
        while not isinstance(came := await attempt(microscope, wd_um), Frame):
            continue
    return came


ON_USB = (Trouble.DROP, Trouble.HALF, Trouble.SHIFT)
"""What differs there from `stream`: the rest is the same conversation."""


@pytest.mark.parametrize(
    ("open_link", "trouble"),
    [
        *((link, trouble) for link in (aisem, stream) for trouble in Trouble),
        *((usb, trouble) for trouble in ON_USB),
    ],
)
async def test_trouble_on_the_way_is_survived_or_told(
    open_link: Open, trouble: Trouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("afdaemon.sim.chaos.folder.AWAY_S", 0.1)
    clock, chaos = ScaledClock(SPEED), Chaos(seed=3)
    world = World(SETTINGS, clock=clock)
    await world.expose()  # draws the specimen
    instrument = Instrument(world, clock=clock)
    amount = 0.5 if trouble in (Trouble.DELAY, Trouble.FREEZE) else None
    async with open_link(instrument, chaos, tmp_path) as microscope, kept_up(microscope):
        await recovered(microscope, 11_800.0)
        for way in Way:
            chaos.add(Rule(trouble=trouble, way=way, times=1, amount=amount))
        came = await attempt(microscope, 12_300.0)
        if isinstance(came, Frame):
            assert came.wd_um == pytest.approx(12_300.0, abs=TOLERANCE_UM)
            assert instrument.truth().lens_wd_um == pytest.approx(12_300.0, abs=TOLERANCE_UM)
        assert chaos.counts[trouble] > 0
        chaos.clear()
        last = await recovered(microscope, 11_600.0)
        assert last.wd_um == pytest.approx(11_600.0, abs=TOLERANCE_UM)
