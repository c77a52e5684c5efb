import asyncio

import pytest

from afdaemon.clock import ManualClock
from afdaemon.sim.instrument.age import Age, Ageing


async def test_work_ages_and_idleness_does_not() -> None:
    clock = ManualClock(100.0)
    age = Age(clock, Ageing.WORK)
    clock.advance(50.0)
    assert age.now_s() == 0.0
    assert await age.work(2.0) == 0.0
    assert age.now_s() == 2.0
    clock.advance(5.0)
    assert await age.work(1.0) == 2.0
    assert age.now_s() == 3.0


async def test_by_the_clock_everything_ages() -> None:
    clock = ManualClock(100.0)
    age = Age(clock, Ageing.CLOCK)
    clock.advance(50.0)
    assert age.now_s() == age.seen_s() == 50.0
    assert await age.work(2.0) == 50.0
    age.reach(1_000.0)
    assert age.now_s() == 52.0


def test_a_reading_sees_the_idle_time_too() -> None:
    clock = ManualClock()
    age = Age(clock, Ageing.WORK)
    age.reach(3.0)
    clock.advance(0.5)
    assert (age.now_s(), age.seen_s()) == (3.0, 3.5)
    age.reach(2.0)
    assert (age.now_s(), age.seen_s()) == (3.0, 3.0)


class StandingClock(ManualClock):
    """Its sleep lasts until it is cancelled."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize(("waited_s", "aged_s"), [(0.4, 0.4), (9.0, 2.0)])
async def test_work_that_is_broken_off_ages_for_as_long_as_it_lasted(
    waited_s: float, aged_s: float
) -> None:
    clock = StandingClock()
    age = Age(clock, Ageing.WORK)
    work = asyncio.create_task(age.work(2.0))
    await asyncio.sleep(0)
    clock.advance(waited_s)
    assert age.now_s() == aged_s
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    clock.advance(1.0)
    assert age.now_s() == aged_s
