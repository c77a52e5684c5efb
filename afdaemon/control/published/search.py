"""The coarse search of the published procedure: where to look for a first trace of focus. Pure.

The published stride is A_max(m) / 3: 400 um at low and 12 um at high magnification. A sweep walks
from the start towards longer WD to the end of the range, then from the start towards shorter WD;
the next sweep does the same with half the stride and leaves out what was read already.
"""

from collections.abc import Iterator
from itertools import islice

from afdaemon.control.limits import Limits
from afdaemon.control.published.profile import PublishedProfile
from afdaemon.models.acnet.state import a_max_um

_ROUNDING = 1e-9
"""Relative slack, so that the last stride of a window is not lost to rounding."""


def stride_um(magnification: float, rules: PublishedProfile) -> float:
    """The first sweep's stride in um."""
    return a_max_um(magnification) * rules.stride_fraction


def plan(
    start_um: float, magnification: float, limits: Limits, rules: PublishedProfile
) -> tuple[float, ...]:
    """Every WD (um) the search would visit after the start, in order, all inside the limits."""
    stride = stride_um(magnification, rules)
    window = rules.search_window_a_max * a_max_um(magnification)
    if window == 0.0:
        window = limits.allowed.hi_um - limits.allowed.lo_um
    spots = _spots(start_um, stride, window, limits, rules)
    # The reading at the start is one of the search's.
    most = rules.max_search_readings - 1 if rules.max_search_readings else None
    return tuple(islice(spots, most))


def _spots(
    start_um: float, stride: float, window: float, limits: Limits, rules: PublishedProfile
) -> Iterator[float]:
    """Spots on one lattice of the finest stride, so that "read already" is a matter of integers."""
    finest = stride / 2**rules.halvings
    reach = int(window / finest * (1.0 + _ROUNDING))
    seen = {0}
    for sweep in range(rules.halvings + 1):
        every = 2 ** (rules.halvings - sweep)
        for direction in (1, -1) if rules.both_directions else (1,):
            for index in range(direction * every, direction * (reach + 1), direction * every):
                wd_um = start_um + index * finest
                if not limits.within(wd_um):
                    break
                if index not in seen:
                    seen.add(index)
                    yield wd_um
