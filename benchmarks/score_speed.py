"""How long a score takes, what AENet.compact costs, and how it compares with AENet.reference and classical functions.

Times are medians of wall-clock time, on two cores (classical functions: one), for frames of noise: what is in a frame
or in the weights does not change the work. `end to end` is from grey values to all that a scorer reports. Batches are
timed from prepared frames, including the transfer to the device and back. GPU rows are there if there was a GPU.
"""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import cv2
import numpy as np
import torch
from reporting import conclude, parse
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from afdaemon.evaluate.section import Bar
from afdaemon.models.aenet.out_of_distribution import load_aenet
from afdaemon.models.aenet.runtime import Runtime
from afdaemon.models.frames.preprocess import CHANNELS, Pixels, network_input, reduce, to_unit
from afdaemon.models.frames.shot import Shot
from afdaemon.models.memory import keep_freed_memory
from afdaemon.models.scorers.classical import CLASSICAL, measure
from afdaemon.models.scorers.focus_scorer import DEFAULT_WEIGHTS, load_scorer
from afdaemon.models.scorers.networks import aenet_reference
from afdaemon.models.scorers.networks.base import NetworkScorer

CORES = 2
MAGNIFICATION = 5_000.0
MOST_MS = {torch.bfloat16: 15.0, torch.float32: 30.0}
BATCHES = {"cpu": 16, "cuda": 256}
CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table, and its bar if there is one."""

    name: str
    value: float
    unit: str
    most: float | None = None
    least: float | None = None

    @property
    def wanted(self) -> str:
        """The bar in words; "" without one."""
        if self.most is not None:
            return f"<= {self.most:g}"
        return f">= {self.least:g}" if self.least is not None else ""

    @property
    def bar(self) -> Bar:
        """Whether the bar was met."""
        holds = self.value <= (self.most or np.inf) and self.value >= (self.least or 0.0)
        return Bar(f"{self.name} {self.wanted} {self.unit}", holds, f"{self.value:.3g}")


def median_ms(work: Callable[[], object], rounds: int) -> float:
    """Milliseconds of the middle round, after one that does not count."""
    took_s = []
    for _ in range(rounds + 1):
        began_s = time.perf_counter()
        work()
        took_s.append(time.perf_counter() - began_s)
    return 1e3 * statistics.median(took_s[1:])


def gflop(network: nn.Module, channels: int) -> float:
    """Work of one frame of 320 x 240; a multiplication and its addition count as two."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.to("meta").eval()(torch.empty(1, channels, 240, 320, device="meta"))
    return float(counter.get_total_flops()) / 1e9


def compact(frame: Pixels, rounds: int) -> list[Row]:
    """End to end on the CPU, and stage by stage."""
    scorer = load_scorer("cpu", threads=CORES)
    scorer.warm_up()
    runtime = Runtime(load_aenet(DEFAULT_WEIGHTS)[0], CPU)
    image, large = to_unit(frame), to_unit(frame.repeat(2, 0).repeat(2, 1))
    x = network_input(image, MAGNIFICATION)[np.newaxis]
    precision = str(runtime.precision).removeprefix("torch.")
    return [
        Row(
            name="AENet.compact, end to end",
            value=median_ms(lambda: scorer.score(frame, MAGNIFICATION), rounds),
            unit="ms",
            most=MOST_MS[runtime.precision],
        ),
        stage("reduce 640 x 480 to 320 x 240", lambda: reduce(large, 2), rounds),
        stage("median 3 x 3", lambda: cv2.medianBlur(image, 3), rounds),
        stage("all three channels", lambda: network_input(image, MAGNIFICATION), rounds),
        stage(f"network, {precision}", lambda: runtime.judge(x), rounds),
    ]


def stage(name: str, work: Callable[[], object], rounds: int) -> Row:
    return Row(name=f"  {name}", value=median_ms(work, rounds), unit="ms")


def size() -> list[Row]:
    megabytes = DEFAULT_WEIGHTS.stat().st_size / 1e6
    work = gflop(load_aenet(DEFAULT_WEIGHTS)[0], CHANNELS)
    return [
        Row(name="AENet.compact, work a frame", value=work, unit="GFLOP", most=2.2),
        Row(name="AENet.compact, weights", value=megabytes, unit="MB", most=8.0),
    ]


def reference(frame: Pixels, compact_ms: float, rounds: int) -> list[Row]:
    """The published network with fresh weights, as this package runs it, beside the compact one."""
    network = aenet_reference.build()
    scorer = NetworkScorer(network, CPU)
    shots = [Shot(pixels=frame, magnification=MAGNIFICATION)]
    took_ms = median_ms(lambda: scorer.scores(shots), rounds)
    return [
        Row(name="AENet.reference, end to end", value=took_ms, unit="ms"),
        Row(name="AENet.compact is faster by", value=took_ms / compact_ms, unit="x", least=30.0),
        Row(name="AENet.reference, work a frame", value=gflop(network.module, 2), unit="GFLOP"),
    ]


def batched(device: torch.device, frame: Pixels, rounds: int) -> list[Row]:
    """Many microscopes on one device."""
    count = BATCHES[device.type]
    runtime = Runtime(load_aenet(DEFAULT_WEIGHTS)[0], device)
    x = network_input(to_unit(frame), MAGNIFICATION)[np.newaxis]
    many = x.repeat(count, axis=0)
    rate = 1e3 * count / median_ms(lambda: runtime.judge(many), rounds)
    wanted = 20_000.0 if device.type == "cuda" else None
    name = f"AENet.compact, {device.type}, batches of {count}"
    rows = [Row(name=name, value=rate, unit="frames/s", least=wanted)]
    if device.type == "cuda":
        runtime.warm_up()
        alone_ms = median_ms(lambda: runtime.judge(x), 10 * rounds)
        rows.append(Row(name="AENet.compact, cuda, one", value=alone_ms, unit="ms", most=0.5))
    return rows


def classical(frame: Pixels, rounds: int) -> list[Row]:
    """Each function of a 640 x 480 frame on one core, from its grey values."""
    cv2.setNumThreads(1)
    rows = [
        Row(
            name=f"{name}, 640 x 480",
            value=median_ms(lambda name=name: measure(name, to_unit(frame)), rounds),  # type: ignore[misc]  # mypy cannot type a lambda's default
            unit="ms",
            most=3.0,
        )
        for name in CLASSICAL
    ]
    cv2.setNumThreads(CORES)
    return rows


def main() -> int:
    arguments = parse(__doc__, quick="fewer rounds")
    rounds = 15 if arguments.quick else 100
    few = 2 if arguments.quick else 10
    keep_freed_memory()
    torch.manual_seed(arguments.seed)
    rng = np.random.default_rng(arguments.seed)
    large = rng.integers(40, 216, (480, 640), dtype=np.uint8)
    small = large[:240, :320].copy()
    rows = compact(small, rounds) + size()
    rows += reference(small, rows[0].value, few) + batched(CPU, small, few)
    if torch.cuda.is_available():
        rows += batched(torch.device("cuda"), small, rounds)
    rows += classical(large, rounds)
    lines = [f"{r.name:<40} {r.value:10.3f} {r.unit:<9} {r.wanted}".rstrip() for r in rows]
    text = "\n".join([f"{CORES} cores, frames of 320 x 240 unless said", *lines])
    bars = [row.bar for row in rows if row.wanted]
    return conclude(
        arguments, "benchmarks/score_speed.py", text, bars, [asdict(row) for row in rows]
    )


if __name__ == "__main__":
    sys.exit(main())
