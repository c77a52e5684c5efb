"""Bytes over TCP."""

import asyncio
import errno
import os
import socket
from typing import Self

from afdaemon.drivers.em30.link import Fate
from afdaemon.drivers.errors import LinkTimeout, NotConnected

READ_BYTES = 2**18
CLOSE_S = 1.0
"""Longest wait for a peer to take what was sent last."""


class TcpLink:
    """Implements `ByteLink` on one connection. Make it with `open`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._fate = Fate()

    @classmethod
    async def open(cls, host: str, port: int, *, timeout_s: float) -> Self:
        """Connect within `timeout_s`, or raise `NotConnected` saying why not."""
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = await asyncio.open_connection(host, port, limit=READ_BYTES)
        except TimeoutError:
            raise NotConnected(
                f"{host}:{port} did not answer within {timeout_s:g} s",
                remedy="check that the machine is on and that no firewall is in the way, or raise connect_timeout_s",
            ) from None
        except OSError as error:
            raise _not_connected(host, port, error) from error
        return cls(reader, writer)

    @property
    def is_up(self) -> bool:
        """Whether the peer is still there, as far as is known."""
        return self._fate.is_up

    @property
    def why_lost(self) -> str:
        """What broke the link; empty while it is up."""
        return self._fate.why

    def check(self) -> None:
        """Raise `LinkLost` when the link has broken."""
        self._fate.check()

    async def wait_lost(self) -> None:
        """Return when the link has broken."""
        await self._fate.wait()

    async def send(self, data: bytes, *, timeout_s: float) -> None:
        """Send all of `data`. Raises `LinkLost`, or `LinkTimeout`; the link is lost then."""
        self.check()
        self._writer.write(data)
        try:
            async with asyncio.timeout(timeout_s):
                await self._writer.drain()
        except TimeoutError:
            self.abort("the instrument did not take a command in time")
            raise LinkTimeout(
                f"the instrument did not take a command within {timeout_s:g} s"
            ) from None
        except OSError as error:
            self._fate.end(error.strerror or str(error))
            self.check()

    async def receive(self) -> bytes:
        """What has come, at least one byte. Raises `LinkLost`."""
        self.check()
        data, why = b"", "the instrument closed it"
        try:
            data = await self._reader.read(READ_BYTES)
        except OSError as error:
            why = error.strerror or str(error)
        if not data:
            self._fate.end(why)
            self.check()
        return data

    def abort(self, why: str) -> None:
        """Break the link now."""
        self._fate.end(why)
        self._writer.transport.abort()

    async def close(self) -> None:
        """End the connection and wait until it has ended. Safe to call twice."""
        self._fate.end("closed from this side")
        self._writer.close()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._writer.wait_closed()
        except TimeoutError:
            self._writer.transport.abort()
        except OSError:
            return


def _not_connected(host: str, port: int, error: OSError) -> NotConnected:
    """What is in the way, and the remedy for it."""
    if isinstance(error, socket.gaierror):
        return NotConnected(
            f"the host {host} is not found: {error.strerror}", remedy="correct the setting `host`"
        )
    if error.errno is None:  # several addresses, each with an error of its own
        return NotConnected(f"{host}:{port}: {error}")
    if error.errno == errno.ECONNREFUSED:
        return NotConnected(
            f"nothing listens on {host}:{port}",
            remedy="start the program there (the vendor's software, or the bridge), or correct host and port",
        )
    return NotConnected(f"{host}:{port}: {os.strerror(error.errno)}")
