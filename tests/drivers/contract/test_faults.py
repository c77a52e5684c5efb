"""Whatever goes wrong, on whatever link: a frame is true or there is a typed error, soon; then all is well again."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from afdaemon.drivers.base import Frame, Microscope
from afdaemon.drivers.errors import (
    CommandRefused,
    DriverError,
    FrameInvalid,
    FrameStale,
    LinkLost,
    LinkTimeout,
    NotConnected,
    ProtocolError,
)
from afdaemon.sim.instrument.faults import Fault, FaultPlan, FaultRule, parse_rule
from afdaemon.sim.instrument.instrument import Instrument
from afdaemon.sim.instrument.world import RecordedFrame

Rig = Any  # the class stands in conftest.py, which is not importable

BOUND_S = 15.0
TOLERANCE_UM = 4.0
"""The driver's own tolerance for a read-back, and the lens's."""
SAME_GREY = 4.0
"""Mean distance of a JPEG's grey values from those that went into it, at most; of another frame's, at least."""
WDS_UM = (11_400.0, 12_300.0, 11_800.0, 11_100.0)
BREAKS: set[type[DriverError]] = {LinkLost, LinkTimeout, NotConnected}
NO_FRAME: set[type[DriverError]] = {FrameStale, FrameInvalid, LinkTimeout}
ALLOWED: dict[Fault, set[type[DriverError]]] = {
    Fault.FRAME_DELAYED: set(),
    Fault.FRAME_DUPLICATED: set(),
    Fault.FRAME_OUT_OF_ORDER: set(),
    Fault.WD_LATE: {FrameStale},
    Fault.WD_REFUSED: {CommandRefused},
    Fault.SATURATED: set(),
    Fault.BLANK: set(),
    Fault.RESET: BREAKS | {ProtocolError},  # half an answer, where answers have no length
    Fault.UNPLUG: BREAKS,
}
"""Errors that the fault may end in; of the others, any that says that no usable frame came."""


UNTELLABLE = {Fault.FRAME_CORRUPT, Fault.FRAME_FROZEN}
"""Nobody can tell every JPEG with a few other bytes, nor a frame that repeats one that was lost before."""


@pytest.fixture
def patience(patience: dict[str, float]) -> dict[str, float]:
    """Frames are missing often here: nobody wants to wait for them."""
    return patience | {"frame_timeout_s": 2.5, "ask_again_s": 1.0}


@dataclass(frozen=True)
class Exposed:
    """A frame as it was recorded, and where the lens truly was before and after (an impatient driver moves it on)."""

    shot: RecordedFrame
    before_um: float
    after_um: float

    def at(self, wd_um: float) -> bool:
        return min(abs(self.before_um - wd_um), abs(self.after_um - wd_um)) < TOLERANCE_UM


@pytest.fixture
def exposed(monkeypatch: pytest.MonkeyPatch) -> list[Exposed]:
    """Every frame that the instrument has recorded."""
    kept: list[Exposed] = []
    shoot = Instrument._shoot

    async def noted(instrument: Instrument) -> RecordedFrame:
        before_um = instrument.world.truth().wd_um
        shot = await shoot(instrument)
        kept.append(Exposed(shot, before_um, instrument.world.truth().wd_um))
        return shot

    monkeypatch.setattr(Instrument, "_shoot", noted)
    return kept


async def attempt(microscope: Microscope, wd_um: float) -> Frame | type[DriverError]:
    """A move and a frame, or the error that they ended in, within the bound."""
    try:
        async with asyncio.timeout(BOUND_S):
            await microscope.wait_connected(BOUND_S / 2)
            await microscope.move_wd(wd_um)
            return await microscope.grab()
    except DriverError as error:
        return type(error)


def assert_true(frame: Frame, wd_um: float, exposed: list[Exposed], *, damaged: bool) -> None:
    """The frame belongs to the commanded WD, and its grey values were recorded there."""
    assert frame.wd_um == pytest.approx(wd_um, abs=TOLERANCE_UM)
    there = [e.shot.pixels for e in exposed if e.at(wd_um)]
    assert there
    assert frame.pixels.shape == there[-1].shape
    away = [np.abs(frame.pixels.astype(float) - pixels).mean() for pixels in there]
    assert min(away) < SAME_GREY or damaged


@pytest.mark.parametrize("probability", [1.0, 0.4])
@pytest.mark.parametrize("fault", Fault)
async def test_a_fault_is_survived_or_told(
    rig: Rig,
    link: Callable[..., object],
    plan: FaultPlan,
    fault: Fault,
    probability: float,
    exposed: list[Exposed],
) -> None:
    # A JPEG has no checksum: a few other bytes are found nearly always, not always.
    jpeg = fault is Fault.FRAME_CORRUPT and rig.link in ("aisem", "bridge")
    plan.set(FaultRule(fault=fault, probability=probability))
    ends: Counter[type[DriverError]] = Counter()
    for wd_um in WDS_UM[: 2 if probability == 1.0 else None]:
        came = await attempt(rig.microscope, wd_um)
        if isinstance(came, Frame):
            assert_true(came, wd_um, exposed, damaged=jpeg)
        else:
            ends[came] += 1
    refused = {CommandRefused} if rig.link == "bridge" else set()  # it says so where no frame came
    assert set(ends) <= ALLOWED.get(fault, NO_FRAME | refused)
    assert plan.counts[fault] > 0 or probability < 1.0

    plan.clear()
    rig.instrument.replug()
    came = await attempt(rig.microscope, 11_600.0)
    assert isinstance(came, Frame), came
    assert_true(came, 11_600.0, exposed, damaged=False)


async def test_all_faults_at_once_are_survived_or_told(
    rig: Rig, plan: FaultPlan, exposed: list[Exposed]
) -> None:
    for fault in set(Fault) - UNTELLABLE:
        plan.set(parse_rule(f"{fault}:0.05"))
    for wd_um in 3 * WDS_UM:
        came = await attempt(rig.microscope, wd_um)
        if isinstance(came, Frame):
            assert_true(came, wd_um, exposed, damaged=False)
    assert sum(plan.counts.values()) > 0
    plan.clear()
    rig.instrument.replug()
    assert isinstance(await attempt(rig.microscope, 11_600.0), Frame)
