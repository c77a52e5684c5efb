"""The proxy on real sockets, between a client and a server that answers each line."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from afdaemon.clock import SystemClock
from afdaemon.sim.chaos.plan import Chaos, parse_rule
from afdaemon.sim.chaos.proxy import ChaosProxy
from afdaemon.sim.listening import TcpServer

Until = Callable[[Callable[[], object]], Awaitable[None]]

SOON_S = 0.1
"""What has not come by then does not come."""


class Answering(TcpServer):
    """Answers what it hears with the same in capitals."""

    def __init__(self) -> None:
        super().__init__(host="127.0.0.1", port=0)
        self.heard: list[bytes] = []

    async def visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1000):
                self.heard.append(data)
                writer.write(data.upper())
        except OSError:
            return
        finally:
            writer.close()


@dataclass
class Client:
    proxy: ChaosProxy
    server: Answering
    chaos: Chaos
    reader: asyncio.StreamReader = field(init=False)
    writer: asyncio.StreamWriter | None = None

    async def connect(self) -> None:
        await self.hang_up()
        self.reader, self.writer = await asyncio.open_connection(*self.proxy.address)

    async def hang_up(self) -> None:
        if self.writer is not None:
            self.writer.close()
            with suppress(OSError):
                await self.writer.wait_closed()

    async def say(self, data: bytes) -> None:
        assert self.writer is not None
        self.writer.write(data)
        await self.writer.drain()

    async def ask(self, data: bytes) -> bytes:
        """All that comes back soon."""
        await self.say(data)
        return await self.rest()

    async def rest(self) -> bytes:
        came = b""
        try:
            async with asyncio.timeout(SOON_S):
                while data := await self.reader.read(1000):
                    came += data
        except TimeoutError:
            return came
        return came + b"(end)"

    async def to_its_end(self) -> None:
        async with asyncio.timeout(5.0):
            while await self.reader.read(1000):
                continue


@asynccontextmanager
async def through(*rules: str) -> AsyncIterator[Client]:
    chaos = Chaos(map(parse_rule, rules), seed=3)
    async with (
        Answering() as server,
        ChaosProxy(chaos, to=server.address, clock=SystemClock()) as proxy,
    ):
        client = Client(proxy, server, chaos)
        await client.connect()
        try:
            yield client
        finally:
            await client.hang_up()


async def test_it_is_transparent_without_rules() -> None:
    async with through() as client:
        assert await client.ask(b"one") == b"ONE"
        assert await client.ask(b"two") == b"TWO"
        await client.server.stop()
        assert await client.rest() == b"(end)"


@pytest.mark.parametrize(
    ("rule", "first", "second"),
    [
        ("drop,step=1", b"", b"TWO"),
        ("double,step=1", b"ONEONE", b"TWO"),
        ("split", b"ONE", b"TWO"),
        ("reorder,step=1", b"", b"TWOONE"),
        ("shift", b"", b"ONE"),
        ("drop,way=commands,step=1", b"", b"TWO"),
        ("double,way=commands,step=1", b"ONEONE", b"TWO"),
    ],
)
async def test_answers_suffer(rule: str, first: bytes, second: bytes) -> None:
    async with through(rule) as client:
        assert (await client.ask(b"one"), await client.ask(b"two")) == (first, second)


@pytest.mark.parametrize(("rule", "heard"), [("half,step=1", 1), ("cut,way=commands,step=1", 0)])
async def test_a_link_that_breaks_is_reset_on_both_sides(rule: str, heard: int) -> None:
    async with through(rule + ",times=1") as client:
        await client.say(b"wdmag")
        with pytest.raises(ConnectionResetError):
            await client.to_its_end()
        assert len(client.server.heard) == heard
        await client.connect()
        assert await client.ask(b"again") == b"AGAIN"


async def test_a_frozen_link_is_silent_and_then_goes_on() -> None:
    async with through("freeze,step=1,amount=0.2") as client:
        assert await client.ask(b"one") == b""
        await client.say(b"two")
        async with asyncio.timeout(5.0):
            assert await client.reader.readexactly(6) == b"ONETWO"


async def test_who_leaves_a_frozen_link_is_let_go(until: Until) -> None:
    async with through("freeze,step=1,amount=3600") as client:
        assert await client.ask(b"one") == b""
        await client.connect()
        await until(lambda: client.proxy.connections == 1)


async def test_it_is_unplugged_and_plugged_in() -> None:
    async with through() as client:
        assert await client.ask(b"one") == b"ONE"
        client.proxy.unplug()
        with pytest.raises(ConnectionResetError):
            await client.reader.read(1)
        await client.connect()
        with pytest.raises(ConnectionResetError):
            await client.reader.read(1)
        client.proxy.replug()
        await client.connect()
        assert await client.ask(b"two") == b"TWO"


async def test_it_hangs_up_where_nobody_listens() -> None:
    async with through() as client:
        await client.server.stop()
        await client.connect()
        with pytest.raises(ConnectionResetError):
            await client.reader.read(1)
