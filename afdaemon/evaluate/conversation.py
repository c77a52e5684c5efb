"""A job from start to end on anything that can be moved and read: what the job loop does, without its deadlines."""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from afdaemon.control.machine import step
from afdaemon.control.state import AnyState
from afdaemon.control.values import (
    Conclude,
    Event,
    Moved,
    MoveWd,
    Observed,
    Outcome,
    Reading,
    Started,
    TracePoint,
)
from afdaemon.sim.instrument.world import RecordedFrame, World


class Movable(Protocol):
    """An instrument that can be moved and read."""

    def send(self, wd_um: float, magnification: float | None) -> None:
        """Move to that working distance, and to that magnification if one is given."""
        ...

    async def read(self) -> Reading:
        """What is measured in a frame there."""
        ...


class Live:
    """A simulated instrument, and how its frames are read."""

    def __init__(self, world: World, read: Callable[[RecordedFrame], Reading]) -> None:
        self._world, self._read = world, read

    def send(self, wd_um: float, magnification: float | None) -> None:
        """Move to that working distance, and to that magnification if one is given."""
        self._world.command(wd_um, round(magnification or self._world.magnification))

    async def read(self) -> Reading:
        """What is measured in a frame, once the lens has settled."""
        await self._world.settle()
        reading = self._read(await self._world.expose())
        return replace(reading, at_s=self._world.truth().age_s)


async def converse(
    instrument: Movable, state: AnyState, start: Started
) -> tuple[tuple[TracePoint, ...], Outcome]:
    """Play a job by its rules: its readings, and how it ended; the instrument stays where it was last sent."""
    event: Event = start
    while True:
        state, (command,) = step(state, event)
        match command:
            case Conclude(outcome=outcome):
                return state.trace, outcome
            case MoveWd(wd_um=wd_um, magnification=magnification):
                instrument.send(wd_um, magnification)
                event = Moved(wd_um=wd_um, magnification=magnification)
            case _:
                event = Observed(reading=await instrument.read())
