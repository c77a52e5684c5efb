"""The rules, and what each fault does at the instrument, behind every link alike."""

import contextlib
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.clock import ManualClock
from afdaemon.sim.errors import FaultError, OutOfReach, SimError
from afdaemon.sim.instrument.faults import MEANINGS, Fault, FaultPlan, FaultRule, parse_rule
from afdaemon.sim.instrument.instrument import Instrument
from afdaemon.sim.instrument.settings import InstrumentSettings
from afdaemon.sim.instrument.world import RecordedFrame, World

SETTINGS = InstrumentSettings(
    specimen="tem_grid", magnification=2000, seed=3, start_wd_um=12_000.0, focus_wd_um=11_500.0
)


def instrument(*rules: str, clock: ManualClock | None = None) -> Instrument:
    clock = clock or ManualClock()
    plan = FaultPlan(map(parse_rule, rules), seed=3)
    return Instrument(World(SETTINGS, clock=clock), plan, clock=clock)


async def frames_at(device: Instrument, *wds_um: float) -> list[list[RecordedFrame]]:
    shown = []
    for wd_um in wds_um:
        device.command(wd_um)
        shown.append(await device.frames())
    return shown


async def frame_at(device: Instrument, wd_um: float) -> RecordedFrame:
    [[shot]] = await frames_at(device, wd_um)
    return shot


# --- rules ---


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("frame-missing", FaultRule(fault=Fault.FRAME_MISSING)),
        ("wd-refused:0.2", FaultRule(fault=Fault.WD_REFUSED, probability=0.2)),
        (
            "frame-delayed:0.5,from_s=10,until_s=60,times=3,amount=2.5",
            FaultRule(
                fault=Fault.FRAME_DELAYED,
                probability=0.5,
                from_s=10.0,
                until_s=60.0,
                times=3,
                amount=2.5,
            ),
        ),
    ],
)
def test_a_rule_in_words(text: str, rule: FaultRule) -> None:
    assert parse_rule(text) == rule


@given(
    fault=st.sampled_from(Fault),
    probability=st.floats(0.0, 1.0),
    from_s=st.floats(0.0, 1e9),
    lasting_s=st.floats(0.0, math.inf),
    times=st.none() | st.integers(1, 10**9),
    share=st.none() | st.floats(0.0, 1.0),
)
def test_every_rule_reads_itself_back(
    fault: Fault,
    probability: float,
    from_s: float,
    lasting_s: float,
    times: int | None,
    share: float | None,
) -> None:
    amount = MEANINGS[fault].amount
    some = None
    if amount is not None and share is not None:
        some = amount.allowed.low + share * (amount.allowed.high - amount.allowed.low)
    rule = FaultRule(
        fault=fault,
        probability=probability,
        from_s=from_s,
        until_s=from_s + lasting_s,
        times=times,
        amount=some,
    )
    assert parse_rule(str(rule)) == rule


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("frame-mising", "no fault 'frame-mising'; did you mean frame-missing?"),
        ("", "there are frame-delayed, frame-missing"),
        ("wd-refused:1.2", "probability of wd-refused lies in 0 to 1, not 1.2"),
        ("wd-refused:-0.1", "not -0.1"),
        ("wd-refused:nan", "not nan"),
        ("wd-refused:often", "probability is a number, not 'often'"),
        ("wd-late,amout=2", "no 'amout'; did you mean amount?"),
        ("wd-late,amount=1e9", r"amount of wd-late lies in 0 to 600 \(s\), not 1e\+09"),
        ("wd-late,amount=inf", "not inf"),
        ("wd-late,amount", "amount is a number, not ''"),
        ("blank,from_s=-1", "from_s of blank lies in 0 to inf, not -1"),
        ("blank,from_s=5,until_s=4", "until_s of blank lies in 5 to inf, not 4"),
        ("blank,times=0", "whole number from 1, not 0"),
        ("blank,times=1.5", "whole number from 1, not '1.5'"),
        ("frame-missing,amount=2", "frame-missing has no amount"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_with_the_range(text: str, complaint: str) -> None:
    with pytest.raises(FaultError, match=complaint):
        parse_rule(text)


@given(st.text(max_size=60) | st.from_regex(r"[a-z-]{0,12}(:[0-9.e]{1,4})?(,[a-z_]+=.{0,5}){0,3}"))
def test_no_text_raises_anything_else(text: str) -> None:
    with contextlib.suppress(FaultError):
        assert parse_rule(text).fault in Fault


# --- the plan ---


def strikes(plan: FaultPlan, fault: Fault, times_s: Sequence[float]) -> list[float | None]:
    return [plan.strikes(fault, now_s) for now_s in times_s]


def test_a_rule_strikes_within_its_time_and_so_many_times() -> None:
    plan = FaultPlan([parse_rule("wd-late,from_s=2,until_s=6,times=3,amount=0.25")])
    told = strikes(plan, Fault.WD_LATE, range(8))
    assert told == [None, None, 0.25, 0.25, 0.25, None, None, None]
    assert plan.counts[Fault.WD_LATE] == 3


def test_a_rule_strikes_as_often_as_its_probability_says() -> None:
    plan = FaultPlan([parse_rule("frame-missing:0.2")], seed=7)
    hits = sum(hit is not None for hit in strikes(plan, Fault.FRAME_MISSING, [0.0] * 5000))
    assert hits == pytest.approx(1000, abs=4 * math.sqrt(5000 * 0.2 * 0.8))
    assert hits == plan.counts[Fault.FRAME_MISSING]


def test_never_and_always() -> None:
    plan = FaultPlan([parse_rule("reset:0"), parse_rule("blank:1")])
    assert set(strikes(plan, Fault.RESET, [0.0] * 100)) == {None}
    assert None not in strikes(plan, Fault.BLANK, [0.0] * 100)


def test_one_fault_does_not_change_when_another_strikes() -> None:
    alone = FaultPlan([parse_rule("frame-missing:0.5")], seed=1)
    both = FaultPlan([parse_rule("reset:0.5"), parse_rule("frame-missing:0.5")], seed=1)
    heard = []
    for _ in range(200):
        both.strikes(Fault.RESET, 0.0)
        heard.append(both.strikes(Fault.FRAME_MISSING, 0.0))
    assert heard == strikes(alone, Fault.FRAME_MISSING, [0.0] * 200)
    other = FaultPlan([parse_rule("frame-missing:0.5")], seed=2)
    assert heard != strikes(other, Fault.FRAME_MISSING, [0.0] * 200)


def test_rules_are_added_replaced_and_taken_back() -> None:
    plan = FaultPlan([parse_rule("blank:0.1"), parse_rule("blank:0.2"), parse_rule("reset")])
    plan.set(parse_rule("blank:0.3"))
    assert [str(rule) for rule in plan.rules] == ["reset", "blank:0.3"]
    plan.clear(Fault.RESET)
    assert [str(rule) for rule in plan.rules] == ["blank:0.3"]
    plan.clear()
    assert plan.rules == ()


def test_a_share_that_is_not_given_is_drawn() -> None:
    plan = FaultPlan([parse_rule("reset")])
    shares = [share for share in strikes(plan, Fault.RESET, [0.0] * 100) if share is not None]
    assert 0.0 <= min(shares) < 0.2
    assert 0.8 < max(shares) < 1.0


# --- what each does ---


async def test_without_a_plan_nothing_goes_wrong() -> None:
    clock = ManualClock()
    device = Instrument(World(SETTINGS, clock=clock), clock=clock)
    for wd_um in (12_300.0, 11_900.0):
        assert (await frame_at(device, wd_um)).wd_um == pytest.approx(wd_um, abs=2.0)
        assert device.read_state().wd_um == pytest.approx(wd_um, abs=2.0)
    message = bytes(range(256))
    assert device.on_wire(message) == message
    assert device.breaks_at(100) is None
    assert not device.unplugged
    assert set(device.plan.counts.values()) == {0}


async def test_a_delayed_frame_comes_later() -> None:
    clocks = [ManualClock(), ManualClock()]
    for clock, rules in zip(clocks, ([], ["frame-delayed,amount=2.5"]), strict=True):
        await frame_at(instrument(*rules, clock=clock), 12_300.0)
    assert clocks[1].now_s() - clocks[0].now_s() == pytest.approx(2.5)


async def test_a_missing_frame_was_exposed_and_does_not_come() -> None:
    device = instrument("frame-missing,times=1")
    assert await frames_at(device, 12_300.0) == [[]]
    assert device.world.frames == 1
    assert len(await device.frames()) == 1


async def test_a_duplicated_frame_comes_twice() -> None:
    [[first, second]] = await frames_at(instrument("frame-duplicated"), 12_300.0)
    assert first is second


async def test_a_frozen_frame_repeats_the_grey_values_under_a_new_header() -> None:
    device = instrument("frame-frozen,times=1")
    [[first], [second], [third]] = await frames_at(device, 12_300.0, 11_900.0, 11_700.0)
    assert np.array_equal(first.pixels, second.pixels)
    assert second.number == first.number + 1
    assert second.wd_um == pytest.approx(11_900.0, abs=2.0)
    assert not np.array_equal(third.pixels, first.pixels)
    assert device.plan.counts[Fault.FRAME_FROZEN] == 1


async def test_a_stale_frame_is_an_older_one_of_another_wd() -> None:
    device = instrument("frame-stale,times=1")
    [[first], [again], [new]] = await frames_at(device, 12_300.0, 11_900.0, 11_900.0)
    assert again is first
    assert new.wd_um == pytest.approx(11_900.0, abs=2.0)


async def test_frames_out_of_order_come_newer_first() -> None:
    [[first, second]] = await frames_at(instrument("frame-out-of-order"), 12_300.0)
    assert first.number == second.number + 1
    assert first.start_us >= second.end_us
    for shot in (first, second):
        assert shot.wd_um == pytest.approx(12_300.0, abs=2.0)


@pytest.mark.parametrize(("share", "kept"), [(0.0, 0), (0.5, 500), (1.0, 999)])
def test_a_truncated_message_ends_early(share: float, kept: int) -> None:
    message = bytes(k % 251 for k in range(1000))
    assert instrument(f"frame-truncated,amount={share}").on_wire(message) == message[:kept]


@pytest.mark.parametrize("count", [1, 8, 2000])
def test_a_corrupt_message_has_so_many_other_bytes(count: int) -> None:
    message = bytes(1000)
    damaged = instrument(f"frame-corrupt,amount={count}").on_wire(message)
    assert len(damaged) == 1000
    assert sum(byte != 0 for byte in damaged) == min(count, 1000)


@pytest.mark.parametrize(("length", "zeros"), [(1, 1), (100, 100), (1e6, 500)])
def test_a_holed_message_has_a_run_of_zeros(length: float, zeros: int) -> None:
    message = bytes(range(1, 251)) * 4
    damaged = instrument(f"frame-holed,amount={length}").on_wire(message)
    assert len(damaged) == 1000
    assert damaged.count(0) == zeros
    assert bytes(zeros) in damaged


def test_of_a_frame_in_parts_one_is_damaged() -> None:
    device = instrument("frame-corrupt")
    hit = set()
    for _ in range(50):
        changed = [part != bytes(20) for part in device.on_wires(bytes(20), bytes(20))]
        assert sum(changed) == 1
        hit.add(changed.index(True))
    assert hit == {0, 1}


async def test_an_ignored_command_moves_nothing() -> None:
    device = instrument("wd-ignored,times=1")
    device.command(12_900.0, 3000.0)
    assert device.truth().commands == ()
    assert device.truth().wd_um == pytest.approx(12_000.0, abs=1.0)
    assert (await frame_at(device, 12_900.0)).wd_um == pytest.approx(12_900.0, abs=2.0)


def test_a_refused_command_moves_nothing() -> None:
    device = instrument("wd-refused,times=1")
    with pytest.raises(OutOfReach, match="no command"):
        device.command(12_900.0)
    assert device.truth().commands == ()
    device.command(12_900.0)
    assert len(device.truth().commands) == 1


async def test_a_late_command_is_carried_out_later() -> None:
    clock = ManualClock()
    device = instrument("wd-late,times=1,amount=0.5", clock=clock)
    device.command(12_900.0)
    [shot] = await device.frames()
    assert shot.wd_um == pytest.approx(12_000.0, abs=2.0)
    clock.advance(0.5)
    [shot] = await device.frames()
    assert shot.wd_um == pytest.approx(12_900.0, abs=2.0)


async def test_commands_are_carried_out_in_their_order() -> None:
    clock = ManualClock()
    device = instrument("wd-late,times=1,amount=0.5", clock=clock)
    device.command(12_900.0)
    device.command(12_400.0)
    clock.advance(0.5)
    assert [order.wd_um for order in device.truth().commands] == [12_900.0, 12_400.0]


@pytest.mark.parametrize(("wd_um", "reached_um"), [(12_500.0, 12_570.0), (11_500.0, 11_430.0)])
async def test_an_overshot_command_goes_too_far(wd_um: float, reached_um: float) -> None:
    device = instrument("wd-overshot,amount=70")
    shot = await frame_at(device, wd_um)
    assert device.truth().wd_um == pytest.approx(reached_um, abs=2.0)
    assert shot.wd_um == pytest.approx(reached_um, abs=3.0)


async def test_an_overshot_command_stays_within_reach() -> None:
    device = instrument("wd-overshot,amount=70")
    await frame_at(device, 49_990.0)
    assert device.truth().wd_um == pytest.approx(50_000.0, abs=2.0)


async def test_a_wrong_read_back_is_off_and_the_lens_is_not() -> None:
    device = instrument("readback-wrong,amount=-40")
    shot = await frame_at(device, 12_500.0)
    assert shot.wd_um == pytest.approx(12_460.0, abs=2.0)
    assert device.read_state().wd_um == pytest.approx(12_460.0, abs=2.0)
    assert device.truth().wd_um == pytest.approx(12_500.0, abs=1.0)


def test_a_reset_comes_at_any_byte_before_the_end() -> None:
    device = instrument("reset")
    assert {device.breaks_at(4) for _ in range(200)} == {0, 1, 2, 3}
    assert instrument("reset,amount=1").breaks_at(1000) == 999
    assert instrument("reset,amount=0").breaks_at(1000) == 0


async def test_unplugged_it_is_gone_for_its_time_and_says_so() -> None:
    clock = ManualClock()
    device = instrument("unplug,times=1,amount=3", clock=clock)
    heard: list[bool] = []
    device.on_unplug(lambda: heard.append(device.unplugged))
    device.command(12_300.0)
    seen = []
    for wait_s in (2.9, 0.2):
        clock.advance(wait_s)
        seen.append(device.unplugged)
    device.unplug(math.inf)
    seen.append(device.unplugged)
    device.replug()
    seen.append(device.unplugged)
    assert seen == [True, False, True, False]
    assert heard == [True, True]


async def test_a_saturated_image_is_white_and_a_blank_one_is_noise() -> None:
    white = (await frame_at(instrument("saturated"), 12_300.0)).pixels
    assert np.mean(white == 255) > 0.8
    assert white.min() > 230
    device = instrument("blank")
    [[first], [second]] = await frames_at(device, 12_300.0, 12_300.0)
    assert first.pixels.mean() == pytest.approx(12.0, abs=0.5)
    assert first.pixels.std() == pytest.approx(4.0, abs=0.5)
    assert not np.array_equal(first.pixels, second.pixels)


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("wd_um", [1.0, 60_000.0, math.nan])
def test_out_of_reach_is_refused_whatever_else_goes_wrong(fault: Fault, wd_um: float) -> None:
    device = instrument(fault)
    with pytest.raises(SimError):
        device.command(wd_um)
    assert device.truth().commands == ()


@pytest.mark.parametrize("fault", Fault)
def test_every_fault_has_its_meaning(fault: Fault) -> None:
    meaning = MEANINGS[fault]
    assert meaning.does
    if meaning.amount is not None and meaning.amount.usual is not None:
        assert meaning.amount.allowed.holds(meaning.amount.usual)
