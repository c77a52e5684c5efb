"""Days of running, as far as hours can show: does memory stay, and did what was asked happen and nothing else?

A real daemon, in a process of its own, works on a simulated instrument over `stream` behind the chaos kit. Jobs come
one after the other; some are aborted, some meet trouble on the way; clients come and go, and flood it a little. What
was asked is held against what the simulator saw, job by job. What the daemon holds is read from /proc.

    python benchmarks/soak.py [--hours H] [--quick] [--seed N] [--json FILE] [--markdown FILE]
"""

import argparse
import asyncio
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
from reporting import conclude, parser_of

from afdaemon.api import schemas as s
from afdaemon.api.client import AsyncClient
from afdaemon.clock import ScaledClock, SystemClock
from afdaemon.errors import KNOWN_ERRORS, AfdaemonError, RequestRefused
from afdaemon.evaluate.section import Bar, at_least, at_most
from afdaemon.job.journal import Journal
from afdaemon.sim.chaos.plan import Chaos, parse_rule
from afdaemon.sim.chaos.proxy import ChaosProxy
from afdaemon.sim.instrument.instrument import Instrument
from afdaemon.sim.instrument.settings import InstrumentSettings
from afdaemon.sim.instrument.world import World
from afdaemon.sim.links.stream import StreamServer

HOURS, QUICK_S = 2.0, 25.0
SPEED = 20.0
"""Of the instrument: a lens that settles at once leaves the time to the daemon."""
FOCUS_UM, AWAY_UM = 14_000.0, 400.0
TOLERANCE_UM, FALSE_DOF = 3.0, 3.0
ABORTED, TROUBLED = 0.15, 0.1
"""Shares of the jobs that are aborted, and that meet trouble."""
TROUBLES = ("cut", "half", "drop", "garble", "double", "split", "delay", "reorder")
STRIKES = 0.15
"""How likely a trouble is at each answer of its job; it strikes once."""
VISITORS, VISITED_EVERY = 4, 10
FLOOD, FLOODED_EVERY = 200, 25
"""So many pings at once, and after how many jobs."""
_FLOODING, _DEVICE = "--flooding", "device"
START_S, JOB_S, SETTLES_S = 60.0, 60.0, 0.2
SAMPLED_S, QUICK_SAMPLED_S = 10.0, 1.0
WARM_SHARE = 0.2
"""Of the time, until caches, heaps and the network's workspace are as large as they get."""
MOST_SLOPE_PCT_PER_H, QUICK_GROWTH_PCT = 1.0, 3.0
"""Of resident memory. Half a minute has no slope worth the name: only a burst would show in it."""
LEAST_JOBS_PER_H = 2_500.0
S_PER_H = 3_600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the daemon holds at one moment: resident memory in MB."""

    at_s: float
    rss_mb: float
    handles: int
    threads: int


@dataclass(kw_only=True)
class Asked:
    """One job: what was asked and answered, and what the simulator saw meanwhile. WDs in um."""

    job: str
    aborted: bool
    troubled: bool
    end: str = ""
    moves: int | None = None
    commands: int = 0
    readings: int = 0
    frames: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def is_plain(self) -> bool:
        """Whether nothing came between: then every move and frame must be accounted for."""
        return not (self.aborted or self.troubled)


@dataclass(kw_only=True)
class Seen:
    """Everything that was measured. `stray` are commands to the instrument that nobody had asked for."""

    jobs: list[Asked] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    stray: int = 0
    pings: int = 0
    pongs: int = 0
    visits: int = 0
    linkless: int = 0
    rows: int = 0
    ended: int = 0
    problems: list[str] = field(default_factory=list)


def main() -> int:
    """Measure."""
    parser = parser_of(
        __doc__, quick=f"{QUICK_S:g} s of jobs, and a bar for memory that shows bursts only"
    )
    parser.add_argument("--hours", type=float, default=HOURS)
    arguments = parser.parse_args()
    lasts_s = QUICK_S if arguments.quick else S_PER_H * arguments.hours
    seen = asyncio.run(_soak(lasts_s, arguments))
    rows = [asdict(job) for job in seen.jobs] + [asdict(sample) for sample in seen.samples]
    bars = _bars(seen, lasts_s, quick=arguments.quick)
    return conclude(arguments, "benchmarks/soak.py", _table(seen, lasts_s), bars, rows)


# --- the bench ---


class Counting(Instrument):
    """Counts the commands that it obeys."""

    commands = 0

    def command(self, wd_um: float, magnification: float | None = None) -> None:
        """As the instrument does."""
        super().command(wd_um, magnification)
        self.commands += 1


@dataclass(kw_only=True)
class Bench:
    """The daemon's process, a client that stays, the instrument, and the trouble in between."""

    daemon: asyncio.subprocess.Process
    address: str
    client: AsyncClient
    instrument: Counting
    chaos: Chaos


async def _soak(lasts_s: float, arguments: argparse.Namespace) -> Seen:
    clock = SystemClock()
    rng = np.random.default_rng(arguments.seed)
    seen = Seen()
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        async with _bench(Path(name), arguments.seed) as bench:
            until_s = clock.now_s() + lasts_s
            sampled_s = QUICK_SAMPLED_S if arguments.quick else SAMPLED_S
            sampling = asyncio.create_task(_sample(bench.daemon.pid, seen, clock, sampled_s))
            while clock.now_s() < until_s and bench.daemon.returncode is None:
                await _turn(bench, seen, rng, len(seen.jobs))
            sampling.cancel()
            await asyncio.gather(sampling, return_exceptions=True)
            if bench.daemon.returncode is not None:
                seen.problems.append(f"the daemon ended with {bench.daemon.returncode}")
        with closing(Journal(Path(name) / "journal")) as journal:
            asked = {each.job for each in seen.jobs}
            records = [each for each in journal.latest(10**9) if each.job_id in asked]
            seen.rows = len(records)
            seen.ended = len(records) - len(journal.interrupted())
    return seen


@asynccontextmanager
async def _bench(folder: Path, seed: int) -> AsyncIterator[Bench]:
    clock = ScaledClock(SPEED)
    world = World(InstrumentSettings(seed=seed, focus_wd_um=FOCUS_UM), clock=clock)
    await world.expose()  # draws the specimen
    instrument = Counting(world, clock=clock)
    chaos = Chaos(seed=seed)
    async with (
        StreamServer(instrument) as server,
        ChaosProxy(chaos, to=server.address, clock=SystemClock()) as proxy,
    ):
        config = folder / "afdaemon.toml"
        config.write_text(
            f'[microscope]\nlink = "stream"\nport = {proxy.address[1]}\n'
            f'[api]\nruntime_dir = "{folder}/run"\n[journal]\npath = "{folder}/journal"\n'
            '[models]\ndevice = "cpu"\nthreads = 1\n[log]\nlevel = "error"\n'
        )
        command = [sys.executable, "-m", "afdaemon", "serve", "--config", str(config)]
        daemon = await asyncio.create_subprocess_exec(*command)
        try:
            async with AsyncClient(f"{folder}/run") as client:
                await _ready(client)
                yield Bench(
                    daemon=daemon,
                    address=f"{folder}/run",
                    client=client,
                    instrument=instrument,
                    chaos=chaos,
                )
        finally:
            if daemon.returncode is None:
                daemon.send_signal(signal.SIGTERM)
            await daemon.wait()


async def _ready(client: AsyncClient) -> None:
    async with asyncio.timeout(START_S):
        while True:
            try:
                if (await client.status()).state == "ready":
                    return
            except AfdaemonError:
                pass  # it is still starting
            await asyncio.sleep(0.2)


# --- what is asked ---


async def _turn(bench: Bench, seen: Seen, rng: np.random.Generator, number: int) -> None:
    """A job away from the focus, and now and then visitors and a flood during it."""
    stirred: list[asyncio.Task[None]] = []
    if number % VISITED_EVERY == VISITED_EVERY - 1:
        stirred += [asyncio.create_task(_visit(bench, seen)) for _ in range(VISITORS)]
    if number % FLOODED_EVERY == FLOODED_EVERY - 1:
        stirred.append(asyncio.create_task(_flood(bench, seen)))
    try:
        await _prepared(bench, seen, rng)
        await _job(bench, seen, rng)
        await asyncio.gather(*stirred)
    except (*KNOWN_ERRORS, TimeoutError) as error:
        if isinstance(error, RequestRefused) and error.kind == _DEVICE:
            seen.linkless += 1  # the trouble of the job before has just broken the link
        else:
            seen.problems.append(f"job {number}: {error!r}")
        bench.chaos.clear()
        await asyncio.gather(*stirred, return_exceptions=True)
        await _ready(bench.client)


async def _prepared(bench: Bench, seen: Seen, rng: np.random.Generator) -> None:
    """The lens some way from the focus, where a client has sent it; nothing is owed."""
    status = await bench.client.status()
    if status.owed is not None:
        await bench.client.recover()
    before = bench.instrument.commands
    away_um = float(rng.choice((-1.0, 1.0))) * float(rng.uniform(0.25, 1.0)) * AWAY_UM
    await bench.client.set_wd(round(FOCUS_UM + away_um, 1))
    seen.stray += abs(bench.instrument.commands - before - 1)


async def _job(bench: Bench, seen: Seen, rng: np.random.Generator) -> None:
    draw = float(rng.random())
    asked = Asked(job="", aborted=draw < ABORTED, troubled=ABORTED <= draw < ABORTED + TROUBLED)
    start = bench.instrument.truth()
    commands = bench.instrument.commands
    if asked.troubled:
        bench.chaos.add(parse_rule(f"{rng.choice(TROUBLES)}:{STRIKES},times=1"))
    asked.job = (await bench.client.start()).job
    is_in_time = False
    if asked.aborted:
        await asyncio.sleep(float(rng.uniform(0.0, 1.0)))
        told = await bench.client.abort(asked.job, by="soak")
        is_in_time = told.job == asked.job and not told.too_late
    job = await bench.client.wait(asked.job, JOB_S)
    bench.chaos.clear()
    seen.jobs.append(asked)
    if is_in_time and job.reason not in ("aborted", "taken_over"):
        asked.wrong.append(f"an acknowledged abort ended as {job.reason}")
    if asked.troubled:
        await _ready(bench.client)
    await _account(bench, asked, job, start.lens_wd_um, commands, start.frames)


async def _account(
    bench: Bench, asked: Asked, job: s.Job, start_um: float, commands: int, frames: int
) -> None:
    """What the job says against what the simulator saw."""
    await asyncio.sleep(SETTLES_S)
    truth = bench.instrument.truth()
    asked.end, asked.moves = str(job.reason), job.moves
    asked.commands = bench.instrument.commands - commands
    asked.readings, asked.frames = len(job.trace), truth.frames - frames
    is_home = abs(truth.lens_wd_um - start_um) <= TOLERANCE_UM
    if not job.state.final:
        asked.wrong.append("it never ended")
    if job.converged and abs(truth.wd_um - truth.focus_wd_um) > FALSE_DOF * truth.dof_um:
        asked.wrong.append("false focus")
    if job.restored and not is_home:
        asked.wrong.append("false restore")
    if not (job.converged or is_home or (await bench.client.status()).owed):
        asked.wrong.append("forgotten restore")
    if asked.is_plain and asked.commands != asked.moves:
        asked.wrong.append(f"{asked.moves} moves told, {asked.commands} seen")
    if asked.is_plain and asked.readings != asked.frames:
        asked.wrong.append(f"{asked.readings} readings told, {asked.frames} frames seen")


async def _visit(bench: Bench, seen: Seen) -> None:
    """A client that comes, looks, and goes."""
    async with AsyncClient(bench.address) as client:
        await client.hello()
        await client.status()
        async with client.events("state"):
            with suppress(RequestRefused):  # while the link is down, by another's trouble
                await client.wd()
    seen.visits += 1


async def _flood(bench: Bench, seen: Seen) -> None:
    """Many pings at once, from another client: a process of its own."""
    command = [sys.executable, __file__, _FLOODING, bench.address]
    flooding = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    told, _ = await flooding.communicate()
    seen.pings += FLOOD
    seen.pongs += int(told or 0)


async def _pinged(address: str) -> int:
    """How many of many pings at once are answered, or refused for being too many."""
    async with AsyncClient(address) as client:
        answers = await asyncio.gather(
            *(client.ping() for _ in range(FLOOD)), return_exceptions=True
        )
    return sum(
        isinstance(answer, s.Pong)
        or (isinstance(answer, RequestRefused) and answer.kind == "overloaded")
        for answer in answers
    )


# --- what the daemon holds ---


async def _sample(pid: int, seen: Seen, clock: SystemClock, every_s: float) -> None:
    while True:
        seen.samples.append(_holdings(pid, clock.now_s()))
        await asyncio.sleep(every_s)


def _holdings(pid: int, at_s: float) -> Sample:
    process = Path(f"/proc/{pid}")
    told = dict(
        line.split(":", 1) for line in (process / "status").read_text().splitlines() if ":" in line
    )
    return Sample(
        at_s=at_s,
        rss_mb=int(told["VmRSS"].split()[0]) / 1024.0,
        handles=sum(1 for _ in (process / "fd").iterdir()),
        threads=int(told["Threads"]),
    )


def _warm(seen: Seen) -> Sequence[Sample]:
    return seen.samples[int(WARM_SHARE * len(seen.samples)) :]


def _slope_pct_per_h(samples: Sequence[Sample]) -> float:
    """How fast memory grows, % of itself per hour: a straight line through all samples."""
    hours = np.array([sample.at_s for sample in samples]) / S_PER_H
    rss_mb = np.array([sample.rss_mb for sample in samples])
    return float(100.0 * np.polyfit(hours, rss_mb, 1)[0] / rss_mb.mean())


def _change(values: Sequence[float]) -> float:
    """How much the last third differs from the first, by their medians: a client that happens to be there is none."""
    third = max(1, len(values) // 3)
    return median(values[-third:]) - median(values[:third])


# --- the page ---


def _bars(seen: Seen, lasts_s: float, *, quick: bool) -> list[Bar]:
    samples, jobs = _warm(seen), seen.jobs
    plain = [job for job in jobs if job.is_plain]
    true = [job for job in jobs if not job.wrong]
    moves, frames = sum(job.commands for job in plain), sum(job.frames for job in plain)
    is_accounted = all(job.moves == job.commands and job.readings == job.frames for job in plain)
    return [
        Bar("jobs whose word was true", len(true) == len(jobs), f"{len(true)} of {len(jobs)}"),
        Bar(
            f"moves and frames told = seen, in {len(plain)} undisturbed jobs",
            is_accounted,
            f"{moves} moves, {frames} frames",
        ),
        Bar("commands that nobody asked for", seen.stray == 0, f"{seen.stray}"),
        Bar(
            "journal rows = jobs, each ended",
            len(jobs) == seen.rows == seen.ended,
            f"{seen.rows} of {len(jobs)}, {seen.ended} ended",
        ),
        Bar(
            "pings answered, or refused as too many",
            seen.pings == seen.pongs,
            f"{seen.pongs} of {seen.pings}",
        ),
        Bar("requests that failed", not seen.problems, f"{len(seen.problems)}"),
        _memory(samples, quick=quick),
        at_most("handles more", _change([sample.handles for sample in samples]), 0.0),
        at_most("threads more", _change([sample.threads for sample in samples]), 0.0),
        at_least("jobs per h", len(jobs) * S_PER_H / lasts_s, LEAST_JOBS_PER_H),
    ]


def _memory(samples: Sequence[Sample], *, quick: bool) -> Bar:
    if not quick:
        slope = _slope_pct_per_h(samples)
        return at_most("growth of memory after warm-up, % per h", slope, MOST_SLOPE_PCT_PER_H)
    rss_mb = [sample.rss_mb for sample in samples]
    grown_pct = 100.0 * _change(rss_mb) / rss_mb[0]
    return at_most("growth of memory in this short time, %", grown_pct, QUICK_GROWTH_PCT)


def _table(seen: Seen, lasts_s: float) -> str:
    ends = Counter(job.end for job in seen.jobs)
    aborted, troubled = (
        sum(job.aborted for job in seen.jobs),
        sum(job.troubled for job in seen.jobs),
    )
    first, last = _warm(seen)[0], seen.samples[-1]
    hours = lasts_s / S_PER_H
    day_pct = 24.0 * _slope_pct_per_h(_warm(seen))
    day = f"{len(seen.jobs) * 24.0 / hours:.0f} jobs" + (
        f", memory {day_pct:+.1f} %" if lasts_s > QUICK_S else ""
    )
    lines = [
        f"{len(seen.jobs)} jobs in {hours:.3g} h: {', '.join(f'{n} {e}' for e, n in ends.most_common())}",
        f"{aborted} were aborted, {troubled} met trouble, {seen.linkless} were refused while the link was broken;"
        f" {seen.visits} visitors, {seen.pings} pings in floods",
        f"{'the daemon':<12}{'warm':>10}{'at the end':>12}",
        f"{'memory, MB':<12}{first.rss_mb:>10.1f}{last.rss_mb:>12.1f}",
        f"{'handles':<12}{first.handles:>10}{last.handles:>12}",
        f"{'threads':<12}{first.threads:>10}{last.threads:>12}",
        f"24 h, extrapolated and not measured: {day}",
    ]
    lines += [
        f"! job {each.job}: {'; '.join(each.wrong)} ({each.end})"
        for each in seen.jobs
        if each.wrong
    ]
    return "\n".join((*lines, *(f"! {problem}" for problem in seen.problems)))


if __name__ == "__main__":
    if sys.argv[1:2] == [_FLOODING]:
        sys.stdout.write(str(asyncio.run(_pinged(sys.argv[2]))))
        sys.exit(0)
    sys.exit(main())
