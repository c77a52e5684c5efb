"""Frames per second: single exposures on one core, a batch on two; the view is drawn beforehand.

Measured in processor time, which leaves out all waiting, also for other programs. The figure for a batch is that of its
two threads together, each on a core of its own; by the wall clock it depends on what else is running.
"""

import time
from collections.abc import Callable

import numpy as np

from afdaemon.evaluate.section import Bar
from afdaemon.sim.imaging.batch import Exposure, simulate_batch
from afdaemon.sim.imaging.detector import Detector
from afdaemon.sim.imaging.frame import Imager, View, sharp_field
from afdaemon.sim.imaging.scan import Scanning
from afdaemon.sim.optics import Beam, Blur, Optics
from afdaemon.sim.specimens.catalogue import open_specimen

MAGNIFICATION = 5_000.0
WAVES = Optics(beam=Beam(kv=1.0), astigmatism_um=(2.0, 1.0))
"""At 1 kV the energies' spread and diffraction are at their largest."""
WAVES_SEEN_AT = 20_000.0
"""Magnification at which they are pixels wide: 2 and .2."""
BATCH = 32
CORES = 2


def rates(work: Callable[[], int], rounds: int, cores: int) -> tuple[float, float]:
    """Frames per second of the best round: by processor time on `cores` cores, and by the wall clock."""
    work()
    by_processor, by_wall = [], []
    for _ in range(rounds):
        began_s, spent_s = time.perf_counter(), time.process_time()
        frames = work()
        by_processor.append(cores * frames / (time.process_time() - spent_s))
        by_wall.append(frames / (time.perf_counter() - began_s))
    return max(by_processor), max(by_wall)


def exposures(
    width_px: int,
    height_px: int,
    seed: int,
    optics: Optics = Optics(),  # noqa: B008 - it is frozen
    magnification: float = MAGNIFICATION,
) -> Callable[[], int]:
    imager = Imager(open_specimen("mixture", seed=seed), optics, Detector())
    rng = np.random.default_rng(seed)
    view = View(
        x_um=0.0, y_um=0.0, magnification=magnification, width_px=width_px, height_px=height_px
    )

    def work() -> int:
        for k in range(16):
            scan = Scanning(start_s=0.05 * k)
            imager.expose(view, defocus_um=3.0 * k - 20.0, rng=rng, scan=scan)
        return 16

    return work


def batches(device: str, seed: int) -> Callable[[], int]:
    view = View(x_um=0.0, y_um=0.0, magnification=MAGNIFICATION, width_px=320, height_px=240)
    fields = np.stack(
        [sharp_field(open_specimen("mixture", seed=seed + k), view) for k in range(4)]
    )
    wanted = [
        Exposure(
            field=k % 4,
            blur=Blur(radius_px=0.2 * k, minor_px=0.15 * k, angle_rad=0.1 * k, gaussian_px=0.2),
            detector=Detector(electrons=50.0 + k),
        )
        for k in range(BATCH)
    ]

    def work() -> int:
        return len(
            simulate_batch(
                fields, wanted, seed=seed, margin_px=(20, 15), device=device, workers=CORES
            )
        )

    return work


def measure(seed: int, quick: bool) -> tuple[list[str], list[Bar], list[dict[str, object]]]:
    rounds = 8 if quick else 30
    wanted = (
        ("one exposure, 320 x 240, one core", exposures(320, 240, seed), 1, 150.0),
        ("one exposure, 640 x 480, one core", exposures(640, 480, seed), 1, 40.0),
        (
            "one exposure, 320 x 240, waves, one core",
            exposures(320, 240, seed, WAVES, WAVES_SEEN_AT),
            1,
            60.0,
        ),
        ("simulate_batch, 320 x 240, numpy, two cores", batches("numpy", seed), CORES, 300.0),
        ("simulate_batch, 320 x 240, torch, two cores", batches("cpu", seed), CORES, None),
    )
    lines = [f"{'frames a second':<44} {'processor':>9} {'wall':>6} {'wanted':>6}"]
    rows: list[dict[str, object]] = []
    bars = []
    for name, work, cores, least in wanted[:4] if quick else wanted:
        rate, by_wall = rates(work, rounds, cores)
        lines.append(f"{name:<44} {rate:9.0f} {by_wall:6.0f} {least or '-':>6}")
        rows.append(
            {
                "section": "speed",
                "name": name,
                "frames_per_processor_s": rate,
                "frames_per_wall_s": by_wall,
            }
        )
        if least is not None:
            bars.append(Bar(f"at least {least:.0f} frames/s: {name}", rate >= least, f"{rate:.0f}"))
    return lines, bars, rows
