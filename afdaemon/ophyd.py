"""A microscope behind an afdaemon as a device of Bluesky: for ophyd-async, which `afdaemon[ophyd]` brings.

    em30 = Autofocus("ipc:///run/afdaemon", name="em30")
    yield from bps.trigger(em30, wait=True)   # focus; the progress is that of the readings
    yield from bps.mv(em30.wd, 12_000.0)      # um; refused outside the limits
    yield from bps.stop(em30)                 # abort; the start WD is restored

Each request opens a connection of its own, so a device outlives a daemon that is restarted, and has nothing to close.
"""

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from afdaemon.api import schemas as s
from afdaemon.api.client import AsyncClient
from afdaemon.api.wire import new_id
from afdaemon.errors import KNOWN_ERRORS, AfdaemonError, BusyError, NotInstalled

try:
    from bluesky.protocols import Stoppable, Triggerable
    from ophyd_async.core import (
        AsyncStatus,
        Device,
        DeviceConnector,
        MovableLogic,
        NotConnectedError,
        StandardMovable,
        StandardReadable,
        StandardReadableFormat,
        TimeoutCalculator,
        WatchableAsyncStatus,
        WatcherUpdate,
        soft_signal_r_and_setter,
        soft_signal_rw,
    )
except ModuleNotFoundError as error:
    raise NotInstalled(
        f"{__name__} takes {error.name}, which `pip install 'afdaemon[ophyd]'` brings"
    ) from error

__all__ = [
    "Autofocus",
    "JobFailed",
    "WorkingDistance",
]

_BY = "Bluesky"
_ENDED = (s.JobState.SUCCEEDED, s.JobState.NOT_CONVERGED)
"""States of a job that came to its own end: its result is a reading, not an error."""


class JobFailed(AfdaemonError):
    """A job that was aborted, or that the instrument failed."""

    kind = "job_failed"
    remedy = "`afdaemon replay JOB` shows what happened"


class _Connector(DeviceConnector):
    """Connected is what a daemon answers for."""

    def __init__(self, address: str | None) -> None:
        self._address = address

    async def connect_real(
        self,
        device: Device,
        timeout: float,  # noqa: ASYNC109 - the signature is ophyd-async's
        force_reconnect: bool,
    ) -> None:
        await super().connect_real(device, timeout, force_reconnect)
        try:
            async with AsyncClient(self._address) as client:
                await client.hello()
        except KNOWN_ERRORS as error:
            raise NotConnectedError(str(error)) from error


class WorkingDistance(StandardReadable, StandardMovable[float]):
    """The working distance (um), as the instrument reads it back.

    A value outside the daemon's limits is refused, never clipped, and nothing is sent; during a job every value is.
    """

    def __init__(self, address: str | None = None, *, name: str = "") -> None:
        self._address = address
        with self.add_children_as_readables(StandardReadableFormat.HINTED_SIGNAL):
            self.readback, _ = soft_signal_r_and_setter(
                float, units="um", precision=1, getter=self._asked
            )
        self.setpoint = soft_signal_rw(float, math.nan, units="um", precision=1)
        super().__init__(name=name, connector=_Connector(address))

    @cached_property
    def movable_logic(self) -> "_Moves":
        """How it moves."""
        return _Moves(setpoint=self.setpoint, readback=self.readback, address=self._address)

    async def _asked(self) -> float:
        async with AsyncClient(self._address) as client:
            return (await client.wd()).wd_um


@dataclass
class _Moves(MovableLogic[float]):
    """Moves are the daemon's: it checks them, and carries one that has begun out to its end."""

    address: str | None = None

    async def check_move(self, new_position: float) -> None:
        async with AsyncClient(self.address) as client:
            await client.set_wd(new_position, dry_run=True)

    async def move(
        self,
        new_position: float,
        timeout: TimeoutCalculator,  # noqa: ASYNC109 - the signature is ophyd-async's
    ) -> None:
        async with asyncio.timeout(timeout()), AsyncClient(self.address) as client:
            await self.setpoint.set(new_position)
            await client.set_wd(new_position)


class Autofocus(StandardReadable, Triggerable, Stoppable):
    """Autofocus: triggered, it focuses; it reads what became of the latest job, and the working distance (um).

    A job that did not converge is a reading like any other, with `converged` false and the start WD restored: a plan
    decides what that means. One that was aborted, or that the instrument failed, fails the trigger with `JobFailed`.
    Before the first job, `score` is NaN. `wish` are params of every job, as for `asks.autofocus_params`.
    """

    def __init__(self, address: str | None = None, *, name: str = "", **wish: Any) -> None:
        self._address = address
        self._wish = wish
        self._job_id: str | None = None
        self._is_stopped = False
        with self.add_children_as_readables():
            self.wd = WorkingDistance(address)
        with self.add_children_as_readables(StandardReadableFormat.HINTED_SIGNAL):
            self.score, self._set_score = soft_signal_r_and_setter(float, math.nan, precision=2)
        with self.add_children_as_readables():
            self.converged, self._set_converged = soft_signal_r_and_setter(bool)
            self.reason, self._set_reason = soft_signal_r_and_setter(str)
            self.job, self._set_job = soft_signal_r_and_setter(str)
            self.seconds, self._set_seconds = soft_signal_r_and_setter(float, units="s")
            self.dose, self._set_dose = soft_signal_r_and_setter(float, units="electrons/nm^2")
        with self.add_children_as_readables(StandardReadableFormat.CONFIG_SIGNAL):
            self.microscope, _ = soft_signal_r_and_setter(str, getter=self._named)
            self.min_wd, _ = soft_signal_r_and_setter(float, units="um", getter=self._lowest)
            self.max_wd, _ = soft_signal_r_and_setter(float, units="um", getter=self._highest)
        super().__init__(name=name, connector=_Connector(address))

    @WatchableAsyncStatus.wrap
    async def trigger(self) -> AsyncIterator[WatcherUpdate[float]]:
        """Focus. Whoever watches is told of each reading; cancelling aborts the job."""
        if self._job_id is not None:
            raise BusyError(f"{self.name} is focusing already, in job {self._job_id}")
        self._job_id, self._is_stopped = new_id(), False
        try:
            async with AsyncClient(self._address) as client:
                async for progress in self._focused(client, self._job_id):
                    yield _update(self.name, progress)
        finally:
            self._job_id = None

    async def _focused(self, client: AsyncClient, job_id: str) -> AsyncIterator[s.Progress]:
        """Start the job, tell of its progress, and keep its result."""
        events: asyncio.Queue[s.Event | None] = asyncio.Queue()
        ending = asyncio.create_task(
            client.autofocus(on_event=events.put_nowait, request_id=job_id, **self._wish)
        )
        ending.add_done_callback(lambda _: events.put_nowait(None))
        try:
            while (event := await events.get()) is not None:
                if self._is_stopped:  # before the daemon had accepted the job
                    await client.abort(job_id, by=_BY)
                if event.type == "progress":
                    yield s.Progress.model_validate(event.data)
            self._keep(ending.result())
        finally:
            if not ending.done():
                await client.abort(job_id, by=_BY)
                ending.cancel()
                await asyncio.gather(ending, return_exceptions=True)

    def _keep(self, job: s.Job) -> None:
        """Let its result be read. Raises `JobFailed` for one that did not come to its own end."""
        self._set_score(math.nan if job.score is None else job.score)
        self._set_converged(job.converged)
        self._set_reason(job.reason or "")
        self._set_job(job.job)
        self._set_seconds(job.seconds)
        self._set_dose(job.dose_e_nm2)
        if job.state not in _ENDED:
            raise JobFailed(f"the job {job.job} ended as {job.state}: {job.detail or job.reason}")

    async def stop(self, success: bool = True) -> None:
        """Abort the job that was triggered, if it still runs; the start WD is restored."""
        self._is_stopped = True
        if self._job_id is not None:
            async with AsyncClient(self._address) as client:
                await client.abort(self._job_id, by=_BY)

    @AsyncStatus.wrap
    async def unstage(self) -> None:
        """Abort a job that a plan left behind."""
        await self.stop()
        await super().unstage()

    async def _named(self) -> str:
        async with AsyncClient(self._address) as client:
            return (await client.status()).microscope.name

    async def _lowest(self) -> float:
        async with AsyncClient(self._address) as client:
            return (await client.limits()).min_um

    async def _highest(self) -> float:
        async with AsyncClient(self._address) as client:
            return (await client.limits()).max_um


def _update(name: str, progress: s.Progress) -> WatcherUpdate[float]:
    """How far a job is, in readings; where its phase has no bound, the next reading may be the last."""
    most = progress.readings_max or progress.reading + 1
    return WatcherUpdate(
        current=float(progress.reading), initial=0.0, target=float(most), name=name, unit="readings"
    )
