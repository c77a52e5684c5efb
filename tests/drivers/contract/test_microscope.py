"""What every link must do, whatever is behind it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from afdaemon.clock import ScaledClock, SystemClock
from afdaemon.drivers.base import Frame, Microscope
from afdaemon.drivers.errors import CommandRefused, LinkTimeout, NotConnected
from afdaemon.drivers.registry import open_microscope
from afdaemon.sim.inprocess import InProcessMicroscope
from afdaemon.sim.instrument import Instrument
from afdaemon.sim.links.aisem import AisemServer
from afdaemon.sim.settings import FrameMode, InstrumentSettings
from afdaemon.sim.world import World

TOLERANCE_UM = 2.1
START_WD_UM = 12_000.0
FOCUS_WD_UM = 11_000.0
INSTRUMENT = InstrumentSettings(
    magnification=2000, seed=5, start_wd_um=START_WD_UM, focus_wd_um=FOCUS_WD_UM
)


@dataclass
class Rig:
    microscope: Microscope
    world: World

    @property
    def commanded_um(self) -> list[float]:
        return [command.wd_um for command in self.world.truth().commands]


@asynccontextmanager
async def aisem(folder: Path) -> AsyncIterator[Rig]:
    clock = ScaledClock(50.0)
    world = World(INSTRUMENT, clock=clock)
    async with AisemServer(Instrument(world, clock=clock), folder=folder, clock=clock) as server:
        _, port = server.address
        settings = {"folder": folder, "port": port, "poll_s": 0.002}
        yield Rig(open_microscope("aisem", settings, clock=SystemClock()), world)


@asynccontextmanager
async def in_process(folder: Path) -> AsyncIterator[Rig]:
    clock = ScaledClock(50.0)
    world = World(INSTRUMENT, clock=clock)
    yield Rig(InProcessMicroscope(Instrument(world, clock=clock), clock=clock), world)


OpenRig = Callable[[Path], AbstractAsyncContextManager[Rig]]


@pytest.fixture(params=[aisem, in_process])
async def idle(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    """A microscope that has not been run yet."""
    open_rig: OpenRig = request.param
    async with open_rig(tmp_path) as rig:
        yield rig
        await rig.microscope.close()


@pytest.fixture
async def rig(idle: Rig) -> AsyncIterator[Rig]:
    """A connected microscope."""
    running = asyncio.create_task(idle.microscope.run())
    await idle.microscope.wait_connected(5.0)
    yield idle
    await idle.microscope.close()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


def sharpness(frame: Frame) -> float:
    return float(cv2.Laplacian(cv2.GaussianBlur(frame.pixels, (0, 0), 1.5), cv2.CV_32F).var())


async def test_it_is_a_microscope_with_a_name(idle: Rig) -> None:
    assert isinstance(idle.microscope, Microscope)
    assert "em30" in idle.microscope.name


async def test_before_it_runs_it_is_not_connected(idle: Rig) -> None:
    microscope = idle.microscope
    assert not microscope.connected
    for operation in (microscope.read_state(), microscope.move_wd(12_000.0), microscope.grab()):
        with pytest.raises(NotConnected):
            await operation
    with pytest.raises(LinkTimeout):
        await microscope.wait_connected(0.01)
    assert idle.commanded_um == []


async def test_connecting_and_asking_move_nothing(rig: Rig) -> None:
    state = await rig.microscope.read_state()
    assert state.wd_um == pytest.approx(START_WD_UM, abs=TOLERANCE_UM)
    assert state.magnification == 2000
    assert rig.microscope.connected
    assert rig.commanded_um == []


async def test_a_frame_belongs_to_the_commanded_wd(rig: Rig) -> None:
    for wd_um in (12_500.0, 11_000.0, 11_000.7):
        await rig.microscope.move_wd(wd_um)
        frame = await rig.microscope.grab()
        assert frame.wd_um == pytest.approx(wd_um, abs=TOLERANCE_UM)
        assert rig.world.truth().wd_um == pytest.approx(wd_um, abs=0.5)
        assert frame.magnification == 2000
        assert frame.pixels.shape == (240, 320)
        assert frame.pixels.dtype == np.uint8
        assert not frame.pixels.flags.writeable


async def test_frames_are_sharp_in_focus_and_blurred_away_from_it(rig: Rig) -> None:
    seen = {}
    for wd_um in (FOCUS_WD_UM, FOCUS_WD_UM + 600.0, FOCUS_WD_UM - 600.0):
        await rig.microscope.move_wd(wd_um)
        seen[wd_um] = sharpness(await rig.microscope.grab())
    assert seen[FOCUS_WD_UM] > 2.0 * max(seen[FOCUS_WD_UM + 600.0], seen[FOCUS_WD_UM - 600.0])


async def test_more_frames_at_the_same_wd_differ_and_count_up(rig: Rig) -> None:
    await rig.microscope.move_wd(11_500.0)
    frames = [await rig.microscope.grab() for _ in range(3)]
    sequences = [frame.sequence for frame in frames]
    assert sequences == sorted(set(sequences))
    assert len({frame.pixels.tobytes() for frame in frames}) == 3
    assert set(rig.commanded_um) == {11_500.0}


async def test_a_frame_without_a_move_is_taken_where_the_instrument_stands(rig: Rig) -> None:
    frame = await rig.microscope.grab()
    assert frame.wd_um == pytest.approx(START_WD_UM, abs=TOLERANCE_UM)
    assert rig.world.truth().wd_um == pytest.approx(START_WD_UM, abs=TOLERANCE_UM)


async def test_a_move_out_of_reach_is_refused_and_nothing_moves(rig: Rig) -> None:
    await rig.microscope.move_wd(11_500.0)
    await rig.microscope.grab()
    for wd_um in (60_000.0, 1.0, -12_000.0):
        with pytest.raises(CommandRefused):
            await rig.microscope.move_wd(wd_um)
    assert set(rig.commanded_um) == {11_500.0}
    assert (await rig.microscope.grab()).wd_um == pytest.approx(11_500.0, abs=TOLERANCE_UM)


async def test_full_frames_come_when_the_instrument_scans_them(rig: Rig) -> None:
    rig.world.mode = FrameMode.FULL
    await rig.microscope.move_wd(11_500.0)
    frame = await rig.microscope.grab()
    assert (frame.width_px, frame.height_px) == (640, 480)
    assert frame.pixel_nm == pytest.approx(127e6 / 2000 / 640)


@pytest.mark.parametrize("after_s", [0.0, 0.002, 0.02])
async def test_a_cancelled_grab_leaves_no_trace(rig: Rig, after_s: float) -> None:
    await rig.microscope.move_wd(12_700.0)
    grab = asyncio.create_task(rig.microscope.grab())
    await asyncio.sleep(after_s)
    grab.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await grab
    for wd_um in (11_200.0, 11_900.0):
        await rig.microscope.move_wd(wd_um)
        frame = await rig.microscope.grab()
        assert frame.wd_um == pytest.approx(wd_um, abs=TOLERANCE_UM)


async def test_what_it_does_is_counted(rig: Rig) -> None:
    for wd_um in (11_200.0, 11_900.0):
        await rig.microscope.move_wd(wd_um)
        await rig.microscope.grab()
    await rig.microscope.grab()
    stats = rig.microscope.stats
    assert (stats.connects, stats.moves, stats.frames) == (1, 2, 3)


async def test_closed_twice_it_is_not_connected(rig: Rig) -> None:
    await rig.microscope.close()
    await rig.microscope.close()
    assert not rig.microscope.connected
    with pytest.raises(NotConnected):
        await rig.microscope.read_state()
