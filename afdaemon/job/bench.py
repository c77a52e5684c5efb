"""What a job works with."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from afdaemon.clock import Clock
from afdaemon.control.dose import Beam
from afdaemon.control.limits import MotionGuard
from afdaemon.control.procedures import Laws
from afdaemon.control.values import Reading
from afdaemon.drivers.base import Frame, Microscope
from afdaemon.job.journal import Journal
from afdaemon.job.lens import Lens, Standing

Score = Callable[[Frame], Awaitable[Reading]]
"""Judges a frame. Slow work belongs in a worker thread; raises ModelError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long (s) one action may take. The drivers' own time-outs are shorter and say more.

    A link that breaks may be down for `outage_s` without ending the job: a cable pulled and plugged in again.
    """

    move_s: float = 3.0
    read_s: float = 10.0
    restore_s: float = 4.0
    outage_s: float = 3.0
    job_s: float = 300.0


DEADLINES = Deadlines()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What a job works with: shared by all jobs, used by one at a time.

    `laws` are what the networks propose. Without a `beam` no dose is counted. With an `approach_um`, moves to shorter
    WDs first overshoot by that much: all then end upwards, and the lens's hysteresis is the same at every reading.
    `standing` is what one job leaves to the next. To `confirm`, the first success after the link came up is looked at
    twice.
    """

    microscope: Microscope
    score: Score
    laws: Laws
    guard: MotionGuard
    journal: Journal
    clock: Clock
    beam: Beam | None = None
    approach_um: float = 0.0
    confirm: bool = False
    standing: Standing = field(default_factory=Standing)

    @property
    def lens(self) -> Lens:
        """The microscope's lens."""
        return Lens(
            self.microscope,
            self.guard,
            self.clock,
            standing=self.standing,
            approach_um=self.approach_um,
        )
