"""One session on the `aisem` link: a connection, its drop folder, and what has been learned since.

Every WDMAG makes the instrument write exactly one image pair, after its column has settled. So the
session counts the pairs that it is owed: a move leaves one to come, `grab` takes it, or repeats the
command when none is owed. What lies in the folder when a command goes out is older than the
command, and is removed.

A pair is evidence only when its WD and magnification are the command's and its picture is not the
one before. Anything else is dropped, counted and replaced; too many in a row are a
`FrameStale`.
"""

import asyncio
from contextlib import suppress
from dataclasses import replace

from afdaemon.drivers.base import Clock, Frame, MicroscopeState, same_magnification
from afdaemon.drivers.counters import Tally
from afdaemon.drivers.em30.dropfolder import DropFolder, Pair, Partial
from afdaemon.drivers.em30.exchange import Exchange
from afdaemon.drivers.em30.identity import Identity
from afdaemon.drivers.em30.link import ByteLink
from afdaemon.drivers.em30.settings import AisemSettings
from afdaemon.drivers.errors import (
    AnotherInstrument,
    CommandRefused,
    DriverError,
    FrameInvalid,
    FrameStale,
    LinkTimeout,
    OverCap,
    ProtocolError,
)
from afdaemon.drivers.wire import aisem as wire
from afdaemon.drivers.wire.image import GreyPixels, is_repeat


class AisemSession:
    """Commands and frames over one connection.

    A broken session is discarded: nothing that it knows outlives it.
    """

    def __init__(
        self,
        exchange: Exchange,
        folder: DropFolder,
        settings: AisemSettings,
        *,
        clock: Clock,
        tally: Tally,
        identity: Identity,
    ) -> None:
        self._identity = identity
        self._exchange = exchange
        self._folder = folder
        self._settings = settings
        self._clock = clock
        self._tally = tally
        self._target: wire.SetWdMag | None = None
        self._shown: wire.SetWdMag | None = None
        self._known: MicroscopeState | None = None
        self._is_silent = False
        self._owed = 0
        self._last: GreyPixels | None = None

    @property
    def link(self) -> ByteLink:
        """What it runs over."""
        return self._exchange.link

    async def greet(self) -> None:
        """Say the three words of the handshake, and ask who answers if that was known; release the link on failure.

        ASSUMED: the words are not answered; an answer would be ignored. Raises `AnotherInstrument`.
        """
        greeted = False
        try:
            for word in wire.HANDSHAKE:
                await self.link.send(wire.encode(word), timeout_s=self._settings.reply_timeout_s)
                await self._clock.sleep(wire.HANDSHAKE_GAP_S)
            self.link.check()
            if self._identity.is_known:
                with suppress(LinkTimeout, CommandRefused, ProtocolError):
                    await self.read_state()
            greeted = True
        finally:
            if not greeted:
                await self._exchange.close()

    async def finish(self) -> None:
        """Say FINISH, if the link is up, and release it."""
        try:
            if self.link.is_up:
                with suppress(DriverError):
                    farewell = wire.encode(wire.Word.FINISH)
                    await self.link.send(farewell, timeout_s=self._settings.reply_timeout_s)
        finally:
            await self._exchange.close()

    # --- state ---

    async def read_state(self) -> MicroscopeState:
        """Ask with GET_INFOR; without a usable answer the last known state is returned, and says so.

        ASSUMED: the answer is the parameter text. Whether every version of the vendor's software
        answers is not known, so the last frame or move serves when this one does not; one that is silent is not
        asked again in this session.
        """
        if self._known is not None and self._is_silent:
            return replace(self._known, is_reported=False)
        try:
            reply = await self._exchange.ask(
                wire.encode(wire.Word.GET_INFOR),
                timeout_s=self._settings.reply_timeout_s,
                may_go_on=wire.report_may_go_on,
            )
            wire.require_acknowledged(wire.decode_reply(reply), command=wire.Word.GET_INFOR)
            parameters = wire.decode_parameters(reply)
            self._require_same(parameters)
            self._known = _state_of(parameters)
        except (LinkTimeout, CommandRefused, ProtocolError) as error:
            self._is_silent = isinstance(error, LinkTimeout)
            if self._known is None:
                raise
            return replace(self._known, is_reported=False)
        return self._known

    # --- moves ---

    async def move_wd(self, wd_um: float, magnification: float | None = None) -> None:
        """Command an absolute WD (um) at this magnification or the present one; return once acknowledged."""
        if magnification is None:
            magnification = await self._present_magnification()
        target = wire.SetWdMag(wd_um=wd_um, magnification=round(magnification))
        await self._command(target)
        self._tally.moved()

    async def _present_magnification(self) -> float:
        """As reported; what was commanded where that may be the same, for a report may be rounded."""
        shown = (self._known or await self.read_state()).magnification
        target = self._target
        if target is not None and same_magnification(shown, target.magnification):
            return target.magnification
        return shown

    async def _command(self, target: wire.SetWdMag) -> None:
        """Send WDMAG and await its answer.

        A pair is owed from the moment it is sent, until it is refused.
        """
        data = wire.encode(target)
        before, self._target = self._target, None
        if await asyncio.to_thread(self._folder.remove):
            self._tally.stale()
            self._owed = max(0, self._owed - 1)
        self._owed += 1
        try:
            reply = await self._answer_to(data)
            wire.require_acknowledged(wire.decode_reply(reply), command=data.decode("ascii"))
        except LinkTimeout:
            # Answers are told apart by their order alone: a late one would be taken for the
            # answer to the next command.
            self.link.abort("a command was not answered in time")
            raise
        except CommandRefused:
            self._owed -= 1
            self._target = before
            raise
        self._target = target
        self._known = MicroscopeState(wd_um=target.wd_um, magnification=float(target.magnification))

    async def _answer_to(self, command: bytes) -> bytes:
        """The answer to WDMAG. A parameter text that comes first is the late one to GET_INFOR."""
        timeout_s = self._settings.reply_timeout_s
        reply = await self._exchange.ask(command, timeout_s=timeout_s)
        if self._is_silent and wire.is_parameters(reply):
            reply = await self._exchange.next_answer(timeout_s=timeout_s)
        return reply

    # --- frames ---

    async def grab(self, sequence: int) -> Frame:
        """The pair that is owed, or one more at the commanded WD; see `Microscope.grab`."""
        deadline_s = self._clock.now_s() + self._settings.frame_timeout_s
        ask = self._owed == 0
        problem: FrameInvalid | FrameStale | None = None
        for _ in range(self._settings.max_dropped_in_row):
            if ask and (elsewhere := await self._elsewhere()):
                problem = FrameStale(elsewhere)
                await self._clock.sleep(self._settings.poll_s)
                continue
            if ask:
                await self._command(self._target or await self._present())
            pair = await self._next_pair(deadline_s, problem)
            if isinstance(pair, Pair):
                problem = self._judge(pair)
                if problem is None:
                    return self._use(pair, sequence)
            else:
                problem = pair or problem
            ask = pair is None or self._owed == 0
        cause = problem or FrameStale("none came")
        raise type(cause)(
            f"{self._settings.max_dropped_in_row} frames in a row were not evidence: {cause}",
            remedy=cause.remedy,
        )

    async def _elsewhere(self) -> str:
        """Where somebody else has turned the instrument since a frame showed the target, in words; "" if nobody has.

        Asking for one more frame repeats the last command, and would undo that.
        """
        target = self._target
        if target is None or self._shown != target:
            return ""
        now = await self.read_state()
        if not now.is_reported or self._is_at(now, target):
            return ""
        return f"the instrument has been turned to {now.wd_um:.1f} um at {now.magnification:g}x"

    def _is_at(self, now: MicroscopeState, target: wire.SetWdMag) -> bool:
        is_near = self._is_near(now.wd_um, target)
        return is_near and same_magnification(now.magnification, target.magnification)

    def _is_near(self, wd_um: float, target: wire.SetWdMag) -> bool:
        tolerance_um = self._settings.wd_tolerance_um + wire.WD_RESOLUTION_UM
        return abs(wd_um - target.wd_um) <= tolerance_um

    async def _present(self) -> wire.SetWdMag:
        state = await self.read_state()
        return wire.SetWdMag(wd_um=state.wd_um, magnification=round(state.magnification))

    async def _next_pair(
        self, deadline_s: float, problem: DriverError | None
    ) -> Pair | FrameInvalid | None:
        """The next complete pair; `FrameInvalid` for one given up; None when it is time to ask.

        `problem` is what was wrong with the pair before.
        """
        began_s = self._clock.now_s()
        partial_since_s: float | None = None
        partial = Partial(why="")
        while True:
            self.link.check()
            looked = await self._look(partial.text)
            now_s = self._clock.now_s()
            if isinstance(looked, Pair):
                return looked
            if looked is not None:
                partial = looked
                partial_since_s = now_s if partial_since_s is None else partial_since_s
                if now_s - partial_since_s >= self._settings.half_written_s:
                    return await self._give_up(partial)
            if now_s >= deadline_s:
                raise self._too_late(partial.why or str(problem or ""))
            if looked is None and now_s - began_s >= self._settings.ask_again_s:
                return None
            await self._clock.sleep(self._settings.poll_s)

    def _too_late(self, problem: str) -> LinkTimeout:
        why = problem or (
            f"none came into {self._settings.folder}; if one takes longer than that, raise frame_timeout_s"
            " and ask_again_s"
        )
        return LinkTimeout(
            f"no usable frame within {self._settings.frame_timeout_s:g} s: {why}",
            remedy="check the setting `folder` and that the vendor's software writes there",
        )

    async def _look(self, last_text: bytes) -> Pair | Partial | None:
        try:
            looked = await asyncio.to_thread(self._folder.take, last_text=last_text)
        except OverCap:
            self._pair_gone()
            self._tally.invalid()
            raise
        if isinstance(looked, Pair):
            self._pair_gone()
        return looked

    async def _give_up(self, partial: Partial) -> FrameInvalid:
        await asyncio.to_thread(self._folder.remove)
        self._pair_gone()
        self._tally.invalid()
        waited_s = self._settings.half_written_s
        return FrameInvalid(
            f"{partial.why}; given up after {waited_s:g} s, a slow share needs a longer half_written_s",
            remedy=partial.remedy,
        )

    def _pair_gone(self) -> None:
        self._owed = max(0, self._owed - 1)

    def _judge(self, pair: Pair) -> FrameStale | None:
        """Why this pair is not evidence of the commanded WD, counted by cause; None if it is."""
        target = self._target
        frozen = is_repeat(pair.pixels, self._last)
        self._last = pair.pixels
        parameters = pair.parameters
        if self._identity.is_other(parameters.others):
            self._tally.mismatched()
            return FrameStale("its text is of another instrument than the first")
        if target is None or not same_magnification(parameters.magnification, target.magnification):
            self._tally.mismatched()
            return FrameStale(f"it was taken at magnification {parameters.magnification:g}")
        if not self._is_near(parameters.wd_um, target):
            self._tally.mismatched()
            return FrameStale(
                f"it was taken at {parameters.wd_um:.1f} um, commanded was {target.wd_um:.1f} um"
            )
        if frozen:
            self._tally.frozen()
            return FrameStale("it is identical to the one before")
        return None

    def _require_same(self, parameters: wire.Parameters) -> None:
        """Break the link to another instrument than the first. Raises `AnotherInstrument`."""
        try:
            self._identity.require_text(parameters.others)
        except AnotherInstrument as error:
            self.link.abort(str(error))
            raise

    def _use(self, pair: Pair, sequence: int) -> Frame:
        self._tally.used()
        self._shown = self._target
        self._known = _state_of(pair.parameters)
        return Frame(
            pixels=pair.pixels,
            wd_um=self._known.wd_um,
            magnification=self._known.magnification,
            sequence=sequence,
            received_s=self._clock.now_s(),
        )


def _state_of(parameters: wire.Parameters) -> MicroscopeState:
    return MicroscopeState(wd_um=parameters.wd_um, magnification=parameters.magnification)
