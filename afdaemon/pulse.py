"""Progress, told by what makes it: a part of the daemon, and the work that is under way in it.

    with part.busy() as work:
        while ...:
            work.beat()     # once a turn

A part without work under way is idle, never stuck. Who watches the parts: `afdaemon.service.watchdog`.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable


@dataclass(slots=True, eq=False)
class Work:
    """Something under way in one thread; `turns` counts what was told of it. Any thread may read it."""

    thread: int = field(default_factory=threading.get_ident)
    turns: int = 0

    def beat(self) -> None:
        """Tell that it goes on."""
        self.turns += 1


class Part:
    """A part that is watched. Work in it that makes no progress for `deadline_s` is stuck."""

    def __init__(self, name: str, deadline_s: float) -> None:
        self.name = name
        self.deadline_s = deadline_s
        self._under_way: dict[Work, None] = {}

    @contextmanager
    def busy(self) -> Iterator[Work]:
        """Work is under way in this thread until the block ends."""
        work = Work()
        self._under_way[work] = None
        try:
            yield work
        finally:
            del self._under_way[work]

    @property
    def under_way(self) -> tuple[Work, ...]:
        """What is under way now. From any thread."""
        return tuple(self._under_way.copy())


@runtime_checkable
class Watched(Protocol):
    """Something with parts of its own, such as a driver with a thread."""

    @property
    def parts(self) -> tuple[Part, ...]:
        """What is to be watched of it."""
        ...
