"""The device for Bluesky, alone: what it reads, how it moves, and how a job ends."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from bluesky.protocols import Checkable, Configurable, Locatable, Readable, Stoppable, Triggerable
from ophyd_async.core import NotConnectedError

from afdaemon.api import schemas as s
from afdaemon.api.fake import FOCUS_UM, FakeBackend
from afdaemon.errors import BusyError, RequestRefused
from afdaemon.ophyd import Autofocus, JobFailed

Until = Callable[[Callable[[], object]], Awaitable[None]]
FAILED = s.Job(job="", state=s.JobState.FAILED, reason="device", detail="the link broke")
ELSEWHERE = s.Job(job="", state=s.JobState.NOT_CONVERGED, reason="no_contrast", restored=True)


async def values(device: Any) -> dict[str, Any]:
    return {name: reading["value"] for name, reading in (await device.read()).items()}


def test_it_has_bluesky_s_protocols() -> None:
    device = Autofocus(name="em30")
    assert isinstance(device, Triggerable)
    assert isinstance(device, Readable)
    assert isinstance(device, Configurable)
    assert isinstance(device, Stoppable)
    assert isinstance(device.wd, Readable)
    assert isinstance(device.wd, Locatable)
    assert isinstance(device.wd, Checkable)
    assert isinstance(device.wd, Stoppable)


async def test_a_trigger_focuses_tells_of_each_reading_and_leaves_the_result(
    em30: Autofocus, backend: FakeBackend
) -> None:
    assert math.isnan((await values(em30))["em30-score"])
    told: list[tuple[object, ...]] = []

    def tell(*_: Any, **update: Any) -> None:
        told.append((update["current"], update["target"], update["unit"]))

    status = em30.trigger()
    status.watch(tell)
    await status
    assert told == [(float(n), 3.0, "readings") for n in (1, 2, 3)]
    assert [wish.timeout_s for wish in backend.wishes] == [20.0]
    read = await values(em30)
    assert read == {
        "em30-wd": FOCUS_UM,
        "em30-score": 8.5,
        "em30-converged": True,
        "em30-reason": "focused",
        "em30-job": next(iter(backend.jobs)),
        "em30-seconds": 0.0,
        "em30-dose": 0.0,
    }
    assert (await em30.describe()).keys() == read.keys()
    assert (await em30.describe())["em30-wd"]["units"] == "um"
    assert set(em30.hints["fields"]) == {"em30-wd", "em30-score"}


async def test_the_configuration_names_the_instrument_and_its_limits(em30: Autofocus) -> None:
    read = {name: one["value"] for name, one in (await em30.read_configuration()).items()}
    assert read == {"em30-microscope": "fake", "em30-min_wd": 5_000.0, "em30-max_wd": 50_000.0}
    assert (await em30.describe_configuration()).keys() == read.keys()


async def test_no_focus_is_a_reading_not_an_error(em30: Autofocus, backend: FakeBackend) -> None:
    backend.end = ELSEWHERE
    await em30.trigger()
    read = await values(em30)
    assert (read["em30-converged"], read["em30-reason"]) == (False, "no_contrast")


async def test_a_job_that_failed_fails_the_trigger(em30: Autofocus, backend: FakeBackend) -> None:
    backend.end = FAILED
    with pytest.raises(JobFailed, match="ended as failed: the link broke"):
        await em30.trigger()
    assert (await values(em30))["em30-reason"] == "device"
    backend.end = ELSEWHERE
    await em30.trigger()


async def test_a_refusal_fails_the_trigger(em30: Autofocus, backend: FakeBackend) -> None:
    backend.error = BusyError("another job holds the microscope")
    with pytest.raises(RequestRefused, match="another job"):
        await em30.trigger()


@pytest.mark.parametrize("way", ["stop", "unstage", "cancel"])
async def test_a_running_job_is_aborted(
    em30: Autofocus, backend: FakeBackend, until: Until, way: str
) -> None:
    backend.release.clear()
    status = em30.trigger()
    await until(lambda: backend.jobs)
    with pytest.raises(BusyError, match="em30 is focusing already"):
        await em30.trigger()
    if way == "cancel":
        status.task.cancel()
    else:
        await getattr(em30, way)()
    expected = asyncio.CancelledError if way == "cancel" else JobFailed
    with pytest.raises(expected):
        await status
    await until(lambda: all(job.state.final for job in backend.jobs.values()))
    assert [job.state for job in backend.jobs.values()] == [s.JobState.ABORTED]
    assert backend.aborted_by == "Bluesky"


async def test_a_job_that_is_stopped_before_it_was_accepted_is_aborted_too(
    em30: Autofocus, backend: FakeBackend
) -> None:
    backend.release.clear()
    status = em30.trigger()
    await asyncio.sleep(0)
    await em30.stop()
    with pytest.raises(JobFailed, match="aborted"):
        await status


async def test_stopping_without_a_job_does_nothing(em30: Autofocus, backend: FakeBackend) -> None:
    await em30.stop()
    await em30.unstage()
    assert not backend.aborted.is_set()


async def test_the_working_distance_moves_within_the_limits(
    em30: Autofocus, backend: FakeBackend
) -> None:
    await em30.wd.check_value(13_000.0)
    assert backend.moves == []
    await em30.wd.set(13_000.0)
    assert backend.moves == [13_000.0]
    assert await em30.wd.locate() == {"setpoint": 13_000.0, "readback": 13_000.0}
    assert await values(em30.wd) == {"em30-wd": 13_000.0}


@pytest.mark.parametrize("wd_um", [1_000.0, 60_000.0, -1.0, math.nan])
async def test_nothing_moves_outside_the_limits(
    em30: Autofocus, backend: FakeBackend, wd_um: float
) -> None:
    for refused in (em30.wd.check_value(wd_um), em30.wd.set(wd_um)):
        with pytest.raises(Exception, match="wd_um"):
            await refused
    assert backend.moves == []


async def test_a_device_does_not_connect_without_a_daemon(folder: Path) -> None:
    with pytest.raises(NotConnectedError, match="no daemon answers at"):
        await Autofocus(str(folder), name="em30").connect()
