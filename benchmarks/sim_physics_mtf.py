"""Sharpness against theory: the slanted-edge MTF of simulated frames and the analytic one.

Measured as ISO 12233 does: find the edge in each line, put all pixels at their distance from it, average in bins of a
quarter pixel, differentiate, transform. Theory: disc 2 J1(x) / x, Gaussian probe, pixel box.
"""

import math

import numpy as np
from scipy.special import j1
from sim_targets import ALPHA_RAD, PROBE_NM, Field, SlantedEdge, camera, pixel_um

from afdaemon.evaluate.section import Bar

MAGNIFICATIONS = (500.0, 2_000.0, 8_000.0, 20_000.0)
DEFOCI_DOF = (0.0, -0.5, 1.0, -2.0, 4.0, -8.0)
EDGE_RAD = math.radians(5.0)
OVERSAMPLING = 4
BORDER_LINES = 20
REACH_PX = 60.0
"""How far from the edge its spread is followed."""
WORST = 0.05


def edge_places(frame: Field) -> Field:
    """Where the edge crosses each line, from the centroid of the gradient, fitted by a straight line."""
    lines = np.arange(len(frame))
    gradient = np.diff(frame, axis=1)
    at = np.arange(gradient.shape[1]) + 0.5
    fitted = np.full(len(frame), 0.5 * frame.shape[1])
    for reach in (90.0, REACH_PX, REACH_PX):
        near = np.abs(at[None, :] - fitted[:, None]) < reach
        weight = np.where(near, gradient, 0.0)
        place = (weight * at).sum(axis=1) / weight.sum(axis=1)
        fitted = np.polyval(np.polyfit(lines, place, 1), lines)
    return np.asarray(fitted)


def measured_mtf(frame: Field) -> tuple[Field, Field]:
    """(frequency in cycles per pixel, MTF) across the edge."""
    frame = frame[BORDER_LINES:-BORDER_LINES]
    places = edge_places(frame)
    slope = (places[-1] - places[0]) / (len(places) - 1)
    across = math.cos(math.atan(slope))
    distance = (np.arange(frame.shape[1])[None, :] - places[:, None]) * across
    bins = np.floor((distance + REACH_PX) * OVERSAMPLING).astype(int)
    count = int(2 * REACH_PX * OVERSAMPLING)
    inside = (bins >= 0) & (bins < count)
    total = np.bincount(bins[inside], frame[inside], minlength=count)
    spread = np.diff(total / np.bincount(bins[inside], minlength=count))
    spectrum = np.abs(np.fft.rfft(spread))
    frequency = np.fft.rfftfreq(len(spread), 1.0 / OVERSAMPLING)
    # The mean over a bin and the difference of two bins each damp by a sinc of the bin's width.
    damping = np.sinc(frequency / OVERSAMPLING) ** 2
    kept = frequency <= 0.5
    mtf = spectrum[kept] / spectrum[0] / damping[kept]
    return np.asarray(frequency[kept], np.float64), np.asarray(mtf, np.float64)


def analytic_mtf(frequency: Field, defocus_um: float, magnification: float) -> Field:
    pixel = pixel_um(magnification)
    x = np.maximum(2.0 * np.pi * ALPHA_RAD * abs(defocus_um) / pixel * frequency, 1e-9)
    sigma_px = PROBE_NM / math.sqrt(8.0 * math.log(2.0)) / (1000.0 * pixel)
    probe = np.exp(-2.0 * (np.pi * sigma_px * frequency) ** 2)
    box = np.sinc(frequency * math.cos(EDGE_RAD)) * np.sinc(frequency * math.sin(EDGE_RAD))
    return np.abs(2.0 * j1(x) / x * probe * box)


def mtf50(frequency: Field, mtf: Field) -> float | None:
    """Where the MTF first falls to half; None if that is not below half a cycle per pixel."""
    below = np.flatnonzero(mtf < 0.5)
    if not len(below):
        return None
    k = int(below[0])
    part = (mtf[k - 1] - 0.5) / (mtf[k - 1] - mtf[k])
    return float(frequency[k - 1] + part * (frequency[k] - frequency[k - 1]))


def measure(seed: int, quick: bool) -> tuple[list[str], list[Bar], list[dict[str, object]]]:
    del quick  # it is quick
    rows: list[dict[str, object]] = []
    lines = [
        "Slanted edge: largest |MTF - theory| where theory > .1, and MTF50 in cycles per pixel",
        f"{'magnification':>13} {'defocus DoF':>11} {'blur px':>8} {'max |diff|':>10}"
        f" {'MTF50':>8} {'theory':>8} {'off %':>6}",
    ]
    target = camera(SlantedEdge(EDGE_RAD), seed)
    errors, halves = [], []
    for magnification in MAGNIFICATIONS:
        dof_um = 2.0 * pixel_um(magnification) / ALPHA_RAD
        for defocus_dof in DEFOCI_DOF:
            defocus_um = defocus_dof * dof_um
            frequency, mtf = measured_mtf(target.photograph(magnification, defocus_um))
            theory = analytic_mtf(frequency, defocus_um, magnification)
            error = float(np.abs(mtf - theory)[theory > 0.1].max())
            # Theory between the grid's points too, or the grid would limit the comparison.
            fine = np.linspace(0.0, 0.5, 5_001)
            half, expected = (
                mtf50(frequency, mtf),
                mtf50(fine, analytic_mtf(fine, defocus_um, magnification)),
            )
            off = None if half is None or expected is None else half / expected - 1.0
            errors.append(error)
            if off is not None:
                halves.append(abs(off))
            rows.append(
                {
                    "section": "mtf",
                    "magnification": magnification,
                    "defocus_dof": defocus_dof,
                    "max_difference": error,
                    "mtf50": half,
                    "mtf50_theory": expected,
                }
            )
            shown = (
                "       -        -      -"
                if off is None
                else f"{half:8.4f} {expected:8.4f} {100 * off:6.1f}"
            )
            lines.append(
                f"{magnification:13.0f} {defocus_dof:11.1f} {2 * abs(defocus_dof):8.1f} {error:10.4f} {shown}"
            )
    bars = [
        Bar(
            f"slanted-edge MTF within {WORST} of theory at {len(errors)} settings",
            max(errors) <= WORST,
            f"worst {max(errors):.4f}",
        ),
        Bar(
            "MTF50 within 5 % of theory wherever there is one",
            max(halves) <= 0.05,
            f"worst {100 * max(halves):.1f} % of {len(halves)}",
        ),
    ]
    return lines, bars, rows
