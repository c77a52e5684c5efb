"""The tables of the journal's file, and how a file of an earlier version gets what it lacks."""

import sqlite3
from pathlib import Path

from afdaemon.errors import JournalError

SCHEMA_VERSION = 5
"""Earlier versions are read too: see `afdaemon.job.records`."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    job_id TEXT PRIMARY KEY, opened_utc TEXT NOT NULL, request TEXT NOT NULL, limits TEXT NOT NULL,
    rules TEXT NOT NULL, outcome TEXT, closed_utc TEXT, interrupted_utc TEXT, instrument TEXT
);
CREATE TABLE IF NOT EXISTS steps (
    job_id TEXT NOT NULL REFERENCES jobs (job_id), number INTEGER NOT NULL, event TEXT NOT NULL,
    command TEXT NOT NULL, proposal TEXT, PRIMARY KEY (job_id, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settled (
    job_id TEXT PRIMARY KEY REFERENCES jobs (job_id), settled_utc TEXT NOT NULL, how TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS faults (
    number INTEGER PRIMARY KEY, raised_utc TEXT NOT NULL, why TEXT NOT NULL, reset_utc TEXT
);
"""
_TABLES = {"jobs", "steps", "settled", "faults"}


def prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make what is missing in a file of this or an earlier version; nothing is written to one that lacks nothing."""
    version = check_version(connection, path)
    if version == SCHEMA_VERSION:
        return
    tables = {row["name"] for row in connection.execute("SELECT name FROM sqlite_master")}
    if version == 0 and not {name for name in tables if "autoindex" not in name} <= _TABLES:
        raise JournalError(
            f"{path} is the database of another program",
            remedy="set journal.path to a file of its own",
        )
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.executescript(_SCHEMA)
    columns = {row["name"] for row in connection.execute("PRAGMA table_info(jobs)")}
    if "instrument" not in columns:
        connection.execute("ALTER TABLE jobs ADD COLUMN instrument TEXT")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def check_version(connection: sqlite3.Connection, path: Path) -> int:
    """The schema's version; 0 in an empty file. Raises JournalError for one that is not known yet."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > SCHEMA_VERSION:
        raise JournalError(
            f"the journal {path} was written by another version (schema {version}, "
            f"this one knows {SCHEMA_VERSION})",
            remedy="run the version that wrote it, or set journal.path to another file",
        )
    return version
