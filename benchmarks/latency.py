"""Latency: from the last byte of a frame to the first byte of the move that follows from it.

The daemon and a simulated EM-30 run as processes of their own; a witness on the wire between them stamps the bytes. The
stages are timed in this process, one by one, on frames of the same instrument.

    python benchmarks/latency.py [--quick] [--seed N] [--json FILE]
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from focus_runs import Start, tasks
from numpy.typing import NDArray
from reporting import conclude, parse
from service_stage import focus_from_elsewhere, service

from afdaemon.api.client import Client
from afdaemon.clock import ManualClock
from afdaemon.control.fast.profile import FAST
from afdaemon.control.limits import Limits, Range
from afdaemon.control.values import Observed, Reading, ReadingKind, TakeReading
from afdaemon.drivers.wire.image import decode_grey
from afdaemon.evaluate.section import Bar
from afdaemon.job.journal import Journal
from afdaemon.job.records import JournalStep
from afdaemon.models.devices import native_precision
from afdaemon.service.scoring import Networks, load_networks
from afdaemon.settings import ModelSettings
from afdaemon.sim.instrument.world import World

MOST_MEDIAN_MS = 25.0
JOBS, QUICK_JOBS = 60, 10
ROUNDS, QUICK_ROUNDS = 300, 60
PERCENTILES = (50.0, 90.0, 99.0)


def wire(profile: str, jobs: int, seed: int) -> NDArray[np.float64]:
    """Times (ms) in which the daemon answers frames, over `jobs` jobs from random WDs."""
    rng = np.random.default_rng(seed)
    with (
        service(speed=20.0, seed=seed, profile=profile) as daemon,
        Client(daemon.endpoint) as client,
    ):
        client.autofocus()
        daemon.witness.forget()
        for _ in range(jobs):
            focus_from_elsewhere(client, rng)
        return 1e3 * np.array(daemon.witness.answers_s())


def stages(rounds: int, seed: int) -> dict[str, NDArray[np.float64]]:
    """Each stage's times, ms, on frames of one instrument."""
    networks = load_networks(ModelSettings(), FAST)
    (task,) = tasks(1, Start(reach_dof=20.0), [], seed=seed)
    world = World(task.settings, clock=ManualClock())
    shot = asyncio.run(world.expose())
    ok, jpeg = cv2.imencode(".jpg", shot.pixels)
    if not ok:
        raise RuntimeError("the frame cannot be written as JPEG")
    with tempfile.TemporaryDirectory() as folder, closing(Journal(Path(folder) / "j")) as journal:
        journal.open_job(
            "j", request={}, limits=Limits(hard=Range(lo_um=0.0, hi_um=1e5)), rules=FAST
        )
        parts = _parts(networks, shot.pixels, float(shot.magnification), jpeg.tobytes(), journal)
        times = {name: np.empty(rounds) for name in parts}
        for round_ in range(-10, rounds):
            for name, part in parts.items():
                began_s = time.perf_counter()
                part(round_)
                if round_ >= 0:
                    times[name][round_] = 1e3 * (time.perf_counter() - began_s)
    return times


def _parts(
    networks: Networks,
    pixels: NDArray[np.uint8],
    magnification: float,
    jpeg: bytes,
    journal: Journal,
) -> Mapping[str, Callable[[int], object]]:
    """What the daemon does with a frame, in order."""
    measures = networks.score(pixels, magnification)
    reading = Reading(wd_um=12_000.0, magnification=magnification, frame=measures)
    readings = [replace(reading, wd_um=12_000.0 + 50.0 * k) for k in range(4)]
    entry = JournalStep(
        event=Observed(reading=reading), command=TakeReading(kind=ReadingKind.SERVO)
    )
    return {
        "decode JPEG": lambda _: decode_grey(jpeg),
        "score, doubt and spectrum": lambda _: networks.score(pixels, magnification),
        "posterior and decision": lambda _: networks.laws.focus(readings),
        "journal, to the disk": lambda n: journal.append("j", 10 + n, entry),
    }


def _line(name: str, ms: NDArray[np.float64]) -> str:
    shown = "".join(f"{np.percentile(ms, p):>9.2f}" for p in PERCENTILES)
    return f"{name:<34}{len(ms):>6}{shown}"


def main() -> int:
    arguments = parse(__doc__ or "", quick="10 jobs and 60 rounds")
    jobs, rounds = (QUICK_JOBS, QUICK_ROUNDS) if arguments.quick else (JOBS, ROUNDS)
    native = native_precision(torch.device("cpu")) is torch.bfloat16
    lines = [f"{'ms':<34}{'n':>6}" + "".join(f"{p:>8g}%" for p in PERCENTILES)]
    held, rows = [], []
    for profile in ("fast", "paper"):
        ms = wire(profile, jobs, arguments.seed)
        name = f"last byte in to first byte out, {profile}"
        lines.append(_line(name, ms))
        held.append(
            Bar(
                f"{name}: median <= {MOST_MEDIAN_MS:g} ms",
                float(np.median(ms)) <= MOST_MEDIAN_MS,
                f"{np.median(ms):.1f}",
            )
        )
        rows.append({"name": name, "ms": ms.round(3).tolist()})
    for name, ms in stages(rounds, arguments.seed).items():
        lines.append(_line(f"  {name}", ms))
        rows.append({"name": name, "ms": ms.round(3).tolist()})
    lines.append(f"percentiles; processor {'has' if native else 'lacks'} bf16")
    text = "\n".join(lines)
    return conclude(arguments, "benchmarks/latency.py", text, held, rows)


if __name__ == "__main__":
    sys.exit(main())
