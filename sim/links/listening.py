"""A TCP server in front of an instrument."""

import asyncio

from afdaemon.sim.instrument.instrument import Instrument
from afdaemon.sim.listening import TcpServer, reset


class InstrumentServer(TcpServer):
    """A link to one instrument; while that is unplugged, every connection, old or new, is reset."""

    def __init__(self, instrument: Instrument, *, host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__(host=host, port=port)
        self._instrument = instrument
        self._occupied = False

    async def start(self) -> None:
        """Listen. Raises `ServeError` when the port cannot be used."""
        await super().start()
        self._instrument.on_unplug(self.hang_up)

    def welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Begin to serve a connection, or hang up on it."""
        super().welcome(reader, writer)
        if self._instrument.unplugged:
            reset(writer)
