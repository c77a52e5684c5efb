"""Scan flaws: as set, in pixels, and nothing at all where there are none."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import fft

from afdaemon.sim.imaging.scan import (
    FLAWLESS,
    ScanFlaws,
    Scanning,
    displacement_px,
    draw_streaks,
    line_times_s,
    order_of_lines,
    scan_out,
    streaks,
)

SIZE = (60, 80)
WINDOW = (slice(10, 50), slice(10, 70))
LINES, COLUMNS = 40, 60
STILL = np.zeros(LINES, np.float32)
RNG = np.random.default_rng(2)
FIELD = RNG.random(SIZE, dtype=np.float32)


def smooth(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """A field that is periodic over SIZE and has no detail near the sampling limit in y."""
    turn = 2.0 * np.pi
    return 0.5 + 0.2 * np.sin(turn * 9 * x / SIZE[1]) + 0.2 * np.cos(turn * 6 * y / SIZE[0])


def only(**flaws: float | tuple[float, float]) -> ScanFlaws:
    values = {name: getattr(FLAWLESS, name) for name in FLAWLESS.__slots__}
    return ScanFlaws(**(values | flaws))


def test_without_flaws_nothing_moves() -> None:
    moved = displacement_px(
        Scanning(flaws=FLAWLESS, start_s=3.0), RNG.random(LINES, dtype=np.float32), 10.0
    )
    assert (moved == 0.0).all()
    plain = scan_out(fft.rfft2(FIELD), SIZE, WINDOW, None)
    assert (scan_out(fft.rfft2(FIELD), SIZE, WINDOW, moved) == plain).all()
    assert np.abs(plain - FIELD[WINDOW]).max() < 1e-6


@given(dx=st.floats(-5.0, 5.0), dy=st.floats(-5.0, 5.0))
def test_lines_show_what_lies_where_they_are(dx: float, dy: float) -> None:
    x, y = np.arange(float(SIZE[1]))[None, :], np.arange(float(SIZE[0]))[:, None]
    field: NDArray[np.float32] = smooth(x, y).astype(np.float32)
    spectrum = fft.rfft2(field)
    moved = np.tile([dx, dy], (LINES, 1))
    frame = scan_out(spectrum, SIZE, WINDOW, moved)
    expected = smooth(x[:, WINDOW[1]] + dx, y[WINDOW[0]] + dy)
    assert np.abs(frame - expected).max() < 0.004


@given(dx=st.floats(-5.0, 5.0))
def test_a_shift_along_the_line_does_not_blur(dx: float) -> None:
    """All frequencies keep their strength: shifted there and back, noise is as it was."""
    window = (slice(0, SIZE[0]), slice(0, SIZE[1]))
    there = np.tile([dx, 0.0], (SIZE[0], 1))
    odd = FIELD - FIELD.mean(axis=1, keepdims=True)
    odd = scan_out(
        fft.rfft2(odd) * (np.arange(SIZE[1] // 2 + 1) < SIZE[1] // 2), SIZE, window, None
    )
    moved = scan_out(fft.rfft2(odd), SIZE, window, there)
    back = scan_out(fft.rfft2(moved), SIZE, window, -there)
    assert np.abs(back - odd).max() < 1e-4


@given(amplitude_nm=st.floats(1.0, 30.0), hum_hz=st.floats(40.0, 70.0), start_s=st.floats(0.0, 1e4))
def test_hum_has_its_amplitude_and_its_period(
    amplitude_nm: float, hum_hz: float, start_s: float
) -> None:
    scanning = Scanning(
        flaws=only(hum_nm=amplitude_nm, hum_hz=hum_hz), line_s=1e-3, start_s=start_s
    )
    x, y = displacement_px(scanning, np.zeros(1_000, np.float32), 10.0).T
    assert (y == 0.0).all()
    assert x.max() == pytest.approx(amplitude_nm / 10.0, rel=0.05)
    periods = np.count_nonzero((x[:-1] < 0.0) & (x[1:] >= 0.0))
    assert periods == pytest.approx(hum_hz * 1.0, abs=1.0)


def test_jitter_spreads_as_set_and_only_along_the_line() -> None:
    normals = np.random.default_rng(0).standard_normal(5_000).astype(np.float32)
    moved = displacement_px(Scanning(flaws=only(jitter_nm=6.0)), normals, 2.0)
    assert moved[:, 0].std() == pytest.approx(3.0, rel=0.05)
    assert (moved[:, 1] == 0.0).all()


def test_drift_shears_and_compresses() -> None:
    scanning = Scanning(flaws=only(drift_nm_per_s=(500.0, -200.0)), line_s=1e-3)
    moved = displacement_px(scanning, STILL, 5.0)
    assert np.diff(moved, axis=0) == pytest.approx(np.tile([0.1, -0.04], (LINES - 1, 1)))
    assert moved.mean(axis=0) == pytest.approx([0.0, 0.0], abs=1e-9)


@pytest.mark.parametrize(
    ("lines", "interlace", "order"),
    [
        (6, 1, [0, 1, 2, 3, 4, 5]),
        (6, 2, [0, 2, 4, 1, 3, 5]),
        (7, 2, [0, 2, 4, 6, 1, 3, 5]),
        (7, 4, [0, 4, 1, 5, 2, 6, 3]),
        (3, 4, [0, 1, 2]),
    ],
)
def test_fields_follow_each_other(lines: int, interlace: int, order: list[int]) -> None:
    assert order_of_lines(lines, interlace).tolist() == order
    times_s = line_times_s(Scanning(line_s=2.0, interlace=interlace), lines)
    assert times_s[order].tolist() == [2.0 * k + 1.0 for k in range(lines)]


def test_the_fields_of_an_interlaced_frame_see_the_specimen_half_a_frame_apart() -> None:
    flaws = only(drift_nm_per_s=(500.0, -200.0), hum_nm=3.0)
    scanning = Scanning(flaws=flaws, line_s=1e-3, interlace=2)
    comb = displacement_px(scanning, STILL, 5.0)
    steady = displacement_px(replace(scanning, interlace=1), STILL, 5.0)
    assert comb[0::2] == pytest.approx(steady[: LINES // 2])
    assert comb[1::2] == pytest.approx(steady[LINES // 2 :])
    assert (comb[1::2] - comb[0::2])[:, 1] == pytest.approx(-200.0 * 1e-3 * LINES / 2 / 5.0)


def test_jitter_averages_out_over_the_passes_of_a_line() -> None:
    normals = np.random.default_rng(0).standard_normal(LINES).astype(np.float32)
    once, often = (
        displacement_px(Scanning(flaws=only(jitter_nm=6.0), line_average=n), normals, 2.0)
        for n in (1, 9)
    )
    assert often == pytest.approx(once / 3.0)


def test_streaks_of_lines_that_follow_each_other_are_alike() -> None:
    z = np.random.default_rng(1).standard_normal(600).astype(np.float32)
    streak, signal = np.ones((600, 1), np.float32), np.zeros((600, 1), np.float32)
    draw_streaks(signal, streak, 0.2, z, interlace=2)
    beside = np.corrcoef(signal[:-1, 0], signal[1:, 0])[0, 1]
    in_field = np.corrcoef(signal[:-2, 0], signal[2:, 0])[0, 1]
    assert in_field > 0.7
    assert abs(beside) < 0.4


def test_vibration_has_its_amplitude() -> None:
    scanning = Scanning(flaws=only(vibration_nm=8.0, vibration_hz=30.0), line_s=1e-3)
    moved = displacement_px(scanning, np.zeros(500, np.float32), 4.0)
    assert np.hypot(*moved.T).max() == pytest.approx(2.0, rel=0.02)


def test_charge_streaks_behind_and_never_before() -> None:
    spot = np.zeros((LINES, COLUMNS), np.float32)
    spot[10:30, 20:25] = 1.0
    tail = streaks(spot)
    signal = np.full(spot.shape, 0.4, np.float32)
    z = np.random.default_rng(1).standard_normal(LINES).astype(np.float32)
    draw_streaks(signal, tail, 0.2, z)
    changed = np.abs(signal - 0.4)
    assert changed[:, :20].max() < 1e-5
    assert changed[:10].max() < 1e-5
    behind = changed[10:30, 25:].mean(axis=0)
    assert behind[0] > 2.0 * behind[-1]
    decay = math.log(tail[20, 30] / tail[20, 38]) / 8.0
    assert decay == pytest.approx(8.0 / COLUMNS, rel=0.05)
