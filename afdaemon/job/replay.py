"""A recorded job once more: the same events through the same decisions must give the same commands.

The step law's answers are in the journal too, so a replay needs no network, and agrees to the last bit. Pure.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import NoReturn

from afdaemon.control.machine import IllegalEventError, step
from afdaemon.control.procedures import Laws, procedure_of
from afdaemon.control.state import new_job
from afdaemon.control.values import Command, Conclude
from afdaemon.errors import JournalError
from afdaemon.job import records
from afdaemon.job.records import JobRecord, JournalStep


def replayed(record: JobRecord, steps: Iterable[JournalStep]) -> list[JournalStep]:
    """The job's steps, every command computed again. Raises JournalError for one that differs."""
    silent = procedure_of(record.rules, Laws(step=_no_answer, focus=_no_answer))
    state = new_job(silent, record.limits)
    again: list[JournalStep] = []
    for number, entry in enumerate(steps):
        if entry.proposal is not None:
            state = replace(state, procedure=silent.answering(entry.proposal))
        try:
            state, (command,) = step(state, entry.event)
        except IllegalEventError as error:
            raise JournalError(f"job {record.job_id}, step {number}: {error}") from error
        if _compared(command) != _compared(entry.command):
            raise JournalError(
                f"job {record.job_id}, step {number} replays to {command}, "
                f"but the journal says {entry.command}"
            )
        state = replace(state, procedure=silent)
        again.append(replace(entry, command=command))
    return again


def _compared(command: Command) -> str:
    """What a replay must repeat to the last bit: all but the text for people, which a new version may reword."""
    if isinstance(command, Conclude):
        command = Conclude(outcome=replace(command.outcome, detail=""))
    return records.encode(command)


def _no_answer(_readings: object) -> NoReturn:
    raise IllegalEventError("the journal holds no answer of the law here")
