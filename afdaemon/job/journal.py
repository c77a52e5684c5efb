"""The journal: every job's request, limits, events and commands, durable before anything moves.

A call that has returned has reached the disk (`afdaemon.job.store`). The loop appends an event and the command that
follows from it in one transaction, and only then carries out the command, so the journal knows of every move, and has
job, start WD and limits before the first. Calls block for some milliseconds and may come from any thread.

What happened anyway, such as a job's end, is never lost for a full disk: `keep` holds it in memory, where every method
sees it, until the next call or `flush` can write it. A new job is not opened before that.

Jobs stand in the order in which they began, whatever the clock said.
"""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from afdaemon.control.limits import Limits
from afdaemon.control.profile import Profile
from afdaemon.control.values import Conclude
from afdaemon.errors import ConfigError, JobNotFound, JournalError, LimitError
from afdaemon.job import records, store
from afdaemon.job.owed import Owed, owed_of
from afdaemon.job.records import JobRecord, JournalStep
from afdaemon.job.replay import replayed
from afdaemon.job.schema import check_version, prepare

LEAST_KEPT = 100
"""The last so many jobs are never removed: neither a clock that jumps ahead nor a small limit empties the journal."""
_REMOVED_AT_ONCE = 16
"""Jobs removed by one call of `prune`: some milliseconds."""
_FREED_PAGES_AT_ONCE = 256

_OPEN = (
    "INSERT INTO jobs (job_id, opened_utc, request, limits, rules, instrument)"
    " VALUES (:job_id, :opened_utc, :request, :limits, :rules, :instrument)"
)
_STEP = (
    "INSERT INTO steps (job_id, number, event, command, proposal)"
    " VALUES (:job_id, :number, :event, :command, :proposal)"
)
_CLOSE = "UPDATE jobs SET outcome = :outcome, closed_utc = :closed_utc WHERE job_id = :job_id"
_INTERRUPT = "UPDATE jobs SET interrupted_utc = :interrupted_utc WHERE job_id = :job_id"
_SETTLE = "INSERT OR IGNORE INTO settled VALUES (:job_id, :settled_utc, :how)"
_DISTRUST = "INSERT INTO faults (raised_utc, why) VALUES (:raised_utc, :why)"
_TRUST = "UPDATE faults SET reset_utc = :reset_utc WHERE reset_utc IS NULL"
_LAST_FAULT = "SELECT why FROM faults WHERE reset_utc IS NULL ORDER BY number DESC LIMIT 1"
_LATEST = (
    "SELECT * FROM jobs WHERE :before IS NULL OR rowid < (SELECT rowid FROM jobs WHERE job_id = :before)"
    " ORDER BY rowid DESC LIMIT :count"
)
_LAST_WITH_A_MOVE = (
    "SELECT * FROM jobs WHERE EXISTS (SELECT 1 FROM steps WHERE job_id = jobs.job_id"
    ' AND command LIKE \'{"type": "MoveWd"%\') ORDER BY rowid DESC LIMIT 1'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Write:
    """A statement and its values; where it is of a job, one of them is `job_id`."""

    sql: str
    values: Mapping[str, Any]


class Journal:
    """A journal file, created if it is missing, and held by this object alone; with `read_only`, only looked at.

    Every method but `keep`, `settle`, `distrust`, `trust` and `flush` raises JournalError if the disk fails. Raises
    BusyError if another daemon holds it.
    """

    def __init__(
        self, path: Path, *, utc: Callable[[], datetime] | None = None, read_only: bool = False
    ) -> None:
        self._utc = utc or (lambda: datetime.now(UTC))
        self._lock = threading.RLock()
        self._kept: list[_Write] = []
        self._problem: JournalError | None = None
        self._store = (
            store.looked_at(path) if read_only else store.held(path, lambda one: prepare(one, path))
        )
        if read_only:
            try:
                with self._reading() as connection:
                    check_version(connection, path)
            except JournalError:
                self.close()
                raise

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return self._store.path

    @property
    def kept(self) -> int:
        """How many entries wait in memory because they could not be written; not those that are being written."""
        return 0 if self._problem is None else len(self._kept)

    @property
    def problem(self) -> JournalError | None:
        """Why they wait."""
        return self._problem

    def open_job(
        self,
        job_id: str,
        *,
        request: Mapping[str, object],
        limits: Limits,
        rules: Profile,
        instrument: str | None = None,
    ) -> None:
        """Enter a job. Also raises JournalError if the id is known: no job is run twice."""
        values = {
            "job_id": job_id,
            "opened_utc": self._now(),
            "request": json.dumps(dict(request)),
            "limits": records.encode_limits(limits),
            "rules": records.encode_profile(rules),
            "instrument": instrument,
        }
        with self._writing() as connection:
            if connection.execute("SELECT 1 FROM jobs WHERE job_id = ?", (job_id,)).fetchone():
                raise JournalError(
                    f"job {job_id} is in the journal already",
                    remedy="give each job an id of its own",
                )
            connection.execute(_OPEN, values)

    def append(self, job_id: str, number: int, entry: JournalStep) -> None:
        """Enter a job's step `number` (from 0). A conclusion closes the job with its outcome."""
        with self._writing() as connection:
            for write in self._writes(job_id, number, entry):
                connection.execute(write.sql, write.values)

    def keep(self, job_id: str, number: int, entry: JournalStep) -> None:
        """The same for what has happened anyway: where it cannot be written now, it is kept until it can."""
        self._keep(*self._writes(job_id, number, entry))

    def settle(self, job_id: str, how: str) -> None:
        """Enter, now or later, that the restore which a job owed is owed no longer, and why."""
        values = {"job_id": job_id, "settled_utc": self._now(), "how": how}
        self._keep(_Write(sql=_SETTLE, values=values))

    def distrust(self, why: str) -> None:
        """Enter, now or later, that the instrument did not do what it was told."""
        self._keep(_Write(sql=_DISTRUST, values={"raised_utc": self._now(), "why": why}))

    def trust(self) -> None:
        """Enter, now or later, that somebody has looked after it since."""
        self._keep(_Write(sql=_TRUST, values={"reset_utc": self._now()}))

    def fault(self) -> str | None:
        """In what the instrument did not do what it was told, unless somebody has looked after it since."""
        with self._reading() as connection:
            row = connection.execute(_LAST_FAULT).fetchone()
        why = None if row is None else str(row["why"])
        for write in self._kept:
            if write.sql in (_DISTRUST, _TRUST):
                why = write.values.get("why")
        return why

    def flush(self) -> None:
        """Write what is kept, if that is possible; `problem` says why not."""
        if not self._kept:
            return
        try:
            with self._writing():
                pass
        except JournalError as error:
            self._problem = error

    def find(self, job_id: str) -> JobRecord | None:
        """The job with that id, or None."""
        with self._reading() as connection:
            row = connection.execute("SELECT * FROM jobs WHERE job_id = ?", (job_id,)).fetchone()
            return None if row is None else self._record(connection, row)

    def latest(self, count: int, before: str | None = None) -> list[JobRecord]:
        """The last `count` jobs, newest first; of those that began before the job `before`.

        Raises JobNotFound if there is no such job.
        """
        with self._reading() as connection:
            rows = connection.execute(_LATEST, {"count": count, "before": before}).fetchall()
            if not rows and before is not None and not _is_known(connection, before):
                raise JobNotFound(f"there is no job {before}")
            return [self._record(connection, row) for row in rows]

    def steps(self, job_id: str) -> list[JournalStep]:
        """A job's steps in order; none if the job is unknown."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT event, command, proposal FROM steps WHERE job_id = ? ORDER BY number",
                (job_id,),
            ).fetchall()
            waiting = [write.values for write in self._of(job_id, _STEP)]
        with _readable(job_id):
            return [records.decode_step(row) for row in (*map(dict, rows), *waiting)]

    def interrupted(self) -> list[JobRecord]:
        """For start-up: the jobs that a crash left without an outcome, oldest first.

        They are marked, so that the next start does not report them again.
        """
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT * FROM jobs WHERE outcome IS NULL AND interrupted_utc IS NULL "
                "ORDER BY rowid"
            ).fetchall()
            now = self._now()
            marks = [
                _Write(sql=_INTERRUPT, values={"job_id": row["job_id"], "interrupted_utc": now})
                for row in rows
            ]
            self._keep(*marks)
            return [self._record(connection, {**dict(row), "interrupted_utc": now}) for row in rows]

    def owed(self) -> Owed | None:
        """The restore that the last job with a move owes, unless it was settled."""
        with self._reading() as connection:
            row = connection.execute(_LAST_WITH_A_MOVE).fetchone()
            if row is None or self._is_settled(connection, row["job_id"]):
                return None
            record = self._record(connection, row)
        return owed_of(record, self.steps(record.job_id))

    def replay(self, job_id: str) -> list[JournalStep]:
        """The job's steps, every command recomputed from the events.

        Raises JournalError if the job is unknown or a command differs from the one in the journal.
        """
        record = self.find(job_id)
        if record is None:
            raise JournalError(f"job {job_id} is not in the journal", remedy="check the job's id")
        return replayed(record, self.steps(job_id))

    def prune(self, *, keep_days: float, most_bytes: int) -> int:
        """Remove a few of the oldest jobs if they are too old, or the journal too large; how many. Call it until 0.

        The last jobs are kept, and the last one that moved anything: it may owe a restore.
        """
        now, longest = self._utc(), timedelta(days=keep_days)
        with self._writing() as connection:
            is_large = _used_bytes(connection) > most_bytes
            last = connection.execute(_LAST_WITH_A_MOVE).fetchone()
            rows = connection.execute(
                "SELECT job_id, opened_utc FROM jobs WHERE rowid <= (SELECT max(rowid) FROM jobs) - ?"
                " AND job_id IS NOT ? ORDER BY rowid LIMIT ?",
                (LEAST_KEPT, last and last["job_id"], _REMOVED_AT_ONCE),
            ).fetchall()
            gone = [row["job_id"] for row in rows if is_large or now - _opened(row) > longest]
            _remove(connection, gone)
            return len(gone)

    def close(self) -> None:
        """Write what is kept if that is possible, and release the file. Safe to call twice."""
        with self._lock:
            self.flush()
            self._store.close()

    # Inside

    def _now(self) -> str:
        return self._utc().isoformat()

    def _writes(self, job_id: str, number: int, entry: JournalStep) -> list[_Write]:
        command = records.encode(entry.command)
        values = {
            "job_id": job_id,
            "number": number,
            "event": records.encode(entry.event),
            "command": command,
            "proposal": records.encode_proposal(entry.proposal),
        }
        writes = [_Write(sql=_STEP, values=values)]
        if isinstance(entry.command, Conclude):
            end = {"job_id": job_id, "outcome": command, "closed_utc": self._now()}
            writes.append(_Write(sql=_CLOSE, values=end))
        return writes

    def _keep(self, *writes: _Write) -> None:
        with self._lock:
            self._kept += writes
            self.flush()

    def _of(self, job_id: str, *statements: str) -> list[_Write]:
        """The kept writes of that job and of these kinds."""
        return [w for w in self._kept if w.sql in statements and w.values.get("job_id") == job_id]

    def _is_settled(self, connection: sqlite3.Connection, job_id: str) -> bool:
        found = connection.execute("SELECT 1 FROM settled WHERE job_id = ?", (job_id,)).fetchone()
        return found is not None or bool(self._of(job_id, _SETTLE))

    def _record(self, connection: sqlite3.Connection, row: Mapping[str, Any]) -> JobRecord:
        """A job as it stands, with what is kept of it."""
        job_id = row["job_id"]
        now = dict(row)
        for write in self._of(job_id, _CLOSE, _INTERRUPT):
            now |= write.values
        first = connection.execute(
            "SELECT event, command, proposal FROM steps WHERE job_id = ? AND number = 0", (job_id,)
        ).fetchone()
        with _readable(job_id):
            return records.decode_job(now, None if first is None else records.decode_step(first))

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._store.transaction() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that writes what is kept first."""
        with self._lock:
            with self._store.transaction() as connection:
                for write in self._kept:
                    connection.execute(write.sql, write.values)
                yield connection
            self._kept.clear()
            self._problem = None


@contextmanager
def _readable(job_id: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, LimitError, ConfigError) as error:
        raise JournalError(
            f"the journal's entry of job {job_id} cannot be read: {error!r}",
            remedy="move the journal file away with its -wal and -shm files",
        ) from error


def _is_known(connection: sqlite3.Connection, job_id: str) -> bool:
    row = connection.execute("SELECT 1 FROM jobs WHERE job_id = ?", (job_id,)).fetchone()
    return row is not None


def _used_bytes(connection: sqlite3.Connection) -> int:
    """What the jobs take; pages that are free are used again."""
    pages, free, page_bytes = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * page_bytes


def _opened(row: sqlite3.Row) -> datetime:
    return datetime.fromisoformat(row["opened_utc"])


def _remove(connection: sqlite3.Connection, job_ids: list[str]) -> None:
    for table in ("steps", "settled", "jobs"):
        connection.executemany(
            f"DELETE FROM {table} WHERE job_id = ?",  # noqa: S608 - the tables are ours
            [(job_id,) for job_id in job_ids],
        )
    if job_ids:  # a script: `execute` would stop after the first page
        connection.executescript(f"PRAGMA incremental_vacuum({_FREED_PAGES_AT_ONCE})")
