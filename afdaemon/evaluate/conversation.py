"""A job from its start to its end on whatever can be moved and read: what the job loop does, without its deadlines."""

from collections.abc import Callable
from typing import Protocol

from afdaemon.control.job_state import State
from afdaemon.control.machine import step
from afdaemon.control.values import (
    Conclude,
    Event,
    Moved,
    MoveWd,
    Observed,
    Outcome,
    Reading,
    Started,
)
from afdaemon.sim.world import Shot, World


class Movable(Protocol):
    """An instrument at one place and magnification."""

    def send(self, wd_um: float) -> None:
        """To that working distance."""
        ...

    async def read(self) -> Reading:
        """What a frame there tells."""
        ...


class Live:
    """A simulated instrument, and how its frames are read."""

    def __init__(self, world: World, read: Callable[[Shot], Reading]) -> None:
        self._world, self._read = world, read

    def send(self, wd_um: float) -> None:
        """To that working distance."""
        self._world.command(wd_um, self._world.magnification)

    async def read(self) -> Reading:
        """What a frame tells, once the lens has settled."""
        await self._world.settle()
        return self._read(await self._world.expose())


async def converse(instrument: Movable, state: State, start: Started) -> Outcome:
    """Play a job by its rules; the instrument is left where the last command sent it."""
    event: Event = start
    while True:
        state, (command,) = step(state, event)
        match command:
            case Conclude(outcome=outcome):
                return outcome
            case MoveWd(wd_um=wd_um):
                instrument.send(wd_um)
                event = Moved(wd_um=wd_um)
            case _:
                event = Observed(reading=await instrument.read())
