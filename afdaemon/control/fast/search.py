"""The search of the fast procedure: the nearest place that it has not read yet. Pure."""

import math
from collections.abc import Sequence
from itertools import count

from afdaemon.control.limits import Limits

HALVINGS = 2
"""How often the stride is halved: in much noise the capture range is shorter than the stride supposes."""
_FINER_COSTS = 4.0
"""A place at half the stride counts as this many times as far: it is read after all places nearby at whole strides."""
_ROUNDING = 1e-9
"""Relative slack, so that the last stride of a window is not lost to rounding."""


def next_unread(
    read_um: Sequence[float],
    *,
    stride_um: float,
    first: float,
    limits: Limits,
    reach_um: float = math.inf,
    guess_um: float | None = None,
    halvings: int = HALVINGS,
) -> float | None:
    """A WD (um) with no reading in `read_um` within half a stride of it, or None if there is none left.

    The guess, if it is such a place; else the one nearest to the first reading. Places lie whole strides from there,
    and at both ends of the range; of two as near, the one on the side of `first` (its sign) comes first. Places at half
    and at a quarter of the stride (as far as `halvings` allows) count as 4 and 16 times as far. Except for the guess,
    nothing beyond `reach_um` from there is visited.
    """
    if guess_um is not None and limits.within(guess_um) and _is_new(guess_um, read_um, stride_um):
        return guess_um
    finer = [
        (_nearest_unread(read_um, stride_um / 2**n, reach_um, first, limits), _FINER_COSTS**n)
        for n in range(halvings + 1)
    ]
    open_places = [(place, cost) for place, cost in finer if place is not None]
    nearest = min(open_places, key=lambda p: abs(p[0] - read_um[0]) * p[1], default=None)
    return None if nearest is None else nearest[0]


def _nearest_unread(
    read_um: Sequence[float], stride_um: float, reach_um: float, first: float, limits: Limits
) -> float | None:
    start_um, side = read_um[0], math.copysign(1.0, first)
    for strides in count(1):
        if strides * stride_um > reach_um * (1.0 + _ROUNDING):
            return None
        places = [start_um + sign * strides * stride_um for sign in (side, -side)]
        for place_um in places:
            there_um = limits.nearest(place_um)
            if _is_new(there_um, read_um, stride_um):
                return there_um
        if not any(limits.within(place_um) for place_um in places):
            return None
    return None


def _is_new(place_um: float, read_um: Sequence[float], stride_um: float) -> bool:
    return min(abs(place_um - wd_um) for wd_um in read_um) > 0.5 * stride_um
