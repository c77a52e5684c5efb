"""From the terms of jobs and control to those of the API: plain translations, nothing is decided."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from afdaemon.api import schemas as s
from afdaemon.control.evidence import as_shown, count
from afdaemon.control.limits import Limits
from afdaemon.control.values import (
    Moved,
    MoveWd,
    Observed,
    Outcome,
    Reading,
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

_STATES = {
    Reason.FOCUSED: s.JobState.SUCCEEDED,
    Reason.ABORTED: s.JobState.ABORTED,
    Reason.NOT_CONVERGED: s.JobState.NOT_CONVERGED,
    Reason.NOT_FOUND: s.JobState.NOT_CONVERGED,
    Reason.NO_CONTRAST: s.JobState.NOT_CONVERGED,
    Reason.SATURATED: s.JobState.NOT_CONVERGED,
    Reason.COVERED: s.JobState.NOT_CONVERGED,
    Reason.DOUBTED: s.JobState.NOT_CONVERGED,
}
"""Any other reason is a failure."""


def progress(now: JobProgress) -> s.Progress:
    """A running job."""
    return s.Progress(
        job=now.job_id,
        profile=now.profile,
        phase=now.phase.value,
        kind=now.kind.value if now.kind is not None else None,
        reading=now.reading,
        readings_max=now.readings_max,
        wd_um=now.wd_um,
        magnification=now.magnification,
        score=now.score,
        best_wd_um=now.best_wd_um,
        best_score=now.best_score,
        seconds=now.elapsed_s,
    )


def under_way(now: s.Progress) -> s.Job:
    """A running job, as far as its latest progress shows."""
    return s.Job(
        job=now.job,
        profile=now.profile,
        state=s.JobState.RUNNING,
        wd_um=now.wd_um,
        magnification=now.magnification,
        best_wd_um=now.best_wd_um,
        score=now.best_score,
        seconds=now.seconds,
    )


def ended(result: JobResult, hashes: Mapping[str, str], notes: Sequence[str] = ()) -> s.Job:
    """A job that has just ended; `notes` are what else is to be said of it, or empty."""
    told = _concluded(result.job_id, result.profile, result.outcome, result.trace, result.moves)
    detail = "; ".join(filter(None, (told.detail, *notes)))
    return told.model_copy(
        update={"detail": detail, "seconds": result.seconds, "models": dict(hashes)}
    )


def recorded(record: JobRecord, steps: Iterable[JournalStep]) -> s.Job:
    """A job of the past, as the journal knows it."""
    steps = tuple(steps)
    trace = tuple(_trace(steps))
    if record.outcome is not None:
        moves = sum(isinstance(step.command, MoveWd) for step in steps)
        return _concluded(record.job_id, record.rules.name, record.outcome, trace, moves)
    return s.Job(
        job=record.job_id,
        profile=record.rules.name,
        state=s.JobState.INTERRUPTED,
        detail="the daemon ended while the job ran",
        start_wd_um=record.start_wd_um,
        start_magnification=record.start_magnification,
        trace=[_row(point) for point in trace],
    )


def _state_of(outcome: Outcome) -> s.JobState:
    return _STATES.get(outcome.reason, s.JobState.FAILED)


def summary(record: JobRecord, *, is_running: bool) -> s.JobSummary:
    """A job in a list."""
    outcome = record.outcome
    state = s.JobState.RUNNING if is_running else s.JobState.INTERRUPTED
    told = s.JobSummary(
        job=record.job_id,
        state=state if outcome is None else _state_of(outcome),
        began_utc=record.opened_utc.isoformat(),
        profile=record.rules.name,
        start_wd_um=record.start_wd_um,
    )
    if outcome is None:
        return told
    return told.model_copy(
        update={
            "reason": outcome.reason.value,
            "detail": outcome.detail,
            "wd_um": outcome.wd_um,
            "score": outcome.score,
            "readings": outcome.readings.total,
        }
    )


def broken(job_id: str, detail: str) -> s.Job:
    """A job that the service itself could not bring to its end."""
    return s.Job(job=job_id, state=s.JobState.FAILED, detail=detail)


def in_words(now: s.Status) -> str:
    """The daemon at a glance, in a line: what it does, its link, and what an earlier job owes."""
    microscope = now.microscope
    link = "connected" if microscope.connected else "not connected"
    place = "" if microscope.wd_um is None else f", WD {microscope.wd_um:.1f} um"
    job = (
        ""
        if now.job is None
        else f"; job {now.job.job}: {now.job.phase}, reading {now.job.reading}"
    )
    owed = "" if now.owed is None else f"; {now.owed.detail} (afctl recover)"
    return f"{now.state}; {microscope.name}: {link}{place}{job}{owed}"


def score(measures: Measures, magnification: float, width_px: int, height_px: int) -> s.Score:
    """What was measured in an image of that many pixels."""
    return s.Score(
        **_measured(measures), magnification=magnification, width_px=width_px, height_px=height_px
    )


def score_of_frame(told: Reading, width_px: int, height_px: int) -> s.Score:
    """What was measured in a frame taken now, of that many pixels."""
    found = score(told.frame, told.magnification, width_px, height_px)
    return found.model_copy(update={"wd_um": told.wd_um, "bands": bands(told.frame.bands)})


def _measured(measures: Measures) -> dict[str, Any]:
    """What was measured in a frame, as all replies give it; `variance` is the old name of contrast."""
    return {
        "score": measures.score,
        "contrast": measures.contrast,
        "variance": measures.contrast,
        "entropy": measures.entropy,
        "saturated": measures.saturated,
        "streaked": measures.streaked,
        "masked": measures.masked,
        "mask": measures.mask,
    }


def bands(powers: Sequence[float]) -> list[tuple[float, float]]:
    """The middle of each band of spatial frequency (cycles per pixel), and the logarithm of its power."""
    middles = (LOWEST * (HIGHEST / LOWEST) ** ((k + 0.5) / BANDS) for k in range(BANDS))
    return list(zip(middles, powers, strict=False))


def limits(present: Limits) -> s.Limits:
    """What may be commanded now."""
    allowed, site = present.allowed, present.site
    return s.Limits(
        min_um=allowed.lo_um,
        max_um=allowed.hi_um,
        hard=s.Range(min_um=present.hard.lo_um, max_um=present.hard.hi_um),
        site=None if site is None else s.Range(min_um=site.lo_um, max_um=site.hi_um),
    )


def _concluded(
    job_id: str, profile: str, outcome: Outcome, trace: Iterable[TracePoint], moves: int
) -> s.Job:
    shown = as_shown(tuple(trace), converged=outcome.converged)
    used = count(shown)
    return s.Job(
        job=job_id,
        profile=profile,
        state=_state_of(outcome),
        converged=outcome.converged,
        reason=outcome.reason.value,
        detail=outcome.detail,
        start_wd_um=outcome.start_wd_um,
        wd_um=outcome.wd_um,
        start_magnification=outcome.start_magnification,
        magnification=outcome.magnification,
        best_wd_um=outcome.best_wd_um,
        score=outcome.score,
        readings=s.ReadingCounts(search=used.search, servo=used.servo, verify=used.verify),
        moves=moves,
        restored=outcome.restored,
        dose_e_nm2=outcome.dose_e_nm2,
        drift_um_per_min=outcome.drift_um_per_min,
        drift_error_um_per_min=outcome.drift_error_um_per_min,
        drift_noticed=outcome.drift_noticed,
        trace=[_row(point) for point in shown],
    )


def _row(point: TracePoint) -> s.TraceRow:
    return s.TraceRow(
        **_measured(point.frame),
        kind=point.kind.value,
        wd_um=point.wd_um,
        magnification=point.reading.magnification,
        seconds=point.reading.at_s,
    )


def _trace(steps: Iterable[JournalStep]) -> Iterable[TracePoint]:
    """Each usable reading, with the WD and the purpose commanded before it."""
    kind, wd_um = ReadingKind.SEARCH, math.nan
    for step in steps:
        match step.event:
            case Started() | Moved():
                wd_um = step.event.wd_um
            case Observed(reading=reading) if reading.is_usable:
                yield TracePoint(kind=kind, wd_um=wd_um, reading=reading)
            case _:
                pass
        if isinstance(step.command, TakeReading):
            kind = step.command.kind
