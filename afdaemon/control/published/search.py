"""Coarse search: where to look for a first trace of focus.

The fast procedure looks at the nearest place that it has not seen yet (`next_unseen`).

The published stride is A_max(m) / 3: 400 um at low and 12 um at high magnification. A sweep walks
from the start towards longer WD to the end of the range, then from the start towards shorter WD;
the next sweep does the same with half the stride and leaves out what was read already.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import count, islice

from afdaemon.control.limits import Limits
from afdaemon.control.published.profile import PaperProfile
from afdaemon.models.acnet.state import a_max_um

HALVINGS, _FINER_COSTS = 2, 4.0
_ROUNDING = 1e-9
"""Relative slack, so that the last stride of a window is not lost to the last bit."""


def stride_um(magnification: float, rules: PaperProfile) -> float:
    """The first sweep's stride in um."""
    return a_max_um(magnification) * rules.stride_fraction


def plan(
    start_um: float, magnification: float, limits: Limits, rules: PaperProfile
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
    start_um: float, stride: float, window: float, limits: Limits, rules: PaperProfile
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


def next_unseen(
    seen_um: Sequence[float],
    *,
    stride_um: float,
    first: float,
    limits: Limits,
    reach_um: float = math.inf,
    guess_um: float | None = None,
    halvings: int = HALVINGS,
) -> float | None:
    """A WD (um) from which no reading of `seen_um` is within half a stride, or None if there is none left.

    The guess, if it is such a place; else the one nearest to the first reading. Places lie whole strides from there,
    and at both ends of the range; of two as near, that to the side of `first` (its sign) comes before the other. Places
    at half and at a quarter of the stride (as many `halvings` as allowed) count as 4 and 16 times as far: a frame of
    much noise shows less far. But for the guess, nothing beyond `reach_um` from there is looked at.
    """
    if guess_um is not None and limits.within(guess_um) and _is_new(guess_um, seen_um, stride_um):
        return guess_um
    finer = [
        (_nearest_unseen(seen_um, stride_um / 2**n, reach_um, first, limits), _FINER_COSTS**n)
        for n in range(halvings + 1)
    ]
    open_places = [(place, cost) for place, cost in finer if place is not None]
    nearest = min(open_places, key=lambda p: abs(p[0] - seen_um[0]) * p[1], default=None)
    return None if nearest is None else nearest[0]


def _nearest_unseen(
    seen_um: Sequence[float], stride_um: float, reach_um: float, first: float, limits: Limits
) -> float | None:
    start_um, side = seen_um[0], math.copysign(1.0, first)
    for strides in count(1):
        if strides * stride_um > reach_um * (1.0 + _ROUNDING):
            return None
        places = [start_um + sign * strides * stride_um for sign in (side, -side)]
        for place_um in places:
            there_um = limits.nearest(place_um)
            if _is_new(there_um, seen_um, stride_um):
                return there_um
        if not any(limits.within(place_um) for place_um in places):
            return None
    return None


def _is_new(place_um: float, seen_um: Sequence[float], stride_um: float) -> bool:
    return min(abs(place_um - wd_um) for wd_um in seen_um) > 0.5 * stride_um
