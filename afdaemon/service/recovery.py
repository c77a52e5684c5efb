"""The restore that an earlier job still owes: told, carried out when somebody asks for it, or declined."""

import asyncio
import math

import structlog

from afdaemon.api import schemas as s
from afdaemon.control.values import Place
from afdaemon.job.journal import Journal
from afdaemon.job.owed import Owed
from afdaemon.service.instrument import Instrument, Seen

_SAME_MAGNIFICATION = 0.01

log = structlog.get_logger(__name__)


class Recovery:
    """Knows what is owed by the `journal`. The caller holds the `instrument` where something may move."""

    def __init__(self, journal: Journal, instrument: Instrument) -> None:
        self._journal = journal
        self._instrument = instrument
        self._owed: Owed | None = None

    async def look(self) -> None:
        """Learn from the journal what is owed. Raises `JournalError`."""
        self._owed = await asyncio.to_thread(self._journal.owed)

    @property
    def owed(self) -> s.Owed | None:
        """What is owed, for the status."""
        owed = self._owed
        if owed is None:
            return None
        how = "was interrupted" if owed.interrupted else "ended"
        return s.Owed(
            job=owed.job_id,
            since_utc=owed.opened_utc.isoformat(),
            start_wd_um=owed.start.wd_um,
            start_magnification=owed.start.magnification,
            detail=f"job {owed.job_id} {how} away from its start, {_described(owed.start)}",
            remedy="bring it back with `afctl recover`, or leave it with `afctl recover --decline`",
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
        now = await self._instrument.see()
        if not any(self._is_at(now, place) for place in owed.left):
            return await self.settle(
                f"somebody has moved the instrument since, to {now.wd_um:.1f} um; it is left there"
            )
        is_other = not _is_same(now.magnification, owed.start.magnification)
        there = await self._instrument.move(
            owed.start.wd_um, owed.start.magnification if is_other else None
        )
        told = await self.settle(f"brought back to {_described(owed.start)}")
        return told.model_copy(
            update={
                "restored": True,
                "wd_um": there.wd_um,
                "magnification": there.magnification,
            }
        )

    def _is_at(self, now: Seen, place: Place) -> bool:
        is_there = place.wd_um is not None and self._instrument.is_same_wd(now.wd_um, place.wd_um)
        return is_there and _is_same(now.magnification, place.magnification)


def _is_same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return True
    return math.isclose(one, other, rel_tol=_SAME_MAGNIFICATION)


def _described(place: Place) -> str:
    at = "" if place.magnification is None else f" at {place.magnification:g}x"
    return f"{place.wd_um:.1f} um{at}" if place.wd_um is not None else "an unknown WD"
