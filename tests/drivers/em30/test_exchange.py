"""Questions and answers without delimiters: where does an answer end?"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afdaemon.drivers.em30 import exchange as exchange_module
from afdaemon.drivers.em30.exchange import Exchange
from afdaemon.drivers.em30.link import Fate
from afdaemon.drivers.errors import CommandRefused, LinkLost, LinkTimeout
from afdaemon.drivers.wire.aisem import (
    MAX_REPLY_BYTES,
    Parameters,
    decode_reply,
    encode_parameters,
    is_parameters,
    is_refusal,
    may_go_on,
    report_may_go_on,
    require_acknowledged,
)

GAP_S = 0.05
"""Longer than the silence that ends an answer."""


class ScriptedLink(Fate):
    """Answers each question with the next of `answers`, piece by piece."""

    def __init__(self) -> None:
        super().__init__()
        self.gap_s = GAP_S
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
            await asyncio.sleep(self.gap_s)

    async def receive(self) -> bytes:
        return await self._coming.get()

    def say(self, data: bytes) -> None:
        self._coming.put_nowait(data)

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
    exchange = Exchange(
        link, max_reply_bytes=MAX_REPLY_BYTES, may_go_on=may_go_on, is_refusal=is_refusal
    )
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


async def test_a_refusal_that_nobody_asked_for_ends_the_link(
    exchange: Exchange,
    link: ScriptedLink,
    until: Callable[[Callable[[], object]], Coroutine[None, None, None]],
) -> None:
    link.answers = [[b"OK"]]
    assert await exchange.ask(b"?", timeout_s=5.0) == b"OK"
    for piece in (b"N", b"G"):
        link.say(piece)
    await until(lambda: not link.is_up)
    assert "refused" in link.why_lost
    with pytest.raises(LinkLost):
        await exchange.ask(b"?", timeout_s=5.0)


async def test_a_yes_that_nobody_asked_for_answers_nothing(
    exchange: Exchange, link: ScriptedLink
) -> None:
    link.answers = [[b"OK"], [b"NG"]]
    await exchange.ask(b"?", timeout_s=5.0)
    link.say(b"OK")
    await asyncio.sleep(GAP_S)
    assert await exchange.ask(b"?", timeout_s=5.0) == b"NG"
    assert link.is_up


async def test_the_beginning_of_a_refusal_between_two_commands_is_awaited(
    exchange: Exchange, link: ScriptedLink
) -> None:
    link.answers = [[b"OK"], [b"OK"]]
    await exchange.ask(b"?", timeout_s=5.0)
    link.say(b"N")
    await asyncio.sleep(GAP_S)
    asking = asyncio.create_task(exchange.ask(b"?", timeout_s=5.0))
    await asyncio.sleep(GAP_S)
    link.say(b"G")
    with pytest.raises(LinkLost, match="refused"):
        await asking
    assert link.answers == [[b"OK"]], "nothing was sent"


async def test_the_next_answer_is_another_one(exchange: Exchange, link: ScriptedLink) -> None:
    link.answers = [[b"late", b"NG"]]
    assert await exchange.ask(b"?", timeout_s=5.0) == b"late"
    assert await exchange.next_answer(timeout_s=5.0) == b"NG"


# --- any splits, doubles and shifts ---

PARAMETERS = encode_parameters(Parameters(wd_um=12_400.0, magnification=2000))
TEXTS = st.sampled_from(
    [b"OK", b"NG", b"NG no", b"ERROR 3", b"ok\r\n", b" NG", b"error", PARAMETERS]
)
QUICK = settings(max_examples=40)


def run_quickly(work: Callable[[Exchange, ScriptedLink], Coroutine[None, None, None]]) -> None:
    """With pauses that are still longer than the silence that ends an answer."""

    async def run() -> None:
        link = ScriptedLink()
        link.gap_s = 0.004
        exchange = Exchange(
            link, max_reply_bytes=MAX_REPLY_BYTES, may_go_on=may_go_on, is_refusal=is_refusal
        )
        try:
            await work(exchange, link)
        finally:
            await exchange.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exchange_module, "QUIET_S", 0.001)
        asyncio.run(run())


async def verdict(exchange: Exchange, may_go_on: Callable[[bytes], bool] = may_go_on) -> str:
    try:
        reply = await exchange.ask(b"?", timeout_s=5.0, may_go_on=may_go_on)
        require_acknowledged(decode_reply(reply), command="it")
    except CommandRefused:
        return "no"
    except LinkLost:
        return "lost"
    return "parameters" if is_parameters(reply) else "yes"


def meaning(text: bytes) -> str:
    return "no" if is_refusal(text) else "parameters" if is_parameters(text) else "yes"


@QUICK
@given(text=TEXTS, cuts=st.lists(st.integers(0, 60), max_size=5))
def test_an_answer_means_the_same_in_any_pieces(text: bytes, cuts: list[int]) -> None:
    borders = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[start:end] for start, end in pairwise(borders)]

    async def work(exchange: Exchange, link: ScriptedLink) -> None:
        link.answers = [pieces]
        is_report = meaning(text) == "parameters"
        ends = report_may_go_on if is_report else may_go_on
        assert await verdict(exchange, ends) == meaning(text)

    run_quickly(work)


@QUICK
@given(
    answers=st.lists(st.sampled_from([b"OK", b"NG", b"ERROR 3"]), min_size=1, max_size=4),
    doubled=st.lists(st.booleans(), min_size=4, max_size=4),
    late=st.booleans(),
)
def test_a_refused_command_never_counts_as_carried_out_on_a_link_that_is_up(
    answers: list[bytes], doubled: list[bool], late: bool
) -> None:
    """An answer that comes twice arrives the second time before the next command, or just behind it."""

    async def work(exchange: Exchange, link: ScriptedLink) -> None:
        before = b""
        for answer, twice in zip(answers, doubled, strict=False):
            link.answers = [[before, answer] if late and before else [answer]]
            if before and not late:
                link.say(before)
                await asyncio.sleep(link.gap_s)
            told = await verdict(exchange)
            await asyncio.sleep(3 * link.gap_s)
            assert told != "yes" or meaning(answer) == "yes" or not link.is_up
            if not link.is_up:
                return
            before = answer if twice else b""

    run_quickly(work)
