"""Translations between the words of jobs and those of the API."""

import math

import pytest

from afdaemon import views
from afdaemon.api.schemas import JobState
from afdaemon.clock import ManualClock
from afdaemon.control.limits import Limits, Range
from afdaemon.control.profile import PAPER
from afdaemon.control.values import (
    Moved,
    MoveWd,
    Observed,
    Outcome,
    Reading,
    ReadingCount,
    ReadingKind,
    Reason,
    Started,
    TakeReading,
)
from afdaemon.job.journal import JobRecord, JournalStep
from afdaemon.job.loop import JobResult

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


def reading(wd_um: float, score: float = 5.0) -> Reading:
    return Reading(wd_um=wd_um, magnification=2e3, score=score, variance=0.3, entropy=5.0)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_leads_to_a_final_state(reason: Reason) -> None:
    result = JobResult(job_id="j", profile="fast", outcome=outcome(reason), trace=(), seconds=1.0)
    job = views.ended(result, {})
    assert job.state.final
    assert (job.state is JobState.SUCCEEDED) is job.converged is (reason is Reason.FOCUSED)
    assert (job.reason, job.profile) == (reason.value, "fast")


def test_a_past_jobs_trace_has_commanded_wds_and_purposes_and_usable_readings_alone() -> None:
    record = JobRecord(
        job_id="j",
        opened_utc=ManualClock().utc(),
        request={},
        limits=LIMITS,
        rules=PAPER,
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
    job = views.recorded(record, steps)
    assert job.state is JobState.INTERRUPTED
    assert [(row.kind, row.wd_um) for row in job.trace] == [
        ("search", 12_000.0),
        ("servo", 12_400.0),
    ]


def test_limits_without_a_site() -> None:
    limits = views.limits(LIMITS)
    assert (limits.min_um, limits.max_um, limits.site) == (5_000.0, 50_000.0, None)
