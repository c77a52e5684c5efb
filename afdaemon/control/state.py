"""Where a job stands, and what a procedure is. Pure."""

import math
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, Self, TypeVar

from afdaemon.control.limits import Limits
from afdaemon.control.profile import Profile
from afdaemon.control.values import (
    Command,
    Failed,
    MoveWd,
    Phase,
    Proposal,
    ReadingKind,
    Refused,
    Started,
    TracePoint,
)

Own = TypeVar("Own")
"""What a procedure remembers of a job beyond what all procedures do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State(Generic[Own]):
    """Where a job stands. Begin with `new_job`; only `machine.step` makes others.

    Attributes:
        limits: where the instrument may go.
        procedure: what decides.
        own: what the procedure remembers.
        phase: what comes next.
        pending: the command under way.
        start: where the job began, once it has.
        wd_um: the last acknowledged WD; NaN before the start.
        magnification: the last acknowledged one.
        trace: every reading, in order.
        rung_from: where in the trace the readings at the present magnification begin.
        proposal: the law's answer if the last step asked it: with it a replay needs no network.
        verdict: why the job is a success, once only a confirming look or its last step is left.
        last_um: where the last step leads that follows a confirming look, if one does.
        failure: why it has failed, once only the way back is left.
    """

    limits: Limits
    procedure: "Procedure[Own]" = field(repr=False)
    own: Own
    phase: Phase = Phase.PREPARE
    pending: Command | None = None
    start: Started | None = None
    wd_um: float = math.nan
    magnification: float = math.nan
    trace: tuple[TracePoint, ...] = ()
    rung_from: int = 0
    proposal: Proposal | None = None
    verdict: str = ""
    last_um: float | None = None
    failure: Failed | None = None

    @property
    def profile(self) -> Profile:
        """The parameters that decide."""
        return self.procedure.profile

    @property
    def home_um(self) -> float:
        """The start WD in um; NaN before the job has started."""
        return self.start.wd_um if self.start is not None else math.nan

    @property
    def home_magnification(self) -> float:
        """The start magnification; NaN before the job has started."""
        return self.start.magnification if self.start is not None else math.nan

    @property
    def is_below(self) -> bool:
        """Whether the job stands at a lower magnification than it began at."""
        return self.magnification < self.home_magnification

    @property
    def is_climbing(self) -> bool:
        """Whether the command under way leads to a higher magnification."""
        to = self.pending.magnification if isinstance(self.pending, MoveWd) else None
        return (to or 0.0) > self.magnification

    @property
    def guess_um(self) -> float | None:
        """Where the focus was last time; only for the readings before any change of magnification."""
        return self.start.guess_wd_um if self.start is not None and self.rung_from == 0 else None

    @property
    def rung(self) -> tuple[TracePoint, ...]:
        """The readings since the last change of magnification: others are not comparable with them."""
        return self.trace[self.rung_from :]


Answer = tuple[State[Own], Command]
"""The state after an event, and the command that follows from it."""


class Procedure(Protocol[Own]):
    """A way to find the focus. Every method is pure; the law that it consults was passed in."""

    @property
    def profile(self) -> Profile:
        """Its parameters."""
        ...

    def fresh(self) -> Own:
        """What it remembers of a job that has not begun."""
        ...

    def begin(self, state: State[Own], begin_um: float) -> Answer[Own]:
        """The first command; the first reading is taken at `begin_um`."""
        ...

    def observe(self, state: State[Own]) -> Answer[Own]:
        """What follows from the newest reading, which is the last one of the trace."""
        ...

    def refused(self, state: State[Own], event: Refused) -> Answer[Own]:
        """What follows when the instrument cannot show the commanded magnification."""
        ...

    def most_readings(self, state: State[Own]) -> int:
        """The largest possible number of readings at the end of the present phase."""
        ...

    def lowest_magnification(self, home: float) -> float:
        """The lowest magnification that it may go to in a job that began at `home`."""
        ...

    def answering(self, proposal: Proposal) -> Self:
        """The same procedure with a law that gives this answer, for a replay."""
        ...


def new_job(procedure: Procedure[Own], limits: Limits) -> State[Own]:
    """A job that has not begun."""
    return State(limits=limits, procedure=procedure, own=procedure.fresh())


AnyState = State[Any]
"""A job by any procedure."""

KIND_OF_PHASE = {
    Phase.SEARCH: ReadingKind.SEARCH,
    Phase.SERVO: ReadingKind.SERVO,
    Phase.FINISH: ReadingKind.VERIFY,
    Phase.CONFIRM: ReadingKind.VERIFY,
}
"""What a reading is taken for in each phase."""
