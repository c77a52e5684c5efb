"""Noise against theory: photon transfer, that is variance over mean of flat fields, at three beam currents.

Theory, from the elementary charge alone: a level of signal s holds N = s I t q / e electrons, so the variance of the
grey values rises with their mean by the grey levels that one electron makes.
"""

import numpy as np
from sim_targets import ALPHA_RAD, Uniform, fast_view

from afdaemon.evaluate.section import Bar
from afdaemon.sim.imaging.detector import Detector, electrons_per_pixel
from afdaemon.sim.imaging.frame import Imager
from afdaemon.sim.optics import Optics

CHARGE_C = 1.602176634e-19
COLLECTED = 0.6
READ_NOISE = 2.0
CONTRAST = 0.8
SETTINGS = ((20.0, 1_000.0), (100.0, 400.0), (500.0, 400.0))
"""Beam current in pA and dwell in ns."""
LEVELS = np.linspace(0.15, 0.9, 8)


def photon_transfer(current_pa: float, dwell_ns: float, seed: int) -> tuple[float, float]:
    """(slope, intercept) of variance over mean, in grey levels; variance from the difference of two frames."""
    detector = Detector(
        electrons=electrons_per_pixel(current_pa, dwell_ns, efficiency=COLLECTED),
        contrast=CONTRAST,
        brightness=0.5 * CONTRAST,  # no signal, no grey
        read_noise=READ_NOISE,
    )
    rng = np.random.default_rng(seed)
    means, variances = [], []
    for level in LEVELS:
        imager = Imager(Uniform(float(level)), Optics(alpha_rad=ALPHA_RAD), detector)
        pair = [
            imager.expose(fast_view(1_000.0), defocus_um=0.0, rng=rng).astype(np.float64)
            for _ in range(2)
        ]
        means.append(0.5 * (pair[0].mean() + pair[1].mean()))
        variances.append(0.5 * (pair[0] - pair[1]).var())
    slope, intercept = np.polyfit(means, variances, 1)
    return float(slope), float(intercept)


def measure(seed: int, quick: bool) -> tuple[list[str], list[Bar], list[dict[str, object]]]:
    del quick  # it is quick
    lines = [
        "Photon transfer: slope of variance over mean in grey levels",
        f"{'current pA':>10} {'dwell ns':>8} {'electrons':>9} {'slope':>8} {'theory':>8} {'off %':>6}"
        f" {'read noise':>10} {'set':>5}",
    ]
    rows: list[dict[str, object]] = []
    slopes_off = []
    for current_pa, dwell_ns in SETTINGS:
        slope, intercept = photon_transfer(current_pa, dwell_ns, seed)
        electrons = current_pa * 1e-12 * dwell_ns * 1e-9 / CHARGE_C * COLLECTED
        theory = 255.0 * CONTRAST / electrons
        # Rounding to whole greys adds 1 / 12 to the variance.
        read_noise = float(np.sqrt(max(intercept - 1.0 / 12.0, 0.0)))
        slopes_off.append(abs(slope / theory - 1.0))
        rows.append(
            {
                "section": "noise",
                "current_pa": current_pa,
                "dwell_ns": dwell_ns,
                "slope": slope,
                "slope_theory": theory,
                "read_noise": read_noise,
            }
        )
        lines.append(
            f"{current_pa:10.0f} {dwell_ns:8.0f} {electrons:9.1f} {slope:8.3f} {theory:8.3f}"
            f" {100 * (slope / theory - 1):6.1f} {read_noise:10.2f} {READ_NOISE:5.2f}"
        )
    worst = max(slopes_off)
    bar = Bar(
        "variance over mean within 5 % of Poisson gain", worst <= 0.05, f"worst {100 * worst:.1f} %"
    )
    return lines, [bar], rows
