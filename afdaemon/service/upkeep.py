"""The journal while nobody waits for it: what could not be written is written, and old jobs are removed."""

import asyncio

import structlog

from afdaemon.api import schemas as s
from afdaemon.clock import Clock
from afdaemon.errors import JournalError
from afdaemon.job.journal import Journal
from afdaemon.settings import JournalSettings

_RETRY_S = 1.0
"""Between two attempts to write to a disk that was full: each may wait for the file as long as that."""
_MIB = 1 << 20

log = structlog.get_logger(__name__)


class Upkeep:
    """Looks after a `journal` in small steps, each of some milliseconds in a thread."""

    def __init__(self, journal: Journal, settings: JournalSettings, clock: Clock) -> None:
        self._journal = journal
        self._settings = settings
        self._clock = clock
        self._told = 0
        self._next_s = 0.0
        self._may_be_full = True
        self._removed = 0

    @property
    def status(self) -> s.JournalStatus:
        """Where the journal is, and what could not be written to it."""
        problem = self._journal.problem
        return s.JournalStatus(
            path=str(self._journal.path),
            kept=self._journal.kept,
            detail="" if problem is None else str(problem),
            remedy="" if problem is None else problem.remedy,
        )

    def wake(self) -> None:
        """Note that a job has ended: there may now be too many."""
        self._may_be_full = True

    async def step(self, *, idle: bool) -> bool:
        """Do a little, old jobs only while `idle`; whether the status has changed."""
        if self._journal.kept and self._clock.now_s() >= self._next_s:
            await asyncio.to_thread(self._journal.flush)
            self._next_s = self._clock.now_s() + _RETRY_S
        elif idle and self._may_be_full:
            await self._prune()
        return self._tell()

    async def finish(self) -> None:
        """Write what is left, or say what is lost with the process."""
        await asyncio.to_thread(self._journal.flush)
        if self._journal.kept:
            now = self.status
            log.error("journal_incomplete", lost=now.kept, detail=now.detail, remedy=now.remedy)

    async def _prune(self) -> None:
        most_bytes = int(self._settings.most_mib * _MIB)
        try:
            gone = await asyncio.to_thread(
                self._journal.prune, keep_days=self._settings.keep_days, most_bytes=most_bytes
            )
        except JournalError as error:
            log.warning("jobs_not_removed", detail=str(error), remedy=error.remedy)
            gone = 0
        self._removed += gone
        self._may_be_full = gone > 0
        if self._removed and not gone:
            log.info("old_jobs_removed", count=self._removed)
            self._removed = 0

    def _tell(self) -> bool:
        kept = self._journal.kept
        has_changed = (kept > 0) is not (self._told > 0)
        if has_changed and kept:
            now = self.status
            log.warning("journal_unwritable", kept=kept, detail=now.detail, remedy=now.remedy)
        elif has_changed:
            log.info("journal_written", entries=self._told)
        self._told = kept
        return has_changed
