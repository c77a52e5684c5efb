"""Storm: greedy and broken clients, and whether anybody else notices.

A real daemon with a simulated instrument, allowed 1 024 open files. In each phase a process of its own floods it.
Meanwhile a polite client measures how long it waits, and jobs are aborted: when is that acknowledged, and when did the
last move pass on the wire to the instrument? Afterwards: is it the same process, with as much memory as before?

    python benchmarks/storm.py [--quick | --minutes M] [--seed N] [--json FILE] [--markdown FILE]
"""

import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from reporting import conclude, parser_of
from service_stage import FOCUS_UM, Service, service
from storm_floods import BUSY, FLOODS, Flood, Target

from afdaemon.api.client import Client
from afdaemon.api.endpoints import parse_endpoint
from afdaemon.errors import AfdaemonError
from afdaemon.evaluate.section import Bar, at_most

MOST_MS, MOST_LAST_MOVE_MS = 50.0, 100.0
MOST_GROWTH = 0.10
IN_TIME = 0.999
_OPEN_FILES = 1_024
_AWAY_UM = 600.0
_QUICK_S, _MINUTES = 1.5, 10.0
_POLITE_EVERY_S = 0.005
_CALM_S = 2.2
"""The daemon gives memory back within 1.5 s after a flood."""
_SPEED = 5.0
_PORTS = 20_000, 32_000


@dataclass(slots=True, kw_only=True)
class Phase:
    """What was measured while one flood went on. Times in ms."""

    name: str
    polite_ms: list[float] = field(default_factory=list)
    acknowledged_ms: list[float] = field(default_factory=list)
    last_move_ms: list[float] = field(default_factory=list)
    """After the acknowledgement; 0 where none came later."""
    failed: list[str] = field(default_factory=list)
    before_mb: float = 0.0
    most_mb: float = 0.0
    after_mb: float = 0.0
    ran_on: bool = False

    @property
    def growth(self) -> float:
        """Of the memory, over the phase."""
        return self.after_mb / self.before_mb - 1.0


def main() -> int:
    """Measure."""
    parser = parser_of(__doc__ or "", quick="a few seconds a flood")
    parser.add_argument("--minutes", type=float, default=_MINUTES, help="time of all floods")
    arguments = parser.parse_args()
    phase_s = _QUICK_S if arguments.quick else 60.0 * arguments.minutes / len(FLOODS)
    rng = np.random.default_rng(arguments.seed)
    port = _free_ports()
    with (
        service(
            speed=_SPEED, seed=arguments.seed, profile="fast",
            most_files=_OPEN_FILES, tcp_port=port,
        ) as daemon,
        tempfile.NamedTemporaryFile() as job,
    ):  # fmt: skip
        folder = parse_endpoint(daemon.endpoint).folder
        target = Target(folder=str(folder), port=port, job=Path(job.name))
        _phase(Phase(name="warm-up"), (), daemon, target, rng, phase_s / 2)
        phases = []
        for name, floods in FLOODS.items():
            phases.append(_phase(Phase(name=name), floods, daemon, target, rng, phase_s))
            print(_line(phases[-1]), file=sys.stderr, flush=True)
    rows = [_row(phase) for phase in phases]
    table = "\n".join([_HEAD, *map(_line, phases)])
    return conclude(arguments, "benchmarks/storm.py", table, _bars(phases), rows)


def _phase(
    phase: Phase,
    floods: Sequence[Flood],
    daemon: Service,
    target: Target,
    rng: np.random.Generator,
    phase_s: float,
) -> Phase:
    """One flood, and what it did to the others."""
    phase.before_mb = daemon.resident_mb()
    over = threading.Event()
    polite = threading.Thread(target=_be_polite, args=(daemon, phase, over))
    with _flooding(floods, target):
        polite.start()
        end_s = time.perf_counter() + phase_s
        while time.perf_counter() < end_s:
            _abort_once(daemon, target.job, phase, rng)
        over.set()
        polite.join()
    if floods:
        time.sleep(_CALM_S)
    phase.ran_on = daemon.is_running()
    phase.after_mb = daemon.resident_mb()
    return phase


@contextmanager
def _flooding(floods: Sequence[Flood], target: Target) -> Iterator[None]:
    spawn = get_context("spawn")
    stop = spawn.Event()
    processes = [spawn.Process(target=flood, args=(target, stop)) for flood in floods]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        stop.set()
        for process in processes:
            process.join(10.0)
            process.kill()


def _be_polite(daemon: Service, phase: Phase, over: threading.Event) -> None:
    """One request after the other, and how long each took."""
    with Client(daemon.endpoint) as client:
        while not over.wait(_POLITE_EVERY_S):
            began_s = time.perf_counter()
            try:
                client.status()
            except AfdaemonError as error:
                phase.failed.append(str(error))
            phase.polite_ms.append(1e3 * (time.perf_counter() - began_s))
            phase.most_mb = max(phase.most_mb, daemon.resident_mb())


def _abort_once(daemon: Service, job: Path, phase: Phase, rng: np.random.Generator) -> None:
    """A job that is aborted at a random moment."""
    try:
        with Client(daemon.endpoint) as client:
            client.ping()
            client.set_wd(FOCUS_UM + _AWAY_UM * float(rng.choice((-1.0, 1.0))))
            daemon.witness.forget()
            started = client.start()
            job.write_text(started.job)
            client.wait(started.job, float(rng.uniform(0.001, 0.4)))
            began_s = time.perf_counter()
            answer = client.abort()
            acknowledged_s = time.perf_counter()
            client.follow(started.job)
    except AfdaemonError as error:
        phase.failed.append(str(error))
        return
    phase.acknowledged_ms.append(1e3 * (acknowledged_s - began_s))
    if answer.job is not None and not answer.too_late:
        last_s = max(daemon.witness.moves_s(), default=0.0)
        phase.last_move_ms.append(1e3 * max(0.0, last_s - acknowledged_s))


_HEAD = (
    f"{'flood':<24}{'polite':>8}{'p99 ms':>8}{'aborts':>8}{'p99 ms':>8}{'last move, most ms':>20}"
    f"{'MB before':>11}{'most':>7}{'after':>7}{'failed':>8}"
)


def _line(phase: Phase) -> str:
    return (
        f"{phase.name:<24}{len(phase.polite_ms):>8}{_p99(phase.polite_ms):>8.1f}"
        f"{len(phase.acknowledged_ms):>8}{_p99(phase.acknowledged_ms):>8.1f}"
        f"{max(phase.last_move_ms, default=0.0):>20.1f}"
        f"{phase.before_mb:>11.0f}{phase.most_mb:>7.0f}{phase.after_mb:>7.0f}{len(phase.failed):>8}"
    )


def _row(phase: Phase) -> dict[str, object]:
    return {
        "flood": phase.name,
        "polite_ms": [round(ms, 2) for ms in phase.polite_ms],
        "acknowledged_ms": [round(ms, 2) for ms in phase.acknowledged_ms],
        "last_move_ms": [round(ms, 2) for ms in phase.last_move_ms],
        "memory_mb": [phase.before_mb, phase.most_mb, phase.after_mb],
        "failed": phase.failed,
    }


def _p99(ms: Sequence[float]) -> float:
    return float(np.percentile(ms, 99.0)) if ms else float("inf")


def _bars(phases: Sequence[Phase]) -> list[Bar]:
    bars = []
    for phase in phases:
        p99_ms = _p99(phase.polite_ms)
        if phase.name != BUSY:  # there the client itself waits for a processor
            bars.append(at_most(f"{phase.name}: a polite client's p99, ms", p99_ms, MOST_MS))
        bars.append(at_most(f"{phase.name}: growth of memory", phase.growth, MOST_GROWTH))
    acknowledged = [ms for phase in phases for ms in phase.acknowledged_ms]
    last = [ms for phase in phases for ms in phase.last_move_ms]
    in_time = float(np.mean(np.array(last) <= MOST_LAST_MOVE_MS)) if last else 0.0
    failed = sum(len(phase.failed) for phase in phases)
    return [
        *bars,
        at_most(f"{len(acknowledged)} aborts acknowledged, p99, ms", _p99(acknowledged), MOST_MS),
        Bar(
            f"last move within {MOST_LAST_MOVE_MS:g} ms of it >= {IN_TIME:.1%}",
            in_time >= IN_TIME,
            f"{in_time:.2%}",
        ),
        Bar("nobody polite was refused or left waiting", failed == 0, f"{failed}"),
        Bar("no restart", all(phase.ran_on for phase in phases), "the same process throughout"),
    ]


def _free_ports() -> int:
    """The first of three ports in a row that are free, below those that the system gives to whoever asks for any."""
    for first in range(*_PORTS, 3):
        with ExitStack() as stack, suppress(OSError):
            for port in range(first, first + 3):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first
    raise RuntimeError(f"no three free ports in a row among {_PORTS}")


if __name__ == "__main__":
    sys.exit(main())
