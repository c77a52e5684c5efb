"""The lens of a microscope: every move passes the guard, and where it ends is read back.

An acknowledged command may have been ignored, overshot, or carried out later. So a place counts as reached only when
the instrument itself reports it, within the driver's `wd_tolerance_um`.
"""

from contextlib import suppress

from afdaemon.clock import Clock
from afdaemon.control.limits import MotionGuard
from afdaemon.control.values import Place
from afdaemon.drivers.base import Microscope, MicroscopeState, same_magnification
from afdaemon.drivers.errors import CommandRefused, DriverError

_POLL_S = 0.15
"""Between two looks at a lens that moves."""
_STILL_SHARE = 0.25
"""A lens that moves by less than this share of the tolerance between two looks stands still: a lens that settles with a
time constant of up to 0.5 s is then within the tolerance of its end."""
_RETRY_S = 0.2
"""Before a command home is repeated."""
_LOOK_AGAIN_S = (0.03, 0.07, 0.15, 0.35)
"""Before each further look at a lens that seems to be elsewhere. All must find it there: one read-back may be wrong.
The first comes soon, since the way home waits for it."""
_STEP_S = 3.0
"""For one step of a way that is made in several."""


class Misplaced(DriverError):
    """The instrument reports another place than the commanded one, or its lens still moves.

    `seen` is what it reports.
    """

    def __init__(self, message: str, *, seen: MicroscopeState, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.seen = seen


class TakenOver(Misplaced):
    """Somebody else has moved the instrument; it is left as it is."""

    remedy = "start again when nobody else uses the microscope"


class Standing:
    """What is known of the lens, from job to job; None where it is not known.

    `wd_um` is where our last command left it, and `magnification` what the instrument shows, both as read back or seen
    in a frame since; `commanded_um` is that command. `confirmed_link` is the number of the connection on which frames
    are known to follow the lens.
    """

    def __init__(self) -> None:
        self.wd_um: float | None = None
        self.magnification: float | None = None
        self.commanded_um: float | None = None
        self.confirmed_link: int | None = None


class Lens:
    """The lens of `microscope`, which the caller holds.

    `standing` is remembered from job to job. With an `approach_um`, moves to shorter WDs first overshoot by that much.
    """

    def __init__(
        self,
        microscope: Microscope,
        guard: MotionGuard,
        clock: Clock,
        *,
        standing: Standing,
        approach_um: float = 0.0,
    ) -> None:
        self._microscope = microscope
        self._guard = guard
        self._clock = clock
        self._standing = standing
        self._approach_um = approach_um

    @property
    def place(self) -> Place | None:
        """Where it is known to stand."""
        wd_um, magnification = self._standing.wd_um, self._standing.magnification
        if wd_um is None or magnification is None:
            return None
        return Place(wd_um=wd_um, magnification=magnification)

    async def at_rest(self, within_s: float) -> MicroscopeState:
        """Where it stands, once it stands still.

        A read-back within the tolerance of where our last command left it is that place: else each job's start would
        differ a little from the last one's. Raises `Misplaced` if it still moves after `within_s`, or `DriverError`.
        """
        until_s = self._clock.now_s() + within_s
        now = await self._microscope.read_state()
        known_um = self._standing.wd_um
        if known_um is not None and self._is_at(now, known_um):
            self.seen(known_um, now.magnification)
            return MicroscopeState(wd_um=known_um, magnification=now.magnification)
        while True:
            await self._clock.sleep(_POLL_S)
            before, now = now, await self._microscope.read_state()
            if self._is_still(before, now):
                self._standing.commanded_um = self._standing.wd_um = None  # somebody has moved it
                self.seen(now.wd_um, now.magnification)
                return now
            if self._clock.now_s() >= until_s:
                raise Misplaced(
                    f"the lens still moves after {within_s:g} s: it went from {before.wd_um:.1f} to"
                    f" {now.wd_um:.1f} um in {_POLL_S:g} s",
                    remedy="wait until it stands still",
                    seen=now,
                )

    async def go(
        self, wd_um: float, magnification: float | None = None, *, is_homeward: bool = False
    ) -> None:
        """Command an absolute WD (um), and a magnification; returns when it is acknowledged.

        A way longer than the guard's longest step is made in several, each read back. Raises `LimitError` before that
        step is sent, `CommandRefused` if nothing has moved, `Misplaced`, another `DriverError`.
        """
        self._guard.check(wd_um)
        from_um, has_moved = await self._whence_um(), False
        for stop_um in way(self._guard, from_um, wd_um, self._approach_um):
            if has_moved and self._guard.motion.step_um is not None:
                await self.arrive(from_um, None, _STEP_S)
            now_s = self._clock.now_s()
            self._guard.admit(stop_um, from_um=from_um, now_s=now_s, is_homeward=is_homeward)
            self._standing.wd_um = None
            if magnification is not None:
                self._standing.magnification = None
            try:
                await self._microscope.move_wd(stop_um, magnification)
            except CommandRefused as error:
                if has_moved:
                    raise DriverError(str(error)) from error
                raise
            except DriverError:
                self._standing.commanded_um = None  # it may have been carried out, or not
                raise
            has_moved = True
            self._standing.commanded_um = from_um = stop_um

    async def repeat(self) -> None:
        """Command once more what was commanded last, if anything: a new link knows nothing of it."""
        if self._standing.commanded_um is not None:
            await self.go(self._standing.commanded_um)

    def seen(self, wd_um: float, magnification: float) -> None:
        """The instrument shows that the last command was carried out: it stands at `wd_um` (um) and `magnification`.

        Raises `DriverError` where nothing was commanded and it does not stand where it said at the start.
        """
        commanded_um, said_um = self._standing.commanded_um, self._standing.wd_um
        if commanded_um is None and said_um is not None:
            self._require_same(said_um, wd_um)
        self._standing.wd_um = wd_um if commanded_um is None else commanded_um
        self._standing.magnification = magnification

    def _require_same(self, said_um: float, wd_um: float) -> None:
        if abs(said_um - wd_um) > self._microscope.wd_tolerance_um:
            raise DriverError(
                f"the instrument reports a WD of {said_um:.1f} um, and {wd_um:.1f} um in its frame;"
                " if they always differ by as much, set microscope.wd_tolerance_um to more than that"
            )

    async def arrive(self, wd_um: float, magnification: float | None, within_s: float) -> None:
        """Wait until it is reported at `wd_um`, and at the magnification if one is given.

        An instrument that reports nothing is believed by a frame, which the driver accepts only from there. Raises
        `Misplaced` if it stands still elsewhere, or is not there after `within_s`; `DriverError`.
        """
        until_s = self._clock.now_s() + within_s
        before: MicroscopeState | None = None
        while True:
            now = await self._microscope.read_state()
            if not now.is_reported:
                frame = await self._microscope.grab()
                return self.seen(frame.wd_um, frame.magnification)
            if self._is_at(now, wd_um, magnification):
                self.seen(wd_um, now.magnification)
                return None
            is_still = before is not None and self._is_still(before, now)
            if is_still or self._clock.now_s() >= until_s:
                raise self._misplaced(now, wd_um, magnification)
            before = now
            await self._clock.sleep(_POLL_S)

    async def bring(self, wd_um: float, magnification: float | None, within_s: float) -> None:
        """Bring it there whatever happens on the way: commands are repeated, and a link may come up again.

        Raises `LimitError`, or the last `DriverError` when it is not there after `within_s`.
        """
        until_s = self._clock.now_s() + within_s
        while True:
            left_s = max(0.0, until_s - self._clock.now_s())
            try:
                await self._microscope.wait_connected(left_s)
                await self.require_ours()
                await self.go(wd_um, magnification, is_homeward=True)
                return await self.arrive(wd_um, magnification, left_s)
            except TakenOver:
                raise
            except CommandRefused:
                # It may have refused to leave in the first place.
                if await self._is_there_already(wd_um, magnification):
                    return None
                if self._clock.now_s() + _RETRY_S >= until_s:
                    raise
            except DriverError:
                if self._clock.now_s() + _RETRY_S >= until_s:
                    raise
            await self._clock.sleep(_RETRY_S)

    async def _is_there_already(self, wd_um: float, magnification: float | None) -> bool:
        with suppress(DriverError):
            await self.arrive(wd_um, magnification, 0.0)
            return True
        return False

    async def require_ours(self) -> None:
        """Raise `TakenOver` if somebody else has moved the instrument since our last command, or `DriverError`.

        Until that command is known to have been carried out, another place may be the lens's own fault.
        """
        wd_um, magnification = self._standing.wd_um, self._standing.magnification
        if wd_um is None and magnification is None:
            return
        now = await self._seen_elsewhere(wd_um, magnification)
        if now is None:
            return
        self._standing.wd_um = self._standing.magnification = None
        turned = f"to {now.wd_um:.1f} um at {now.magnification:g}x"
        raise TakenOver(f"somebody else has turned the instrument {turned}", seen=now)

    async def _seen_elsewhere(
        self, wd_um: float | None, magnification: float | None
    ) -> MicroscopeState | None:
        """The place that it reports, if every one of several looks finds it elsewhere."""
        now: MicroscopeState | None = None
        for wait_s in (0.0, *_LOOK_AGAIN_S):
            if wait_s > 0.0:
                await self._clock.sleep(wait_s)
            now = await self._microscope.read_state()
            is_there = self._is_at(now, now.wd_um if wd_um is None else wd_um, magnification)
            if is_there or not now.is_reported:
                return None
        return now

    async def _whence_um(self) -> float:
        """Where a move begins, as far as that is known."""
        standing = self._standing
        known_um = standing.wd_um if standing.commanded_um is None else standing.commanded_um
        return known_um if known_um is not None else (await self._looked_twice()).wd_um

    async def _looked_twice(self) -> MicroscopeState:
        """Where it stands or moves to, said twice alike: one read-back may be wrong. Raises `Misplaced`."""
        now = await self._microscope.read_state()
        for wait_s in _LOOK_AGAIN_S:
            before, now = now, await self._microscope.read_state()
            if self._is_at(now, before.wd_um):
                return now
            await self._clock.sleep(wait_s)
        raise Misplaced(
            f"no two looks in a row find the lens at one place; the last, at {now.wd_um:.1f} um",
            remedy="wait until it stands still",
            seen=now,
        )

    def _is_at(
        self, now: MicroscopeState, wd_um: float, magnification: float | None = None
    ) -> bool:
        is_same = magnification is None or same_magnification(now.magnification, magnification)
        return is_same and abs(now.wd_um - wd_um) <= self._microscope.wd_tolerance_um

    def _is_still(self, before: MicroscopeState, now: MicroscopeState) -> bool:
        moved_um = abs(now.wd_um - before.wd_um)
        return moved_um <= _STILL_SHARE * self._microscope.wd_tolerance_um

    def _misplaced(
        self, now: MicroscopeState, wd_um: float, magnification: float | None
    ) -> Misplaced:
        off_um = now.wd_um - wd_um
        if abs(off_um) <= self._microscope.wd_tolerance_um:
            return Misplaced(
                f"the instrument shows {now.magnification:g}x, commanded was {magnification:g}x",
                seen=now,
            )
        return Misplaced(
            f"the lens stands at {now.wd_um:.1f} um, commanded was {wd_um:.1f} um; if its read-back"
            f" is always off by {off_um:+.1f} um, set microscope.wd_tolerance_um to more than that",
            remedy="check the microscope, or set microscope.wd_tolerance_um",
            seen=now,
        )


def way(guard: MotionGuard, from_um: float, to_um: float, approach_um: float) -> tuple[float, ...]:
    """The WDs (um) to command on the way, in order, the end included: the last stretch goes upwards."""
    below_um = guard.limits.nearest(to_um - approach_um)
    if approach_um > 0.0 and below_um < to_um < from_um:
        return *guard.stops(from_um, below_um), *guard.stops(below_um, to_um)
    return guard.stops(from_um, to_um)
