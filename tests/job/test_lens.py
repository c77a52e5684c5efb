"""The lens: what counts as reached, and who else may have moved it."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from afdaemon.clock import ManualClock
from afdaemon.control.limits import Limits, Motion, MotionGuard, Range
from afdaemon.control.values import Place
from afdaemon.drivers.base import Frame, LinkStats, Microscope, MicroscopeState
from afdaemon.drivers.errors import CommandRefused, DriverError, LinkLost, LinkTimeout
from afdaemon.errors import LimitError
from afdaemon.job.lens import Lens, Misplaced, Standing, TakenOver

LIMITS = Limits(hard=Range(lo_um=5_000.0, hi_um=50_000.0))
HOME_UM, MAGNIFICATION = 20_000.0, 2_000.0


@dataclass
class Instrument:
    """Obeys as `obeys` says: what becomes of the n-th command (from 0), given as the WD where the lens ends.

    Its lens moves with the time constant `tau_s`. `lie` is added to the n-th read-back.
    """

    clock: ManualClock
    obeys: Callable[[int, float], float] = lambda n, wd_um: wd_um
    lie: Callable[[int], float] = lambda n: 0.0
    tau_s: float = 0.0
    magnification: float = MAGNIFICATION
    is_reported: bool = True
    commands: list[float] = field(default_factory=list)
    looks: int = 0
    frames: int = 0
    fails: Callable[[str], None] = lambda name: None
    name: str = "scripted"
    connected: bool = True
    stats: LinkStats = field(default_factory=LinkStats)
    wd_tolerance_um: float = 2.0
    why_down: None = None

    def __post_init__(self) -> None:
        self.from_um = self.to_um = HOME_UM
        self.since_s = self.clock.now_s()

    @property
    def wd_um(self) -> float:
        if self.tau_s == 0.0:
            return self.to_um
        left = math.exp(-(self.clock.now_s() - self.since_s) / self.tau_s)
        return self.to_um + (self.from_um - self.to_um) * left

    def turn(self, wd_um: float) -> None:
        self.from_um, self.to_um, self.since_s = self.wd_um, wd_um, self.clock.now_s()

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def wait_connected(self, timeout_s: float) -> None:
        self.fails("wait_connected")

    async def close(self) -> None:
        return

    async def read_state(self) -> MicroscopeState:
        self.fails("read_state")
        self.looks += 1
        return MicroscopeState(
            wd_um=self.wd_um + self.lie(self.looks - 1),
            magnification=self.magnification,
            is_reported=self.is_reported,
        )

    async def move_wd(self, wd_um: float, magnification: float | None = None) -> None:
        self.fails("move_wd")
        self.commands.append(wd_um)
        self.turn(self.obeys(len(self.commands) - 1, wd_um))
        self.magnification = magnification or self.magnification

    async def grab(self) -> Frame:
        self.fails("grab")
        self.frames += 1
        return Frame(
            pixels=np.zeros((8, 8), np.uint8),
            wd_um=self.wd_um,
            magnification=self.magnification,
            sequence=self.frames,
            received_s=self.clock.now_s(),
        )


@pytest.fixture
def instrument() -> Instrument:
    return Instrument(ManualClock())


def lens_of(
    instrument: Instrument,
    standing: Standing | None = None,
    approach_um: float = 0.0,
    motion: Motion | None = None,
) -> Lens:
    return Lens(
        instrument,
        MotionGuard(LIMITS, motion or Motion()),
        instrument.clock,
        standing=standing or Standing(),
        approach_um=approach_um,
    )


# At the start


async def test_somebody_who_moves_the_lens_between_two_jobs_is_followed(
    instrument: Instrument,
) -> None:
    standing = Standing()
    lens = lens_of(instrument, standing)
    await lens.go(20_500.0)
    await lens.arrive(20_500.0, None, 3.0)
    instrument.turn(21_000.0)
    assert (await lens.at_rest(3.0)).wd_um == 21_000.0
    assert lens.place == Place(wd_um=21_000.0, magnification=MAGNIFICATION)
    assert (await lens.at_rest(3.0)).wd_um == 21_000.0


async def test_a_lens_that_stands_still_is_at_rest(instrument: Instrument) -> None:
    assert isinstance(instrument, Microscope)
    lens = lens_of(instrument)
    assert (await lens.at_rest(3.0)).wd_um == HOME_UM
    assert lens.place == Place(wd_um=HOME_UM, magnification=MAGNIFICATION)


@pytest.mark.parametrize("tau_s", [0.05, 0.2, 0.5])
async def test_a_lens_that_moves_is_awaited(instrument: Instrument, tau_s: float) -> None:
    instrument.tau_s = tau_s
    instrument.turn(HOME_UM + 3_000.0)
    at = await lens_of(instrument).at_rest(10.0)
    assert at.wd_um == pytest.approx(HOME_UM + 3_000.0, abs=instrument.wd_tolerance_um)


async def test_no_job_begins_on_a_lens_that_goes_on_moving(instrument: Instrument) -> None:
    instrument.tau_s = 60.0
    instrument.turn(HOME_UM + 3_000.0)
    with pytest.raises(Misplaced, match="still moves after 3 s") as caught:
        await lens_of(instrument).at_rest(3.0)
    assert caught.value.seen.wd_um == pytest.approx(instrument.wd_um)


async def test_the_start_is_where_the_last_command_left_it_and_does_not_walk(
    instrument: Instrument,
) -> None:
    standing = Standing()
    lens = lens_of(instrument, standing)
    await lens.bring(HOME_UM, None, 3.0)
    for number in range(100):
        instrument.lie = lambda _: 1.5  # as noise may have it
        now = await lens_of(instrument, standing).at_rest(3.0)
        assert now.wd_um == HOME_UM, number


# Moves


async def test_a_place_is_reached_when_it_is_read_back(instrument: Instrument) -> None:
    instrument.tau_s = 0.2
    lens = lens_of(instrument)
    await lens.go(HOME_UM + 1_000.0)
    await lens.arrive(HOME_UM + 1_000.0, None, 3.0)
    assert instrument.wd_um == pytest.approx(HOME_UM + 1_000.0, abs=instrument.wd_tolerance_um)
    assert lens.place == Place(wd_um=HOME_UM + 1_000.0, magnification=MAGNIFICATION)


@pytest.mark.parametrize(
    ("ends_um", "off"), [(HOME_UM, "-1000.0"), (HOME_UM + 1_050.0, r"\+50.0"), (math.nan, "")]
)
async def test_an_acknowledged_command_may_lead_elsewhere(
    instrument: Instrument, ends_um: float, off: str
) -> None:
    instrument.obeys = lambda _n, wd_um: HOME_UM + 500.0 if math.isnan(ends_um) else ends_um
    lens = lens_of(instrument)
    await lens.go(HOME_UM + 1_000.0)
    with pytest.raises(Misplaced, match=f"commanded was 21000.0 um.*{off}.*wd_tolerance_um"):
        await lens.arrive(HOME_UM + 1_000.0, None, 3.0)
    assert lens.place is None


async def test_another_magnification_than_commanded_is_told(instrument: Instrument) -> None:
    lens = lens_of(instrument)
    await lens.go(HOME_UM, 500.0)
    instrument.magnification = 700.0
    with pytest.raises(Misplaced, match="shows 700x, commanded was 500x"):
        await lens.arrive(HOME_UM, 500.0, 3.0)


async def test_a_long_way_is_made_in_steps_each_read_back(instrument: Instrument) -> None:
    instrument.tau_s = 0.05
    lens = lens_of(instrument, motion=Motion(step_um=400.0))
    await lens.go(HOME_UM + 1_000.0)
    steps = np.diff([HOME_UM, *instrument.commands])
    assert len(steps) == 3
    assert np.all(steps <= 400.0)
    await lens.arrive(HOME_UM + 1_000.0, None, 3.0)
    instrument.obeys = lambda _n, wd_um: wd_um + 50.0
    with pytest.raises(Misplaced, match=r"commanded was 20\d\d\d.* off by \+50.0 um"):
        await lens.go(HOME_UM)
    assert len(instrument.commands) == 4


async def test_a_job_that_would_travel_too_far_is_stopped_and_gets_home(
    instrument: Instrument,
) -> None:
    lens = lens_of(instrument, motion=Motion(travel_um=1_500.0))
    await lens.go(HOME_UM + 1_000.0)
    with pytest.raises(LimitError, match="the job's way"):
        await lens.go(HOME_UM)
    assert instrument.commands == [HOME_UM + 1_000.0]
    await lens.bring(HOME_UM, None, 3.0)
    assert instrument.wd_um == HOME_UM


async def test_a_command_home_is_repeated_until_it_is_obeyed(instrument: Instrument) -> None:
    away_um = HOME_UM + 1_000.0
    instrument.turn(away_um)
    instrument.obeys = lambda n, wd_um: wd_um if n == 3 else away_um
    await lens_of(instrument).bring(HOME_UM, None, 4.0)
    assert instrument.wd_um == HOME_UM
    assert instrument.commands == [HOME_UM] * 4


@pytest.mark.parametrize("error", [LinkLost, LinkTimeout, CommandRefused])
async def test_the_way_home_leads_over_broken_links(
    instrument: Instrument, error: type[DriverError]
) -> None:
    instrument.turn(HOME_UM + 1_000.0)
    calls = 0

    def fails(name: str) -> None:
        nonlocal calls
        calls += name == "move_wd"
        if name == "move_wd" and calls in (1, 2, 4):
            raise error("not now")

    instrument.fails = fails
    await lens_of(instrument).bring(HOME_UM, None, 4.0)
    assert instrument.wd_um == HOME_UM


async def test_the_way_home_ends_some_time(instrument: Instrument) -> None:
    instrument.turn(HOME_UM + 1_000.0)
    instrument.obeys = lambda _n, _wd_um: HOME_UM + 1_000.0
    with pytest.raises(Misplaced, match=r"stands at 21000.0 um, commanded was 20000.0 um"):
        await lens_of(instrument).bring(HOME_UM, None, 4.0)
    assert instrument.clock.now_s() <= 4.5


async def test_what_refuses_every_command_and_never_left_is_home(instrument: Instrument) -> None:
    def fails(name: str) -> None:
        if name == "move_wd":
            raise CommandRefused("no")

    instrument.fails = fails
    await lens_of(instrument).bring(HOME_UM, None, 4.0)


async def test_nothing_is_sent_outside_the_limits(instrument: Instrument) -> None:
    for wd_um in (4_999.0, 50_001.0, math.nan, math.inf, -math.inf):
        with pytest.raises(LimitError):
            await lens_of(instrument).bring(wd_um, None, 1.0)
    assert instrument.commands == []


@pytest.mark.parametrize(
    ("wd_um", "sent"), [(19_000.0, [18_950.0, 19_000.0]), (21_000.0, [21_000.0])]
)
async def test_the_last_stretch_goes_upwards(
    instrument: Instrument, wd_um: float, sent: list[float]
) -> None:
    lens = lens_of(instrument, approach_um=50.0)
    await lens.at_rest(3.0)
    await lens.go(wd_um)
    assert instrument.commands == sent


async def test_a_refusal_on_the_way_is_not_taken_for_one_before_it(instrument: Instrument) -> None:
    lens = lens_of(instrument, approach_um=50.0)
    await lens.at_rest(3.0)

    def fails(name: str) -> None:
        if name == "move_wd" and instrument.commands:
            raise CommandRefused("no further")

    instrument.fails = fails
    with pytest.raises(DriverError, match="no further") as caught:
        await lens.go(19_000.0)
    assert not isinstance(caught.value, CommandRefused)


# Instruments that say nothing of themselves


async def test_where_nothing_is_reported_a_frame_tells(instrument: Instrument) -> None:
    instrument.is_reported = False
    lens = lens_of(instrument)
    await lens.bring(HOME_UM + 1_000.0, None, 3.0)
    assert instrument.frames == 1
    assert lens.place == Place(wd_um=HOME_UM + 1_000.0, magnification=MAGNIFICATION)


async def test_a_silent_instrument_is_taken_over_by_nobody(instrument: Instrument) -> None:
    lens = lens_of(instrument)
    await lens.at_rest(3.0)
    instrument.is_reported = False
    instrument.turn(HOME_UM + 1_000.0)
    await lens.require_ours()


# Somebody else


@pytest.mark.parametrize("change", [{"to_um": 21_000.0}, {"magnification": 500.0}])
async def test_somebody_else_is_noticed_and_not_fought(
    instrument: Instrument, change: dict[str, float]
) -> None:
    lens = lens_of(instrument)
    await lens.at_rest(3.0)
    for name, value in change.items():
        setattr(instrument, name, value)
    for act in (lens.require_ours, lambda: lens.bring(HOME_UM, None, 3.0)):
        with pytest.raises(TakenOver, match="somebody else has turned the instrument") as caught:
            await act()
        assert caught.value.seen == replace(await instrument.read_state())
        await lens_of(instrument).at_rest(3.0)
        lens.seen(HOME_UM, MAGNIFICATION)
    assert instrument.commands == []


async def test_one_wrong_look_is_not_somebody_else(instrument: Instrument) -> None:
    lens = lens_of(instrument)
    await lens.at_rest(3.0)
    seen = instrument.looks
    instrument.lie = lambda n: 100.0 if n < seen + 4 else 0.0
    await lens.require_ours()


async def test_a_lens_that_has_not_arrived_is_nobody_elses(instrument: Instrument) -> None:
    lens = lens_of(instrument)
    await lens.at_rest(3.0)
    instrument.obeys = lambda _n, _wd_um: HOME_UM + 333.0
    await lens.go(HOME_UM + 1_000.0)
    await lens.require_ours()


async def test_a_frame_from_elsewhere_than_the_start_is_not_believed(
    instrument: Instrument,
) -> None:
    lens = lens_of(instrument)
    await lens.at_rest(3.0)
    with pytest.raises(DriverError, match=r"20000.0 um, and 20100.0 um in its frame.*wd_tolerance"):
        lens.seen(HOME_UM + 100.0, MAGNIFICATION)


# What else is known


async def test_a_place_is_known_as_a_whole_or_not_at_all(instrument: Instrument) -> None:
    standing = Standing()
    lens = lens_of(instrument, standing)
    standing.wd_um = HOME_UM
    assert lens.place is None
    standing.wd_um, standing.magnification = None, MAGNIFICATION
    assert lens.place is None


async def test_without_an_approach_a_move_is_one_command(instrument: Instrument) -> None:
    lens = Lens(instrument, MotionGuard(LIMITS), instrument.clock, standing=Standing())
    await lens.go(HOME_UM - 1_000.0)
    await lens.go(HOME_UM + 1_000.0)
    assert instrument.commands == [HOME_UM - 1_000.0, HOME_UM + 1_000.0]


async def test_the_way_home_waits_for_the_link_as_long_as_it_has(
    instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    async def wait_connected(timeout_s: float) -> None:
        waited.append(timeout_s)
        await instrument.clock.sleep(min(timeout_s, 1.0))
        raise LinkTimeout("no link")

    monkeypatch.setattr(instrument, "wait_connected", wait_connected)
    with pytest.raises(LinkTimeout):
        await lens_of(instrument).bring(HOME_UM, None, 3.0)
    assert waited == pytest.approx([3.0, 1.8, 0.6])


async def test_after_a_command_that_failed_the_lens_is_asked_where_it_is(
    instrument: Instrument,
) -> None:
    lens = lens_of(instrument, motion=Motion(step_um=1_500.0))

    def fails(name: str) -> None:
        if name == "move_wd" and len(instrument.commands) == 1:
            instrument.commands.append(math.nan)
            instrument.turn(HOME_UM + 2_000.0)  # as commanded, but nobody hears of it
            raise LinkLost("in mid-move")

    await lens.go(HOME_UM + 1_000.0)
    await lens.arrive(HOME_UM + 1_000.0, None, 3.0)
    instrument.fails = fails
    with pytest.raises(LinkLost):
        await lens.go(HOME_UM + 2_000.0)
    await lens.go(HOME_UM)
    assert instrument.commands[2:] == [HOME_UM + 1_000.0, HOME_UM]


async def test_a_place_that_is_not_known_is_asked_for_twice(instrument: Instrument) -> None:
    instrument.lie = lambda n: -1e6 if n == 1 else 0.0
    lens = lens_of(instrument, motion=Motion(step_um=1_500.0))
    await lens.go(HOME_UM + 1_000.0)
    assert instrument.commands == [HOME_UM + 1_000.0]
    assert instrument.looks == 4
    instrument.lie = lambda n: 1e4 * n
    with pytest.raises(Misplaced, match="no two looks in a row"):
        await lens_of(instrument).go(HOME_UM)
    assert instrument.commands == [HOME_UM + 1_000.0]
