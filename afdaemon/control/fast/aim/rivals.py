"""A lattice has more than one place that looks like its focus. Pure.

A disc of radius b transfers a period P with 2 J1(x) / x, x = 2 pi b / P. Past its first zero contrast comes back,
reversed: at x = 5.14 there is .13 of it, at 8.42 .06. Each such lobe is a local peak of contrast and score. So who
stands on a lattice knows where to look for a better place: at the distance of that lobe, on either side.

b = 2 px for each depth of focus (DoF), so the first reversed lobe lies .41 P (px) DoF from the focus.
"""

import math
from collections.abc import Sequence

import numpy as np

from afdaemon.control.limits import Limits
from afdaemon.control.values import TracePoint
from afdaemon.models.frames.spectrum import BANDS, HIGHEST, LOWEST

_STANDS_OUT = 1.5
"""Natural logarithm of the power by which the band of a lattice exceeds its neighbours but one. In focus nine of ten
gratings, lattices and labyrinths reach 2.3; nine of ten balls, grids, fabrics, foams, sections, particles and faces
stay below 1.1; ribs and layers reach 1.5 at times. Of 14 simulated fields each."""
_COARSEST = 3
"""Periods longer than those of the fourth band, 45 px, have their lobes 20 DoF away: the score tells them apart."""
_LOBE = 5.136 / (4.0 * math.pi)
"""Distance of the reversed lobe from the focus in DoF, for a period of 1 px."""
_AROUND = 0.35
"""A reading within this share of that distance has looked there: the lobe is as wide."""
_EDGES = np.geomspace(LOWEST, HIGHEST, BANDS + 1)
_CENTRES = np.sqrt(_EDGES[:-1] * _EDGES[1:])


def band_of_lattice(bands: Sequence[float]) -> int | None:
    """The band that holds the period of a lattice; None where no period stands out."""
    power = np.asarray(bands)
    if len(power) != BANDS:
        return None
    inner = np.arange(_COARSEST, BANDS - 1)
    beside = np.maximum(power[inner - 2], power[np.minimum(inner + 2, BANDS - 1)])
    stands_out = power[inner] - beside
    best = int(stands_out.argmax())
    return int(inner[best]) if stands_out[best] > _STANDS_OUT else None


def unseen_rival(
    rung: Sequence[TracePoint], here: TracePoint, dof_um: float, limits: Limits
) -> float | None:
    """The WD (um) within the limits to look at before a success at `here` is believed; None if there is no need.

    `dof_um` is a true depth of focus. A specimen without a period has none. On a lattice both sides are looked at: from
    the reversed lobe the focus lies on one of them, and on the other one next to nothing is left, as beside the focus.
    """
    band = band_of_lattice(here.frame.bands)
    if band is None:
        return None
    away_um = _LOBE / float(_CENTRES[band]) * dof_um
    for side_um in (away_um, -away_um):
        is_seen = any(_is_at(point, here, side_um) for point in rung)
        if not is_seen and limits.within(here.wd_um + side_um):
            return here.wd_um + side_um
    return None


def _is_at(point: TracePoint, here: TracePoint, away_um: float) -> bool:
    return abs(point.wd_um - here.wd_um - away_um) <= _AROUND * abs(away_um)
