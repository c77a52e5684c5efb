import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.sim.instrument.column import Column
from afdaemon.sim.instrument.settings import ColumnSettings, InstrumentSettings, Probe
from afdaemon.sim.optics import REFERENCE_WIDTH_UM, Beam, focus_shift_um

STILL = ColumnSettings(drift_um_per_min=0.0, wander_um=0.0, rotation_deg=0.0, shift_pct=0.0)


def column(seed: int = 0, *, alpha_mrad: float = 5.0, **changes: Any) -> Column:
    settings = InstrumentSettings(
        magnification=1000, alpha_mrad=alpha_mrad, column=replace(STILL, **changes)
    )
    return Column.drawn(settings, 12_000.0, np.random.default_rng(seed))


@given(rate=st.floats(-100.0, 100.0), minutes=st.floats(0.0, 600.0))
def test_it_drifts_at_its_rate(rate: float, minutes: float) -> None:
    focus_um = column(drift_um_per_min=rate).focus_wd_um(60.0 * minutes, 15.0)
    assert focus_um == pytest.approx(12_000.0 + rate * minutes)


def test_it_wanders_from_nothing_by_its_rms() -> None:
    """Over many instruments and a long time; at age 0 nothing has wandered yet, which doubles the square."""
    ages_s = np.linspace(0.0, 36_000.0, 500)
    seen = np.array([[column(s, wander_um=3.0).drift_um(t) for t in ages_s] for s in range(40)])
    assert (seen[:, 0] == 0.0).all()
    assert np.sqrt((seen - seen.mean(axis=1, keepdims=True)).var()) == pytest.approx(3.0, rel=0.1)
    steps = np.abs(column(1, wander_um=3.0).drift_um(10.0))
    assert 0.0 < steps < 3.0


def test_two_instruments_wander_apart_and_one_always_alike() -> None:
    assert column(1, wander_um=1.0).drift_um(900.0) == column(1, wander_um=1.0).drift_um(900.0)
    assert column(1, wander_um=1.0).drift_um(900.0) != column(2, wander_um=1.0).drift_um(900.0)


@given(kv=st.floats(1.0, 30.0), setting=st.floats(1.0, 30.0))
def test_the_voltage_shifts_the_focus_from_where_it_was_set_up(kv: float, setting: float) -> None:
    moved_um = column(kv=setting).focus_wd_um(0.0, kv) - 12_000.0
    assert moved_um == pytest.approx(focus_shift_um(kv) - focus_shift_um(setting), abs=1e-6)


def test_an_aperture_makes_the_angle_by_the_wd() -> None:
    beam = column(aperture_um=30.0)
    assert beam.optics(12_000.0, 15.0).alpha_rad == pytest.approx(15.0 / 12_000.0)
    assert beam.optics(24_000.0, 15.0).alpha_rad == pytest.approx(15.0 / 24_000.0)
    assert column(alpha_mrad=3.0).optics(24_000.0, 15.0).alpha_rad == 3e-3


def test_a_lower_voltage_and_a_larger_spot_make_a_larger_probe() -> None:
    usual = column().optics(12_000.0, 15.0)
    assert column().optics(12_000.0, 3.0).probe_nm > usual.probe_nm
    assert column(spot=6.0).optics(12_000.0, 15.0).probe_nm > usual.probe_nm
    beam = column(astigmatism_x_um=4.0, astigmatism_y_um=-2.0).optics(12_000.0, 15.0)
    assert beam.astigmatism_um == (4.0, -2.0)


def test_the_probe_is_geometric_unless_waves_are_asked_for() -> None:
    assert column().optics(12_000.0, 3.0).beam is None
    flaws: dict[str, Any] = {"energy_spread_ev": 1.0, "chromatic_mm": 7.0, "spherical_mm": 5.0}
    asked = column(probe=Probe.WAVE, spot=3.0, **flaws).optics(12_000.0, 3.0)
    assert asked.beam == Beam(kv=3.0, spot=3.0, **flaws)
    assert asked.probe_nm == Beam(kv=3.0, spot=3.0, **flaws).probe_nm(asked.alpha_rad)
    plain = column(spot=3.0, **flaws).optics(12_000.0, 3.0)
    assert plain.probe_nm == asked.probe_nm, "aberrations count in the probe's size either way"


@pytest.mark.parametrize("decades", [-1.0, 0.0, 1.0])
def test_a_decade_of_magnification_turns_and_shifts_the_field(decades: float) -> None:
    magnification = 1000.0 * 10.0**decades
    seen = column(rotation_deg=2.0, shift_pct=5.0)
    assert seen.rotation_rad(magnification, 12_000.0) == pytest.approx(math.radians(2.0) * decades)
    far_um = math.hypot(*seen.shift_um(magnification, 12_000.0))
    assert far_um == pytest.approx(
        0.05 * abs(decades) * REFERENCE_WIDTH_UM / magnification, abs=1e-9
    )


@pytest.mark.parametrize("off_um", [-2_000.0, 0.0, 500.0])
def test_the_picture_follows_the_lens(off_um: float) -> None:
    seen = column(wd_shift_nm_per_um=20.0, wd_rotation_deg_per_mm=3.0, wd_zoom_pct_per_mm=2.0)
    wd_um = seen.focus_um + off_um
    assert math.hypot(*seen.shift_um(1000.0, wd_um)) == pytest.approx(0.02 * abs(off_um))
    assert seen.rotation_rad(1000.0, wd_um) == pytest.approx(math.radians(3.0) * 1e-3 * off_um)
    assert seen.zoom(wd_um) == pytest.approx(1.0 + 0.02 * 1e-3 * off_um)
