"""One session on the `stream` messages, over whatever link, and what has been learned since it began.

Each answer names the sequence number of its command, so a late answer to a cancelled command is told apart from the
answer to the next one. A frame is requested when it is wanted, and judged by `evidence.objection`; one that is not
evidence, or came damaged, is dropped, counted by cause and requested again.
"""

import asyncio
import hmac
from contextlib import suppress
from dataclasses import dataclass, field, replace
from secrets import token_hex

from afdaemon.drivers.base import Clock, Frame, MicroscopeState
from afdaemon.drivers.counters import Tally
from afdaemon.drivers.em30.conversation import Conversation, Damage, Question
from afdaemon.drivers.em30.evidence import Cause, Objection, Wanted, decode, objection
from afdaemon.drivers.em30.identity import Identity
from afdaemon.drivers.em30.link import ByteLink
from afdaemon.drivers.em30.settings import FramedSettings
from afdaemon.drivers.errors import (
    CommandRefused,
    DriverError,
    FrameInvalid,
    FrameStale,
    LinkTimeout,
    ProtocolError,
)
from afdaemon.drivers.wire.image import GreyPixels
from afdaemon.drivers.wire.messages import (
    VERSION,
    Ack,
    Answer,
    Bye,
    Challenge,
    FrameData,
    GetState,
    Grab,
    Hello,
    Move,
    MoveStage,
    Proof,
    Refused,
    State,
    Welcome,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Who says HELLO: a bridge gives the seat back to the client that had it, by its `name`.

    `token` answers a CHALLENGE; empty if there is none.
    """

    name: str = field(default_factory=lambda: f"afdaemon {token_hex(4)}")
    token: str = field(default="", repr=False)


async def open_stream_session(
    link: ByteLink,
    settings: FramedSettings,
    *,
    clock: Clock,
    tally: Tally,
    identity: Identity,
    client: Client,
) -> "StreamSession":
    """A session that has been greeted. Raises `DriverError`, and has released `link` then."""
    session = StreamSession(
        link, settings, clock=clock, tally=tally, identity=identity, client=client
    )
    greeted = False
    try:
        await session.greet()
        greeted = True
    finally:
        if not greeted:
            await session.finish()
    return session


class StreamSession:
    """Commands and frames over one connection; see `open_stream_session`.

    A broken session is discarded: nothing that it knows outlives it.
    """

    def __init__(
        self,
        link: ByteLink,
        settings: FramedSettings,
        *,
        clock: Clock,
        tally: Tally,
        identity: Identity,
        client: Client,
    ) -> None:
        self.link = link
        self._client = client
        self._identity = identity
        self._settings = settings
        self._clock = clock
        self._tally = tally
        self._talk = Conversation(link, settings, clock=clock, on_stray=self._stray)
        self._known: MicroscopeState | None = None
        self._target: Move | None = None
        self._evidence_from_us = 0
        self._last_number: int | None = None
        self._last: GreyPixels | None = None

    async def greet(self) -> None:
        """Agree on a version, and prove who asks if the instrument wants that.

        Raises `ProtocolError` when there is no version that both know, `CommandRefused`, `AnotherInstrument`.
        """
        try:
            answer = await self._talk.ask(Hello(name=self._client.name))
            if isinstance(answer, Challenge):
                answer = await self._talk.ask(self._proof(answer))
        except LinkTimeout as error:
            if self._talk.damage:
                raise ProtocolError(
                    f"what answers does not speak our version of `stream`: {self._talk.damage}",
                    remedy="check the address, and install the same version on both sides",
                ) from error
            raise
        match answer:
            case Welcome(version=version, name=name) if version == VERSION:
                self._identity.require("name", name)
            case Welcome(version=version):
                raise ProtocolError(
                    f"the instrument speaks version {version} of `stream`, this is {VERSION}",
                    remedy="install the same version on both sides",
                )
            case Refused(reason=reason):
                raise CommandRefused(f"the instrument refused the session: {reason}")
            case _:
                raise self._senseless(answer, "HELLO")

    def _proof(self, challenge: Challenge) -> Proof:
        if not self._client.token:
            raise CommandRefused(
                "the instrument asks for a token, and none is set",
                remedy="put the bridge's token into a file, and set microscope.token_file",
            )
        token, nonce = self._client.token.encode(), challenge.nonce.encode()
        return Proof(proof=hmac.new(token, nonce, "sha256").hexdigest())

    async def finish(self) -> None:
        """Say BYE, if the link is up, and release it."""
        try:
            if self.link.is_up:
                with suppress(DriverError):
                    await self._talk.send(Bye(), set())
        finally:
            await self._talk.close()

    # --- state and moves ---

    async def read_state(self) -> MicroscopeState:
        """WD (um), as read back, and magnification; where it refuses to tell, what was commanded or seen last."""
        answer = await self._talk.ask(GetState())
        match answer:
            case State(wd_um=wd_um, magnification=magnification):
                self._known = MicroscopeState(wd_um=wd_um, magnification=magnification)
                return self._known
            case Refused() if self._known is not None:
                return replace(self._known, is_reported=False)
            case Refused(reason=reason):
                raise CommandRefused(f"the instrument refused to report its state: {reason}")
            case _:
                raise self._senseless(answer, "GET_STATE")

    async def move_wd(self, wd_um: float, magnification: float | None = None) -> None:
        """Command an absolute WD (um) at this magnification or the present one; return once acknowledged."""
        if magnification is None:
            magnification = (self._known or await self.read_state()).magnification
        target = Move(wd_um=wd_um, magnification=magnification)
        before, self._target = self._target, None
        try:
            await self._command(target, f"a move to WD {wd_um:g} um")
        except (CommandRefused, ProtocolError):
            self._target = before
            raise
        self._target = target
        self._known = MicroscopeState(wd_um=wd_um, magnification=magnification)
        self._tally.moved()

    async def move_stage(self, x_um: float, y_um: float) -> None:
        """Command an absolute place (um); return once acknowledged."""
        await self._command(MoveStage(x_um=x_um, y_um=y_um), f"a move to {x_um:g}, {y_um:g} um")

    async def _command(self, command: Move | MoveStage, what: str) -> None:
        answer = await self._talk.ask(command)
        match answer:
            case Ack():
                self._hold_back(answer)
            case Refused(reason=reason):
                raise CommandRefused(f"the instrument refused {what}: {reason}")
            case _:
                raise self._senseless(answer, what)

    def _hold_back(self, ack: Ack) -> None:
        """Frames that were exposed before this command had settled are not evidence."""
        self._evidence_from_us = max(self._evidence_from_us, ack.clock_us + ack.settle_us)

    def _stray(self, answer: Answer) -> None:
        """An answer that nobody is waiting for any more: the command was cancelled, but carried out."""
        match answer:
            case Ack():
                self._hold_back(answer)
            case FrameData():
                self._tally.stale()
            case _:
                pass

    def _senseless(self, answer: Answer, what: str) -> ProtocolError:
        self.link.abort("an answer made no sense")
        return ProtocolError(f"the instrument answered {what} with {type(answer).__name__}")

    # --- frames ---

    async def grab(self, sequence: int) -> Frame:
        """A frame that is evidence at the commanded WD; see `Microscope.grab`."""
        deadline_s = self._clock.now_s() + self._settings.frame_timeout_s
        last = Objection(cause=Cause.STALE, why="none came")
        with self._talk.question() as question:
            for _ in range(self._settings.max_dropped_in_row):
                came = await self._attempt(question, deadline_s, last, sequence)
                if isinstance(came, Frame):
                    return came
                last = came
                self._count(last.cause)
        self._last_number = None  # next time accept an instrument that has restarted its count
        kind = FrameInvalid if last.cause is Cause.INVALID else FrameStale
        raise kind(
            f"{self._settings.max_dropped_in_row} frames in a row were not evidence: {last.why}"
        )

    async def _attempt(
        self, question: Question, deadline_s: float, last: Objection, sequence: int
    ) -> Frame | Objection:
        frame = await self._ask_frame(question, deadline_s, last)
        if isinstance(frame, Objection):
            return frame
        try:
            strict = not self._settings.accept_odd_jpegs
            pixels = await asyncio.to_thread(decode, frame, strict=strict)
        except FrameInvalid as error:
            return Objection(cause=Cause.INVALID, why=str(error))
        found = objection(frame, pixels, self._wanted())
        self._last_number = max(frame.number, self._last_number or 0)
        self._last = pixels
        return found or self._use(frame, pixels, sequence)

    async def _ask_frame(
        self, question: Question, deadline_s: float, last: Objection
    ) -> FrameData | Objection:
        """What comes in answer to a GRAB, which is repeated when nothing does."""
        await question.put(Grab())
        while (left_s := deadline_s - self._clock.now_s()) > 0.0:
            came = await question.answer(within_s=min(left_s, self._settings.ask_again_s))
            match came:
                case FrameData():
                    return came
                case Damage(why=why):
                    return Objection(cause=Cause.INVALID, why=why)
                case Refused(reason=reason):
                    raise CommandRefused(f"the instrument refused a frame: {reason}")
                case None if left_s > self._settings.ask_again_s:
                    await question.put(Grab())
                case None:
                    pass
                case _:
                    raise self._senseless(came, "GRAB")
        raise LinkTimeout(
            f"no usable frame within {self._settings.frame_timeout_s:g} s: {last.why}; if one takes longer than"
            " that, raise frame_timeout_s and ask_again_s"
        )

    def _wanted(self) -> Wanted:
        target = self._target
        return Wanted(
            wd_um=None if target is None else target.wd_um,
            magnification=None if target is None else target.magnification,
            wd_tolerance_um=self._settings.wd_tolerance_um,
            from_us=self._evidence_from_us,
            above_number=self._last_number,
            last=self._last,
        )

    def _use(self, frame: FrameData, pixels: GreyPixels, sequence: int) -> Frame:
        self._tally.used()
        self._known = MicroscopeState(wd_um=frame.wd_um, magnification=frame.magnification)
        return Frame(
            pixels=pixels,
            wd_um=frame.wd_um,
            magnification=frame.magnification,
            sequence=sequence,
            received_s=self._clock.now_s(),
        )

    def _count(self, cause: Cause) -> None:
        match cause:
            case Cause.STALE:
                self._tally.stale()
            case Cause.FROZEN:
                self._tally.frozen()
            case Cause.MISMATCH:
                self._tally.mismatched()
            case Cause.INVALID:
                self._tally.invalid()
