"""A TCP server: it listens, or reports in one clear sentence why not, and hangs up."""

import asyncio
import contextlib
import os
import socket
import struct
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

from afdaemon.sim.errors import ServeError


class TcpServer(ABC):
    """Serves each connection in a task of its own. `async with` starts and stops it.

    `limit` is the size of a reader's buffer in bytes.
    """

    def __init__(self, *, host: str, port: int, limit: int = 2**16) -> None:
        self._host = host
        self._port = port
        self._limit = limit
        self._server: asyncio.Server | None = None
        self._visits: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @abstractmethod
    async def visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection from its beginning to its end; closes `writer`."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port it listens on; before the start, port 0 stands for any free one."""
        return self._host, self._port

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._visits)

    async def start(self) -> None:
        """Listen. Raises `ServeError` when the port cannot be used."""
        try:
            self._server = await asyncio.start_server(
                self.welcome, self._host, self._port, limit=self._limit
            )
        except (OSError, OverflowError) as error:
            why = f"cannot listen on {self._host}:{self._port}: {_reason(error)}"
            raise ServeError(why) from error
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Hang up and close the port. Safe to call twice."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for visit in self._visits:
            visit.cancel()
        await asyncio.gather(*self._visits, return_exceptions=True)
        await server.wait_closed()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    def welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Begin to serve a connection."""
        visit = asyncio.create_task(self.visit(reader, writer), name="em30 client")
        self._visits[visit] = writer
        visit.add_done_callback(self._visits.pop)

    def hang_up(self) -> None:
        """Break every connection."""
        for writer in self._visits.values():
            reset(writer)


def reset(writer: asyncio.StreamWriter) -> None:
    """Break the connection without a goodbye: the peer sees a reset."""
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):  # it is closed already
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _reason(error: OSError | OverflowError) -> str:
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return getattr(error, "strerror", None) or str(error)
