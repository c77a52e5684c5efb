"""A TCP port to listen on, or one clear sentence why not; and a connection's sudden end."""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable

from afdaemon.sim.errors import ServeError

Welcome = Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]


async def listen(welcome: Welcome, host: str, port: int, *, limit: int = 2**16) -> asyncio.Server:
    """Listen on `host`:`port` (0: any free one); a reader holds `limit` bytes. Raises `ServeError`."""
    try:
        return await asyncio.start_server(welcome, host, port, limit=limit)
    except (OSError, OverflowError) as error:
        raise ServeError(f"cannot listen on {host}:{port}: {_reason(error)}") from error


def reset(writer: asyncio.StreamWriter) -> None:
    """Break the connection without a goodbye: the peer is told of a reset."""
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):  # it is closed already
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _reason(error: OSError | OverflowError) -> str:
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return getattr(error, "strerror", None) or str(error)
