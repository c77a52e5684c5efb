"""The restore that an earlier job still owes: told, carried out when somebody asks for it, or declined.

By itself it is carried out only where the settings say so, and only if the same instrument stands where that job left
it: then nobody has moved it since.
"""

import asyncio
from collections.abc import Sequence
from itertools import chain, pairwise

import structlog

from afdaemon.api import schemas as s
from afdaemon.control.values import Place
from afdaemon.drivers.base import MicroscopeState, same_magnification
from afdaemon.drivers.errors import DriverError
from afdaemon.errors import JournalError, LimitError
from afdaemon.job.journal import Journal
from afdaemon.job.owed import Owed
from afdaemon.service.instrument import Instrument

_DECLINE = "leave it with `afctl recover --decline`"

log = structlog.get_logger(__name__)


class Recovery:
    """Knows what is owed by the `journal`. The caller holds the `instrument` where something may move."""

    def __init__(self, journal: Journal, instrument: Instrument) -> None:
        self._journal = journal
        self._instrument = instrument
        self._owed: Owed | None = None
        self.interrupted: str | None = None

    async def open(self) -> None:
        """Learn what a crash has left behind. Raises `JournalError`."""
        for record in await asyncio.to_thread(self._journal.interrupted):
            self.interrupted = record.job_id
            log.warning(
                "job_interrupted",
                job=record.job_id,
                start_wd_um=record.start_wd_um,
                start_magnification=record.start_magnification,
                opened=record.opened_utc.isoformat(),
            )
        self._owed = await asyncio.to_thread(self._journal.owed)

    async def look(self) -> None:
        """Learn from the journal what is owed after a job; if it cannot be read, what was owed before still is."""
        try:
            self._owed = await asyncio.to_thread(self._journal.owed)
        except JournalError as error:
            log.error("journal_unreadable", detail=str(error), remedy=error.remedy)  # noqa: TRY400 - no bug

    @property
    def owed(self) -> s.Owed | None:
        """What is owed, for the status."""
        owed = self._owed
        if owed is None:
            return None
        how = "was interrupted" if owed.interrupted else "ended"
        of = f" of {owed.instrument}" if self._is_another(owed) else ""
        return s.Owed(
            job=owed.job_id,
            since_utc=owed.opened_utc.isoformat(),
            start_wd_um=owed.start.wd_um,
            start_magnification=owed.start.magnification,
            detail=f"job {owed.job_id} {how} away from its start{of}, {_described(owed.start)}",
            remedy=f"bring it back with `afctl recover`, or {_DECLINE}",
        )

    async def settle(self, how: str) -> s.Recovered:
        """Nothing is owed any longer, and nothing has moved; `how` says why."""
        owed = self._owed
        if owed is None:
            return s.Recovered(detail="nothing is owed")
        await asyncio.to_thread(self._journal.settle, owed.job_id, how)
        self._owed = None
        log.info("restore_settled", job=owed.job_id, how=how)
        return s.Recovered(job=owed.job_id, detail=how)

    async def carry_out(self) -> s.Recovered:
        """Bring the instrument back to where the job began, unless somebody has moved it since.

        Raises `DriverError` or `LimitError`; then it is still owed.
        """
        owed = self._owed
        if owed is None or owed.start.wd_um is None:
            return await self.settle("nothing is owed")
        now = await self._instrument.at_rest()
        if not self._is_left_at(now, owed, owed.left):
            return await self.settle(
                f"somebody has moved the instrument since, to {now.wd_um:.1f} um; it is left there"
            )
        is_other = not _is_same(now.magnification, owed.start.magnification)
        try:
            there = await self._instrument.move(
                owed.start.wd_um, owed.start.magnification if is_other else None
            )
        except LimitError as error:
            remedy = f"allow that WD again (limits.site_min_um, limits.site_max_um), or {_DECLINE}"
            raise LimitError(f"job {owed.job_id} began there: {error}", remedy=remedy) from error
        told = await self.settle(f"brought back to {_described(owed.start)}")
        return told.model_copy(
            update={
                "restored": True,
                "wd_um": there.wd_um,
                "magnification": there.magnification,
            }
        )

    async def by_itself(self) -> None:
        """Carry it out unasked, if nobody can have moved the instrument since; else it is still owed."""
        owed = self._owed
        if owed is None or self._instrument.fault is not None:
            return
        try:
            why_not = await self._why_not(owed)
            if not why_not:
                await self.carry_out()
        except (DriverError, LimitError) as error:
            why_not = str(error)
        if why_not:
            log.warning("restore_still_owed", job=owed.job_id, detail=why_not)

    async def _why_not(self, owed: Owed) -> str:
        if owed.instrument is None or self._is_another(owed):
            return f"that was on {owed.instrument or 'another instrument'}, this is {self._instrument.name}"
        now = await self._instrument.at_rest()
        if not now.is_reported:
            return "the instrument does not say where it stands"
        if not self._is_left_at(now, owed, owed.last):
            return f"it stands at {now.wd_um:.1f} um, where the job did not leave it"
        return ""

    def _is_another(self, owed: Owed) -> bool:
        return owed.instrument not in (None, self._instrument.name)

    def _is_left_at(self, now: MicroscopeState, owed: Owed, places: Sequence[Place]) -> bool:
        """Whether it stands at one of these places, or on the way from one to the next, where a crash may have left it.

        A move may also have set the WD and not yet the magnification, or the other way round.
        """
        step_um = (owed.request.get("motion") or {}).get("max_step_um")
        known_um = [one.wd_um for one in places if one.wd_um is not None]
        ways = (self._instrument.way(*ends, step_um) for ends in pairwise(known_um))
        stops_um = {*known_um[:1], *chain.from_iterable(ways)}
        return any(self._instrument.is_same_wd(now.wd_um, stop_um) for stop_um in stops_um) and any(
            _is_same(now.magnification, one.magnification) for one in places
        )


def _is_same(one: float | None, other: float | None) -> bool:
    return one is None or other is None or same_magnification(one, other)


def _described(place: Place) -> str:
    at = "" if place.magnification is None else f" at {place.magnification:g}x"
    return f"{place.wd_um:.1f} um{at}" if place.wd_um is not None else "an unknown WD"
