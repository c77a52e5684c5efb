"""The bridge between two peers that keep dying: what it acknowledged was carried out, and frames are of their command.

It runs as its own process in a Python without site-packages. On one side the simulated vendor's software is stopped
and started again on its port, on the other a daemon's driver vanishes in mid-work and another takes its place.
"""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from afdaemon.clock import ScaledClock, SystemClock
from afdaemon.drivers.base import LinkStats, Microscope
from afdaemon.drivers.bridge import em30_bridge
from afdaemon.drivers.errors import DriverError
from afdaemon.drivers.registry import open_microscope
from afdaemon.evaluate.section import Bar
from afdaemon.sim.instrument.instrument import Instrument
from afdaemon.sim.instrument.settings import InstrumentSettings
from afdaemon.sim.instrument.world import World
from afdaemon.sim.links.aisem import AisemServer

RESTARTS, QUICK_RESTARTS = 100, 12
SPEED = 50.0
START_UM = 12_000.0
STEP_UM = 10.0
"""From one command to the next: far beyond the noise of a read-back, so that each frame shows whose it is."""
OF_ITS_COMMAND_UM = 2.2
UNDISTURBED_S = 0.12
BACK_S = 8.0
CONSTANTS = {"RECONNECT_FIRST_S": 0.02, "GOOD_AFTER_S": 0.0}
"""Set in the bridge, so that it does not wait longer and longer for a peer that keeps dying."""
LAUNCH = """
import importlib.util, json, sys
_, path, constants, *words = sys.argv
spec = importlib.util.spec_from_file_location("em30_bridge", path)
bridge = sys.modules["em30_bridge"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bridge)
vars(bridge).update(json.loads(constants))
assert importlib.util.find_spec("numpy") is None
sys.exit(bridge.main(words))
"""


@dataclass
class Ordeal:
    """What was seen; `back_s` is the longest that a link took to come back after a restart."""

    restarts: int
    acknowledged: list[float] = field(default_factory=list)
    unknown: int = 0
    frames: int = 0
    foreign: int = 0
    handed_on: int = 0
    back_s: float = 0.0
    exit_code: int | None = None
    carried_out: list[float] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Acknowledged commands that the instrument never received, or not in that order."""
        commands = iter(self.carried_out)
        return sum(wd_um not in commands for wd_um in self.acknowledged)


def measure(seed: int, quick: bool) -> tuple[list[str], list[Bar], list[dict[str, object]]]:
    """Table lines, bars, and rows for the JSON."""
    seen = asyncio.run(endure(seed, QUICK_RESTARTS if quick else RESTARTS))
    lines = [
        f"restarts of the vendor's software and of the daemon   {seen.restarts} each",
        f"commands acknowledged                                 {len(seen.acknowledged)}",
        f"commands in mid-flight at a restart (nobody knows)    {seen.unknown}",
        f"frames used                                           {seen.frames}",
        f"longest until the link was back                       {seen.back_s:.2f} s",
    ]
    bars = [
        Bar("bridge: acknowledged commands lost", seen.lost == 0, f"{seen.lost}"),
        Bar("bridge: frames not of their command", seen.foreign == 0, f"{seen.foreign}"),
        Bar("bridge: frames of older commands handed on", seen.handed_on == 0, f"{seen.handed_on}"),
        Bar("bridge: ends as told", seen.exit_code == 0, f"exit code {seen.exit_code}"),
    ]
    row = asdict(seen) | {"part": "bridge", "lost": seen.lost}
    for long_list in ("acknowledged", "carried_out"):
        row[long_list] = len(row[long_list])
    return lines, bars, [row]


async def endure(seed: int, restarts: int) -> Ordeal:
    """Work through the bridge while each of its peers restarts `restarts` times."""
    rng = np.random.default_rng(seed)
    clock = ScaledClock(SPEED)
    settings = InstrumentSettings(seed=seed, start_wd_um=START_UM, focus_wd_um=START_UM)
    instrument = Instrument(World(settings, clock=clock), clock=clock)
    seen = Ordeal(restarts)
    with tempfile.TemporaryDirectory(prefix="afd-bridge-") as name:
        vendor = VendorSoftware(instrument, Path(name), clock)
        await vendor.start()
        async with bridge(Path(name), vendor.port, seen) as port:
            for _ in range(restarts):
                async with worker(port, seen) as progress:
                    await progress()
                    await asyncio.sleep(float(rng.uniform(0.0, UNDISTURBED_S)))
                    await vendor.restart()
                    await progress()
                    await asyncio.sleep(float(rng.uniform(0.0, UNDISTURBED_S)))
        await vendor.stop()
    # WD travels in mm: to the nanometre it is what was asked for, to the last bit it need not be.
    seen.carried_out = [round(c.wd_um, 3) for c in instrument.world.truth().commands]
    return seen


class VendorSoftware:
    """A server in front of the instrument, which may end and come back on its port."""

    def __init__(self, instrument: Instrument, folder: Path, clock: ScaledClock) -> None:
        self._instrument = instrument
        self._folder = folder
        self._clock = clock
        self._server: AisemServer | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen."""
        self._server = AisemServer(
            self._instrument, folder=self._folder, clock=self._clock, port=self.port
        )
        await self._server.start()
        self.port = self._server.address[1]

    async def stop(self) -> None:
        """End, as when it is closed."""
        if self._server is not None:
            await self._server.stop()

    async def restart(self) -> None:
        """End, and come back at once."""
        await self.stop()
        await self.start()


@asynccontextmanager
async def bridge(folder: Path, vendor_port: int, seen: Ordeal) -> AsyncIterator[int]:
    """The bridge as a process; its port."""
    program = (LAUNCH, em30_bridge.__file__, json.dumps(CONSTANTS))
    words = (
        "--folder",
        str(folder),
        "--vendor",
        f"127.0.0.1:{vendor_port}",
        "--listen",
        "127.0.0.1:0",
    )
    log = folder.with_name(folder.name + ".log")
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            "-c",
            *program,
            *words,
            stderr=file,
            stdout=subprocess.DEVNULL,
        )
    try:
        async with asyncio.timeout(BACK_S):
            while "listening on " not in (text := log.read_text()):  # noqa: ASYNC110 - a file
                await asyncio.sleep(0.01)
        yield int(text.partition("listening on 127.0.0.1:")[2].partition(",")[0])
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(BACK_S):
            seen.exit_code = await process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        log.unlink()


@asynccontextmanager
async def worker(port: int, seen: Ordeal) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """A daemon's driver at work, which vanishes when the context ends; wait with what it yields for its next frame."""
    waits = {"reconnect_first_s": 0.02, "reconnect_cap_s": 0.1}
    microscope = open_microscope("stream", {"port": port, **waits}, clock=SystemClock())
    framed = asyncio.Event()
    tasks = (
        asyncio.create_task(microscope.run()),
        asyncio.create_task(work(microscope, seen, framed)),
    )

    async def progress() -> None:
        framed.clear()
        began_s = SystemClock().now_s()
        async with asyncio.timeout(BACK_S):
            await framed.wait()
        seen.back_s = max(seen.back_s, SystemClock().now_s() - began_s)

    try:
        yield progress
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await microscope.close()
        note_dropped(microscope.stats, seen)


def note_dropped(stats: LinkStats, seen: Ordeal) -> None:
    seen.handed_on += stats.dropped_mismatch


async def work(microscope: Microscope, seen: Ordeal, framed: asyncio.Event) -> None:
    """Move on and on, two frames at each place; never to a place twice."""
    while True:
        try:
            await microscope.wait_connected(BACK_S)
            seen.unknown += 1
            wd_um = START_UM + STEP_UM * (len(seen.acknowledged) + seen.unknown)
            await microscope.move_wd(wd_um)
            seen.unknown -= 1
            seen.acknowledged.append(wd_um)
            for _ in range(2):
                frame = await microscope.grab()
                seen.frames += 1
                seen.foreign += abs(frame.wd_um - wd_um) > OF_ITS_COMMAND_UM
                framed.set()
        except DriverError:
            await asyncio.sleep(0.005)
