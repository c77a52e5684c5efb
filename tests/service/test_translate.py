"""Translations between the words of jobs and those of the API."""

import math
from dataclasses import replace

import numpy as np
import pytest

from afdaemon.api import schemas as s
from afdaemon.api.schemas import JobState
from afdaemon.cli.display import line_of, outcome_of
from afdaemon.clock import ManualClock
from afdaemon.control.limits import Limits, Range
from afdaemon.control.published.profile import PUBLISHED
from afdaemon.control.values import (
    Moved,
    MoveWd,
    Observed,
    Outcome,
    Phase,
    Reading,
    ReadingCount,
    ReadingKind,
    Reason,
    Started,
    TakeReading,
    TracePoint,
)
from afdaemon.job.loop import JobProgress, JobResult
from afdaemon.job.records import JobRecord, JournalStep
from afdaemon.models.frames.measures import Measures
from afdaemon.models.frames.spectrum import BANDS, HIGHEST, LOWEST
from afdaemon.service import translate

LIMITS = Limits(hard=Range(lo_um=5_000.0, hi_um=50_000.0))


def outcome(reason: Reason) -> Outcome:
    return Outcome(
        converged=reason is Reason.FOCUSED,
        reason=reason,
        detail="",
        start_wd_um=1.0,
        wd_um=2.0,
        best_wd_um=2.0,
        score=8.0,
        readings=ReadingCount(search=1),
        restored=False,
    )


def test_what_is_known_of_a_drift_and_when_each_reading_was_taken_is_told() -> None:
    moved = replace(
        outcome(Reason.FOCUSED),
        detail="at the best score seen; the focus drifts by +12 +- 3 um/min",
        drift_um_per_min=12.0,
        drift_error_um_per_min=3.0,
        drift_noticed=True,
    )
    seen = replace(reading(1.0), at_s=0.7)
    trace = (TracePoint(kind=ReadingKind.SERVO, wd_um=1.0, reading=seen),)
    job = translate.ended(
        JobResult(job_id="j", profile="fast", outcome=moved, trace=trace, seconds=1.0), {}
    )
    assert (job.drift_um_per_min, job.drift_error_um_per_min, job.drift_noticed) == (
        12.0,
        3.0,
        True,
    )
    assert job.trace[0].seconds == 0.7
    assert "+12 +- 3 um/min" in outcome_of(job)


@pytest.mark.parametrize(("kind", "shown"), [(ReadingKind.VERIFY, "verify "), (None, "restore ")])
def test_progress_shows_what_a_reading_was_for_and_else_what_comes_next(
    kind: ReadingKind | None, shown: str
) -> None:
    now = JobProgress(
        job_id="j",
        profile="fast",
        phase=Phase.RESTORE,
        kind=kind,
        reading=4,
        readings_max=4,
        wd_um=1.0,
        score=None if kind is None else 2.0,
        best_wd_um=1.0,
        best_score=2.0,
        elapsed_s=1.0,
    )
    told = translate.progress(now)
    assert (told.phase, told.kind) == ("restore", kind)
    assert line_of(told).startswith(shown)


def test_bands_are_named_by_their_frequency() -> None:
    """What a reading holds beyond the bands' powers is no band's."""
    told = translate.bands([float(k) for k in range(2 * BANDS)])
    assert [power for _, power in told] == [float(k) for k in range(BANDS)]
    middles = [cycles_px for cycles_px, _ in told]
    assert LOWEST < middles[0] < middles[-1] < HIGHEST
    edges = np.geomspace(LOWEST, HIGHEST, BANDS + 1)
    assert middles == pytest.approx(np.sqrt(edges[1:] * edges[:-1]))
    assert translate.bands([]) == []


def reading(wd_um: float, score: float = 5.0) -> Reading:
    return Reading(
        wd_um=wd_um, magnification=2e3, frame=Measures(score=score, contrast=0.3, entropy=5.0)
    )


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_leads_to_a_final_state(reason: Reason) -> None:
    result = JobResult(job_id="j", profile="fast", outcome=outcome(reason), trace=(), seconds=1.0)
    job = translate.ended(result, {})
    assert job.state.final
    assert (job.state is JobState.SUCCEEDED) is job.converged is (reason is Reason.FOCUSED)
    assert (job.reason, job.profile) == (reason.value, "fast")


def test_a_past_jobs_trace_has_commanded_wds_and_purposes_and_usable_readings_alone() -> None:
    record = JobRecord(
        job_id="j",
        opened_utc=ManualClock().utc(),
        request={},
        limits=LIMITS,
        rules=PUBLISHED,
        start_wd_um=12_000.0,
        outcome=None,
        interrupted=True,
    )
    search, servo = TakeReading(kind=ReadingKind.SEARCH), TakeReading(kind=ReadingKind.SERVO)
    steps = [
        JournalStep(event=Started(wd_um=12_000.0, magnification=2e3), command=search),
        JournalStep(event=Observed(reading=reading(12_000.2)), command=MoveWd(wd_um=12_400.0)),
        JournalStep(event=Moved(wd_um=12_400.0), command=servo),
        JournalStep(event=Observed(reading=reading(12_399.9)), command=servo),
        JournalStep(event=Observed(reading=reading(12_400.0, math.nan)), command=servo),
    ]
    job = translate.recorded(record, steps)
    assert job.state is JobState.INTERRUPTED
    assert [(row.kind, row.wd_um) for row in job.trace] == [
        ("search", 12_000.0),
        ("servo", 12_400.0),
    ]


def test_limits_without_a_site() -> None:
    limits = translate.limits(LIMITS)
    assert (limits.min_um, limits.max_um, limits.site) == (5_000.0, 50_000.0, None)


def test_the_status_line_says_in_words_how_the_daemon_stands() -> None:
    lens = s.MicroscopeStatus(name="em30", connected=True, wd_um=12_000.0)
    now = s.Status(instance="i", version="1", state="ready", uptime_s=1.0, microscope=lens)
    assert translate.in_words(now) == "ready; em30: connected, WD 12000.0 um"
    gone = now.model_copy(
        update={
            "state": "busy",
            "microscope": s.MicroscopeStatus(name="em30", connected=False),
            "job": s.Progress(job="j1", phase="search", reading=3),
            "owed": s.Owed(job="j0", since_utc="", detail="job j0 was interrupted"),
        }
    )
    assert translate.in_words(gone) == (
        "busy; em30: not connected; job j1: search, reading 3; job j0 was interrupted (afctl recover)"
    )
