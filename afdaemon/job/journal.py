"""The journal: every job's request, limits, events and commands, durable before they are carried out.

One SQLite file in WAL mode with `synchronous=FULL`: a call that has returned has reached the disk.
The loop appends an event and the command that follows from it in one transaction, and only then
carries out the command, so the journal knows of every move, and has job, start WD and limits before the
first. Calls block for some milliseconds and may come from any thread.

`replay` runs a job's events through `afdaemon.control.machine.step` again. The step law's answers
are in the journal too, so a replay needs no network and must give the same commands to the last bit.
"""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from afdaemon.control.limits import Limits
from afdaemon.control.machine import IllegalEventError, step
from afdaemon.control.procedures import Laws, procedure_of
from afdaemon.control.profile import Profile
from afdaemon.control.state import new_job
from afdaemon.control.values import (
    Command,
    Conclude,
    Event,
    MoveWd,
    Outcome,
    Place,
    Proposal,
    Reason,
    Started,
)
from afdaemon.errors import ConfigError, JournalError, LimitError
from afdaemon.job import records

SCHEMA_VERSION = 3
"""Earlier versions are read too: see `afdaemon.job.records`."""
_ANSWER = [field.name for field in fields(Proposal)]
BUSY_TIMEOUT_S = 1.0
"""How long to wait for another process that holds the file, e.g. a backup."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    job_id TEXT PRIMARY KEY, opened_utc TEXT NOT NULL, request TEXT NOT NULL, limits TEXT NOT NULL,
    rules TEXT NOT NULL, outcome TEXT, closed_utc TEXT, interrupted_utc TEXT
);
CREATE TABLE IF NOT EXISTS steps (
    job_id TEXT NOT NULL REFERENCES jobs (job_id), number INTEGER NOT NULL, event TEXT NOT NULL,
    command TEXT NOT NULL, proposal TEXT, PRIMARY KEY (job_id, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settled (
    job_id TEXT PRIMARY KEY REFERENCES jobs (job_id), settled_utc TEXT NOT NULL, how TEXT NOT NULL
);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalStep:
    """What happened, what was to be done next, and the law's answer if it was asked."""

    event: Event
    command: Command
    proposal: Proposal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """A job as the journal knows it. `outcome` is None while it runs, or if it was interrupted."""

    job_id: str
    opened_utc: datetime
    request: Mapping[str, Any]
    limits: Limits
    rules: Profile
    start_wd_um: float | None
    outcome: Outcome | None
    interrupted: bool
    start_magnification: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """A restore that a job still owes: it ended, or was interrupted, away from its start.

    `left` are the places where it may have left the instrument: a command may have been carried out or not.
    """

    job_id: str
    opened_utc: datetime
    start: Place
    left: tuple[Place, ...]
    interrupted: bool


class Journal:
    """A journal file, created if it is missing. Every method raises JournalError if the disk fails."""

    def __init__(self, path: Path, *, utc: Callable[[], datetime] | None = None) -> None:
        self._path = path
        self._utc = utc or (lambda: datetime.now(UTC))
        self._lock = threading.Lock()
        with self._errors_named():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path,
                timeout=BUSY_TIMEOUT_S,
                isolation_level="IMMEDIATE",
                check_same_thread=False,
            )
        try:
            with self._errors_named():
                self._prepare()
        except JournalError:
            self._connection.close()
            raise

    def open_job(
        self,
        job_id: str,
        *,
        request: Mapping[str, object],
        limits: Limits,
        rules: Profile,
    ) -> None:
        """Enter a job. Also raises JournalError if the id is known: no job is run twice."""
        row = (
            job_id,
            self._utc().isoformat(),
            json.dumps(dict(request)),
            records.encode_limits(limits),
            records.encode_profile(rules),
        )
        with self._transaction() as connection:
            if connection.execute("SELECT 1 FROM jobs WHERE job_id = ?", (job_id,)).fetchone():
                raise JournalError(
                    f"job {job_id} is in the journal already",
                    remedy="give each job an id of its own",
                )
            connection.execute(
                "INSERT INTO jobs (job_id, opened_utc, request, limits, rules) "
                "VALUES (?, ?, ?, ?, ?)",
                row,
            )

    def append(self, job_id: str, number: int, entry: JournalStep) -> None:
        """Enter a job's step `number` (from 0). A conclusion closes the job with its outcome."""
        proposal = None if entry.proposal is None else json.dumps(astuple(entry.proposal))
        command = records.encode(entry.command)
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO steps (job_id, number, event, command, proposal) "
                "VALUES (?, ?, ?, ?, ?)",
                (job_id, number, records.encode(entry.event), command, proposal),
            )
            if isinstance(entry.command, Conclude):
                connection.execute(
                    "UPDATE jobs SET outcome = ?, closed_utc = ? WHERE job_id = ?",
                    (command, self._utc().isoformat(), job_id),
                )

    def find(self, job_id: str) -> JobRecord | None:
        """The job with that id, or None."""
        with self._transaction() as connection:
            row = connection.execute("SELECT * FROM jobs WHERE job_id = ?", (job_id,)).fetchone()
            return None if row is None else _read(connection, row)

    def latest(self, count: int) -> list[JobRecord]:
        """The last `count` jobs, newest first."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT * FROM jobs ORDER BY rowid DESC LIMIT ?", (count,)
            ).fetchall()
            return [_read(connection, row) for row in rows]

    def steps(self, job_id: str) -> list[JournalStep]:
        """A job's steps in order; none if the job is unknown."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT event, command, proposal FROM steps WHERE job_id = ? ORDER BY number",
                (job_id,),
            ).fetchall()
        with _readable(job_id):
            return [_step(row) for row in rows]

    def interrupted(self) -> list[JobRecord]:
        """For start-up: the jobs that a crash left without an outcome, oldest first.

        They are marked, so that the next start does not report them again.
        """
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT * FROM jobs WHERE outcome IS NULL AND interrupted_utc IS NULL "
                "ORDER BY rowid"
            ).fetchall()
            connection.execute(
                "UPDATE jobs SET interrupted_utc = ? "
                "WHERE outcome IS NULL AND interrupted_utc IS NULL",
                (self._utc().isoformat(),),
            )
            return [replace(_read(connection, row), interrupted=True) for row in rows]

    def owed(self) -> Owed | None:
        """The restore that the last job with a move owes, unless it was settled."""
        with self._transaction() as connection:
            row = connection.execute(
                "SELECT jobs.*, settled.how FROM jobs LEFT JOIN settled USING (job_id) WHERE EXISTS "
                '(SELECT 1 FROM steps WHERE job_id = jobs.job_id AND command LIKE \'{"type": "MoveWd"%\') '
                "ORDER BY jobs.rowid DESC LIMIT 1"
            ).fetchone()
            if row is None or row["how"] is not None:
                return None
            record = _read(connection, row)
        return _owed(record, self.steps(record.job_id))

    def settle(self, job_id: str, how: str) -> None:
        """Enter that the restore which a job owed is owed no longer, and why."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO settled VALUES (?, ?, ?)",
                (job_id, self._utc().isoformat(), how),
            )

    def replay(self, job_id: str) -> list[JournalStep]:
        """The job's steps, every command recomputed from the events.

        Raises JournalError if the job is unknown or a command differs from the one in the journal.
        """
        record = self.find(job_id)
        if record is None:
            raise JournalError(f"job {job_id} is not in the journal", remedy="check the job's id")
        return _replay(record, self.steps(job_id))

    def close(self) -> None:
        """Release the file. Safe to call twice."""
        with self._lock:
            self._connection.close()

    def _prepare(self) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise JournalError(
                f"{self._path} was written by another version (schema {version}, "
                f"this one knows {SCHEMA_VERSION})",
                remedy="move the file away, or run the version that wrote it",
            )
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.executescript(_SCHEMA)
        self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._errors_named(), self._connection:
            yield self._connection

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise JournalError(f"the journal {self._path} fails: {error}") from error


@contextmanager
def _readable(job_id: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, LimitError, ConfigError) as error:
        raise JournalError(
            f"the journal's entry of job {job_id} cannot be read: {error!r}",
            remedy="move the journal file away",
        ) from error


def _read(connection: sqlite3.Connection, row: sqlite3.Row) -> JobRecord:
    with _readable(row["job_id"]):
        return _record(connection, row)


def _record(connection: sqlite3.Connection, row: sqlite3.Row) -> JobRecord:
    first = connection.execute(
        "SELECT event FROM steps WHERE job_id = ? AND number = 0", (row["job_id"],)
    ).fetchone()
    event = records.decode_event(first["event"]) if first is not None else None
    started = event if isinstance(event, Started) else None
    concluded = records.decode_command(row["outcome"]) if row["outcome"] is not None else None
    return JobRecord(
        job_id=row["job_id"],
        opened_utc=datetime.fromisoformat(row["opened_utc"]),
        request=json.loads(row["request"]),
        limits=records.decode_limits(row["limits"]),
        rules=records.decode_profile(row["rules"]),
        start_wd_um=started.wd_um if started is not None else None,
        outcome=concluded.outcome if isinstance(concluded, Conclude) else None,
        interrupted=row["interrupted_utc"] is not None,
        start_magnification=started.magnification if started is not None else None,
    )


def _owed(record: JobRecord, steps: list[JournalStep]) -> Owed | None:
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
    if outcome is not None and outcome.wd_um is not None:
        left.append(Place(wd_um=outcome.wd_um, magnification=outcome.magnification))
    return Owed(
        job_id=record.job_id,
        opened_utc=record.opened_utc,
        start=start,
        left=tuple(left),
        interrupted=record.interrupted,
    )


def _step(row: sqlite3.Row) -> JournalStep:
    return JournalStep(
        event=records.decode_event(row["event"]),
        command=records.decode_command(row["command"]),
        proposal=None if row["proposal"] is None else _proposal(json.loads(row["proposal"])),
    )


def _proposal(kept: float | list[float | None]) -> Proposal:
    """The law's answer; older journals hold less of it, a step alone or a step and one probability."""
    numbers = dict(zip(_ANSWER, kept if isinstance(kept, list) else [kept], strict=False))
    return Proposal(**{name: number for name, number in numbers.items() if number is not None})


def _replay(record: JobRecord, steps: list[JournalStep]) -> list[JournalStep]:
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
