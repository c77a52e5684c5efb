"""A whole service in the test's process: real sockets and journal, a microscope and networks of ours.

The frames of this microscope are plain grey: the grey value tells the score, which falls off
around `best_um`. So the networks can be as simple as the tests want them.
"""

import asyncio
import math
import os
import socket
import sqlite3
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import pytest
from structlog.testing import capture_logs

from afdaemon.api import schemas as s
from afdaemon.api.access.keys import hand_out
from afdaemon.api.access.roles import Role
from afdaemon.api.client import AsyncClient
from afdaemon.calibration import Calibration, CalibrationError, Measured
from afdaemon.cli.daemon import app
from afdaemon.cli.runner import run_app
from afdaemon.clock import SystemClock
from afdaemon.config import load
from afdaemon.control.fast.profile import FastProfile
from afdaemon.control.limits import Motion
from afdaemon.control.procedures import Laws
from afdaemon.control.published.profile import PublishedProfile
from afdaemon.control.values import Moved, MoveWd, Proposal, Reading, Started
from afdaemon.drivers.base import Frame, LinkStats, MicroscopeState
from afdaemon.drivers.errors import CommandRefused, LinkLost, LinkTimeout, NotConnected
from afdaemon.drivers.wire.image import GreyPixels
from afdaemon.errors import BusyError, JournalError, RequestRefused, UsageError
from afdaemon.job.journal import Journal
from afdaemon.job.records import JournalStep
from afdaemon.models.errors import WeightsError
from afdaemon.models.frames.measures import Measures
from afdaemon.service.compose import rules_of, serve
from afdaemon.service.scoring import Networks
from afdaemon.settings import CalibrationSettings, DoseSettings, JournalSettings, Settings

GREY_PER_SCORE = 25.0
WIDTH_UM = 500.0
START_UM = 12_000.0
BEST_UM = 12_900.0
AWAY_UM = 14_000.0


Until = Callable[[Callable[[], object]], Awaitable[None]]


@dataclass
class FakeMicroscope:
    """A microscope whose link is up while `link` is set; after `quick` exposures none ends by itself."""

    wd_um: float = START_UM
    quick: float = math.inf
    magnification: float = 2_000.0
    side_px: int = 64
    moves: list[float] = field(default_factory=list)
    is_closed: bool = False
    grabs: int = 0
    link: asyncio.Event = field(default_factory=asyncio.Event)
    grabbing: asyncio.Event = field(default_factory=asyncio.Event)
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    unplugged: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def name(self) -> str:
        return "fake"

    @property
    def stats(self) -> LinkStats:
        return LinkStats(moves=len(self.moves), frames=self.grabs)

    @property
    def why_down(self) -> NotConnected | None:
        return None if self.connected else NotConnected("the cable is out", remedy="plug it in")

    @property
    def wd_tolerance_um(self) -> float:
        return 2.0

    @property
    def connected(self) -> bool:
        return self.link.is_set() and not self.is_closed

    async def run(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def wait_connected(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self.link.wait()
        except TimeoutError:
            raise LinkTimeout("no link") from None

    async def read_state(self) -> MicroscopeState:
        self._require_link()
        return MicroscopeState(wd_um=self.wd_um, magnification=self.magnification)

    async def move_wd(self, wd_um: float, magnification: float | None = None) -> None:
        self._require_link()
        self.magnification = magnification or self.magnification
        self.moves.append(wd_um)
        self.wd_um = wd_um
        self.moved.set()

    async def grab(self) -> Frame:
        self._require_link()
        self.grabbing.set()
        await self._expose()
        self.grabs += 1
        score = 9.0 / (1.0 + ((self.wd_um - BEST_UM) / WIDTH_UM) ** 2)
        return Frame(
            pixels=np.full(
                (self.side_px, self.side_px), round(score * GREY_PER_SCORE), dtype=np.uint8
            ),
            wd_um=self.wd_um,
            magnification=self.magnification,
            sequence=self.grabs,
            received_s=0.0,
        )

    async def close(self) -> None:
        self.is_closed = True

    async def _expose(self) -> None:
        if self.grabs >= self.quick:
            await self.unplugged.wait()
            raise LinkLost("the cable is out")

    def _require_link(self) -> None:
        if not self.connected:
            raise NotConnected("the link is down")


def score_of_grey(pixels: GreyPixels, _magnification: float) -> Measures:
    score = float(np.asarray(pixels, dtype=float).mean()) / GREY_PER_SCORE
    return Measures(score=score, contrast=0.3, entropy=5.0, expected_error=0.3)


def straight_to_the_best(newest_first: Sequence[Reading]) -> float:
    return BEST_UM - newest_first[0].wd_um


def out_of_sight(_newest_first: Sequence[Reading]) -> Proposal:
    """The fast procedure's law where nothing is to be seen."""
    return Proposal(step_um=100.0, out_of_capture=1.0)


def networks(_settings: Settings) -> Networks:
    return Networks(
        score=score_of_grey,
        laws=Laws(step=straight_to_the_best, focus=out_of_sight),
        hashes={"aenet": "a1", "acnet": "b2"},
    )


@pytest.fixture
def settings() -> Iterator[Settings]:
    """Settings whose files are in a folder with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="afd-") as name:
        flags = {
            "api.runtime_dir": Path(name) / "run",
            "journal.path": Path(name) / "journal",
            "control.profile": "paper",  # what the fake networks here can do
        }
        yield load(environ={}, flags=flags).settings


async def lost() -> MicroscopeState:
    raise LinkLost("the cable is out")


@contextmanager
def monkeypatched(thing: object, name: str, value: object) -> Iterator[None]:
    """The thing is another while the context lasts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thing, name, value)
        yield


@asynccontextmanager
async def service(
    settings: Settings,
    microscope: FakeMicroscope,
    *,
    linked: bool = True,
    load: Callable[[Settings], Networks] = networks,
) -> AsyncIterator[AsyncClient]:
    """A client of a service that runs; both end with the context, the service politely."""
    if linked:
        microscope.link.set()
    stop = asyncio.Event()
    connect: Callable[..., FakeMicroscope] = lambda _settings, _clock: microscope  # noqa: E731
    task = asyncio.create_task(serve(settings, stop, load=load, connect=connect))
    try:
        async with AsyncClient(str(settings.api.runtime_dir)) as client:
            await client.hello()
            yield client
            stop.set()
            await task
    finally:
        stop.set()
        await task


async def state_of(client: AsyncClient, wanted: str) -> s.Status:
    """The status, as soon as it says `wanted`."""
    async with asyncio.timeout(5.0), client.events("state") as events:
        status = await client.status()
        while status.state != wanted:
            status = s.Status.model_validate((await anext(events)).data)
    return status


async def test_autofocus_focuses_and_tells_how(settings: Settings) -> None:
    microscope = FakeMicroscope()
    events: list[s.Event] = []
    async with service(settings, microscope) as client:
        job = await client.autofocus(on_event=events.append)
        await state_of(client, "ready")
        status = await client.status()
    assert (job.state, job.converged, job.reason) == (s.JobState.SUCCEEDED, True, "focused")
    assert job.best_wd_um == microscope.wd_um == pytest.approx(BEST_UM)
    assert job.start_wd_um == START_UM
    assert job.models == {"aenet": "a1", "acnet": "b2"}
    assert len(job.trace) == sum(job.readings.model_dump().values()) == microscope.grabs
    assert "progress" in {event.type for event in events}
    assert all(event.request_id == job.job for event in events)
    assert all(later.seq > earlier.seq for earlier, later in pairwise(events))
    assert (status.last_job, status.microscope.wd_um) == (job.job, BEST_UM)


async def test_the_first_success_is_looked_at_twice(settings: Settings) -> None:
    async with service(settings, FakeMicroscope()) as client:
        first, second = await client.autofocus(start_wd_um=BEST_UM), await client.autofocus()
    assert first.readings.verify == second.readings.verify + 1
    confirm_not = replace(settings.control, confirm=False)
    async with service(replace(settings, control=confirm_not), FakeMicroscope()) as client:
        never = await client.autofocus(start_wd_um=BEST_UM)
    assert never.readings == second.readings


async def test_one_job_at_a_time_and_focus_stands_still_during_it(settings: Settings) -> None:
    microscope = FakeMicroscope(quick=0)
    async with service(settings, microscope) as client:
        started = await client.start()
        await microscope.grabbing.wait()
        for refused in (client.start(), client.set_wd(13_000.0), client.score_image()):
            with pytest.raises(RequestRefused, match=started.job) as caught:
                await refused
            assert caught.value.kind == "busy"
        assert (await client.wd()).wd_um == START_UM
        assert (await client.status()).job is not None
        assert (await client.job(started.job)).state is s.JobState.RUNNING
    assert microscope.moves == []


async def test_jobs_are_listed_page_by_page_also_after_a_restart(settings: Settings) -> None:
    async with service(settings, FakeMicroscope()) as client:
        for number in range(3):
            await client.autofocus(request_id=f"job-{number}")
    stuck = FakeMicroscope(quick=0)
    async with service(settings, stuck) as client:
        await client.start(request_id="job-3")
        await stuck.grabbing.wait()
        first, second = await client.jobs(2), await client.jobs(2, before="job-2")
        assert (await client.jobs(before="job-0")).jobs == []
        with pytest.raises(RequestRefused, match="no job job-9") as caught:
            await client.jobs(before="job-9")
    assert caught.value.kind == "job_not_found"
    assert [job.job for job in (*first.jobs, *second.jobs)] == [f"job-{n}" for n in (3, 2, 1, 0)]
    assert [job.state for job in first.jobs] == [s.JobState.RUNNING, s.JobState.SUCCEEDED]
    done = second.jobs[0]
    assert done.reason == "focused"
    assert done.wd_um == pytest.approx(BEST_UM)
    assert done.readings > 0
    assert done.score is not None


async def test_who_comes_late_asks_for_what_happened(settings: Settings) -> None:
    heard: list[s.Event] = []
    async with service(settings, FakeMicroscope()) as client:
        job = await client.autofocus(on_event=heard.append)
        await state_of(client, "ready")
        told = await client.missed(heard[0].seq)
    assert told.lost == 0
    assert [event.seq for event in told.events] == list(range(heard[0].seq + 1, told.latest + 1))
    of_job = [event for event in told.events if event.topic == f"job.{job.job}"]
    assert of_job == heard[1:]
    assert told.status.last_job == job.job


async def test_a_repeated_id_moves_nothing_also_after_a_restart(settings: Settings) -> None:
    microscope = FakeMicroscope()
    async with service(settings, microscope) as client:
        first = await client.autofocus(request_id="job-1")
        moves = list(microscope.moves)
        assert (await client.start(request_id="job-1")).job == "job-1"
    again = FakeMicroscope()
    async with service(settings, again) as client:
        assert (await client.start(request_id="job-1")).state is s.JobState.SUCCEEDED
        job = await client.job("job-1")
    assert (microscope.moves, again.moves) == (moves, [])
    assert job.trace == first.trace
    assert (job.reason, job.best_wd_um, job.readings) == (
        first.reason,
        first.best_wd_um,
        first.readings,
    )


async def test_an_id_with_other_params_is_refused_also_after_a_restart(settings: Settings) -> None:
    wish: dict[str, Any] = {"timeout_s": 20.0, "range_um": (11_000.0, 14_000.0)}
    microscope = FakeMicroscope()
    async with service(settings, microscope) as client:
        await client.autofocus(request_id="job-1", **wish)
        moves = list(microscope.moves)
        with pytest.raises(RequestRefused, match="other params") as caught:
            await client.start(request_id="job-1", timeout_s=20.0)
        assert caught.value.kind == "id_reused"
    again = FakeMicroscope()
    async with service(settings, again) as client:
        for other in ({}, {**wish, "timeout_s": 21.0}, {**wish, "profile": "paper"}):
            with pytest.raises(RequestRefused, match="other params") as caught:
                await client.start(request_id="job-1", **other)
            assert caught.value.kind == "id_reused"
        assert (await client.start(request_id="job-1", **wish)).state is s.JobState.SUCCEEDED
    assert (microscope.moves, again.moves) == (moves, [])


async def test_an_id_of_an_older_journal_is_known_by_its_params(settings: Settings) -> None:
    """It recorded what was absent too, and `meta`."""
    journal = Journal(settings.journal.path)
    older = {"profile": None, "timeout_s": 20.0, "meta": {"protocol": "1.0", "dry_run": False}}
    limits = rules_of(settings).limits
    journal.open_job("old", request=older, limits=limits, rules=settings.published)
    journal.close()
    async with service(settings, FakeMicroscope()) as client:
        assert (await client.start(request_id="old", timeout_s=20.0)).job == "old"
        with pytest.raises(RequestRefused, match="other params"):
            await client.start(request_id="old")


async def test_a_refused_start_leaves_its_id_free(settings: Settings) -> None:
    crashed(settings)
    microscope = FakeMicroscope(wd_um=AWAY_UM)
    async with service(settings, microscope) as client:
        await state_of(client, "ready")
        with monkeypatched(microscope, "read_state", lost):
            with pytest.raises(RequestRefused, match="the cable is out"):
                await client.start(request_id="job-1")
            with pytest.raises(RequestRefused, match="job-1"):
                await client.job("job-1")
        assert (await client.autofocus(request_id="job-1")).converged


async def test_abort_restores_the_start(settings: Settings) -> None:
    microscope = FakeMicroscope()
    async with service(settings, microscope) as client:
        started = await client.start()
        await microscope.grabbing.wait()
        microscope.quick = 0
        assert (await client.abort()).job == started.job
        job = await client.wait(started.job, 5.0)
        assert (await client.abort()).job is None
    assert (job.state, job.reason, job.restored) == (s.JobState.ABORTED, "aborted", True)
    assert microscope.wd_um == START_UM


async def test_stopping_in_mid_job_restores_the_start_and_closes_the_link(
    settings: Settings,
) -> None:
    microscope = FakeMicroscope(quick=1)
    async with service(settings, microscope) as client:
        await client.start(request_id="job-1")
        await microscope.moved.wait()
        assert microscope.wd_um != START_UM
    assert microscope.wd_um == START_UM
    assert microscope.is_closed
    journal = Journal(settings.journal.path)
    record = journal.find("job-1")
    journal.close()
    assert record is not None
    assert record.outcome is not None
    assert (record.outcome.reason.value, record.outcome.restored) == ("aborted", True)


async def test_a_missing_microscope_is_a_state(settings: Settings) -> None:
    microscope = FakeMicroscope()
    async with service(settings, microscope, linked=False) as client:
        assert (await client.status()).state == "no_microscope"
        for refused in (client.start(), client.set_wd(13_000.0), client.wd()):
            with pytest.raises(RequestRefused) as caught:
                await refused
            assert caught.value.kind == "device"
        microscope.link.set()
        await state_of(client, "ready")
        assert (await client.autofocus()).converged


async def test_the_cause_of_a_missing_link_is_told_and_logged_once(
    settings: Settings, until: Until
) -> None:
    microscope = FakeMicroscope()
    with capture_logs() as logged:
        async with service(settings, microscope, linked=False) as client:
            status = await state_of(client, "no_microscope")
            assert status.microscope.why_down == "the cable is out"
            assert status.microscope.remedy == "plug it in"
            with pytest.raises(RequestRefused, match="the cable is out"):
                await client.start()
            await asyncio.sleep(0.5)  # several looks at the link
            microscope.link.set()
            assert (await state_of(client, "ready")).microscope.why_down == ""
            await until(lambda: logged[-1]["event"] == "connected")
    told = [line for line in logged if line["event"] in ("connected", "disconnected")]
    assert [(line["event"], line.get("detail")) for line in told] == [
        ("disconnected", "the cable is out"),
        ("connected", None),
    ]


async def test_a_link_lost_in_mid_job_is_the_reason_and_the_next_job_runs(
    settings: Settings,
) -> None:
    microscope = FakeMicroscope(quick=0)
    async with service(settings, microscope) as client:
        started = await client.start()
        await microscope.grabbing.wait()
        microscope.link.clear()
        microscope.unplugged.set()
        job = await client.wait(started.job, 5.0)
        assert (job.state, job.reason) == (s.JobState.FAILED, "device")
        await state_of(client, "no_microscope")
        microscope.quick = math.inf
        microscope.link.set()
        assert (await client.autofocus()).converged


async def test_subscribers_see_the_link_and_the_jobs_come_and_go(settings: Settings) -> None:
    microscope = FakeMicroscope()
    async with (
        service(settings, microscope, linked=False) as client,
        client.events("state") as events,
    ):
        microscope.link.set()
        async with asyncio.timeout(5.0):
            while (await anext(events)).data["state"] != "ready":
                pass
            await client.autofocus()
            assert [(await anext(events)).data["state"] for _ in range(2)] == ["busy", "ready"]


async def test_focus_set_passes_the_guard(settings: Settings) -> None:
    microscope = FakeMicroscope()
    async with service(settings, microscope) as client:
        limits = await client.limits()
        assert (limits.min_um, limits.max_um) == (5_000.0, 50_000.0)
        assert (await client.set_wd(13_000.0)).wd_um == 13_000.0
        assert (await client.set_wd(14_000.0, dry_run=True)).dry_run
        for wd_um in (4_999.9, 50_000.1):
            with pytest.raises(RequestRefused, match=r"5000 \.\. 50000") as caught:
                await client.set_wd(wd_um)
            assert caught.value.kind == "limit"
    assert microscope.moves == [13_000.0]


async def test_a_jobs_own_range_is_kept(settings: Settings) -> None:
    microscope = FakeMicroscope()
    async with service(settings, microscope) as client:
        job = await client.autofocus(range_um=(11_900.0, 12_500.0))
        outside = await client.autofocus(range_um=(20_000.0, 21_000.0))
        with pytest.raises(RequestRefused) as caught:
            await client.start(range_um=(1_000.0, 2_000.0))
    assert caught.value.kind == "limit"
    assert all(11_900.0 <= wd_um <= 12_500.0 for wd_um in microscope.moves)
    assert job.wd_um is not None
    assert outside.reason == "out_of_range"


async def test_a_job_may_begin_elsewhere_than_at_the_present_wd(settings: Settings) -> None:
    microscope = FakeMicroscope(wd_um=30_000.0)
    async with service(settings, microscope) as client:
        job = await client.autofocus(start_wd_um=13_000.0)
        with pytest.raises(RequestRefused, match="working distance 60000 um"):
            await client.start(start_wd_um=60_000.0)
    assert microscope.moves[0] == 13_000.0
    assert (job.converged, job.start_wd_um) == (True, 30_000.0)


async def test_the_ladder_is_a_wish_of_the_job_and_of_the_fast_procedure(
    settings: Settings,
) -> None:
    microscope = FakeMicroscope(magnification=20_000.0)
    few = replace(settings, fast=FastProfile(most_search_readings=12))
    async with service(few, microscope) as client:
        with pytest.raises(RequestRefused, match="goes with the fast procedure, not with paper"):
            await client.start(ladder=True)
        assert microscope.grabs == 0
        plain = await client.autofocus(profile="fast")
        far = await client.autofocus(profile="fast", ladder=True)
        status = await client.status()
    assert {row.magnification for row in plain.trace} == {20_000.0}
    assert {row.magnification for row in far.trace} >= {20_000.0, 5_000.0, 1_250.0, 500.0}
    assert (far.start_magnification, far.magnification) == (20_000.0, 20_000.0)
    assert far.restored
    assert microscope.magnification == status.microscope.magnification == 20_000.0


async def test_dose_is_counted_and_limited(settings: Settings) -> None:
    dose = DoseSettings(current_pa=100.0, dwell_ns=400.0, limit_e_nm2=1e-3)
    microscope = FakeMicroscope(side_px=320)
    async with service(replace(settings, dose=dose), microscope) as client:
        await client.wd()  # now it knows the magnification
        with pytest.raises(RequestRefused, match=r"0\.001 is below one frame at 2000x, 0\.00634"):
            await client.start()
        assert microscope.grabs == 0
        job = await client.autofocus(dose_limit_e_nm2=1e9)
        assert job.dose_e_nm2 > 0.0
        assert job.converged
        short = await client.autofocus(start_wd_um=13_500.0, dose_limit_e_nm2=0.015)
    assert (short.reason, short.restored) == ("dose_limit", True)
    assert len(short.trace) < len(job.trace)


async def test_a_dose_that_is_not_counted_is_not_limited(settings: Settings) -> None:
    async with service(settings, FakeMicroscope()) as client:
        with pytest.raises(RequestRefused, match="the beam current is not known") as caught:
            await client.start(dose_limit_e_nm2=10.0)
        assert (await client.autofocus()).dose_e_nm2 == 0.0
    assert caught.value.kind == "limit"


async def test_a_dry_run_moves_nothing_and_makes_no_job(settings: Settings) -> None:
    microscope = FakeMicroscope()
    async with service(settings, microscope) as client:
        started = await client.start(dry_run=True)
        with pytest.raises(RequestRefused) as caught:
            await client.job(started.job)
    assert started.dry_run
    assert caught.value.kind == "job_not_found"
    assert (microscope.grabs, microscope.moves) == (0, [])


async def test_images_and_frames_are_scored(settings: Settings) -> None:
    microscope = FakeMicroscope(wd_um=BEST_UM)
    png = cv2.imencode(".png", np.full((100, 120), 100, dtype=np.uint8))[1].tobytes()
    async with service(settings, microscope) as client:
        score = await client.score_image(png, 2_000.0)
        now = await client.score_image()
        with pytest.raises(RequestRefused) as caught:
            await client.score_image(b"no image", 2_000.0)
    assert (score.width_px, score.height_px, score.score) == (120, 100, 100 / GREY_PER_SCORE)
    assert (now.wd_um, now.score) == (BEST_UM, 9.0)
    assert caught.value.kind == "image"


async def test_a_job_that_a_crash_interrupted_is_answered_for(settings: Settings) -> None:
    journal = Journal(settings.journal.path)
    rules = rules_of(settings)
    journal.open_job("crashed", request={}, limits=rules.limits, rules=settings.published)
    journal.close()
    microscope = FakeMicroscope()
    async with service(settings, microscope) as client:
        job = await client.job("crashed")
        assert (await client.start(request_id="crashed")).state is s.JobState.INTERRUPTED
    assert job.state is s.JobState.INTERRUPTED
    assert microscope.moves == []


# What an earlier job owes


def crashed(
    settings: Settings,
    job_id: str = "crashed",
    instrument: str = "fake",
    request: Mapping[str, object] = MappingProxyType({}),
) -> None:
    """A job that was killed after it had commanded `AWAY_UM`."""
    journal = Journal(settings.journal.path)
    limits = rules_of(settings).limits
    journal.open_job(
        job_id, request=request, limits=limits, rules=settings.published, instrument=instrument
    )
    started = Started(wd_um=START_UM, magnification=2_000.0)
    journal.append(job_id, 0, JournalStep(event=started, command=MoveWd(wd_um=AWAY_UM)))
    journal.close()


async def test_what_a_crash_left_undone_is_told_and_not_done_unasked(settings: Settings) -> None:
    crashed(settings)
    microscope = FakeMicroscope(wd_um=AWAY_UM)
    async with service(settings, microscope) as client:
        owed = (await client.status()).owed
        assert owed is not None
        assert (owed.job, owed.start_wd_um, owed.start_magnification) == (
            "crashed",
            START_UM,
            2_000.0,
        )
        assert "afctl recover" in owed.remedy
        assert microscope.moves == []
        done = await client.recover()
        assert (done.job, done.restored, done.wd_um) == ("crashed", True, START_UM)
        assert (await client.status()).owed is None
        assert await client.recover() == s.Recovered(detail="nothing is owed")
    assert microscope.moves == [START_UM]
    async with service(settings, FakeMicroscope()) as client:
        assert (await client.status()).owed is None, "settled for good"


async def test_the_restore_brings_a_lowered_magnification_back(settings: Settings) -> None:
    crashed(settings)
    journal = Journal(settings.journal.path)
    below = MoveWd(wd_um=AWAY_UM, magnification=500.0)
    journal.append("crashed", 1, JournalStep(event=Moved(wd_um=AWAY_UM), command=below))
    journal.close()
    microscope = FakeMicroscope(wd_um=AWAY_UM, magnification=500.0)
    async with service(settings, microscope) as client:
        assert (await client.recover()).magnification == 2_000.0
    assert (microscope.wd_um, microscope.magnification) == (START_UM, 2_000.0)


@pytest.mark.parametrize(("wd_um", "magnification"), [(AWAY_UM + 50.0, 2_000.0), (AWAY_UM, 900.0)])
async def test_what_somebody_has_moved_since_is_left_there(
    settings: Settings, wd_um: float, magnification: float
) -> None:
    crashed(settings)
    microscope = FakeMicroscope(wd_um=wd_um, magnification=magnification)
    async with service(settings, microscope) as client:
        done = await client.recover()
        assert not done.restored
        assert "somebody has moved the instrument since" in done.detail
        assert (await client.status()).owed is None
    assert microscope.moves == []


async def test_a_restore_may_be_declined(settings: Settings) -> None:
    crashed(settings)
    microscope = FakeMicroscope(wd_um=AWAY_UM)
    async with service(settings, microscope) as client:
        done = await client.recover(decline=True)
        assert (done.restored, "declined" in done.detail) == (False, True)
        assert (await client.status()).owed is None
        assert (await client.autofocus()).start_wd_um == AWAY_UM
    assert microscope.moves[0] != START_UM


async def test_a_wd_that_a_client_sets_settles_it(settings: Settings) -> None:
    crashed(settings)
    async with service(settings, FakeMicroscope(wd_um=AWAY_UM)) as client:
        await client.set_wd(13_000.0)
        assert (await client.status()).owed is None


async def test_the_next_job_begins_where_the_crashed_one_did(settings: Settings) -> None:
    crashed(settings)
    microscope = FakeMicroscope(wd_um=AWAY_UM)
    async with service(settings, microscope) as client:
        job = await client.autofocus()
        assert job.start_wd_um == START_UM
        assert "the restore owed by job crashed: brought back to 12000.0 um" in job.detail
        assert (await client.status()).owed is None
    assert microscope.moves[0] == START_UM


async def test_a_restore_that_fails_stays_owed_and_no_job_begins(settings: Settings) -> None:
    class Stuck(FakeMicroscope):
        async def move_wd(self, wd_um: float, magnification: float | None = None) -> None:
            raise CommandRefused("the lens is stuck")

    crashed(settings)
    microscope = Stuck(wd_um=AWAY_UM)
    async with service(settings, microscope) as client:
        for refused in (client.recover(), client.start()):
            with pytest.raises(RequestRefused, match="the lens is stuck"):
                await refused
        owed = (await client.status()).owed
        assert owed is not None
        assert owed.job == "crashed"


class Disobedient(FakeMicroscope):
    """Says yes to a command home, and stays where it is."""

    async def move_wd(self, wd_um: float, magnification: float | None = None) -> None:
        before_um = self.wd_um
        await super().move_wd(wd_um, magnification)
        if wd_um == START_UM:
            self.wd_um = before_um

    async def grab(self) -> Frame:
        raise LinkTimeout("no frame comes")


async def in_fault(client: AsyncClient) -> s.Job:
    job = await client.autofocus(start_wd_um=AWAY_UM)
    assert (job.restored, job.wd_um) == (False, AWAY_UM)
    return job


async def test_what_does_not_do_as_told_is_in_fault_until_somebody_resets_it(
    settings: Settings,
) -> None:
    microscope = Disobedient()
    async with service(settings, microscope) as client:
        job = await in_fault(client)
        status = await client.status()
        assert status.state == "fault"
        assert status.fault is not None
        assert status.fault.detail == job.detail
        assert "afctl reset" in status.fault.remedy
        moves = len(microscope.moves)
        for refused in (client.start(), client.set_wd(13_000.0)):
            with pytest.raises(RequestRefused, match="did not do what it was told") as caught:
                await refused
            assert caught.value.kind == "fault"
        assert len(microscope.moves) == moves
        assert (await client.reset()).was == job.detail
        assert (await client.reset()).was is None
        status = await client.status()
        assert (status.state, status.fault) == ("ready", None)
        assert status.owed is not None


async def test_weights_of_ones_own_are_told(settings: Settings) -> None:
    with capture_logs() as lines:
        async with service(settings, FakeMicroscope()) as client:
            await client.autofocus()
    told = {line["network"] for line in lines if line["event"] == "weights_not_shipped"}
    assert told == {"aenet", "acnet"}


async def test_a_fault_outlives_the_daemon(settings: Settings) -> None:
    async with service(settings, Disobedient()) as client:
        job = await in_fault(client)
    microscope = FakeMicroscope()
    async with service(settings, microscope) as client:
        status = await client.status()
        assert status.state == "fault"
        assert status.fault is not None
        assert status.fault.detail == job.detail
        with pytest.raises(RequestRefused, match="did not do what it was told"):
            await client.start()
        assert microscope.moves == []
        await client.reset()
    async with service(settings, FakeMicroscope()) as client:
        assert (await client.status()).state == "ready"


async def test_whoever_has_brought_it_back_has_reset_it(settings: Settings) -> None:
    microscope = Disobedient()
    async with service(settings, microscope) as client:
        await in_fault(client)
        with pytest.raises(RequestRefused, match=r"the lens stands at 14000\.0 um"):
            await client.recover()
        assert (await client.status()).state == "fault"
        await client.recover(decline=True)
        assert (await client.status()).state == "ready"


async def test_a_wd_that_is_not_reached_is_a_fault(settings: Settings) -> None:
    microscope = Disobedient(wd_um=AWAY_UM)
    async with service(settings, microscope) as client:
        with pytest.raises(RequestRefused, match=r"the lens stands at 14000\.0 um"):
            await client.set_wd(START_UM)
        assert (await client.status()).state == "fault"


async def test_a_job_may_tighten_how_much_the_lens_moves(settings: Settings) -> None:
    limits = replace(settings.limits, max_step_um=2_000.0)
    microscope = FakeMicroscope()
    async with service(replace(settings, limits=limits), microscope) as client:
        job = await client.autofocus(start_wd_um=18_000.0, max_step_um=500.0, max_travel_um=7_000.0)
    assert (job.reason, job.restored) == ("out_of_range", True)
    assert "the job's way" in job.detail
    stops = [START_UM, *microscope.moves]
    assert max(abs(later - earlier) for earlier, later in pairwise(stops)) <= 500.0


async def test_a_restore_is_not_done_during_a_job(settings: Settings) -> None:
    microscope = FakeMicroscope(quick=0)
    async with service(settings, microscope) as client:
        await client.start()
        await microscope.grabbing.wait()
        with pytest.raises(RequestRefused, match="holds the microscope"):
            await client.recover()


async def test_a_move_that_was_interrupted_half_way_is_brought_back(settings: Settings) -> None:
    """The magnification was set, the WD not yet."""
    crashed(settings)
    journal = Journal(settings.journal.path)
    further = MoveWd(wd_um=13_000.0, magnification=500.0)
    journal.append("crashed", 1, JournalStep(event=Moved(wd_um=AWAY_UM), command=further))
    journal.close()
    microscope = FakeMicroscope(wd_um=AWAY_UM, magnification=500.0)
    async with service(settings, microscope) as client:
        assert (await client.recover()).restored
    assert (microscope.wd_um, microscope.magnification) == (START_UM, 2_000.0)


async def test_a_move_that_was_interrupted_below_its_goal_is_brought_back(
    settings: Settings,
) -> None:
    """On its way down to 13 000 um, from where the last stretch would have gone upwards."""
    crashed(settings)
    journal = Journal(settings.journal.path)
    down = MoveWd(wd_um=13_000.0)
    journal.append("crashed", 1, JournalStep(event=Moved(wd_um=AWAY_UM), command=down))
    journal.close()
    control = replace(settings.control, approach_um=100.0)
    microscope = FakeMicroscope(wd_um=12_900.0)
    async with service(replace(settings, control=control), microscope) as client:
        assert (await client.recover()).restored
    assert microscope.wd_um == START_UM


async def test_a_move_that_was_interrupted_between_its_steps_is_brought_back(
    settings: Settings,
) -> None:
    """From 12 000 to 14 000 um in steps of at most 500 um."""
    crashed(settings, request={"motion": {"max_step_um": 500.0}})
    microscope = FakeMicroscope(wd_um=13_000.0)
    async with service(settings, microscope) as client:
        assert (await client.recover()).restored
    assert microscope.wd_um == START_UM


async def test_a_start_that_is_no_longer_allowed_says_what_to_do(settings: Settings) -> None:
    crashed(settings)
    narrower = replace(settings, limits=replace(settings.limits, site_min_um=13_000.0))
    microscope = FakeMicroscope(wd_um=AWAY_UM)
    async with service(narrower, microscope) as client:
        with pytest.raises(RequestRefused, match="job crashed began there") as caught:
            await client.recover()
        assert "limits.site_min_um" in caught.value.remedy
        assert "--decline" in caught.value.remedy
        assert (await client.status()).owed is not None
    assert microscope.moves == []


async def test_the_interrupted_job_is_named_until_another_begins(settings: Settings) -> None:
    journal = Journal(settings.journal.path)
    rules = rules_of(settings)
    journal.open_job("crashed", request={}, limits=rules.limits, rules=settings.published)
    journal.close()
    async with service(settings, FakeMicroscope()) as client:
        status = await client.status()
        assert (status.interrupted, status.owed) == ("crashed", None)
        await client.autofocus()
        assert (await client.status()).interrupted is None


# Restores that are carried out unasked


@pytest.fixture
def willing(settings: Settings) -> Settings:
    """Settings that allow it."""
    return replace(settings, control=replace(settings.control, recover_automatically=True))


async def settled(client: AsyncClient) -> s.Status:
    """The status when nothing is owed any longer."""
    async with asyncio.timeout(5.0), client.events("state") as events:
        status = await client.status()
        while status.owed is not None:
            status = s.Status.model_validate((await anext(events)).data)
    return status


async def test_it_is_off_unless_the_settings_say_otherwise(settings: Settings) -> None:
    assert not settings.control.recover_automatically


async def test_what_nobody_has_moved_is_brought_back_by_itself(willing: Settings) -> None:
    crashed(willing)
    microscope = FakeMicroscope(wd_um=AWAY_UM)
    async with service(willing, microscope) as client:
        await settled(client)
        assert microscope.moves == [START_UM]
        assert (await client.autofocus()).start_wd_um == START_UM


async def test_a_link_that_comes_back_later_brings_it_back(willing: Settings) -> None:
    microscope = FakeMicroscope(quick=1)
    async with service(willing, microscope) as client:
        started = await client.start()
        await microscope.moved.wait()
        microscope.link.clear()
        microscope.unplugged.set()
        job = await client.wait(started.job, 20.0)
        assert (job.reason, job.restored) == ("device", False)
        assert (await client.status()).owed is not None
        microscope.link.set()
        await settled(client)
    assert microscope.wd_um == START_UM


@pytest.mark.parametrize(
    ("instrument", "wd_um"), [("fake", 13_000.0), ("fake", AWAY_UM + 5.0), ("another", AWAY_UM)]
)
async def test_what_somebody_may_have_moved_is_left_and_still_owed(
    willing: Settings,
    instrument: str,
    wd_um: float,
    until: Callable[..., Awaitable[None]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    crashed(willing, instrument=instrument)
    microscope = FakeMicroscope(wd_um=wd_um)
    async with service(willing, microscope) as client:
        await until(lambda: "restore_still_owed" in capsys.readouterr().out)
        owed = (await client.status()).owed
        assert owed is not None
        assert ("of another" in owed.detail) is (instrument == "another")
    assert microscope.moves == []


# A journal that cannot be written


@contextmanager
def full_disk(settings: Settings) -> Iterator[None]:
    """SQLite refuses every entry, as for want of space."""
    with closing(sqlite3.connect(settings.journal.path)) as connection, connection:
        for table in ("jobs", "steps", "settled"):
            connection.execute(
                f"CREATE TRIGGER full_{table} BEFORE INSERT ON {table}"
                " BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END"
            )
    try:
        yield
    finally:
        with closing(sqlite3.connect(settings.journal.path)) as connection, connection:
            for table in ("jobs", "steps", "settled"):
                connection.execute(f"DROP TRIGGER full_{table}")


async def test_a_disk_that_fills_up_in_mid_job_costs_neither_truth_nor_record(
    settings: Settings,
    until: Callable[..., Awaitable[None]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    microscope = FakeMicroscope(quick=1)
    async with service(settings, microscope) as client:
        started = await client.start(request_id="job-1")
        await microscope.moved.wait()
        with full_disk(settings):
            microscope.quick = math.inf
            microscope.unplugged.set()
            job = await client.wait(started.job, 20.0)
            assert job.converged, "the last move was in the journal"
            assert microscope.wd_um == job.wd_um == BEST_UM
            assert "its end is not yet in the journal" in job.detail
            status = await client.status()
            assert status.journal is not None
            assert status.journal.kept > 0
            assert "full" in status.journal.detail
            with pytest.raises(RequestRefused, match="full") as caught:
                await client.start(request_id="job-2")
            assert caught.value.kind == "journal"
            moved = await client.set_wd(13_000.0)
            assert "the journal knows nothing of it yet" in moved.detail
            assert microscope.wd_um == 13_000.0
            await until(lambda: "journal_unwritable" in capsys.readouterr().out)
        async with asyncio.timeout(5.0), client.events("state") as events:
            status = await client.status()
            while status.journal is not None and status.journal.kept:
                status = s.Status.model_validate((await anext(events)).data)
        await until(lambda: "journal_written" in capsys.readouterr().out)
        assert (await client.set_wd(START_UM)).detail == ""
    async with service(settings, FakeMicroscope()) as client:
        again = await client.job("job-1")
        assert (again.state, again.reason, again.wd_um) == (job.state, job.reason, job.wd_um)
        assert (await client.status()).interrupted is None


async def test_a_full_disk_keeps_nobody_from_coming_home(settings: Settings) -> None:
    crashed(settings)
    with closing(Journal(settings.journal.path)):
        pass
    microscope = FakeMicroscope(wd_um=AWAY_UM)
    with full_disk(settings):
        async with service(settings, microscope) as client:
            assert (await client.recover()).restored
            status = await client.status()
            assert status.owed is None
            assert status.journal is not None
            assert status.journal.kept == 1
    assert microscope.moves == [START_UM]


async def test_a_second_daemon_on_the_same_journal_is_refused(
    settings: Settings, tmp_path: Path
) -> None:
    async with service(settings, FakeMicroscope()) as client:
        other = replace(settings, api=replace(settings.api, runtime_dir=tmp_path / "run"))
        with pytest.raises(BusyError, match="keeps its journal in"):
            await serve(other, asyncio.Event(), load=networks)
        assert (await client.autofocus()).converged


async def test_replay_finds_the_journal_of_the_daemon_that_runs(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    async with service(settings, FakeMicroscope()) as client:
        await client.autofocus(request_id="job-1")
        address = f"ipc://{settings.api.runtime_dir}"
        command = partial(
            run_app, app, program="afdaemon", args=["replay", "job-1", "--endpoint", address]
        )
        assert await asyncio.to_thread(command) == 0
    assert "Replay check passed" in capsys.readouterr().out


async def test_a_second_daemon_is_refused_and_the_first_goes_on(settings: Settings) -> None:
    async with service(settings, FakeMicroscope()) as client:
        with pytest.raises(BusyError, match=str(os.getpid())):
            await serve(settings, asyncio.Event(), load=networks)
        assert (await client.autofocus()).converged


async def test_without_a_journal_nothing_starts(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    journal = JournalSettings(path=tmp_path / "file" / "journal")
    blocked = replace(settings, journal=journal)
    with pytest.raises(JournalError, match="journal"):
        await serve(blocked, asyncio.Event(), load=networks)


async def test_it_answers_while_the_networks_load_and_jobs_wait_for_them(
    settings: Settings,
) -> None:
    crashed(settings)
    may_load = threading.Event()

    def slowly(settings: Settings) -> Networks:
        assert may_load.wait(20.0)
        return networks(settings)

    microscope = FakeMicroscope(wd_um=AWAY_UM)
    async with service(settings, microscope, load=slowly) as client:
        status = await state_of(client, "ready")
        assert (status.models, status.interrupted) == ({}, "crashed")
        waiting = asyncio.create_task(client.autofocus())
        assert (await client.recover()).restored
        assert not waiting.done()
        may_load.set()
        assert (await waiting).converged
        assert (await client.status()).models == {"aenet": "a1", "acnet": "b2"}


async def test_without_weights_nothing_starts(settings: Settings) -> None:
    def missing(_settings: Settings) -> Networks:
        raise WeightsError("no weights")

    with pytest.raises(WeightsError, match="no weights"):
        await serve(settings, asyncio.Event(), load=missing)


async def test_a_driver_that_fails_for_good_ends_the_service_with_its_error(
    settings: Settings,
) -> None:
    class Broken(FakeMicroscope):
        async def run(self) -> None:
            raise LinkLost("beyond repair")

    microscope = Broken()
    with pytest.raises(LinkLost, match="beyond repair"):
        await serve(
            settings, asyncio.Event(), load=networks, connect=lambda _settings, _clock: microscope
        )
    assert microscope.is_closed


@pytest.mark.parametrize("of", ["fake", "another"])
async def test_a_calibration_is_read_once_and_used_only_for_its_own_instrument(
    of: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    microscope = FakeMicroscope()
    read: list[Path] = []
    one = Measured(
        utc=SystemClock().utc(),
        magnification=2_000.0,
        best_wd_um=BEST_UM,
        half_um=100.0,
        hysteresis_um=0.0,
        points=[],
    )
    instrument = microscope.name if of == "fake" else of
    known = Calibration(instrument=instrument, measured=[one])

    def reading(file: Path) -> Calibration:
        read.append(file)
        return known

    monkeypatch.setattr("afdaemon.calibration.load", reading)
    file = CalibrationSettings(file=tmp_path / "c.json")
    calibrated = replace(settings, calibration=file)
    if of == "another":
        with pytest.raises(CalibrationError, match="of 'another'"):
            await serve(
                calibrated, asyncio.Event(), load=networks, connect=lambda _, _clock: microscope
            )
    else:
        async with service(calibrated, microscope) as client:
            assert (await client.autofocus()).converged
    assert read == [tmp_path / "c.json"]


def test_the_settings_become_rules() -> None:
    flags = {"limits.site_min_um": 8_000.0, "control.patience": 7, "control.timeout_s": 60.0}
    settings = load(environ={}, flags=flags).settings
    rules = rules_of(settings)
    assert (rules.limits.allowed.lo_um, rules.limits.allowed.hi_um) == (8_000.0, 50_000.0)
    assert rules.profiles == {"paper": PublishedProfile(patience=7), "fast": settings.fast}
    assert rules.timeout_s == 60.0
    assert rules.motion == Motion(travel_um=settings.limits.max_travel_um)
    assert not rules.limits.within(Started(wd_um=7_999.0, magnification=1.0).wd_um)


async def test_with_an_approach_every_move_ends_upwards(settings: Settings) -> None:
    control = replace(settings.control, approach_um=30.0)
    microscope = FakeMicroscope(wd_um=13_400.0)
    async with service(replace(settings, control=control), microscope) as client:
        job = await client.autofocus()
    assert job.converged
    stops = [13_400.0, *microscope.moves]
    assert microscope.moves[-1] == BEST_UM
    assert any(later < earlier for earlier, later in pairwise(stops))
    for wd_um in {point.wd_um for point in job.trace[1:]}:
        assert stops[stops.index(wd_um) - 1] < wd_um


async def test_a_region_is_judged_alone(settings: Settings) -> None:
    class Split(FakeMicroscope):
        """The left half is in focus at the best WD, the right one somewhere else."""

        async def grab(self) -> Frame:
            frame = await super().grab()
            pixels = np.array(frame.pixels, np.uint8)
            pixels[:, 32:] = 9.0 * GREY_PER_SCORE / (1.0 + ((self.wd_um - 12_400.0) / 300.0) ** 2)
            return replace(frame, pixels=pixels)

    async with service(settings, Split()) as client:
        left = await client.autofocus(region=(0.0, 0.25, 0.5, 0.5))
        assert left.best_wd_um == BEST_UM
        with pytest.raises(UsageError, match=r"x . width \(1\.2\) must not exceed 1"):
            await client.start(region=(0.6, 0.0, 0.6, 1.0))
        with pytest.raises(UsageError, match="width"):
            await client.start(region=(0.0, 0.0, 0.1, 1.0))


async def test_clients_elsewhere_come_with_keys_and_end_their_own_jobs(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = min(probe.getsockname()[1], 65_533)
    place = settings.journal.path.parent
    api = replace(settings.api, tcp=f"tcp://127.0.0.1:{port}", keys_dir=place / "keys")
    for name in ("mine", "other"):
        hand_out(api.keys_dir, name, Role.AUTOMATION, place / f"{name}.key")
    microscope = FakeMicroscope(quick=0)
    async with (
        service(replace(settings, api=api), microscope) as local,
        AsyncClient(api.tcp, key=place / "mine.key") as mine,
        AsyncClient(api.tcp, key=place / "other.key") as other,
    ):
        started = await mine.start()
        await microscope.grabbing.wait()
        with pytest.raises(RequestRefused, match="which key mine started") as refused:
            await other.abort()
        assert refused.value.kind == "forbidden"
        assert (await local.job(started.job)).state is s.JobState.RUNNING
        assert (await mine.abort()).job == started.job
        job = await mine.wait(started.job, 5.0)
    assert (job.state, job.detail) == (s.JobState.ABORTED, "by key mine")
