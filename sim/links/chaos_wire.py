"""A `Wire` that does to what passes as a `Chaos` says: for links that no proxy can stand between."""

from afdaemon.drivers.base import Clock
from afdaemon.sim.chaos.carry import Ice, carry_out
from afdaemon.sim.chaos.plan import Chaos, Way
from afdaemon.sim.links.stream import Wire


class ChaosWire:
    """Implements `Wire` over another one."""

    def __init__(self, wire: Wire, chaos: Chaos, *, clock: Clock) -> None:
        self._wire = wire
        self._talk = chaos.talk()
        self._clock = clock
        self._ice = Ice(clock)
        self._inbox = bytearray()

    async def receive(self) -> bytes:
        """What the client has sent; nothing when it has hung up. What a cancelled call held up is lost."""
        while not self._inbox:
            data = await self._wire.receive()
            if not data:
                return b""
            acts = self._talk.hear(data, Way.COMMANDS)
            await carry_out(acts, _Inward(self._wire, self._inbox), self._ice, self._clock)
        data = bytes(self._inbox)
        self._inbox.clear()
        return data

    async def send(self, data: bytes) -> None:
        """Send it, or what becomes of it."""
        acts = self._talk.hear(data, Way.ANSWERS)
        await carry_out(acts, _Outward(self._wire), self._ice, self._clock)

    def reset(self) -> None:
        """Break the connection now."""
        self._wire.reset()


class _Outward:
    """Implements `Passage` to the client."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def send(self, data: bytes, *, ends: bool) -> None:
        """Pass it on."""
        await self._wire.send(data)

    async def cut(self) -> None:
        """Break the link."""
        self._wire.reset()
        raise ConnectionResetError


class _Inward(_Outward):
    """Implements `Passage` from the client."""

    def __init__(self, wire: Wire, inbox: bytearray) -> None:
        super().__init__(wire)
        self._inbox = inbox

    async def send(self, data: bytes, *, ends: bool) -> None:
        """Pass it on."""
        self._inbox += data
