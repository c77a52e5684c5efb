"""What tests of jobs share."""

from collections.abc import Callable

import pytest

from afdaemon.errors import JournalError
from afdaemon.job.journal import Journal, JournalStep

FailFrom = Callable[[Journal, int], None]
"""From that entry on nothing can be written any more."""


@pytest.fixture
def fail_from(monkeypatch: pytest.MonkeyPatch) -> FailFrom:
    """Fills a journal's disk."""

    def fill(journal: Journal, fails_at: int) -> None:
        append = journal.append

        def failing(job_id: str, number: int, entry: JournalStep) -> None:
            if number >= fails_at:
                raise JournalError("the disk is full")
            append(job_id, number, entry)

        monkeypatch.setattr(journal, "append", failing)

    return fill
