"""What the scan does to a frame: displaced lines, a moving specimen, streaks behind charging spots. Pure.

x is the fast direction, y the slow one. A displacement is where a line really lies, relative to where it should.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import fft, sparse

from afdaemon.sim.ops import frequencies
from afdaemon.sim.surface import FloatImage

NORMALS_PER_LINE = 2
"""One for the line's jitter, one for the charge that it leaves."""

_VIBRATION_RAD = 0.5
"""Direction of the vibration, from x towards y. ASSUMED."""
_UNSEEN_PX = 1e-3
"""Displacements below this are ignored."""
_LOBES = 4
"""Of the Lanczos kernel, to either side: it spans eight lines."""
_STREAK_SHARE = 1 / 8
"""Length over which a streak fades, as a share of the line. ASSUMED."""
_STREAK_STRENGTH = 0.4
"""Standard deviation of a streak, as a share of the signal that the charging spot itself adds. ASSUMED."""
_CHARGE_LINES = 6.0
"""Lines over which the charge on the surface changes. ASSUMED."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanFlaws:
    """Flaws of scan and surroundings, in physical units; the defaults are those of a well-kept instrument. ASSUMED.

    `jitter_nm` is the standard deviation of a line's start, `hum_nm` and `vibration_nm` are amplitudes (the hum along
    x, the vibration along a direction of its own), `drift_nm_per_s` is the specimen's creep (x, y). `charging` is the
    signal that a fully charging spot adds.
    """

    jitter_nm: float = 0.5
    hum_nm: float = 1.0
    hum_hz: float = 50.0
    vibration_nm: float = 0.5
    vibration_hz: float = 28.0
    drift_nm_per_s: tuple[float, float] = (0.5, 0.5)
    charging: float = 0.15


FLAWLESS = ScanFlaws(
    jitter_nm=0.0, hum_nm=0.0, vibration_nm=0.0, drift_nm_per_s=(0.0, 0.0), charging=0.0
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanning:
    """How one frame is scanned: its flaws, a line's time with flyback, and when the frame begins (for the phases).

    `interlace` is the number of fields: of 2, one has the lines 0, 2, 4 ..., the next one 1, 3, 5 ... Each line is the
    mean of `line_average` passes over it, which `line_s` includes.
    """

    flaws: ScanFlaws = field(default_factory=ScanFlaws)
    line_s: float = 178e-6
    start_s: float = 0.0
    interlace: int = 1
    line_average: int = 1


def order_of_lines(lines: int, interlace: int) -> NDArray[np.intp]:
    """The numbers of the lines in the order in which they are scanned, (lines,)."""
    return np.argsort(np.arange(lines) % interlace, kind="stable")


def line_times_s(scanning: Scanning, lines: int) -> NDArray[np.float64]:
    """The middle of each line's time, counted from the frame's begin, (lines,)."""
    times_s = np.empty(lines)
    times_s[order_of_lines(lines, scanning.interlace)] = (np.arange(lines) + 0.5) * scanning.line_s
    return times_s


def displacement_px(
    scanning: Scanning, jitter: NDArray[np.float32], pixel_nm: float
) -> NDArray[np.float64]:
    """Where the lines lie, (H, 2) as (x, y) in pixels, from one standard normal `jitter` per line, (H,).

    Drift counts from the middle of the frame: what has accumulated until then is part of the view's position. Several
    passes over a line share its hum and vibration, and their jitter averages out; its smear is ignored.
    """
    flaws, lines = scanning.flaws, len(jitter)
    in_frame_s = line_times_s(scanning, lines)
    hum = flaws.hum_nm * _wave(flaws.hum_hz, scanning.start_s, in_frame_s)
    shake = flaws.vibration_nm * _wave(flaws.vibration_hz, scanning.start_s, in_frame_s)
    from_middle_s = in_frame_s - 0.5 * lines * scanning.line_s
    drift_x, drift_y = flaws.drift_nm_per_s
    jitter_nm = flaws.jitter_nm / math.sqrt(scanning.line_average)
    x_nm = jitter_nm * jitter + hum + math.cos(_VIBRATION_RAD) * shake
    y_nm = math.sin(_VIBRATION_RAD) * shake
    moved = np.stack([x_nm + drift_x * from_middle_s, y_nm + drift_y * from_middle_s], axis=1)
    return np.asarray(moved / pixel_nm)


def _wave(
    frequency_hz: float, start_s: float, in_frame_s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A sine of the time since the clock began; whole periods before the frame are subtracted first."""
    turns = math.fmod(frequency_hz * start_s, 1.0) + frequency_hz * in_frame_s
    return np.asarray(np.sin(2.0 * np.pi * turns))


def scan_out(
    spectrum: NDArray[np.complex64],
    size: tuple[int, int],
    window: tuple[slice, slice],
    displacement: NDArray[np.float64] | None,
) -> FloatImage:
    """The field of `size` (H, W) that `spectrum` belongs to, read line by line where the lines really lie.

    Only `window` of it is returned, float32. Along a line the shift is a phase, hence exact; between lines it is
    Lanczos interpolation over eight of them. Without a displacement, or with a negligible one, the field is unchanged.
    """
    rows, columns = window
    if displacement is None or np.abs(displacement).max() < _UNSEEN_PX:
        return np.asarray(fft.irfft2(spectrum, s=size)[window], dtype=np.float32)
    lines = fft.ifft(spectrum, axis=0)
    if np.abs(displacement[:, 1]).max() < _UNSEEN_PX:
        lines = lines[rows]
    else:
        lines = (
            _between_lines(np.arange(rows.start, rows.stop) + displacement[:, 1], size[0]) @ lines
        )
    _, f_x = frequencies(size)
    turn = (2.0 * np.pi * displacement[:, :1]).astype(np.float32) * f_x
    phase = np.empty(turn.shape, np.complex64)
    np.cos(turn, out=phase.real)
    np.sin(turn, out=phase.imag)
    phase *= lines
    return np.asarray(fft.irfft(phase, n=size[1], axis=1)[:, columns], dtype=np.float32)


def _between_lines(at: NDArray[np.float64], height: int) -> sparse.csr_array:
    """Lanczos weights, (len(at), height), that read a field of `height` lines at lines `at`."""
    first = np.floor(at).astype(np.int64) - _LOBES + 1
    taps = first[:, None] + np.arange(2 * _LOBES)
    distance = taps - at[:, None]
    weights = np.sinc(distance) * np.sinc(distance / _LOBES)
    weights /= weights.sum(axis=1, keepdims=True)
    starts = np.arange(len(at) + 1) * 2 * _LOBES
    columns = np.clip(taps, 0, height - 1).ravel()
    return sparse.csr_array(
        (weights.astype(np.float32).ravel(), columns, starts), shape=(len(at), height)
    )


def streaks(charging: FloatImage) -> FloatImage:
    """What charged spots leave along the line behind them, float32 (H, W): one-sided exponential tails, 0..1."""
    return _trailing(charging, _STREAK_SHARE * charging.shape[1])


def draw_streaks(
    signal: FloatImage, streak: FloatImage, strength: float, z: FloatImage, *, interlace: int = 1
) -> None:
    """Draw bright and dark streaks behind what charges, in place.

    `signal` and `streak` are (H, W); `z`, (H,), holds one standard normal per line. Their running mean makes the
    strength of a streak, so lines that follow each other are similar.
    """
    order = order_of_lines(len(z), interlace)
    slow = np.empty_like(z)
    slow[order] = _trailing(z[None, order], _CHARGE_LINES)[0] * np.float32(
        _STREAK_STRENGTH * math.sqrt(2.0 * _CHARGE_LINES)
    )
    signal += (np.float32(strength) * slow)[:, None] * streak


def _trailing(values: FloatImage, length: float) -> FloatImage:
    """Running mean (rows, n) over earlier samples, with weights that fall by a factor of e over `length` samples."""
    n = values.shape[1]
    weights = np.exp(-np.arange(n) / length).astype(np.float32)
    weights /= weights.sum()
    spectrum = fft.rfft(values, n=2 * n, axis=1) * fft.rfft(weights, n=2 * n)[None, :]
    return np.asarray(fft.irfft(spectrum, n=2 * n, axis=1)[:, :n], dtype=np.float32)
