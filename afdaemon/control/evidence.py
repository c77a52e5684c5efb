"""When to stop, which working distance was best, and what a failure is to be called."""

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from afdaemon.control.published.profile import PaperProfile
from afdaemon.control.values import ReadingCount, ReadingKind, Reason, TracePoint
from afdaemon.models.frames.doubt import BLANK

Trace = Sequence[TracePoint]

MOST_HIDDEN = 0.75
"""Share of black or white pixels above which no score counts. Half a grid's frame may be holes, and black."""

_LEAST_CONTRAST = 0.8
"""Share of the highest std / mean; in focus it is hardly ever lower by more than a tenth."""
_SURE_ERRORS = 4.0
"""A score of fewer expected errors may be one of noise."""


class Emptiness(Protocol):
    """From when on a frame shows nothing."""

    @property
    def flat_variance(self) -> float:
        """Least std / mean."""

    @property
    def saturated_fraction(self) -> float:
        """Largest share of saturated pixels."""


class Stop(StrEnum):
    """What ended a servo, in words for the job's reply."""

    TOP_SCORE = "a score that cannot be bettered"
    NO_NEW_BEST = "no new best score"
    READINGS_USED = "all readings used"


def servo_stop(opening: Trace, servo: Trace, rules: PaperProfile) -> Stop | None:
    """Why the servo should stop, or None.

    `opening` is what the memory held when the servo began, `servo` what was read since.
    """
    everything = [*opening, *servo]
    best = 0
    for index, point in enumerate(everything):
        if point.score > everything[best].score + rules.new_best_margin:
            best = index
    if everything[-1].score >= rules.stop_score:
        return Stop.TOP_SCORE
    since_best = len(everything) - 1 - max(best, len(opening) - 1)
    if since_best >= rules.patience:
        return Stop.NO_NEW_BEST
    if len(servo) >= rules.max_servo_readings:
        return Stop.READINGS_USED
    return None


def latest_at(trace: Trace, wd_um: float) -> TracePoint | None:
    """The newest reading that was taken at exactly this commanded WD."""
    return next((point for point in reversed(trace) if point.wd_um == wd_um), None)


def best_seen(trace: Trace) -> TracePoint:
    """The best reading of a job, the earliest of equals.

    Where a WD was read more than once the newest reading counts, so that a verifying reading can
    take back what a freak frame had promised.
    """
    newest = {point.wd_um: point for point in trace}
    return max(newest.values(), key=lambda point: point.score)


def best_telling(trace: Trace, rules: Emptiness) -> TracePoint:
    """The best of the readings that may be in focus; of all if there are none."""
    return best_seen(may_be_in_focus(trace, rules) or trace)


def may_be_in_focus(trace: Trace, rules: Emptiness) -> list[TracePoint]:
    """The readings of one magnification that a success may rest on.

    One with far less contrast than another is not in focus, whatever it scored.
    """
    telling = [point for point in trace if is_telling(point, rules)]
    most = max((point.reading.variance for point in telling), default=0.0)
    return [point for point in telling if point.reading.variance >= _LEAST_CONTRAST * most]


def is_flat(trace: Trace, rules: Emptiness) -> bool:
    """Whether no frame of the job showed any contrast, or anything but noise."""
    return all(_is_flat(point, rules) for point in trace)


def is_saturated(trace: Trace, rules: Emptiness) -> bool:
    """Whether every frame of the job was mostly saturated."""
    return all(_is_saturated(point, rules) for point in trace)


def is_telling(point: TracePoint, rules: Emptiness) -> bool:
    """Whether a success may rest on this reading: its frame shows something, and enough of it."""
    return not _is_flat(point, rules) and point.reading.saturated <= MOST_HIDDEN


def may_be_noise(point: TracePoint) -> bool:
    """Whether noise may have made its score."""
    return point.score < _SURE_ERRORS * point.reading.expected_error


def flaws(trace: Trace, rules: Emptiness) -> str:
    """What was wrong with frames of a failed job, as the end of a sentence; "" if nothing was."""
    saturated = sum(_is_saturated(point, rules) for point in trace)
    streaked = sum(point.reading.streaked for point in trace)
    told = (
        (saturated, "mostly black or white: change brightness and contrast"),
        (streaked, "streaked: the specimen charges"),
    )
    return "".join(f"; {count} of {len(trace)} frames are {what}" for count, what in told if count)


def _is_flat(point: TracePoint, rules: Emptiness) -> bool:
    reading = point.reading
    return reading.variance < rules.flat_variance or reading.doubt.startswith(BLANK)


def _is_saturated(point: TracePoint, rules: Emptiness) -> bool:
    return point.reading.saturated > rules.saturated_fraction


def diagnose(trace: Trace, rules: Emptiness, otherwise: Reason) -> Reason:
    """The most telling reason for a failure; a frame that is all white is flat too."""
    if is_saturated(trace, rules):
        return Reason.SATURATED
    if is_flat(trace, rules):
        return Reason.NO_CONTRAST
    return otherwise


def count(trace: Trace) -> ReadingCount:
    """Readings used, by purpose."""
    kinds = Counter(point.kind for point in trace)
    return ReadingCount(
        search=kinds[ReadingKind.SEARCH],
        servo=kinds[ReadingKind.SERVO],
        verify=kinds[ReadingKind.VERIFY],
    )
