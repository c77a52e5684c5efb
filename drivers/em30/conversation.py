"""Questions and answers over a byte link that carries the messages of `afdaemon.drivers.wire.stream`.

A reader task receives whatever comes, at any time. Answers are matched with questions by the sequence number that they
name; one that nobody is waiting for any more is handed to `on_stray` and forgotten. A peer that is silent for `ping_s`
is sent a PING, and the link is given up when it is not answered.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import get_args

from afdaemon.drivers.base import Clock
from afdaemon.drivers.em30.link import ByteLink
from afdaemon.drivers.em30.settings import FramedSettings
from afdaemon.drivers.errors import DriverError, LinkLost, LinkTimeout, ProtocolError
from afdaemon.drivers.wire.messages import Answer, Message, Ping
from afdaemon.drivers.wire.stream import NO_MESSAGE, Decoder, Losses, encode

ANSWERS = get_args(Answer)


@dataclass(frozen=True, slots=True)
class Damage:
    """Something came that is not a message, or is a damaged one: `why`. It may have been the answer."""

    why: str


class Question:
    """One question, which may be asked repeatedly; the answer to any of the attempts will do."""

    def __init__(self, conversation: "Conversation") -> None:
        self._conversation = conversation
        self._asked: set[int] = set()
        self._answers: deque[Answer] = deque()
        self._damage: Damage | None = None
        self._news = asyncio.Event()

    async def put(self, message: Message) -> None:
        """Ask. Raises `LinkLost`, `LinkTimeout`, or `ProtocolError` when the wire cannot carry it."""
        await self._conversation.send(message, self._asked)

    async def answer(self, *, within_s: float | None = None) -> Answer | Damage | None:
        """The next answer or damage, or None when neither came. Raises `LinkLost`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while True:
                    if self._answers:
                        return self._answers.popleft()
                    if self._damage is not None:
                        damage, self._damage = self._damage, None
                        return damage
                    self._conversation.link.check()
                    self._news.clear()
                    await self._news.wait()
        return None

    def take(self, answer: Answer) -> bool:
        """Whether this answers it; only the first answer to each asking does."""
        if answer.answers not in self._asked:
            return False
        self._asked.discard(answer.answers)
        self._answers.append(answer)
        self._news.set()
        return True

    def wake(self, damage: Damage | None = None) -> None:
        """Something has happened: damage, or the end of the link."""
        self._damage = damage or self._damage
        self._news.set()


class Conversation:
    """Owns `link` from now on; `close` releases it."""

    def __init__(
        self,
        link: ByteLink,
        settings: FramedSettings,
        *,
        clock: Clock,
        on_stray: Callable[[Answer], None],
    ) -> None:
        self.link = link
        self._settings = settings
        self._clock = clock
        self._on_stray = on_stray
        self._decoder = Decoder()
        self._reported = Losses()
        self._questions: list[Question] = []
        self._sequence = 0
        self._sending = asyncio.Lock()
        self._heard_s = clock.now_s()
        self._tasks = (
            asyncio.create_task(self._hear(), name="link reader"),
            asyncio.create_task(self._keep_alive(), name="link pinger"),
        )

    @property
    def damage(self) -> str:
        """What was wrong with the last bytes that were not a message; empty if there were none."""
        return self._decoder.losses.last

    @contextmanager
    def question(self) -> Iterator[Question]:
        """A question; what still comes after the end of the block is stray."""
        question = Question(self)
        self._questions.append(question)
        try:
            yield question
        finally:
            self._questions.remove(question)

    async def ask(self, message: Message) -> Answer:
        """Ask a question once, and wait `reply_timeout_s` for its answer.

        Raises `LinkLost`, `ProtocolError`, or `LinkTimeout`; the link is given up then.
        """
        timeout_s = self._settings.reply_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                with self.question() as question:
                    await question.put(message)
                    while isinstance(answer := await question.answer(), Damage | None):
                        continue
                    return answer
        except TimeoutError:
            self.link.abort("a command was not answered in time")
            raise LinkTimeout(f"the instrument did not answer within {timeout_s:g} s") from None

    async def send(self, message: Message, asked: set[int]) -> None:
        """Send a message, and put its sequence number in `asked` before it goes out."""
        self._sequence = self._sequence % 0xFFFFFFFF + 1
        try:
            data = encode(message, sequence=self._sequence)
        except ValueError as error:
            raise ProtocolError(str(error)) from error
        asked.add(self._sequence)
        async with self._sending:
            await self.link.send(data, timeout_s=self._settings.reply_timeout_s)

    async def close(self) -> None:
        """Release the link. Safe to call twice."""
        for task in self._tasks:
            task.cancel()
        await self.link.close()
        self._wake_all()
        await asyncio.wait(self._tasks)

    # --- hearing ---

    async def _hear(self) -> None:
        with contextlib.suppress(LinkLost):
            while True:
                silent = not await self._take_in()
                while (received := self._decoder.next_message()) is not None:
                    if isinstance(received.message, ANSWERS):
                        self._sort(received.message)
                self._report_damage(silent=silent)
        self._wake_all()

    async def _take_in(self) -> bool:
        """Receive what comes; False when the sender has stopped in the middle of something."""
        held = self._decoder.pending or self._unreported_garbage
        try:
            async with asyncio.timeout(self._settings.cut_off_s if held else None):
                self._decoder.feed(await self.link.receive())
        except TimeoutError:
            self._decoder.give_up()
            return False
        self._heard_s = self._clock.now_s()
        return True

    def _sort(self, answer: Answer) -> None:
        if not any(question.take(answer) for question in self._questions):
            self._on_stray(answer)

    @property
    def _unreported_garbage(self) -> bool:
        return self._decoder.losses.garbage_bytes > self._reported.garbage_bytes

    def _report_damage(self, *, silent: bool) -> None:
        """Report a lost message at once, other bytes only when nothing follows: they may be the rest of a message."""
        losses = self._decoder.losses
        lost = losses.messages > self._reported.messages
        if lost or (silent and self._unreported_garbage):
            self._reported = replace(losses)
            for question in self._questions:
                question.wake(Damage(losses.last if lost else NO_MESSAGE))

    def _wake_all(self) -> None:
        for question in self._questions:
            question.wake()

    async def _keep_alive(self) -> None:
        """Send a PING when nothing has been heard; `ask` gives the link up where it is not answered."""
        with contextlib.suppress(DriverError):
            while True:
                left_s = self._heard_s + self._settings.ping_s - self._clock.now_s()
                if left_s > 0.0:
                    await self._clock.sleep(left_s)
                else:
                    await self.ask(Ping())
