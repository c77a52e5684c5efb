"""Commands that are answered by a text without delimiters, one after the other, over a byte link.

A reader task collects what comes, so a peer that goes away is noticed at once, even while nobody is waiting for an
answer. An answer ends where the sender falls silent, unless `may_go_on` says that it may be the beginning of another.
One that ends with the link may be cut off, and does not count.
Answers are matched with commands by their order alone; so an answer that is still owed when the next command comes (its
caller was cancelled) is awaited first. What comes while none is owed is one answer too many: an earlier one was doubled
or late, and was taken for that of the next command. If it is a refusal, a command that counts as carried out was not,
and the link is given up.
"""

import asyncio
import contextlib
from collections.abc import Callable

from afdaemon.drivers.em30.link import ByteLink
from afdaemon.drivers.errors import LinkLost, LinkTimeout, ProtocolError

_MOST_SHOWN = 80
QUIET_S = 0.01
"""Silence that ends an answer. The known server sends an answer in one piece."""


class Exchange:
    """Asks and answers over `link`; `close` releases it."""

    def __init__(
        self,
        link: ByteLink,
        *,
        max_reply_bytes: int,
        may_go_on: Callable[[bytes], bool],
        is_refusal: Callable[[bytes], bool],
    ) -> None:
        self.link = link
        self._may_go_on = may_go_on
        self._is_refusal = is_refusal
        self._max_reply_bytes = max_reply_bytes
        self._held = bytearray()
        self._arrived = asyncio.Event()
        self._reply_owed = False
        self._turn = asyncio.Lock()
        self._reading = asyncio.create_task(self._read(), name="link reader")

    async def ask(
        self, data: bytes, *, timeout_s: float, may_go_on: Callable[[bytes], bool] | None = None
    ) -> bytes:
        """Send a command and return its answer; `may_go_on` is that of this command, where it has one of its own.

        Raises `LinkLost`, `LinkTimeout` or `ProtocolError`.
        """
        async with self._turn:
            if self._reply_owed or self._held:
                await self._drop_stray(timeout_s)
            self._held.clear()
            self._reply_owed = True
            await self.link.send(data, timeout_s=timeout_s)
            return await self._collect(timeout_s, may_go_on)

    async def next_answer(self, *, timeout_s: float) -> bytes:
        """The answer that follows, where the one that came belongs to an earlier command; see `ask`."""
        async with self._turn:
            self._held.clear()
            self._reply_owed = True
            return await self._collect(timeout_s)

    async def close(self) -> None:
        """Release the link. Safe to call twice."""
        self._reading.cancel()
        await self.link.close()
        await asyncio.wait([self._reading])

    async def _drop_stray(self, timeout_s: float) -> None:
        """Await the end of what is owed, or has begun to come unasked. Raises `LinkLost` if that was a refusal."""
        was_asked_for = self._reply_owed
        with contextlib.suppress(LinkTimeout):
            stray = await self._collect(timeout_s)
            if not was_asked_for:
                self._require_harmless(stray)
        self.link.check()

    def _require_harmless(self, stray: bytes) -> None:
        if self._is_refusal(stray):
            told = stray[:_MOST_SHOWN].decode("ascii", errors="backslashreplace")
            self.link.abort(
                f"it refused ({told!r}) what it had acknowledged, or nothing that we sent"
            )

    async def _collect(
        self, timeout_s: float, may_go_on: Callable[[bytes], bool] | None = None
    ) -> bytes:
        goes_on = may_go_on or self._may_go_on
        try:
            async with asyncio.timeout(timeout_s):
                while not self._held or goes_on(bytes(self._held)):
                    self._require_short()
                    await self._next_bytes()
        except TimeoutError:
            self._reply_owed = False
            raise LinkTimeout(f"the instrument did not answer within {timeout_s:g} s") from None
        with contextlib.suppress(TimeoutError):
            while len(self._held) <= self._max_reply_bytes:
                async with asyncio.timeout(QUIET_S):
                    await self._next_bytes()
        self._reply_owed = False
        self._require_short()
        answer = bytes(self._held)
        self._held.clear()
        return answer

    def _require_short(self) -> None:
        """Raise `ProtocolError`, and break the link, where more has come than any answer has."""
        if len(self._held) > self._max_reply_bytes:
            self.link.abort("an answer had no end")
            raise ProtocolError(f"the answer is longer than {self._max_reply_bytes} bytes")

    async def _next_bytes(self) -> None:
        self._arrived.clear()
        self.link.check()
        await self._arrived.wait()

    async def _read(self) -> None:
        """Collect until the peer goes away.

        What exceeds the cap is dropped, except for one byte that shows it.
        """
        with contextlib.suppress(LinkLost):
            while True:
                data = await self.link.receive()
                room = self._max_reply_bytes + 1 - len(self._held)
                self._held += data[:room]
                self._arrived.set()
                if not (self._reply_owed or self._turn.locked()):
                    self._require_harmless(bytes(self._held))
        self._arrived.set()
