"""What tests of jobs share."""

import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest

from afdaemon.job.journal import Journal

FailFrom = Callable[[Journal, int], None]
"""From that entry of a job on nothing can be written any more."""
Free = Callable[[Journal], None]
"""Everything can be written again."""


@pytest.fixture
def fail_from() -> FailFrom:
    """Fills a journal's disk: SQLite itself refuses the entry, as it would for want of space."""

    def fill(journal: Journal, fails_at: int) -> None:
        _tell(
            journal,
            f"CREATE TRIGGER full BEFORE INSERT ON steps WHEN NEW.number >= {fails_at}"
            " BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END",
        )

    return fill


@pytest.fixture
def free() -> Free:
    """Empties the disk again."""
    return lambda journal: _tell(journal, "DROP TRIGGER full")


def _tell(journal: Journal, sql: str) -> None:
    with closing(sqlite3.connect(journal.path)) as connection, connection:
        connection.execute(sql)
