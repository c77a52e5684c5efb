"""What a job owes: the way back to its start, if it ended or was interrupted elsewhere. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from afdaemon.control.values import MoveWd, Place, Reason
from afdaemon.job.records import JobRecord, JournalStep


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """A restore that a job still owes: it ended, or was interrupted, away from its start.

    `left` are the places where it may have left the instrument, in order: a command may have been carried out or not.
    `last` are those of them where it stands if nobody has moved it since. `request` is the job's.
    """

    job_id: str
    opened_utc: datetime
    start: Place
    left: tuple[Place, ...]
    last: tuple[Place, ...]
    interrupted: bool
    instrument: str | None = None
    request: Mapping[str, Any] = field(default_factory=dict)


def owed_of(record: JobRecord, steps: Iterable[JournalStep]) -> Owed | None:
    """What a job owes that commanded a move; None if it runs, is at home, in focus, or was taken over."""
    outcome = record.outcome
    if outcome is None and not record.interrupted:
        return None  # it runs
    if outcome is not None and (
        outcome.converged or outcome.restored or outcome.reason is Reason.TAKEN_OVER
    ):
        return None
    start = Place(wd_um=record.start_wd_um, magnification=record.start_magnification)
    left, magnification = [start], start.magnification
    for command in (entry.command for entry in steps):
        if isinstance(command, MoveWd):
            magnification = command.magnification or magnification
            left.append(Place(wd_um=command.wd_um, magnification=magnification))
    # The last command may not have been carried out, and that of the way home not have been recorded yet.
    last = [*left[-2:], start]
    if outcome is not None and outcome.wd_um is not None:
        last = [Place(wd_um=outcome.wd_um, magnification=outcome.magnification)]
        left += last
    return Owed(
        job_id=record.job_id,
        opened_utc=record.opened_utc,
        start=start,
        left=tuple(left),
        last=tuple(last),
        interrupted=record.interrupted,
        instrument=record.instrument,
        request=record.request,
    )
