"""Questions and answers without delimiters: where does an answer end?"""

import asyncio
from collections.abc import AsyncIterator

import pytest

from afdaemon.drivers.em30.exchange import Exchange
from afdaemon.drivers.em30.link import Fate
from afdaemon.drivers.errors import LinkTimeout
from afdaemon.drivers.wire.aisem import MAX_REPLY_BYTES, may_go_on

GAP_S = 0.05
"""Longer than the silence that ends an answer."""


class ScriptedLink(Fate):
    """Answers each question with the next of `answers`, piece by piece."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[list[bytes]] = []
        self._coming: asyncio.Queue[bytes] = asyncio.Queue()
        self._speaking: set[asyncio.Task[None]] = set()

    @property
    def why_lost(self) -> str:
        return self.why

    async def wait_lost(self) -> None:
        await self.wait()

    async def send(self, data: bytes, *, timeout_s: float) -> None:
        self._speaking.add(asyncio.create_task(self._speak(self.answers.pop(0))))

    async def _speak(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            self._coming.put_nowait(piece)
            await asyncio.sleep(GAP_S)

    async def receive(self) -> bytes:
        return await self._coming.get()

    def abort(self, why: str) -> None:
        self.end(why)

    async def close(self) -> None:
        self.end("closed")
        for task in self._speaking:
            task.cancel()
        if self._speaking:
            await asyncio.wait(self._speaking)


@pytest.fixture
async def link() -> ScriptedLink:
    return ScriptedLink()


@pytest.fixture
async def exchange(link: ScriptedLink) -> AsyncIterator[Exchange]:
    exchange = Exchange(link, max_reply_bytes=MAX_REPLY_BYTES, may_go_on=may_go_on)
    yield exchange
    await exchange.close()


@pytest.mark.parametrize(
    ("pieces", "answer"),
    [
        ([b"OK"], b"OK"),
        ([b"N", b"G"], b"NG"),
        ([b"E", b"R", b"RO", b"R: no"], b"ERROR"),
        ([b" ", b"N", b"G 1"], b" NG 1"),
    ],
)
async def test_a_refusal_in_pieces_is_a_refusal(
    exchange: Exchange, link: ScriptedLink, pieces: list[bytes], answer: bytes
) -> None:
    link.answers = [pieces]
    told = await exchange.ask(b"?", timeout_s=5.0)
    assert told.startswith(answer)


async def test_the_beginning_of_a_refusal_alone_is_no_answer(
    exchange: Exchange, link: ScriptedLink
) -> None:
    link.answers = [[b"N"]]
    with pytest.raises(LinkTimeout):
        await exchange.ask(b"?", timeout_s=0.2)
