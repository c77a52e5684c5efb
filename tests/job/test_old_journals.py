"""Jobs that an earlier version recorded: they are read, and replay to the same commands."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from afdaemon.control.values import Conclude, Observed
from afdaemon.job.journal import Journal
from afdaemon.job.schema import SCHEMA_VERSION

DATA = Path(__file__).with_name("data") / "journal_v1.json"
"""Jobs of both procedures on simulated instruments: near and far, with a ladder, aborted, over their dose, ..."""
JOBS = [job["job"][0] for job in json.loads(DATA.read_text(encoding="utf-8"))["jobs"]]

SCHEMA_1 = """
CREATE TABLE jobs (
    job_id TEXT PRIMARY KEY, opened_utc TEXT NOT NULL, request TEXT NOT NULL, limits TEXT NOT NULL,
    rules TEXT NOT NULL, outcome TEXT, closed_utc TEXT, interrupted_utc TEXT
);
CREATE TABLE steps (
    job_id TEXT NOT NULL REFERENCES jobs (job_id), number INTEGER NOT NULL, event TEXT NOT NULL,
    command TEXT NOT NULL, proposal TEXT, PRIMARY KEY (job_id, number)
) WITHOUT ROWID;
PRAGMA user_version = 1;
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file as version 1 left it."""
    path = tmp_path_factory.mktemp("old") / "journal"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(SCHEMA_1)
        for one in json.loads(DATA.read_text(encoding="utf-8"))["jobs"]:
            connection.execute("INSERT INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?)", one["job"])
            connection.executemany(
                "INSERT INTO steps VALUES (?, ?, ?, ?, ?)",
                [(one["job"][0], *step) for step in one["steps"]],
            )
    return path


@pytest.mark.parametrize("job_id", JOBS)
def test_it_replays_to_the_same_commands(path: Path, job_id: str) -> None:
    with closing(Journal(path)) as journal:
        steps = journal.replay(job_id)
        record = journal.find(job_id)
    assert record is not None
    last = steps[-1].command
    assert isinstance(last, Conclude)
    assert record.outcome is not None
    assert last.outcome.reason is record.outcome.reason


def test_contrast_is_read_under_its_old_name(path: Path) -> None:
    with closing(Journal(path)) as journal:
        events = [step.event for job_id in JOBS for step in journal.steps(job_id)]
    readings = [event.reading for event in events if isinstance(event, Observed)]
    assert len(readings) > 80
    assert all(reading.frame.contrast > 0.0 for reading in readings)
    assert all(len(reading.frame.bands) == 18 for reading in readings)


def test_the_numbers_of_a_profile_are_read_under_their_old_names(path: Path) -> None:
    with closing(Journal(path)) as journal:
        kept = {record.rules.name for record in journal.latest(len(JOBS))}
        version = journal._store.connection.execute("PRAGMA user_version").fetchone()[0]
        assert journal.fault() is None
    assert kept == {"fast", "paper"}
    assert version == SCHEMA_VERSION
