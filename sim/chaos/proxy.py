"""A TCP proxy between a driver and an instrument, which does to what passes as its `Chaos` says.

    chaos = Chaos([parse_rule("half,step=4,times=1")], seed=7)
    async with ChaosProxy(chaos, to=("127.0.0.1", 9025), clock=clock) as proxy:
        ...  # connect the driver to proxy.address

What one read brings counts as a message: short commands and answers are whole, a long frame may be several.
"""

import asyncio
import contextlib

from afdaemon.drivers.base import Clock
from afdaemon.sim.chaos.carry import Ice, carry_out
from afdaemon.sim.chaos.plan import Chaos, Talk, Way
from afdaemon.sim.listening import TcpServer, reset

__all__ = [
    "ChaosProxy",
]

READ_BYTES = 2**18
_MOST_HELD = 64
"""Messages read ahead of what passes slowly; then the sender has to wait."""
_CLOSE_S = 1.0
"""Longest wait for a side to take what was passed on last."""


class ChaosProxy(TcpServer):
    """Passes each connection on to `to`, a host and a port. `async with` starts and stops it."""

    def __init__(
        self,
        chaos: Chaos,
        *,
        to: tuple[str, int],
        clock: Clock,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        super().__init__(host=host, port=port)
        self._chaos = chaos
        self._to = to
        self._clock = clock
        self._is_down = False

    def unplug(self) -> None:
        """Reset every connection, and each new one until `replug`."""
        self._is_down = True
        self.hang_up()

    def replug(self) -> None:
        """Let connections through again."""
        self._is_down = False

    async def visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One conversation; a driver is reset at once where the instrument does not listen."""
        try:
            if self._is_down:
                raise ConnectionResetError
            there = await asyncio.open_connection(*self._to, limit=READ_BYTES)
        except OSError:
            reset(writer)
            return
        passing = _Passing((reader, writer), there, self._chaos.talk(), self._clock)
        try:
            await passing.until_over()
        finally:
            for end in (writer, there[1]):
                await _closed(end)


_Side = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_Inbox = asyncio.Queue[bytes | None]


class _Passing:
    """One connection on its way through."""

    def __init__(self, driver: _Side, instrument: _Side, talk: Talk, clock: Clock) -> None:
        self._writers = driver[1], instrument[1]
        self._talk = talk
        self._clock = clock
        self._ice = Ice(clock)
        self._gone = asyncio.Event()
        self._ways = (
            (driver[0], _Passage(self, instrument[1]), Way.COMMANDS),
            (instrument[0], _Passage(self, driver[1]), Way.ANSWERS),
        )

    async def until_over(self) -> None:
        """Pass on until one side has hung up, and what it said last has been passed on."""
        tasks: list[asyncio.Task[object]] = [asyncio.create_task(self._gone.wait())]
        reading: list[asyncio.Task[object]] = []
        for reader, passage, way in self._ways:
            inbox: _Inbox = asyncio.Queue(_MOST_HELD)
            reading.append(asyncio.create_task(self._read(reader, inbox)))
            tasks.append(asyncio.create_task(self._pass(inbox, passage, way)))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*tasks, *reading):
                task.cancel()
            await asyncio.gather(*tasks, *reading, return_exceptions=True)

    def cut(self) -> None:
        """Reset both sides."""
        for writer in self._writers:
            reset(writer)
        self._gone.set()

    async def _read(self, reader: asyncio.StreamReader, inbox: _Inbox) -> None:
        """Take in what comes, so that the end is noticed behind something slow or frozen."""
        with contextlib.suppress(OSError):
            while data := await reader.read(READ_BYTES):
                await inbox.put(data)
        if self._ice.is_frozen:
            self._gone.set()
        await inbox.put(None)

    async def _pass(self, inbox: _Inbox, passage: "_Passage", way: Way) -> None:
        with contextlib.suppress(OSError):
            while (data := await inbox.get()) is not None:
                await carry_out(self._talk.hear(data, way), passage, self._ice, self._clock)


class _Passage:
    """Implements `Passage`: one way of a connection."""

    def __init__(self, passing: _Passing, writer: asyncio.StreamWriter) -> None:
        self._passing = passing
        self._writer = writer

    async def send(self, data: bytes, *, ends: bool) -> None:
        """Pass it on."""
        self._writer.write(data)
        await self._writer.drain()

    async def cut(self) -> None:
        """Reset both sides."""
        self._passing.cut()
        raise ConnectionResetError


async def _closed(writer: asyncio.StreamWriter) -> None:
    """End a connection; what was passed on last still goes out."""
    writer.close()
    try:
        async with asyncio.timeout(_CLOSE_S):
            await writer.wait_closed()
    except TimeoutError:
        writer.transport.abort()
    except OSError:
        return  # that side is gone
