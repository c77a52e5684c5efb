"""One TCP connection on which a command is answered by a text without delimiters.

A reader task collects what comes, so a peer that goes away is noticed at once, also while nobody
waits for an answer. An answer ends where the sender falls silent. The link pairs answers with
commands by their order alone, therefore an answer that is still owed when the next command comes
(the caller was cancelled) is waited for first.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from afdaemon.drivers.errors import LinkLost, LinkTimeout, NotConnected, ProtocolError

QUIET_S = 0.01
"""Silence that ends an answer. The known server sends an answer in one piece."""


class TcpLink:
    """An open connection. Make it with `open`; `close` or `abort` ends it."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, max_reply_bytes: int
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._max_reply_bytes = max_reply_bytes
        self._held = bytearray()
        self._arrived = asyncio.Event()
        self._lost = asyncio.Event()
        self._why = ""
        self._reply_owed = False
        self._turn = asyncio.Lock()
        self._reading = asyncio.create_task(self._read(), name="link reader")

    @classmethod
    async def open(
        cls, host: str, port: int, *, timeout_s: float, max_reply_bytes: int
    ) -> "TcpLink":
        """Connect within `timeout_s`, or raise `NotConnected` saying why not."""
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = await asyncio.open_connection(host, port)
        except TimeoutError:
            raise NotConnected(f"{host}:{port} did not answer within {timeout_s:g} s") from None
        except OSError as error:
            raise NotConnected(f"{host}:{port}: {error.strerror or error}") from error
        return cls(reader, writer, max_reply_bytes=max_reply_bytes)

    @property
    def is_up(self) -> bool:
        """Whether the peer is still there, as far as is known."""
        return not self._lost.is_set()

    def check(self) -> None:
        """Raise `LinkLost` when the link has broken."""
        if self._lost.is_set():
            raise LinkLost(f"the connection broke: {self._why}")

    @property
    def why_lost(self) -> str:
        """What broke the link; empty while it is up."""
        return self._why

    async def wait_lost(self) -> None:
        """Return when the link has broken."""
        await self._lost.wait()

    async def send(self, data: bytes, *, timeout_s: float) -> None:
        """Send bytes to which there is no answer. Raises `LinkLost` or `LinkTimeout`."""
        self.check()
        self._writer.write(data)
        try:
            async with _within(timeout_s, "take a command"):
                await self._writer.drain()
        except OSError as error:
            self._mark_lost(error.strerror or str(error))
            self.check()

    async def exchange(self, data: bytes, *, timeout_s: float) -> bytes:
        """Send a command and return its answer.

        Raises `LinkLost`, `LinkTimeout` or `ProtocolError`.
        """
        async with self._turn:
            if self._reply_owed:
                with contextlib.suppress(LinkTimeout):
                    await self._collect(timeout_s)
            self._held.clear()
            self._reply_owed = True
            await self.send(data, timeout_s=timeout_s)
            return await self._collect(timeout_s)

    def abort(self, why: str) -> None:
        """Break the link now."""
        self._mark_lost(why)
        self._writer.transport.abort()

    async def close(self) -> None:
        """End the connection and wait until it has ended. Safe to call twice."""
        self._mark_lost("closed from this side")
        self._reading.cancel()
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
        await asyncio.wait([self._reading])

    async def _collect(self, timeout_s: float) -> bytes:
        try:
            async with _within(timeout_s, "answer"):
                while not self._held:
                    await self._next_bytes()
        except LinkTimeout:
            self._reply_owed = False
            raise
        with contextlib.suppress(TimeoutError, LinkLost):
            while len(self._held) <= self._max_reply_bytes:
                async with asyncio.timeout(QUIET_S):
                    await self._next_bytes()
        self._reply_owed = False
        if len(self._held) > self._max_reply_bytes:
            self.abort("an answer had no end")
            raise ProtocolError(f"the answer is longer than {self._max_reply_bytes} bytes")
        return bytes(self._held)

    async def _next_bytes(self) -> None:
        self._arrived.clear()
        self.check()
        await self._arrived.wait()

    async def _read(self) -> None:
        """Collect until the peer goes away.

        What is beyond the cap is dropped: one byte more tells of it.
        """
        try:
            while data := await self._reader.read(4096):
                room = self._max_reply_bytes + 1 - len(self._held)
                self._held += data[:room]
                self._arrived.set()
            self._mark_lost("the instrument closed it")
        except OSError as error:
            self._mark_lost(error.strerror or str(error))

    def _mark_lost(self, why: str) -> None:
        if not self._lost.is_set():
            self._why = why
            self._lost.set()
            self._arrived.set()


@asynccontextmanager
async def _within(timeout_s: float, what: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError:
        raise LinkTimeout(f"the instrument did not {what} within {timeout_s:g} s") from None
