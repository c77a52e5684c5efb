"""Carrying out what `plan` decides, on whatever can send and break."""

import asyncio
from typing import Protocol

from afdaemon.drivers.base import Clock
from afdaemon.sim.chaos.plan import Act, Cut, Freeze, Send, Wait


class Passage(Protocol):
    """Where messages pass one way."""

    async def send(self, data: bytes, *, ends: bool) -> None:
        """Pass `data` on; `ends`: the message is complete with it."""
        ...

    async def cut(self) -> None:
        """Break the link, both ways."""
        ...


class Ice:
    """Whether a link is frozen: connected, and nothing passes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._thawed = asyncio.Event()
        self._thawed.set()

    @property
    def is_frozen(self) -> bool:
        """Whether nothing passes now."""
        return not self._thawed.is_set()

    async def freeze(self, seconds: float) -> None:
        """Let nothing pass for so long."""
        self._thawed.clear()
        try:
            await self._clock.sleep(seconds)
        finally:
            self._thawed.set()

    async def thawed(self) -> None:
        """Return when it is not frozen."""
        await self._thawed.wait()


async def carry_out(acts: tuple[Act, ...], passage: Passage, ice: Ice, clock: Clock) -> None:
    """Do all `acts` in order. Raises `OSError` where the passage does."""
    for act in acts:
        await ice.thawed()
        match act:
            case Send(data=data, ends=ends):
                await passage.send(data, ends=ends)
            case Wait(seconds=seconds):
                await clock.sleep(seconds)
            case Freeze(seconds=seconds):
                await ice.freeze(seconds)
            case Cut():
                await passage.cut()
