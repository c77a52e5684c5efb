"""The job's hands: carry out a command on the microscope, and answer with what happened, whatever that is."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

from afdaemon.control.values import (
    Event,
    Failed,
    Moved,
    MoveWd,
    Observed,
    Place,
    Reason,
    Refused,
    Started,
)
from afdaemon.drivers.base import Frame
from afdaemon.drivers.errors import CommandRefused, DriverError, LinkLost, LinkTimeout, NotConnected
from afdaemon.errors import LimitError
from afdaemon.job.bench import Bench, Deadlines
from afdaemon.job.lens import Misplaced, TakenOver
from afdaemon.models.errors import ModelError
from afdaemon.models.optics import pixel_nm

_OWN_SHARE = 0.9
"""Of a deadline is spent on waiting for the lens: its own words then say why, and not only that it took too long."""

Do = Callable[[], Awaitable[Event]]


class Hands:
    """Does things on `bench`. Every failure of instrument, frames or limits is an event; `moves` are counted."""

    def __init__(self, bench: Bench, deadlines: Deadlines) -> None:
        self._bench = bench
        self._lens = bench.lens
        self._deadlines = deadlines
        self.moves = 0

    async def start(self, request: Started) -> Event:
        """The `request` with where the instrument stands, once its lens is at rest."""
        limit_s = self._deadlines.move_s

        async def look() -> Event:
            now = await self._lens.at_rest(_OWN_SHARE * limit_s)
            return replace(request, wd_um=now.wd_um, magnification=now.magnification)

        return await self._within("asking for the working distance", limit_s, look)

    async def move(self, move: MoveWd) -> Event:
        """Move to where a frame will be taken: it shows whether the lens got there."""
        what = f"the move to {move.wd_um:g} um"
        return await self._within(what, self._deadlines.move_s, lambda: self._move(move))

    async def adjust(self, move: MoveWd) -> Event:
        """Command the last step, after which no frame is taken."""
        what = f"the last step to {move.wd_um:g} um"
        return await self._looked_after(
            await self._within(what, self._deadlines.move_s, lambda: self._move(move))
        )

    async def arrive(self, moved: Moved) -> Event:
        """That it `moved`, once it has been read back there."""
        limit_s = self._deadlines.move_s

        async def arrive() -> Event:
            await self._lens.arrive(moved.wd_um, moved.magnification, _OWN_SHARE * limit_s)
            return moved

        return await self._looked_after(
            await self._within(f"the last step to {moved.wd_um:g} um", limit_s, arrive)
        )

    async def restore(self, move: MoveWd) -> Event:
        """Bring the instrument home, over a link that may have to come up again first; not against another's will."""
        limit_s = self._deadlines.restore_s

        async def bring() -> Event:
            self.moves += 1
            await self._lens.bring(move.wd_um, move.magnification, _OWN_SHARE * limit_s)
            return Moved(wd_um=move.wd_um, magnification=move.magnification)

        return await self._looked_after(
            await self._within(f"the move back to {move.wd_um:g} um", limit_s, bring)
        )

    async def read(self, elapsed_s: Callable[[], float]) -> Event:
        """A scored frame; `elapsed_s` tells how long the job has run."""
        return await self._within(
            "a scored frame", self._deadlines.read_s, lambda: self._read(elapsed_s)
        )

    async def _move(self, move: MoveWd) -> Event:
        """Move. An instrument that cannot show the magnification refuses before anything moves."""
        self.moves += 1
        try:
            await self._lens.go(move.wd_um, move.magnification)
        except CommandRefused as error:
            if move.magnification is None:
                raise
            return Refused(detail=str(error))
        return Moved(wd_um=move.wd_um, magnification=move.magnification)

    async def _read(self, elapsed_s: Callable[[], float]) -> Event:
        frame = await self._grab()
        at_s = elapsed_s()
        scoring = asyncio.ensure_future(self._bench.score(frame))
        try:
            await self._lens.require_ours()  # costs no time: the frame is being scored
            reading = await scoring
        finally:
            scoring.cancel()
            await asyncio.wait([scoring])
        beam = self._bench.beam
        dose_e_nm2 = (
            beam.dose_e_nm2(pixel_nm(frame.magnification, frame.width_px))
            if beam is not None
            else 0.0
        )
        return Observed(reading=replace(reading, dose_e_nm2=dose_e_nm2, at_s=at_s))

    async def _grab(self) -> Frame:
        try:
            frame = await self._bench.microscope.grab()
            self._lens.seen(frame.wd_um, frame.magnification)
        except DriverError:
            if self._bench.microscope.connected:
                await self._lens.require_ours()
            raise
        return frame

    async def _looked_after(self, event: Event) -> Event:
        """A failure, with the place where the instrument stands now."""
        if not isinstance(event, Failed) or event.found is not None:
            return event
        found = Place()
        with suppress(DriverError, TimeoutError):
            async with asyncio.timeout(self._deadlines.move_s):
                now = await self._bench.microscope.read_state()
                found = Place(wd_um=now.wd_um, magnification=now.magnification)
        return replace(event, found=found)

    async def _within(self, what: str, limit_s: float, do: Do) -> Event:
        """Do it within `limit_s`, again after an outage; whatever goes wrong with the instrument is an event too."""
        try:
            return await self._over_outages(limit_s, do)
        except TimeoutError:
            down = self._bench.microscope.why_down
            why = "" if down is None else f": {down}"
            return Failed(
                reason=Reason.DEVICE, detail=f"{what} took longer than {limit_s:g} s{why}"
            )
        except LimitError as error:
            return Failed(reason=Reason.OUT_OF_RANGE, detail=str(error))
        except Misplaced as error:
            reason = Reason.TAKEN_OVER if isinstance(error, TakenOver) else Reason.DEVICE
            place = Place(wd_um=error.seen.wd_um, magnification=error.seen.magnification)
            return Failed(reason=reason, detail=str(error), found=place)
        except (DriverError, ModelError) as error:
            return Failed(reason=Reason.DEVICE, detail=str(error))

    async def _over_outages(self, limit_s: float, do: Do) -> Event:
        clock, until_s = self._bench.clock, math.inf
        while True:
            try:
                async with asyncio.timeout(limit_s):
                    return await do()
            except (LinkLost, NotConnected) as error:
                until_s = min(until_s, clock.now_s() + self._deadlines.outage_s)
                await self._wait_for_link(error, until_s - clock.now_s())
                async with asyncio.timeout(limit_s):
                    await self._lens.require_ours()
                    await self._lens.repeat()

    async def _wait_for_link(self, error: DriverError, left_s: float) -> None:
        """Return when a broken link is up again; else raise `error`."""
        microscope = self._bench.microscope
        if microscope.connected or left_s <= 0.0:
            raise error
        try:
            await microscope.wait_connected(left_s)
        except LinkTimeout:
            raise error from None
