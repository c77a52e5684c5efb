"""A link that carries bytes both ways, in order: TCP (`tcp.py`) or USB bulk endpoints (`usb.py`).

What the bytes mean is the session's business (`stream_session.py`, `exchange.py`), and so is having a call of `receive`
under way at all times: a link may notice only there that its peer has gone.
"""

import asyncio
from typing import Protocol

from afdaemon.drivers.errors import LinkLost


class ByteLink(Protocol):
    """An open link. Once lost it stays lost: open another one. For use in one event loop."""

    @property
    def is_up(self) -> bool:
        """Whether the peer is still there, as far as is known."""
        ...

    @property
    def why_lost(self) -> str:
        """What broke the link; empty while it is up."""
        ...

    def check(self) -> None:
        """Raise `LinkLost` when the link has broken."""
        ...

    async def wait_lost(self) -> None:
        """Return when the link has broken."""
        ...

    async def send(self, data: bytes, *, timeout_s: float) -> None:
        """Send all of `data`; one caller at a time.

        A cancelled send still goes out whole, or the link is lost: a peer never gets part of one and then another.
        Raises `LinkLost`, or `LinkTimeout` when the peer does not take it; the link is lost then.
        """
        ...

    async def receive(self) -> bytes:
        """What has come, at least one byte; waits until there is some. One caller at a time.

        A cancelled call loses nothing. Raises `LinkLost` when the link has broken.
        """
        ...

    def abort(self, why: str) -> None:
        """Break the link now: everyone waiting for it gets `LinkLost` with `why`."""
        ...

    async def close(self) -> None:
        """Release the link and wait until it is released; what was sent still goes out. Safe to call twice."""
        ...


class Fate:
    """Whether a link is up, and what broke it. For the event loop's thread alone."""

    def __init__(self) -> None:
        self._lost = asyncio.Event()
        self._why = ""

    @property
    def is_up(self) -> bool:
        """Whether nothing has broken it yet."""
        return not self._lost.is_set()

    @property
    def why(self) -> str:
        """What broke it first; empty while it is up."""
        return self._why

    def check(self) -> None:
        """Raise `LinkLost` when it has broken."""
        if self._lost.is_set():
            raise LinkLost(f"the connection broke: {self._why}")

    def end(self, why: str) -> None:
        """It has broken. Only the first cause counts."""
        if not self._lost.is_set():
            self._why = why
            self._lost.set()

    async def wait(self) -> None:
        """Return when it has broken."""
        await self._lost.wait()
