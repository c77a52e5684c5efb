"""A relay between the drop folder of an instrument and that of a driver, which does as its `Chaos` says.

    async with FolderRelay(chaos, source=its_folder, target=our_folder, clock=clock):
        ...

Only rules with `way=frames` concern it. A pair of files is a message, and one of the two, drawn, suffers. To cut is to
take the driver's folder away for a while, as a share does that is lost and mounted again.
"""

import asyncio
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from afdaemon.drivers.base import Clock
from afdaemon.sim.chaos.carry import Ice, carry_out
from afdaemon.sim.chaos.plan import Chaos, Way

__all__ = [
    "FolderRelay",
]

NAMES = ("ResponseImage.jpg", "ResponseImage.txt")
LOOK_S = 0.01
"""Pause between two looks into a folder."""
AWAY_S = 1.0
"""How long a folder that was taken away is gone."""


class FolderRelay:
    """Moves pairs from `source` to `target`, one after the other, each when the driver has taken the one before."""

    def __init__(self, chaos: Chaos, *, source: Path, target: Path, clock: Clock) -> None:
        self._chaos = chaos
        self._talk = chaos.talk()
        self._source = source
        self._target = target
        self._away = target.with_name(target.name + ".away")
        self._clock = clock
        self._ice = Ice(clock)
        self._task: asyncio.Task[None] | None = None
        self._pair = (b"", b"")
        self._suffers = 0
        self._is_begun = False

    async def __aenter__(self) -> Self:
        self._target.mkdir(parents=True, exist_ok=True)
        self._task = asyncio.create_task(self._relay(), name="chaos relay")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._bring_back()

    async def send(self, data: bytes, *, ends: bool) -> None:
        """Put down `data` of the file that suffers; the other file comes whole, before it."""
        suffers, other = self._suffers, 1 - self._suffers
        is_whole = ends and not self._is_begun
        if not self._is_begun:
            while any((self._target / name).exists() for name in NAMES):
                await self._clock.sleep(LOOK_S)
            await asyncio.to_thread(_put, self._target / NAMES[other], self._pair[other])
        await asyncio.to_thread(_put if is_whole else _add, self._target / NAMES[suffers], data)
        self._is_begun = not ends

    async def cut(self) -> None:
        """Take the folder away for a while."""
        self._is_begun = False
        self._target.rename(self._away)
        try:
            await self._clock.sleep(AWAY_S)
        finally:
            self._bring_back()

    def _bring_back(self) -> None:
        if self._away.exists():
            self._away.rename(self._target)

    async def _relay(self) -> None:
        seen: _Seen = None
        while True:
            before, seen = seen, await asyncio.to_thread(_look, self._source)
            if seen is None or seen != before:  # none there, or still being written
                await self._clock.sleep(LOOK_S)
                continue
            self._pair, self._suffers = await asyncio.to_thread(_take, self._source), self._pick()
            acts = self._talk.hear(self._pair[self._suffers], Way.FRAMES)
            with suppress(OSError):  # somebody has removed the driver's folder
                await carry_out(acts, self, self._ice, self._clock)

    def _pick(self) -> int:
        return self._chaos.pick(len(NAMES))


_Seen = tuple[int, ...] | None


def _look(folder: Path) -> _Seen:
    """Size and time of both files; None unless both are there. Blocks."""
    try:
        found = [(folder / name).stat() for name in NAMES]
    except FileNotFoundError:
        return None
    return tuple(number for each in found for number in (each.st_size, each.st_mtime_ns))


def _take(folder: Path) -> tuple[bytes, bytes]:
    """The pair, removed from the folder. Blocks."""
    image, text = (folder / name for name in NAMES)
    pair = image.read_bytes(), text.read_bytes()
    image.unlink()
    text.unlink()
    return pair


def _put(path: Path, data: bytes) -> None:
    """A whole file, at once. Blocks."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    part.replace(path)


def _add(path: Path, data: bytes) -> None:
    """A piece of a file. Blocks."""
    with path.open("ab") as file:
        file.write(data)
