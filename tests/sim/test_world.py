import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.clock import ManualClock
from afdaemon.sim.errors import OutOfReach, SettingError, SimError, SpecimenError
from afdaemon.sim.settings import WD_UM, FrameMode, InstrumentSettings, frame_mode
from afdaemon.sim.world import REMEMBERED_COMMANDS, World

SETTINGS = InstrumentSettings(
    specimen="tem_grid",
    magnification=2000,
    seed=11,
    start_wd_um=12_000.0,
    focus_wd_um=11_500.0,
)


def a_world(clock: ManualClock | None = None, **changes: Any) -> World:
    return World(replace(SETTINGS, **changes), clock=clock or ManualClock())


async def test_the_same_seed_and_the_same_orders_give_the_same_frames() -> None:
    shots = []
    for _ in range(2):
        world = a_world()
        world.command(11_700.0, 3000)
        await world.settle()
        shots.append(await world.expose())
    assert np.array_equal(shots[0].pixels, shots[1].pixels)
    assert shots[0].wd_um == shots[1].wd_um
    assert shots[0].magnification == 3000
    other = a_world(seed=12)
    assert not np.array_equal((await other.expose()).pixels, shots[0].pixels)


async def test_a_settled_frame_reads_back_the_command_within_its_noise() -> None:
    world = a_world()
    read = []
    for wd_um in np.linspace(9_000.0, 45_000.0, 40):
        world.command(float(wd_um), 2000)
        await world.settle()
        read.append((await world.expose()).wd_um - wd_um)
    assert np.std(read) == pytest.approx(0.2, rel=0.5)
    assert np.abs(read).max() < 1.5


async def test_settling_and_scanning_take_the_instruments_time() -> None:
    clock = ManualClock()
    world = a_world(clock)
    world.command(11_000.0, 2000)
    await world.settle()
    assert clock.now_s() == pytest.approx(0.15)
    await world.settle()
    assert clock.now_s() == pytest.approx(0.15)
    await world.expose()
    assert clock.now_s() == pytest.approx(0.15 + 320 * 240 * 400e-9 + 240 * 50e-6)
    world.mode = FrameMode.FULL
    shot = await world.expose()
    assert shot.pixels.shape == (480, 640)


async def test_a_frame_taken_on_the_way_reads_where_the_lens_was() -> None:
    world = a_world()
    world.command(20_000.0, 2000)
    shot = await world.expose()
    assert 12_010.0 < shot.wd_um < 19_990.0


@pytest.mark.parametrize("wd_um", [4_999.9, 50_000.1, math.nan, math.inf, -math.inf])
def test_a_wd_out_of_reach_moves_nothing(wd_um: float) -> None:
    world = a_world()
    with pytest.raises(OutOfReach, match="WD lies in 5000 to 50000 um"):
        world.command(wd_um, 2000)
    assert world.truth().commands == ()
    assert world.truth().wd_um == 12_000.0


def test_a_magnification_or_a_place_out_of_reach_changes_nothing() -> None:
    world = a_world()
    with pytest.raises(OutOfReach, match="magnification"):
        world.command(12_000.0, 19)
    with pytest.raises(OutOfReach, match="stage"):
        world.move_stage(0.0, 20_000.0)
    assert world.magnification == 2000


async def test_the_stage_moves_the_field() -> None:
    world = a_world(wd_noise_um=0.0)
    before = (await world.expose()).pixels.astype(float)
    world.move_stage(19_007.0, 20_011.0)
    after = (await world.expose()).pixels.astype(float)
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] < 0.9


async def test_the_truth_tells_what_happened() -> None:
    clock = ManualClock()
    world = a_world(clock)
    clock.advance(1.0)
    world.command(11_000.0, 4000)
    clock.advance(1.0)
    world.command(11_500.0, 4000)
    await world.settle()
    truth = world.truth()
    assert [(order.time_s, order.wd_um) for order in truth.commands] == [
        (1.0, 11_000.0),
        (2.0, 11_500.0),
    ]
    assert truth.start_wd_um == 12_000.0
    assert truth.focus_wd_um == pytest.approx(11_500.0, abs=0.1)
    assert truth.wd_um == pytest.approx(11_500.0, abs=0.3)
    assert truth.lens_wd_um == pytest.approx(11_500.0, abs=0.1)
    assert truth.dof_um == pytest.approx(2.0 * 127_000.0 / 4000 / 320 / 5e-3)


def test_the_memory_of_commands_is_bounded() -> None:
    world = a_world()
    for n in range(REMEMBERED_COMMANDS + 10):
        world.command(12_000.0 + n, 2000)
    commands = world.truth().commands
    assert len(commands) == REMEMBERED_COMMANDS
    assert commands[-1].wd_um == 12_000.0 + REMEMBERED_COMMANDS + 9


@given(
    seed=st.integers(0, 2**32 - 1),
    magnification=st.sampled_from([200, 2000, 20_000, 150_000]),
    start_wd_um=st.none() | st.floats(WD_UM.low, WD_UM.high),
)
def test_what_is_not_given_is_drawn_within_reach_and_near(
    seed: int, magnification: int, start_wd_um: float | None
) -> None:
    truth = a_world(
        seed=seed, magnification=magnification, start_wd_um=start_wd_um, focus_wd_um=None
    ).truth()
    assert WD_UM.holds(truth.focus_wd_um)
    assert WD_UM.holds(truth.start_wd_um)
    assert abs(truth.start_wd_um - truth.focus_wd_um) <= min(2_000.0, 20.0 * truth.dof_um) + 1e-6
    if start_wd_um is not None:
        assert truth.start_wd_um == start_wd_um


@pytest.mark.parametrize(
    "change",
    [
        {"magnification": 0},
        {"magnification": -5},
        {"seed": -1},
        {"alpha_mrad": math.nan},
        {"alpha_mrad": 0.0},
        {"start_wd_um": math.inf},
        {"focus_wd_um": 3.0},
        {"settle_s": -1.0},
        {"wd_quantum_um": 0.0},
    ],
)
def test_an_impossible_instrument_is_refused_with_the_range(change: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=r"must lie in .* not "):
        replace(SETTINGS, **change)


def test_an_unknown_specimen_or_mode_is_refused() -> None:
    with pytest.raises(SpecimenError):
        a_world(specimen="cheese")
    with pytest.raises(SimError, match="fast or full"):
        frame_mode("slow")
