"""A whole service in the test's process: real sockets and journal, a microscope and networks of ours.

The frames of this microscope are plain grey: the grey value tells the score, which falls off
around `best_um`. So the networks can be as simple as the tests want them.
"""

import asyncio
import math
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from structlog.testing import capture_logs

from afdaemon.api import schemas as s
from afdaemon.api.client import AsyncClient
from afdaemon.calibration import Calibration, CalibrationError, Measured
from afdaemon.clock import SystemClock
from afdaemon.config import load
from afdaemon.control.fast.profile import FastProfile
from afdaemon.control.procedures import Laws
from afdaemon.control.published.profile import PublishedProfile
from afdaemon.control.values import Moved, MoveWd, Proposal, Reading, Started
from afdaemon.drivers.base import Frame, LinkStats, MicroscopeState
from afdaemon.drivers.errors import CommandRefused, LinkLost, LinkTimeout, NotConnected
from afdaemon.drivers.wire.image import GreyPixels
from afdaemon.errors import BusyError, JournalError, RequestRefused, UsageError
from afdaemon.job.journal import Journal, JournalStep
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


@asynccontextmanager
async def service(
    settings: Settings, microscope: FakeMicroscope, *, linked: bool = True
) -> AsyncIterator[AsyncClient]:
    """A client of a service that runs; both end with the context, the service politely."""
    if linked:
        microscope.link.set()
    stop = asyncio.Event()
    connect: Callable[..., FakeMicroscope] = lambda _settings, _clock: microscope  # noqa: E731
    task = asyncio.create_task(serve(settings, stop, load=networks, connect=connect))
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


def crashed(settings: Settings, job_id: str = "crashed") -> None:
    """A job that was killed after it had commanded `AWAY_UM`."""
    journal = Journal(settings.journal.path)
    limits = rules_of(settings).limits
    journal.open_job(job_id, request={}, limits=limits, rules=settings.published)
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


async def test_a_restore_is_not_done_during_a_job(settings: Settings) -> None:
    microscope = FakeMicroscope(quick=0)
    async with service(settings, microscope) as client:
        await client.start()
        await microscope.grabbing.wait()
        with pytest.raises(RequestRefused, match="holds the microscope"):
            await client.recover()


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
