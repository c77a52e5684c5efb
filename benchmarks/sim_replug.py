"""The USB cable pulled and put back, again and again, with commands and frames under way."""

import asyncio
import contextlib
import gc
import hashlib
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import usb.core

from afdaemon.clock import ScaledClock, SystemClock
from afdaemon.drivers.base import Frame, Microscope
from afdaemon.drivers.em30.usb import open_usb
from afdaemon.drivers.errors import DriverError
from afdaemon.drivers.registry import kept_up
from afdaemon.sim.instrument.instrument import Instrument
from afdaemon.sim.instrument.settings import InstrumentSettings
from afdaemon.sim.instrument.world import RecordedFrame, World
from afdaemon.sim.links.usb_device import ENDPOINT_IN, ENDPOINT_OUT, Mishap
from afdaemon.sim.links.usb_server import UsbServer

SPEED = 200.0
DRIVER = {"reconnect_first_s": 0.01, "reconnect_cap_s": 0.02, "connect_timeout_s": 5.0}
"""The wait between two polls for the device, shortened: what is measured is what comes on top of it."""
MOVES_A_CYCLE = 3
FRAME_BYTES = 77_000
COMMAND_BYTES = 200
GIVEN_UP_S = 30.0


class Witness(Instrument):
    """Remembers every command that it accepted and every frame that it delivered."""

    def __init__(self, world: World, *, clock: ScaledClock) -> None:
        super().__init__(world, clock=clock)
        self.commanded_um: set[float] = set()
        self.given: set[bytes] = set()

    def command(self, wd_um: float, magnification: float | None = None) -> None:
        """As the instrument does."""
        super().command(wd_um, magnification)
        self.commanded_um.add(wd_um)

    async def frames(self) -> list[RecordedFrame]:
        """As the instrument does."""
        shots = await super().frames()
        self.given.update(_digest(shot.pixels) for shot in shots)
        return shots


@dataclass
class Holdings:
    """What the process holds at one moment.

    Each new thread may get a heap of its own from the allocator, up to some number: only then does memory stay flat.
    """

    threads: int
    handles: int
    devices: int
    memory_mb: float


@dataclass
class Replugged:
    """What came of the cycles; `back_s` is the time from plugging in to being connected."""

    cycles: int = 0
    moves: int = 0
    moves_lost: int = 0
    frames: int = 0
    frames_wrong: int = 0
    errors: int = 0
    back_s: list[float] = field(default_factory=list)
    early: Holdings | None = None
    late: Holdings | None = None
    handles_left: int = 0
    threads_left: int = 0


async def replug(seed: int, cycles: int) -> Replugged:
    """Pull and put back the cable `cycles` times, in mid-transfer or in between, as the seed has it."""
    clock = ScaledClock(SPEED)
    witness = Witness(World(InstrumentSettings(seed=seed), clock=clock), clock=clock)
    result = Replugged()
    async with UsbServer(witness, clock=clock) as server:
        microscope = open_usb(DRIVER, SystemClock(), backend=server.bus)
        rng = np.random.default_rng(seed)
        async with kept_up(microscope):
            await microscope.wait_connected(GIVEN_UP_S)
            for cycle in range(cycles):
                await _cycle(microscope, server, witness, rng, result)
                if cycle == cycles // 2:
                    result.early = holdings()
            result.late = holdings()
        result.handles_left = server.bus.open_handles
    result.threads_left = sum(t.name == "usb owner" for t in threading.enumerate())
    return result


async def _cycle(
    microscope: Microscope,
    server: UsbServer,
    witness: Witness,
    rng: np.random.Generator,
    result: Replugged,
) -> None:
    result.cycles += 1
    _set_trap(server, rng)
    with contextlib.suppress(DriverError):
        await _work(microscope, witness, rng, result)
        result.errors -= 1
    result.errors += 1
    server.device.unplug()
    async with asyncio.timeout(GIVEN_UP_S):
        while microscope.connected:  # noqa: ASYNC110 - nothing signals when it goes down
            await asyncio.sleep(0.001)
    began_s = time.perf_counter()
    server.device.plug_in()
    await microscope.wait_connected(GIVEN_UP_S)
    result.back_s.append(time.perf_counter() - began_s)


def _set_trap(server: UsbServer, rng: np.random.Generator) -> None:
    """In nine cycles of ten, the cable comes out in the middle of a transfer."""
    attachment = server.device.attachment
    if attachment is None or rng.random() < 0.1:
        return
    if rng.random() < 0.5:
        attachment.trip(ENDPOINT_OUT, int(rng.integers(COMMAND_BYTES)), Mishap.UNPLUG)
    else:
        attachment.trip(ENDPOINT_IN, int(rng.integers(FRAME_BYTES * MOVES_A_CYCLE)), Mishap.UNPLUG)


async def _work(
    microscope: Microscope, witness: Witness, rng: np.random.Generator, result: Replugged
) -> None:
    for _ in range(MOVES_A_CYCLE):
        wd_um = float(np.round(rng.uniform(9_000.0, 15_000.0), 6))
        await microscope.move_wd(wd_um)
        result.moves += 1
        result.moves_lost += wd_um not in witness.commanded_um
        frame = await microscope.grab()
        result.frames += 1
        result.frames_wrong += _is_wrong(frame, wd_um, witness)


def _is_wrong(frame: Frame, wd_um: float, witness: Witness) -> bool:
    return abs(frame.wd_um - wd_um) > 3.0 or _digest(frame.pixels) not in witness.given


def _digest(pixels: np.ndarray[tuple[int, ...], np.dtype[np.integer]]) -> bytes:
    return hashlib.sha256(pixels.tobytes()).digest()


def holdings() -> Holdings:
    """Threads of the driver, open files, pyusb's devices, and the memory of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return Holdings(
        threads=sum(t.name == "usb owner" for t in threading.enumerate()),
        handles=len(list(Path("/proc/self/fd").iterdir())),
        devices=sum(isinstance(each, usb.core.Device) for each in gc.get_objects()),
        memory_mb=pages * 4096 / 2**20,
    )
