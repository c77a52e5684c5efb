"""On a lattice a success has looked where its rival would lie."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import j1

from afdaemon.control.fast.aim.rivals import band_of_lattice, unseen_rival
from afdaemon.control.limits import Limits, Range
from afdaemon.control.values import Reading, ReadingKind, TracePoint
from afdaemon.models.frames.measures import Measures
from afdaemon.models.frames.spectrum import BANDS, HIGHEST, LOWEST

DOF_UM = 80.0
LIMITS = Limits(hard=Range(lo_um=5_000.0, hi_um=50_000.0))
EDGES = np.geomspace(LOWEST, HIGHEST, BANDS + 1)
NOISE = -11.0


def lattice_at(away_dof: float, period_px: float) -> TracePoint:
    """A reading of a lattice, that far from its focus."""
    x = 4.0 * math.pi * abs(away_dof) / period_px
    amplitude = abs(2.0 * j1(x) / x) if x else 1.0
    bands = np.full(BANDS, NOISE)
    bands[int(np.searchsorted(EDGES, 1.0 / period_px)) - 1] = np.logaddexp(
        NOISE, -4.0 + 2.0 * math.log(max(amplitude, 1e-6))
    )
    frame = Measures(score=8.0, contrast=0.2, entropy=7.0, bands=tuple(bands))
    wd_um = 12_000.0 + away_dof * DOF_UM
    reading = Reading(wd_um=wd_um, magnification=2_000.0, frame=frame)
    return TracePoint(kind=ReadingKind.SERVO, wd_um=wd_um, reading=reading)


@given(slope=st.floats(0.0, 3.0), level=st.floats(-12.0, -2.0))
def test_a_power_law_has_no_period(slope: float, level: float) -> None:
    bands = level - slope * np.log(EDGES[1:] / HIGHEST)
    assert band_of_lattice(tuple(bands)) is None
    assert band_of_lattice(()) is None


@given(period_px=st.floats(4.0, 40.0))
def test_a_lattice_is_looked_at_on_both_sides(period_px: float) -> None:
    here = lattice_at(0.0, period_px)
    seen, sides = [here], []
    while (place_um := unseen_rival(seen, here, DOF_UM, LIMITS)) is not None:
        sides.append((place_um - here.wd_um) / DOF_UM)
        seen.append(lattice_at(sides[-1], period_px))
    assert sorted(sides) == pytest.approx([-0.41 * period_px, 0.41 * period_px], rel=0.15)


@given(period_px=st.floats(5.0, 40.0), side=st.sampled_from([-1.0, 1.0]))
def test_from_the_reversed_lobe_a_look_finds_the_focus(period_px: float, side: float) -> None:
    here = lattice_at(side * 0.41 * period_px, period_px)
    band = band_of_lattice(here.frame.bands)
    assert band is not None
    seen = [here]
    while (place_um := unseen_rival(seen, here, DOF_UM, LIMITS)) is not None:
        seen.append(lattice_at((place_um - 12_000.0) / DOF_UM, period_px))
    assert max(point.frame.bands[band] for point in seen) > here.frame.bands[band] + 2.0


def test_a_side_beyond_the_limits_is_left_out() -> None:
    here = lattice_at(0.0, 20.0)
    above = Limits(hard=Range(lo_um=here.wd_um - 1.0, hi_um=50_000.0))
    below = Limits(hard=Range(lo_um=5_000.0, hi_um=here.wd_um + 1.0))
    over, under = (unseen_rival([here], here, DOF_UM, limits) for limits in (above, below))
    assert over is not None
    assert under is not None
    assert under < here.wd_um < over


def test_readings_elsewhere_say_nothing_about_the_lobe() -> None:
    here = lattice_at(0.0, 20.0)
    assert unseen_rival([here, lattice_at(1.5, 20.0), lattice_at(60.0, 20.0)], here, DOF_UM, LIMITS)
    bare = replace(here, reading=replace(here.reading, frame=replace(here.frame, bands=())))
    assert unseen_rival([bare], bare, DOF_UM, LIMITS) is None
