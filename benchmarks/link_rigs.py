"""Jobs over real links to simulated instruments, with trouble on the way: what link_faults.py and misled.py share."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    closing,
)
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from afdaemon.clock import SystemClock
from afdaemon.control.fast.profile import FastProfile
from afdaemon.control.limits import Limits, MotionGuard, Range
from afdaemon.control.values import Outcome, Reason
from afdaemon.drivers.base import Frame, LinkStats, Microscope, MicroscopeState
from afdaemon.drivers.bridge import em30_bridge
from afdaemon.drivers.em30.usb import open_usb
from afdaemon.drivers.errors import DriverError
from afdaemon.drivers.registry import open_microscope
from afdaemon.job.bench import Bench, Deadlines
from afdaemon.job.journal import Journal
from afdaemon.job.loop import Job
from afdaemon.service.scoring import Networks, ScoringThread
from afdaemon.sim.chaos.folder import FolderRelay
from afdaemon.sim.chaos.plan import Chaos
from afdaemon.sim.chaos.proxy import ChaosProxy
from afdaemon.sim.instrument.faults import FaultPlan
from afdaemon.sim.instrument.instrument import Instrument
from afdaemon.sim.instrument.settings import WD_UM, InstrumentSettings
from afdaemon.sim.instrument.told import Truth
from afdaemon.sim.instrument.world import World
from afdaemon.sim.links.aisem import AisemServer
from afdaemon.sim.links.stream import StreamServer
from afdaemon.sim.links.usb_server import UsbServer

RULES = FastProfile(calibrated=True)
FOCUS_UM, AWAY_UM = 14_000.0, 500.0
TOLERANCE_UM = 3.0
"""The driver's tolerance, and the read-back's noise."""
FALSE_DOF = 3.0
"""A focus further from the truth than this, in depths of focus, is a false one."""
JOB_S, HANGS_S = 30.0, 60.0
"""Longest time of a job by its own rules, and when it is said to hang."""
SETTLES_S = 1.0
"""After a job, whatever was late has come."""

T = TypeVar("T")


@dataclass
class Watched:
    """Implements `Microscope` over another one, and notes how long each operation took and what it ended in.

    `on` is called with each operation's name before it begins.
    """

    inner: Microscope
    on: Callable[[str], None] = lambda _: None
    longest_s: float = 0.0
    errors: list[str] = field(default_factory=list)
    untyped: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its name."""
        return self.inner.name

    @property
    def connected(self) -> bool:
        """Whether the link is up."""
        return self.inner.connected

    @property
    def why_down(self) -> DriverError | None:
        """Why not."""
        return self.inner.why_down

    @property
    def stats(self) -> LinkStats:
        """Counters."""
        return self.inner.stats

    @property
    def wd_tolerance_um(self) -> float:
        """Of a read-back."""
        return self.inner.wd_tolerance_um

    async def run(self) -> None:
        """Keep the link up."""
        await self.inner.run()

    async def wait_connected(self, timeout_s: float) -> None:
        """Wait for the link."""
        await self._noted("connect", self.inner.wait_connected(timeout_s))

    async def read_state(self) -> MicroscopeState:
        """Ask where it stands."""
        return await self._noted("read state", self.inner.read_state())

    async def move_wd(self, wd_um: float, magnification: float | None = None) -> None:
        """Move."""
        await self._noted("move", self.inner.move_wd(wd_um, magnification))

    async def grab(self) -> Frame:
        """Take a frame."""
        return await self._noted("grab", self.inner.grab())

    async def close(self) -> None:
        """End."""
        await self.inner.close()

    async def _noted(self, what: str, doing: Awaitable[T]) -> T:
        self.on(what)
        began_s = asyncio.get_running_loop().time()
        try:
            return await doing
        except DriverError as error:
            self.errors.append(f"{what}: {error}")
            raise
        except Exception as error:
            self.untyped.append(f"{what}: {error!r}")
            raise
        finally:
            took_s = asyncio.get_running_loop().time() - began_s
            self.longest_s = max(self.longest_s, took_s)


@dataclass(kw_only=True)
class Rig:
    """A microscope on its link, the instrument behind it, and the trouble between the two."""

    link: str
    microscope: Watched
    instrument: Instrument
    chaos: Chaos

    @property
    def truth(self) -> Truth:
        """What only the simulator knows."""
        return self.instrument.truth()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A job's word, what is owed after it, and the truth. WDs in um.

    `start_um` is where the instrument said that it stood when the job began: there is nothing else to go by.
    """

    outcome: Outcome
    start_um: float
    true_um: float
    focus_um: float
    dof_um: float
    is_owed: bool

    @property
    def is_home(self) -> bool:
        """Whether the lens stands where the job began."""
        return abs(self.true_um - self.start_um) <= TOLERANCE_UM

    @property
    def is_false_focus(self) -> bool:
        """Whether it said "focused", and is not."""
        off_um = abs(self.true_um - self.focus_um)
        return self.outcome.converged and off_um > FALSE_DOF * self.dof_um

    @property
    def is_false_restore(self) -> bool:
        """Whether it said "restored", and is not."""
        return self.outcome.restored and not self.is_home

    @property
    def is_forgotten(self) -> bool:
        """Whether it neither focused nor came home, and nothing is owed; what somebody has taken over is left there."""
        is_told = self.outcome.converged or self.outcome.reason is Reason.TAKEN_OVER or self.is_owed
        return not (is_told or self.is_home)


Opened = AbstractAsyncContextManager[Microscope]


@asynccontextmanager
async def aisem(instrument: Instrument, chaos: Chaos, scratch: Path) -> AsyncIterator[Microscope]:
    """Vendor's software, proxy and folder relay, driver."""
    async with _vendor(instrument, chaos, scratch) as (port, folder):
        yield open_microscope("aisem", {"folder": folder, "port": port}, clock=SystemClock())


@asynccontextmanager
async def stream(instrument: Instrument, chaos: Chaos, scratch: Path) -> AsyncIterator[Microscope]:
    """Instrument, proxy, driver."""
    async with (
        StreamServer(instrument) as server,
        ChaosProxy(chaos, to=server.address, clock=SystemClock()) as proxy,
    ):
        yield open_microscope("stream", {"port": proxy.address[1]}, clock=SystemClock())


@asynccontextmanager
async def bridge(instrument: Instrument, chaos: Chaos, scratch: Path) -> AsyncIterator[Microscope]:
    """Vendor's software, proxy and folder relay, bridge, driver."""
    async with _vendor(instrument, chaos, scratch) as (port, folder):
        words = ["--folder", str(folder), "--listen", "127.0.0.1:0"]
        options = em30_bridge.parse_options([*words, "--vendor", f"127.0.0.1:{port}"])
        async with em30_bridge.bridging(options) as (address, _):
            yield open_microscope("stream", {"port": address.port}, clock=SystemClock())


@asynccontextmanager
async def usb(instrument: Instrument, chaos: Chaos, scratch: Path) -> AsyncIterator[Microscope]:
    """Device with trouble on its cable, driver."""
    clock = SystemClock()
    async with UsbServer(instrument, clock=clock, chaos=chaos) as server:
        yield open_usb({}, clock, backend=server.bus)


LINKS: dict[str, Callable[[Instrument, Chaos, Path], Opened]] = {
    "aisem": aisem,
    "stream": stream,
    "bridge": bridge,
    "usb": usb,
}


@asynccontextmanager
async def _vendor(
    instrument: Instrument, chaos: Chaos, scratch: Path
) -> AsyncIterator[tuple[int, Path]]:
    """The vendor's software behind proxy and relay: the port and the folder to use."""
    clock = SystemClock()
    its, ours = scratch / "its", scratch / "ours"
    async with (
        AisemServer(instrument, folder=its, clock=clock) as server,
        FolderRelay(chaos, source=its, target=ours, clock=clock),
        ChaosProxy(chaos, to=server.address, clock=clock) as proxy,
    ):
        yield proxy.address[1], ours


Make = Callable[[World, FaultPlan], Instrument]


def plain(world: World, plan: FaultPlan) -> Instrument:
    """An honest instrument."""
    return Instrument(world, plan, clock=SystemClock())


def settings(seed: int) -> InstrumentSettings:
    """A specimen that is easy to focus on: what is measured is the link."""
    away_um = AWAY_UM if seed % 2 else -AWAY_UM
    return InstrumentSettings(
        specimen="tin_balls", seed=seed, focus_wd_um=FOCUS_UM, start_wd_um=FOCUS_UM + away_um
    )


@asynccontextmanager
async def rig(link: str, seed: int, make: Make = plain) -> AsyncIterator[Rig]:
    """An instrument on that link; nothing connects yet."""
    world = await asyncio.to_thread(World, settings(seed), clock=SystemClock())
    await world.expose()  # draws the specimen, which takes longer than a driver waits for a frame
    instrument = make(world, FaultPlan(seed=seed))
    chaos = Chaos(seed=seed)
    async with AsyncExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rig-")))
        inner = await stack.enter_async_context(LINKS[link](instrument, chaos, scratch))
        microscope = Watched(inner)
        yield Rig(link=link, microscope=microscope, instrument=instrument, chaos=chaos)
        await microscope.close()


async def job(
    rig: Rig,
    scoring: ScoringThread,
    networks: Networks,
    at_reading: Callable[[int, Job], None] = lambda _number, _job: None,
) -> Ended:
    """One job on it, and the truth when all has settled. `at_reading` is called with each step's reading."""
    true_start_um = rig.truth.lens_wd_um
    with tempfile.TemporaryDirectory() as folder, closing(Journal(Path(folder) / "j")) as journal:
        bench = Bench(
            microscope=rig.microscope,
            score=scoring.read,
            laws=networks.laws,
            guard=MotionGuard(Limits(hard=Range(lo_um=WD_UM.low, hi_um=WD_UM.high))),
            journal=journal,
            clock=SystemClock(),
            confirm=True,
        )
        work = Job(
            "job",
            bench,
            rules=RULES,
            deadlines=Deadlines(job_s=JOB_S),
            report=lambda progress: at_reading(progress.reading, work),
        )
        async with asyncio.timeout(HANGS_S):
            outcome = (await work.run()).outcome
        await asyncio.sleep(SETTLES_S)
        is_owed = journal.owed() is not None
    truth = rig.truth
    return Ended(
        outcome=outcome,
        start_um=true_start_um if outcome.start_wd_um is None else outcome.start_wd_um,
        true_um=truth.lens_wd_um,
        focus_um=truth.focus_wd_um,
        dof_um=truth.dof_um,
        is_owed=is_owed,
    )


async def together(works: Sequence[Callable[[], Awaitable[T]]], at_once: int) -> list[T]:
    """The results of all, in order; so many go on at the same time."""
    room = asyncio.Semaphore(at_once)

    async def one(work: Callable[[], Awaitable[T]]) -> T:
        async with room:
            return await work()

    return await asyncio.gather(*(one(work) for work in works))
