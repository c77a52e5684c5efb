"""When a servo of the published procedure stops. Pure."""

from enum import StrEnum

from afdaemon.control.evidence import Trace
from afdaemon.control.published.profile import PublishedProfile


class Stop(StrEnum):
    """What ended a servo, in words for the job's reply."""

    TOP_SCORE = "a score that cannot be bettered"
    NO_NEW_BEST = "no new best score"
    READINGS_USED = "all readings used"


def servo_stop(opening: Trace, servo: Trace, rules: PublishedProfile) -> Stop | None:
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
