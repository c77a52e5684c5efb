"""Watches that every part of the daemon makes progress, from a thread of its own that needs none of them.

While all do, systemd is told so. When one is stuck, that is said in the log and to systemd, which is fed no longer; a
running job is ended so that the lens comes home, if what is needed for that still works; and the process ends, to be
started again. Nothing is left to a stuck part: not even writing the log.
"""

import asyncio
import os
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from types import TracebackType
from typing import Self

import structlog

from afdaemon.clock import Clock
from afdaemon.job.bench import DEADLINES
from afdaemon.pulse import Part
from afdaemon.service.notify import Notifier
from afdaemon.service.watch import MOST_TURN_S, Seen, Stuck, look, stuck

EXIT_STUCK = 6
"""Exit code of a daemon that ended itself because a part of it was stuck."""
LOOP_DEADLINE_S = 10.0
"""Nothing in the event loop takes a tenth of a second; a machine that swaps may take some."""
_BEAT_S = 0.5
_TURN_S = MOST_TURN_S / 4
"""Between two looks. systemd is fed at each, and so at least four times as often as it expects."""
_HOME_S = DEADLINES.move_s + DEADLINES.outage_s + DEADLINES.restore_s + 2.0
"""How long a job may take to come home: its restore follows when the move under way has timed out, after an outage."""
_SAY_S = 1.0
"""How long writing the log may take: whoever reads it may be what is stuck."""

log = structlog.get_logger(__name__)


class Watchdog:
    """Watches `parts` from `ready` until the end of its `with` block.

    `come_home` asks for an end of the service, from another thread than its own; `is_home` tells that the running job
    has been wound up. `end` ends the process with an exit code, and doesn't return.
    """

    def __init__(
        self,
        notifier: Notifier,
        *,
        clock: Clock,
        come_home: Callable[[], object],
        end: Callable[[int], None] = os._exit,
    ) -> None:
        self._notifier = notifier
        self._clock = clock
        self._come_home = come_home
        self._end = end
        self._parts: tuple[Part, ...] = ()
        self._seen: Seen = {}
        self._words = ""
        self._is_stuck = False
        self._home = threading.Event()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._work, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._done.set()
        if self._thread.ident is not None:
            self._thread.join()

    @asynccontextmanager
    async def loop_watched(self) -> AsyncIterator[None]:
        """The event loop is one of the parts."""
        part = Part("event loop", LOOP_DEADLINE_S)
        self.watch([part])
        task = asyncio.create_task(_beat(part), name="heartbeat")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})

    def watch(self, parts: Sequence[Part]) -> None:
        """Watch these too."""
        self._parts = (*self._parts, *parts)

    def say(self, words: str) -> None:
        """How the service stands, for people; once a part is stuck only that is said."""
        if words != self._words and not self._is_stuck:
            self._words = words
            self._notifier.status(words)

    def ready(self) -> None:
        """It answers: tell, and begin to watch."""
        self._notifier.ready()
        self._thread.start()

    def stopping(self) -> None:
        """It is on its way to its end, and still watched."""
        self._notifier.stopping()

    def is_home(self) -> None:
        """The running job has been wound up."""
        self._home.set()

    def turn(self, elapsed_s: float) -> list[Stuck]:
        """One look, `elapsed_s` after the last; says what is stuck, or tells systemd that nothing is."""
        self._seen = look(self._seen, self._parts, elapsed_s)
        found = stuck(self._seen, self._parts)
        if found:
            self._complain(found)
        else:
            self._notifier.alive()
        return found

    def give_up(self) -> None:
        """Let the lens come home, if that is still possible, and end the process."""
        with suppress(RuntimeError):  # the event loop has ended
            self._come_home()
        came_home = self._home.wait(_HOME_S)
        _within(_SAY_S, lambda: log.error("ended_by_watchdog", job_wound_up=came_home))
        self._end(EXIT_STUCK)

    def _work(self) -> None:
        turn_s = min(_TURN_S, (self._notifier.watchdog_s or MOST_TURN_S) / 4)
        before_s = self._clock.now_s()
        while not self._done.wait(turn_s):
            now_s = self._clock.now_s()
            if self.turn(now_s - before_s):
                self.give_up()
                return
            before_s = now_s

    def _complain(self, found: Sequence[Stuck]) -> None:
        self._is_stuck = True
        self._notifier.status("; ".join(map(str, found)))
        for one in found:
            _within(_SAY_S, partial(_log_stuck, one))


async def _beat(part: Part) -> None:
    with part.busy() as work:
        while True:
            work.beat()
            await asyncio.sleep(_BEAT_S)


def _log_stuck(one: Stuck) -> None:
    frame = sys._current_frames().get(one.thread)  # noqa: SLF001 - the interpreter's own way to ask
    stack = "" if frame is None else "".join(traceback.format_stack(frame))
    log.error("part_stuck", part=one.part, still_s=round(one.still_s, 1), stack=stack)


def _within(seconds: float, call: Callable[[], None]) -> None:
    """Do it in a thread, and wait no longer than this."""
    thread = threading.Thread(target=call, name="watchdog says", daemon=True)
    thread.start()
    thread.join(seconds)
