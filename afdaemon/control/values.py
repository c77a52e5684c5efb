"""The vocabulary of control: readings, events, commands and outcomes.

Working distances are absolute, in um; a positive move lengthens the working distance. Scores are 0
(out of focus) to 9 (in focus). All values are immutable.
"""

import math
from dataclasses import astuple, dataclass
from enum import StrEnum

from afdaemon.models.frames.measures import Measures


class Phase(StrEnum):
    """Where a job stands."""

    PREPARE = "prepare"
    SEARCH = "search"
    SERVO = "servo"
    FINISH = "finish"
    CONFIRM = "confirm"
    ADJUST = "adjust"
    RESTORE = "restore"
    DONE = "done"


class Reason(StrEnum):
    """Why a job ended as it did. `focused` is the only success."""

    FOCUSED = "focused"
    NO_CONTRAST = "no_contrast"
    NOT_FOUND = "not_found"
    NOT_CONVERGED = "not_converged"
    OUT_OF_RANGE = "out_of_range"
    DEVICE = "device"
    ABORTED = "aborted"
    DOSE_LIMIT = "dose_limit"
    TIMEOUT = "timeout"
    SATURATED = "saturated"
    COVERED = "covered"
    DOUBTED = "doubted"
    TAKEN_OVER = "taken_over"


class ReadingKind(StrEnum):
    """What a reading was taken for."""

    SEARCH = "search"
    SERVO = "servo"
    VERIFY = "verify"


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What an earlier frame of the job shows `now` that less of it counts as specimen, and what it `was` taken for."""

    was: Measures
    now: Measures


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One usable frame: where it was taken, and what was measured in it.

    Attributes:
        wd_um: the instrument's WD, as read back.
        magnification: at which it was taken.
        frame: what was measured in it.
        dose_e_nm2: its dose on the specimen, electrons per square nanometre; 0 if that is not counted.
        at_s: when the frame arrived, in s since the job began.
        corrections: of earlier readings, known by what was measured in them.
    """

    wd_um: float
    magnification: float
    frame: Measures
    dose_e_nm2: float = 0.0
    at_s: float = 0.0
    corrections: tuple[Correction, ...] = ()

    @property
    def is_usable(self) -> bool:
        """Whether all its numbers can be computed with."""
        own = (self.wd_um, self.dose_e_nm2, self.at_s)
        is_own = all(map(math.isfinite, own)) and 0.0 < self.magnification < math.inf
        measured = (self.frame, *(correction.now for correction in self.corrections))
        return is_own and all(frame.is_usable for frame in measured)


@dataclass(frozen=True, slots=True, kw_only=True)
class TracePoint:
    """One reading of a job's trace: its purpose, the commanded WD (um), and what was measured.

    `reading.wd_um` is the instrument's read-back, which may differ from the command within the
    driver's tolerance.
    """

    kind: ReadingKind
    wd_um: float
    reading: Reading

    @property
    def score(self) -> float:
        """The reading's score, 0 .. 9."""
        return self.reading.frame.score

    @property
    def frame(self) -> Measures:
        """What was measured in its frame."""
        return self.reading.frame


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingCount:
    """Readings used, by purpose."""

    search: int = 0
    servo: int = 0
    verify: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.search + self.servo + self.verify


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """Where the focus lies, if there is any: places (um), and the probability of each. Limits are not heeded."""

    places_um: tuple[float, ...]
    mass: tuple[float, ...]

    def between(self, lo_um: float, hi_um: float) -> float:
        """Probability that it lies from `lo_um` to `hi_um`."""
        return sum(
            p for at, p in zip(self.places_um, self.mass, strict=True) if lo_um <= at <= hi_um
        )

    def mean_um(self, lo_um: float, hi_um: float) -> float:
        """Where it lies on average, if it lies there; NaN if it cannot."""
        total = self.between(lo_um, hi_um)
        held = (
            at * p for at, p in zip(self.places_um, self.mass, strict=True) if lo_um <= at <= hi_um
        )
        return sum(held) / total if total > 0.0 else math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What a law concludes from the readings so far: a step in um. That of the fast procedure says more.

    Attributes:
        step_um: the step, positive to lengthen the WD.
        confidence: probability that it ends within 1 depth of focus of the best WD.
        out_of_capture: probability that the focus is out of capture range, where a frame shows hardly anything of it.
        dof_scale: a true depth of focus, in units of that of the assumed convergence angle.
        read_step_um: the step to where a further reading would tell most.
        nothing: probability that the frames show nothing that could be focused.
        belief: where the focus may lie.
    """

    step_um: float
    confidence: float = 0.0
    out_of_capture: float = 0.0
    dof_scale: float = 1.0
    read_step_um: float = 0.0
    nothing: float = 0.0
    belief: Belief | None = None

    @property
    def is_finite(self) -> bool:
        """Whether all its numbers can be acted on."""
        *numbers, _ = astuple(self)
        return all(map(math.isfinite, numbers))


# Events: what happened.


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The job begins; the instrument stands at `wd_um` (um) and shows `magnification`.

    The search begins at `begin_wd_um` if it is given; home is still `wd_um`. The dose may
    not exceed `dose_limit_e_nm2`. `guess_wd_um` is where the focus was last time. To `confirm`, a success needs a
    second frame at its place that shows the same: until then frames may come one behind their texts.
    """

    wd_um: float
    magnification: float
    begin_wd_um: float | None = None
    dose_limit_e_nm2: float | None = None
    guess_wd_um: float | None = None
    confirm: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """The commanded WD (um) was acknowledged, and the magnification if one was commanded with it."""

    wd_um: float
    magnification: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The instrument cannot show the commanded magnification; nothing moved."""

    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A usable frame was read."""

    reading: Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an instrument stands: WD (um) and magnification; None where that is not known."""

    wd_um: float | None = None
    magnification: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The instrument failed, or the job must end: aborted, out of time, a move refused, taken over by somebody else.

    `found` is where the instrument was found afterwards; None if it was not looked for, because nothing had moved.
    """

    reason: Reason
    detail: str = ""
    found: Place | None = None


Event = Started | Moved | Refused | Observed | Failed


# Commands: what to do next.


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveWd:
    """Go to the absolute WD `wd_um` (um), and to `magnification` if one is given.

    Every one passes the motion guard before it is sent.
    """

    wd_um: float
    magnification: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeReading:
    """Grab a frame at the present WD and score it."""

    kind: ReadingKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclude:
    """The job is over."""

    outcome: "Outcome"


Command = MoveWd | TakeReading | Conclude


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a job ended.

    `wd_um` and `magnification` are where the instrument was left; `restored` says whether that
    is the start WD and the start magnification. `best_wd_um` is where a success ended, else the best place read;
    `score` was read there, or, if a success took a last step, part of a depth of focus before it. `dose_e_nm2`
    is that of all frames that were judged. The start and the present WD and magnification are None only if the
    job ended before the instrument had reported where it stands; the present ones also where the instrument
    was lost. `drift_um_per_min` is how fast the best WD moved
    meanwhile, with its standard deviation; None where the readings cannot tell. `drift_noticed`: it
    moved beyond doubt, and enough to matter; the detail says so too.
    """

    converged: bool
    reason: Reason
    detail: str
    start_wd_um: float | None
    wd_um: float | None
    best_wd_um: float | None
    score: float | None
    readings: ReadingCount
    restored: bool
    dose_e_nm2: float = 0.0
    start_magnification: float | None = None
    magnification: float | None = None
    drift_um_per_min: float | None = None
    drift_error_um_per_min: float | None = None
    drift_noticed: bool = False
