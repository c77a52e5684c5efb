"""Aborts: acknowledged at once, carried out at once, and never contradicted, whatever else goes on.

Jobs of a real daemon are aborted at random moments, a third of them within 50 ms of the job's own end; undisturbed,
while all cores are busy, under floods of pings and of subscriptions, and while the link to the instrument stalls. A
witness on that link says when which move was commanded.

    python benchmarks/aborts.py [--quick] [--seed N] [--json FILE] [--markdown FILE] [--aborts N]
"""

import math
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from statistics import median

import numpy as np
import zmq
from reporting import conclude, parser_of
from service_stage import FOCUS_UM, Service, service

from afdaemon.api import schemas as s
from afdaemon.api.client import Client
from afdaemon.api.endpoints import parse_endpoint
from afdaemon.evaluate.section import Bar, at_most

ABORTS, QUICK_ABORTS = 1_000, 25
STARTS_UM = (900.0, -600.0, 300.0)
"""Off focus: jobs whose natural ends are known from some that were left alone."""
NEAR_END_S = 0.05
MOST_ACKNOWLEDGED_MS, MOST_LATER_S, LEAST_IN_TIME = 50.0, 0.1, 0.999
_SAME_UM = 1.0
_STALL_S = 0.7
_SPEED = 10.0


def main() -> int:
    """Measure."""
    parser = parser_of(__doc__, quick=f"{QUICK_ABORTS} aborts")
    parser.add_argument("--aborts", type=int, help=f"how many; default: {ABORTS}")
    arguments = parser.parse_args()
    count = arguments.aborts or (QUICK_ABORTS if arguments.quick else ABORTS)
    rng = np.random.default_rng(arguments.seed)
    tried: list[Abort] = []
    with service(speed=_SPEED, seed=arguments.seed, profile="fast") as daemon:
        for name, trouble in TROUBLES.items():
            with ExitStack() as stack, Client(daemon.endpoint) as client:
                stack.enter_context(trouble(daemon))
                usual_s = {off_um: _usual_s(client, off_um) for off_um in STARTS_UM}
                share = math.ceil(count / len(TROUBLES))
                for number in range(share):
                    is_near_end = number % 3 == 0
                    tried.append(
                        _abort(daemon, client, name, usual_s, rng, is_near_end=is_near_end)
                    )
    table, bars = _table(tried), _bars(tried)
    return conclude(arguments, "benchmarks/aborts.py", table, bars, [asdict(one) for one in tried])


# What else goes on


def _idle() -> None:
    while True:
        pass


def _pings(endpoint: str) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.connect(parse_endpoint(endpoint).control)
        ping = b'{"jsonrpc":"2.0","id":"p","method":"server.ping","params":{}}'
        while True:
            socket.send(ping)
            while socket.poll(0):
                socket.recv()


def _subscriptions(endpoint: str) -> None:
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.connect(parse_endpoint(endpoint).events)
        number = 0
        while True:
            number += 1
            socket.subscribe(f"flood.{number}")
            socket.unsubscribe(f"flood.{number - 100}")


@contextmanager
def _processes(*works: Callable[[], None]) -> Iterator[None]:
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=work, daemon=True) for work in works]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


TROUBLES: dict[str, Callable[[Service], AbstractContextManager[None]]] = {
    "none": lambda _daemon: nullcontext(),
    "all cores busy": lambda _daemon: _processes(*[_idle] * (os.cpu_count() or 1)),
    "flood of pings": lambda daemon: _processes(lambda: _pings(daemon.endpoint)),
    "flood of subscriptions": lambda daemon: _processes(lambda: _subscriptions(daemon.endpoint)),
    "stalled link": lambda _daemon: nullcontext(),
}
_STALLS = "stalled link"


# One abort


@dataclass(frozen=True, slots=True, kw_only=True)
class Abort:
    """What became of it. Times in s after the acknowledgement; `home_s` is None if there was nothing to bring home."""

    trouble: str
    is_near_end: bool
    acknowledged_ms: float
    was_in_time: bool
    state: str
    restored: bool
    last_other_move_s: float
    home_s: float | None
    is_home: bool

    @property
    def is_true(self) -> bool:
        """Whether the acknowledgement and the job's end agree, with each other and with the lens."""
        is_aborted = self.state == s.JobState.ABORTED.value
        if not self.was_in_time:
            return not is_aborted
        return is_aborted and self.restored and self.is_home


def _usual_s(client: Client, off_um: float) -> float:
    """How long a job from there takes that is left alone, s."""
    times = []
    for _ in range(3):
        client.set_wd(FOCUS_UM + off_um)
        began_s = time.perf_counter()
        client.autofocus()
        times.append(time.perf_counter() - began_s)
    return median(times)


def _abort(
    daemon: Service,
    client: Client,
    trouble: str,
    usual_s: dict[float, float],
    rng: np.random.Generator,
    *,
    is_near_end: bool,
) -> Abort:
    off_um = float(rng.choice(STARTS_UM))
    start_um = client.set_wd(FOCUS_UM + off_um).wd_um
    usual = usual_s[off_um]
    off_end_s = float(rng.uniform(-NEAR_END_S, NEAR_END_S))
    after_s = usual + off_end_s if is_near_end else float(rng.uniform(0.0, usual))
    daemon.witness.forget()
    job_id = client.start().job
    time.sleep(max(0.0, after_s))
    with daemon.witness.stalled() if trouble == _STALLS else nullcontext():
        asked_s = time.perf_counter()
        told = client.abort(job_id)
        known_s = time.perf_counter()
        if trouble == _STALLS:
            time.sleep(_STALL_S)
    job = client.follow(job_id)
    moves = daemon.witness.moves()
    later = [at_s - known_s for at_s, wd_um in moves if abs(wd_um - start_um) > _SAME_UM]
    homewards = [at_s - known_s for at_s, wd_um in moves if abs(wd_um - start_um) <= _SAME_UM]
    return Abort(
        trouble=trouble,
        is_near_end=is_near_end,
        acknowledged_ms=1e3 * (known_s - asked_s),
        was_in_time=told.job is not None and not told.too_late,
        state=job.state.value,
        restored=job.restored,
        last_other_move_s=max(later, default=-math.inf),
        home_s=next((at_s for at_s in homewards if at_s > asked_s - known_s), None),
        is_home=abs(client.wd().wd_um - start_um) <= _SAME_UM,
    )


# What is told


def _bars(tried: list[Abort]) -> list[Bar]:
    acknowledged = float(np.percentile([one.acknowledged_ms for one in tried], 99.0))
    in_time = [one for one in tried if one.was_in_time]
    stopped = [one.last_other_move_s <= MOST_LATER_S for one in in_time]
    homewards = [
        one.home_s <= MOST_LATER_S
        for one in in_time
        if one.home_s is not None and one.trouble != _STALLS
    ]
    true = sum(one.is_true for one in tried)
    return [
        at_most("acknowledged, 99 of 100 within ms", acknowledged, MOST_ACKNOWLEDGED_MS),
        _share("no other move later than 100 ms", stopped),
        _share("the way home commanded within 100 ms (the link not stalled)", homewards),
        Bar("acknowledgement, end and lens agree", true == len(tried), f"{true} of {len(tried)}"),
    ]


def _share(name: str, held: list[bool]) -> Bar:
    share = sum(held) / len(held) if held else 0.0
    return Bar(
        f"{name}: >= {LEAST_IN_TIME:.1%}", share >= LEAST_IN_TIME, f"{sum(held)} of {len(held)}"
    )


def _table(tried: list[Abort]) -> str:
    counts = f"{'aborts':>8}{'in time':>9}{'agree':>7}"
    lines = [f"{'meanwhile':<24}{counts}{'ack 50%':>9}{'99%, ms':>9}{'home 50%':>10}{'99%, ms':>9}"]
    for trouble in dict.fromkeys(one.trouble for one in tried):
        of = [one for one in tried if one.trouble == trouble]
        acknowledged = np.percentile([one.acknowledged_ms for one in of], (50.0, 99.0))
        homes = [1e3 * one.home_s for one in of if one.home_s is not None] or [math.nan]
        home = np.percentile(homes, (50.0, 99.0))
        lines.append(
            f"{trouble:<24}{len(of):>8}{sum(one.was_in_time for one in of):>9}"
            f"{sum(one.is_true for one in of):>7}{acknowledged[0]:>9.1f}{acknowledged[1]:>9.1f}"
            f"{home[0]:>10.1f}{home[1]:>9.1f}"
        )
    return "\n".join(
        [*lines, "home: from the acknowledgement to the command that brings the lens home"]
    )


if __name__ == "__main__":
    sys.exit(main())
