"""What every link must do, whatever is behind it."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from afdaemon.drivers.base import Frame, Microscope
from afdaemon.drivers.errors import CommandRefused, DriverError, LinkTimeout, NotConnected
from afdaemon.drivers.registry import kept_up
from afdaemon.sim.instrument.settings import FrameMode

# The classes stand in conftest.py, which is not importable.
Rig = Any
Moment = Any
Until = Callable[[Callable[[], object]], Awaitable[None]]

TOLERANCE_UM = 2.1
START_WD_UM = 12_000.0
FOCUS_WD_UM = 11_000.0
AWAY_S = 1e6


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


async def test_a_magnification_is_set_with_the_wd_and_stays(rig: Rig) -> None:
    await rig.microscope.move_wd(11_500.0)
    await rig.microscope.grab()
    for wd_um, magnification in ((12_000.0, 500.0), (12_000.0, 1_250.0), (11_800.0, 2_000.0)):
        await rig.microscope.move_wd(wd_um, magnification)
        frame = await rig.microscope.grab()
        assert frame.magnification == magnification == rig.world.truth().magnification
        assert frame.wd_um == pytest.approx(wd_um, abs=TOLERANCE_UM)
        await rig.microscope.move_wd(wd_um + 20.0)
        assert (await rig.microscope.grab()).magnification == magnification
    state = await rig.microscope.read_state()
    assert state.magnification == 2_000.0


@pytest.mark.parametrize("magnification", [1.0, 1e6, 0.0, -500.0, float("nan"), float("inf")])
async def test_a_magnification_out_of_reach_is_refused_and_nothing_moves(
    rig: Rig, magnification: float
) -> None:
    await rig.microscope.move_wd(11_500.0)
    await rig.microscope.grab()
    with pytest.raises(CommandRefused):
        await rig.microscope.move_wd(12_500.0, magnification)
    assert set(rig.commanded_um) == {11_500.0}
    frame = await rig.microscope.grab()
    assert frame.magnification == 2_000.0
    assert frame.wd_um == pytest.approx(11_500.0, abs=TOLERANCE_UM)


async def test_full_frames_come_when_the_instrument_scans_them(rig: Rig) -> None:
    rig.world.mode = FrameMode.FULL
    await rig.microscope.move_wd(11_500.0)
    frame = await rig.microscope.grab()
    assert (frame.width_px, frame.height_px) == (640, 480)


@pytest.mark.parametrize(
    "moment", ["at once", "settling", "exposing", "sending", "sent"], indirect=True
)
async def test_a_cancelled_grab_leaves_no_trace(rig: Rig, moment: Moment) -> None:
    await rig.microscope.move_wd(12_700.0)
    grab = asyncio.create_task(rig.microscope.grab())
    await moment.come()
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


async def test_unplugged_it_says_so_and_plugged_in_again_it_goes_on(rig: Rig, until: Until) -> None:
    microscope = rig.microscope
    await microscope.move_wd(11_500.0)
    before = await microscope.grab()
    rig.instrument.unplug(AWAY_S)
    await until(lambda: not microscope.connected)
    with pytest.raises(NotConnected):
        await microscope.grab()
    rig.instrument.replug()
    await microscope.wait_connected(5.0)
    await microscope.move_wd(11_600.0)
    after = await microscope.grab()
    assert after.wd_um == pytest.approx(11_600.0, abs=TOLERANCE_UM)
    assert after.sequence > before.sequence
    assert microscope.stats.connects == 2


@pytest.mark.parametrize(
    "moment",
    ["at once", "commanded", "answered", "settling", "exposing", "sending", "sent"],
    indirect=True,
)
async def test_unplugged_in_mid_operation_it_fails_with_a_typed_error_and_recovers(
    rig: Rig, moment: Moment
) -> None:
    await rig.microscope.move_wd(11_500.0)

    async def work() -> None:
        for _ in range(1000):
            await rig.microscope.move_wd(11_500.0)
            await rig.microscope.grab()

    moment.arm()
    working = asyncio.create_task(work())
    await moment.come()
    rig.instrument.unplug(AWAY_S)
    with pytest.raises(DriverError):
        await working
    rig.instrument.replug()
    await rig.microscope.wait_connected(5.0)
    await rig.microscope.move_wd(11_700.0)
    assert (await rig.microscope.grab()).wd_um == pytest.approx(11_700.0, abs=TOLERANCE_UM)


async def test_another_instrument_in_its_place_is_not_moved(rig: Rig, until: Until) -> None:
    """Nothing but its serial number tells it from the first."""
    if rig.link == "in_process":
        return  # there is no wire to plug another into
    microscope = rig.microscope
    await microscope.read_state()
    await microscope.move_wd(11_500.0)
    await microscope.grab()
    rig.instrument.unplug(AWAY_S)
    await until(lambda: not microscope.connected)
    first = rig.world.settings
    rig.world.settings = replace(first, serial="EM30-0002")
    commanded = len(rig.commanded_um)
    rig.instrument.replug()
    async with asyncio.timeout(30.0):
        while True:
            try:
                await microscope.move_wd(11_600.0)
            except DriverError as error:
                if "another instrument" in str(error):
                    break
            await asyncio.sleep(0.001)
    assert len(rig.commanded_um) == commanded
    rig.instrument.unplug(AWAY_S)
    rig.world.settings = first
    rig.instrument.replug()
    async with asyncio.timeout(30.0):
        while True:
            with contextlib.suppress(DriverError):
                await microscope.move_wd(11_700.0)
                break
            await asyncio.sleep(0.001)
    assert rig.commanded_um[-1] == 11_700.0


async def test_not_there_at_first_it_is_found_when_it_is(idle: Rig) -> None:
    idle.instrument.unplug(AWAY_S)
    async with kept_up(idle.microscope):
        with pytest.raises(LinkTimeout):
            await idle.microscope.wait_connected(0.05)
        idle.instrument.replug()
        await idle.microscope.wait_connected(5.0)
        assert (await idle.microscope.read_state()).wd_um == pytest.approx(
            START_WD_UM, abs=TOLERANCE_UM
        )


@pytest.mark.parametrize("moment", ["at once", "commanded", "answered"], indirect=True)
async def test_after_a_cancelled_move_frames_are_of_the_next_one(rig: Rig, moment: Moment) -> None:
    await rig.microscope.read_state()
    move = asyncio.create_task(rig.microscope.move_wd(14_000.0))
    await moment.come()
    move.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await move
    for wd_um in (11_300.0, 11_400.0):
        await rig.microscope.move_wd(wd_um)
        assert (await rig.microscope.grab()).wd_um == pytest.approx(wd_um, abs=TOLERANCE_UM)
        assert rig.world.truth().wd_um == pytest.approx(wd_um, abs=0.5)


async def test_a_value_that_is_no_number_is_refused_and_nothing_moves(rig: Rig) -> None:
    for wd_um in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(DriverError):
            await rig.microscope.move_wd(wd_um)
    assert rig.commanded_um == []
    assert rig.microscope.connected


@pytest.mark.parametrize("moment", ["exposing"], indirect=True)
async def test_closed_in_mid_grab_it_fails_with_a_typed_error(rig: Rig, moment: Moment) -> None:
    async def work() -> None:
        while True:
            await rig.microscope.move_wd(11_500.0)
            await rig.microscope.grab()

    working = asyncio.create_task(work())
    await moment.come()
    await rig.microscope.close()
    with pytest.raises(DriverError):
        await working
