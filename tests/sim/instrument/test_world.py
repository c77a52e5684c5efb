import json
import math
from dataclasses import asdict, replace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from afdaemon.clock import ManualClock
from afdaemon.sim.errors import OutOfReach, SettingError, SimError, SpecimenError
from afdaemon.sim.instrument.age import Ageing
from afdaemon.sim.instrument.conditions import Condition, instrument
from afdaemon.sim.instrument.settings import (
    WD_UM,
    ColumnSettings,
    DetectorSettings,
    FrameMode,
    InstrumentSettings,
    ScanSettings,
    StageSettings,
    frame_mode,
)
from afdaemon.sim.instrument.world import REMEMBERED_COMMANDS, World
from afdaemon.sim.optics import FOCUS_SHIFT_UM_PER_KV
from afdaemon.sim.truth import focus_score

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


async def test_averaged_lines_take_their_time_and_have_less_noise() -> None:
    shots = []
    for passes in (1, 9):
        clock = ManualClock()
        world = a_world(clock, specimen="empty", scan=ScanSettings(line_average=passes))
        shots.append(await world.expose())
        assert clock.now_s() == pytest.approx(passes * (320 * 240 * 400e-9 + 240 * 50e-6))
    once, often = shots
    assert often.end_us - often.start_us == pytest.approx(9 * (once.end_us - once.start_us), abs=9)
    assert (once.dwell_ns, often.dwell_ns) == (400.0, 3_600.0)
    assert (
        np.diff(once.pixels.astype(float)).std() > 2.0 * np.diff(often.pixels.astype(float)).std()
    )


async def test_an_interlaced_frame_takes_as_long_and_is_torn_by_creep() -> None:
    """A pixel is 19.8 nm: between the fields, half a frame apart, the specimen creeps by five of them."""
    beside = []
    for interlace in (1, 2):
        clock = ManualClock()
        scan = ScanSettings(interlace=interlace, creep_x_nm_per_s=5_000.0)
        world = a_world(clock, start_wd_um=11_500.0, magnification=20_000, scan=scan)
        grey = cv2.GaussianBlur((await world.expose()).pixels.astype(np.float64), (9, 1), 2.0)
        assert clock.now_s() == pytest.approx(320 * 240 * 400e-9 + 240 * 50e-6)
        beside.append(likeness(grey[0::2], grey[1::2]))
    assert beside[1] < 0.95 < 0.98 < beside[0]


async def test_a_detector_hunts_from_frame_to_frame() -> None:
    clock = ManualClock()
    detector = DetectorSettings(hunting_pct=10.0, hunting_s=4.0)
    world = a_world(clock, ageing=Ageing.CLOCK, specimen="empty", detector=detector)
    means = []
    for _ in range(4):
        means.append((await world.expose()).pixels.mean())
        clock.advance(1.0 - (clock.now_s() % 1.0))
    assert means[2] - means[0] == pytest.approx(2.0 * 0.1 * 255.0, rel=0.1)
    assert means[1] == pytest.approx(means[3], abs=12.0)


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


def likeness(one: NDArray[np.generic], other: NDArray[np.generic]) -> float:
    return float(np.corrcoef(one.ravel().astype(float), other.ravel().astype(float))[0, 1])


async def test_the_stage_moves_the_field_there_and_back() -> None:
    world = a_world()
    before = (await world.expose()).pixels
    likenesses = []
    for place in ((19_070.0, 20_110.0), (19_000.0, 20_000.0)):
        world.move_stage(*place)
        await world.settle()
        likenesses.append(likeness(before, (await world.expose()).pixels))
        truth = world.truth()
        assert (truth.stage_x_um, truth.stage_y_um) == place
        assert not truth.stage_moves
    assert likenesses[0] < 0.5 < 0.8 < likenesses[1]


async def test_a_stage_move_takes_its_time_and_a_frame_in_it_is_none_of_either_place() -> None:
    clock = ManualClock()
    world = a_world(clock, stage=StageSettings(speed_um_per_s=100.0), ageing=Ageing.CLOCK)
    there = (await world.expose()).pixels
    began_s = clock.now_s()
    world.move_stage(19_300.0, 20_400.0)
    assert world.stage_busy_until_s == pytest.approx(began_s + 5.0)
    clock.advance(2.0)
    truth = world.truth()
    assert (truth.stage_x_um, truth.stage_y_um) == pytest.approx((19_120.0, 20_160.0))
    assert truth.stage_moves
    passing = (await world.expose()).pixels
    await world.settle()
    assert clock.now_s() == pytest.approx(began_s + 5.0)
    arrived = (await world.expose()).pixels
    assert max(likeness(there, passing), likeness(passing, arrived)) < 0.5


@pytest.mark.parametrize("ageing", Ageing)
async def test_a_lens_that_nobody_waits_for_is_read_where_it_has_got_to(ageing: Ageing) -> None:
    clock = ManualClock()
    world = a_world(clock, ageing=ageing, wd_noise_um=0.0)
    world.command(13_000.0, 2000)
    assert world.read_wd_um() == pytest.approx(12_000.0)
    clock.advance(0.15 / 12.0)
    assert world.read_wd_um() == pytest.approx(13_000.0 - 1_000.0 / math.e, abs=0.1)
    clock.advance(1.0)
    assert world.read_wd_um() == pytest.approx(13_000.0)
    assert world.truth().lens_wd_um == pytest.approx(13_000.0)


async def test_the_read_back_does_not_see_the_hysteresis() -> None:
    world = a_world(column=ColumnSettings(hysteresis_um=30.0), wd_noise_um=0.0)
    for turn, beyond_um in ((20_000.0, 15.0), (10_000.0, -15.0)):
        for wd_um in (turn, 14_000.0):
            world.command(wd_um, 2000)
            await world.settle()
        shot, truth = await world.expose(), world.truth()
        assert shot.wd_um == pytest.approx(14_000.0, abs=0.11)
        assert truth.hysteresis_um == pytest.approx(beyond_um, abs=0.1)
        assert truth.wd_um == pytest.approx(14_000.0 + beyond_um, abs=0.2)


async def test_thinking_ages_the_world_by_the_clock_alone() -> None:
    drifting = ColumnSettings(drift_um_per_min=60.0, wander_um=0.0)
    for ageing, gone_um in ((Ageing.CLOCK, 100.0), (Ageing.WORK, 0.0)):
        clock = ManualClock(5.0)
        world = a_world(clock, ageing=ageing, column=drifting)
        clock.advance(100.0)
        assert world.truth().drift_um == pytest.approx(gone_um)
        shot = await world.expose()
        lasted_s = (shot.end_us - shot.start_us) * 1e-6
        assert world.truth().drift_um == pytest.approx(gone_um + lasted_s, abs=1e-5)


async def test_the_frame_shows_the_drifted_focus() -> None:
    """By the clock, a world out of focus by 10 DoF drifts into focus, and its frames say so."""
    clock = ManualClock()
    column = ColumnSettings(drift_um_per_min=60.0, wander_um=0.0)
    world = a_world(clock, ageing=Ageing.CLOCK, start_wd_um=11_900.0, column=column)
    sharpness = []
    for _ in range(5):
        sharpness.append(float(np.diff((await world.expose()).pixels.astype(float)).var()))
        clock.advance(100.0)
    truth = world.truth()
    assert sharpness == sorted(sharpness)
    assert sharpness[-1] > 1.2 * sharpness[0]
    assert truth.blur_px == pytest.approx(
        truth.alpha_rad * abs(truth.wd_um - truth.focus_wd_um) * 2000 * 320 / 127_000.0, abs=0.01
    )
    assert truth.score == pytest.approx(focus_score(truth.blur_px))


async def test_noise_depends_on_the_exposure_and_not_on_what_else_was_asked() -> None:
    shots = []
    for readings in (0, 7):
        world = a_world()
        world.command(11_700.0, 2000)
        for _ in range(readings):
            world.read_wd_um()
            world.truth()
        await world.settle()
        shots.append([await world.expose() for _ in range(3)])
    for one, other in zip(*shots, strict=True):
        assert np.array_equal(one.pixels, other.pixels)
        assert one.wd_um == other.wd_um
    assert not np.array_equal(shots[0][0].pixels, shots[0][1].pixels)


async def test_a_client_that_thinks_and_a_clock_that_jitters_change_no_byte() -> None:
    poor = instrument(Condition.POOR, seed=4, specimen="tem_grid", focus_wd_um=11_500.0)
    runs = []
    for thinks_s in (0.0, 0.377):
        clock = ManualClock()
        world = World(poor, clock=clock)
        shots = []
        for wd_um in (11_000.0, 11_200.0, 11_150.0):
            clock.advance(thinks_s)
            world.command(wd_um, 2000)
            clock.advance(thinks_s)
            await world.settle()
            clock.advance(thinks_s)
            shots.append(await world.expose())
        runs.append(shots)
    for one, other in zip(*runs, strict=True):
        assert np.array_equal(one.pixels, other.pixels)
        assert (one.wd_um, one.number) == (other.wd_um, other.number)


async def test_a_change_of_voltage_shifts_the_focus() -> None:
    world = a_world()
    world.set_kv(10.0)
    truth = world.truth()
    assert truth.kv == 10.0
    assert truth.focus_wd_um == pytest.approx(11_500.0 - 5.0 * FOCUS_SHIFT_UM_PER_KV)
    assert (await world.expose()).kv == 10.0
    with pytest.raises(OutOfReach, match="voltage lies in 1 to 30 kV"):
        world.set_kv(31.0)
    assert world.truth().kv == 10.0


async def test_a_change_of_magnification_turns_the_image_and_back() -> None:
    world = a_world(column=ColumnSettings(rotation_deg=10.0, shift_pct=0.0))
    before = (await world.expose()).pixels
    world.command(12_000.0, 20_000)
    assert world.truth().rotation_rad == pytest.approx(math.radians(10.0))
    await world.settle()
    await world.expose()
    world.command(12_000.0, 2000)
    await world.settle()
    assert world.truth().rotation_rad == 0.0
    assert likeness(before, (await world.expose()).pixels) > 0.8


async def test_a_beam_off_the_axis_moves_the_picture_with_the_wd() -> None:
    """A pixel is 198 nm; a tenth of a depth of focus blurs nothing."""
    world = a_world(column=ColumnSettings(wd_shift_nm_per_um=200.0, drift_um_per_min=0.0))
    frames = []
    for wd_um in (11_500.0, 11_508.0):
        world.command(wd_um, 2000)
        await world.settle()
        frames.append((await world.expose()).pixels.astype(np.float32))
    (x_px, y_px), _ = cv2.phaseCorrelate(frames[0], frames[1])
    assert math.hypot(x_px, y_px) == pytest.approx(1.6 / 0.1984, abs=1.0)


async def test_the_specimen_creeps_under_the_scan() -> None:
    """A pixel is 198 nm: after 2 s at 1 um/s the field has gone by ten of them."""
    clock = ManualClock()
    scan = ScanSettings(creep_x_nm_per_s=1_000.0, creep_y_nm_per_s=0.0)
    world = a_world(clock, ageing=Ageing.CLOCK, scan=scan)
    frames = []
    for _ in range(2):
        frames.append((await world.expose()).pixels)
        clock.advance(2.0)
    gone_px = 2.0 / 0.1984
    shifted = np.roll(frames[0], -round(gone_px), axis=1)[:, : -2 * round(gone_px)]
    assert likeness(shifted, frames[1][:, : -2 * round(gone_px)]) > 0.8


def test_the_truth_can_be_written_down() -> None:
    assert json.loads(json.dumps(asdict(a_world().truth())))["specimen"] == "tem_grid"


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
    with pytest.raises(SettingError, match=r"must be a .* not "):
        replace(SETTINGS, **change)


def test_an_unknown_specimen_or_mode_is_refused() -> None:
    with pytest.raises(SpecimenError):
        a_world(specimen="cheese")
    with pytest.raises(SimError, match="fast or full"):
        frame_mode("slow")
