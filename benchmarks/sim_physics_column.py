"""Column dynamics seen by a client: settling, hysteresis and drift over the wire, and the same bytes on every link.

The instrument's settings are known here; the measurement goes through the real drivers against served instruments, with
what a client has: commands, WD read-backs, frames and a clock.

    settling     read-backs on the way to a command; the slope of log(way left) over time
    hysteresis   the sharpest WD of a sweep up and of a sweep down, their difference
    drift        the sharpest WD of sweep after sweep, the slope over time
"""

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from reporting import conclude, parse

from afdaemon.clock import ScaledClock, SystemClock
from afdaemon.drivers.base import Frame, Microscope
from afdaemon.drivers.em30.usb import open_usb
from afdaemon.drivers.registry import kept_up, open_microscope
from afdaemon.drivers.wire.jpeg import decode_jpeg
from afdaemon.evaluate.section import Bar
from afdaemon.sim.instrument.age import Ageing
from afdaemon.sim.instrument.conditions import Condition, instrument
from afdaemon.sim.instrument.inprocess import InProcessMicroscope
from afdaemon.sim.instrument.instrument import Instrument
from afdaemon.sim.instrument.settings import InstrumentSettings
from afdaemon.sim.instrument.world import World
from afdaemon.sim.links.aisem import JPEG_QUALITY, AisemServer
from afdaemon.sim.links.stream import StreamServer
from afdaemon.sim.links.usb_server import UsbServer

TOLERANCE = 0.05
MAGNIFICATION = 5_000
FOCUS_UM = 12_000.0
SWEEP_UM = np.arange(-120.0, 121.0, 20.0)
TURN_UM = 1_000.0
"""Sweeps turn this far from focus: further than any hysteresis measured here needs to open."""

Open = Callable[[Instrument, ScaledClock, Path], AbstractAsyncContextManager[Microscope]]


@asynccontextmanager
async def aisem(served: Instrument, clock: ScaledClock, folder: Path) -> AsyncIterator[Microscope]:
    async with AisemServer(served, folder=folder, clock=clock) as server:
        settings = {"folder": folder, "port": server.address[1], "poll_s": 0.002}
        yield open_microscope("aisem", settings, clock=SystemClock())


@asynccontextmanager
async def stream(served: Instrument, clock: ScaledClock, folder: Path) -> AsyncIterator[Microscope]:
    async with StreamServer(served) as server:
        yield open_microscope("stream", {"port": server.address[1]}, clock=SystemClock())


@asynccontextmanager
async def usb(served: Instrument, clock: ScaledClock, folder: Path) -> AsyncIterator[Microscope]:
    async with UsbServer(served, clock=clock) as server:
        yield open_usb({}, SystemClock(), backend=server.bus)


@asynccontextmanager
async def in_process(
    served: Instrument, clock: ScaledClock, folder: Path
) -> AsyncIterator[Microscope]:
    yield InProcessMicroscope(served, clock=clock)


LINKS: dict[str, Open] = {"aisem": aisem, "stream": stream, "usb": usb, "in process": in_process}
WIRES = ("aisem", "stream")


@asynccontextmanager
async def connected(
    link: str, settings: InstrumentSettings, clock: ScaledClock
) -> AsyncIterator[Microscope]:
    """A microscope of a new instrument, up and running."""
    with TemporaryDirectory() as folder:
        served = Instrument(World(settings, clock=clock), clock=clock)
        async with LINKS[link](served, clock, Path(folder)) as microscope, kept_up(microscope):
            await microscope.wait_connected(5.0)
            yield microscope


def a_column(seed: int, **changes: Any) -> InstrumentSettings:
    """An instrument without flaws, except these of its column."""
    ideal = instrument(
        Condition.IDEAL,
        specimen="tem_grid",
        seed=seed,
        magnification=MAGNIFICATION,
        start_wd_um=FOCUS_UM + TURN_UM,
        focus_wd_um=FOCUS_UM,
        ageing=Ageing.CLOCK,
    )
    return replace(ideal, column=replace(ideal.column, **changes))


# --- settling ---


async def time_constant_s(link: str, settings: InstrumentSettings, speed: float) -> float:
    """Time constant of the lens on a long move, from the read-backs during it."""
    clock = ScaledClock(speed)
    target_um, expected_s = 30_000.0, settings.time_constant_s
    times_s, left_um = [], []
    async with connected(link, settings, clock) as microscope:
        await microscope.read_state()
        await microscope.move_wd(target_um)
        end_s = clock.now_s() + 4.0 * expected_s
        while (asked_s := clock.now_s()) < end_s:
            state = await microscope.read_state()
            times_s.append(0.5 * (asked_s + clock.now_s()))
            left_um.append(target_um - state.wd_um)
    return float(-1.0 / np.polyfit(times_s, np.log(left_um), 1)[0])


# --- focus, as frames show it ---


def sharpness(frame: Frame) -> float:
    """Energy of the gradient, a little smoothed against noise."""
    smooth = cv2.GaussianBlur(frame.pixels, (0, 0), 1.0).astype(np.float32)
    across, down = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    return float((across**2 + down**2).mean())


def sharpest_um(wd_um: Sequence[float], sharp: Sequence[float]) -> float:
    """Where the sharpness peaks: 1 / sharpness is a parabola about it, in which the sharpest count most."""
    at = np.asarray(wd_um)
    height = np.asarray(sharp) / max(sharp)
    curve = np.polyfit(at - at.mean(), 1.0 / height, 2, w=height**2)
    return float(at.mean() - 0.5 * curve[1] / curve[0])


async def sweep(
    microscope: Microscope, clock: ScaledClock, wd_um: NDArray[np.float64]
) -> tuple[float, float]:
    """(the sharpest WD in um, when the lens passed there in s of `clock`)."""
    sharp, times_s = [], []
    for target_um in wd_um:
        await microscope.move_wd(float(target_um))
        sharp.append(sharpness(await microscope.grab()))
        times_s.append(clock.now_s())
    best_um = sharpest_um(wd_um.tolist(), sharp)
    rising = np.argsort(wd_um)
    return best_um, float(np.interp(best_um, wd_um[rising], np.asarray(times_s)[rising]))


async def hysteresis_um(link: str, settings: InstrumentSettings, speed: float) -> float:
    """Sharpest command from below minus that from above: how much the lens lags behind."""
    clock = ScaledClock(speed)
    found = {}
    async with connected(link, settings, clock) as microscope:
        for sign in (1.0, -1.0):
            await microscope.move_wd(FOCUS_UM - sign * TURN_UM)
            await microscope.grab()
            found[sign], _ = await sweep(microscope, clock, FOCUS_UM + sign * SWEEP_UM)
    return found[1.0] - found[-1.0]


async def drift_um_per_min(
    link: str, settings: InstrumentSettings, speed: float, sweeps: int
) -> float:
    """The slope of the sharpest WD over time; each sweep is laid about the focus found before."""
    clock = ScaledClock(speed)
    best_um, best_s = [], []
    centre_um = FOCUS_UM
    async with connected(link, settings, clock) as microscope:
        for _ in range(sweeps):
            at_um, at_s = await sweep(microscope, clock, centre_um + SWEEP_UM)
            best_um.append(at_um)
            best_s.append(at_s)
            centre_um = at_um
    return 60.0 * float(np.polyfit(best_s, best_um, 1)[0])


# --- the same bytes ---


async def digest(link: str, settings: InstrumentSettings, frames: int, speed: float) -> str:
    """Digest of all pixels and WD read-backs of a walk through focus; aisem's are what its JPEG leaves of them."""
    total = hashlib.sha256()
    async with connected(link, settings, ScaledClock(speed)) as microscope:
        for n in range(frames):
            await microscope.move_wd(FOCUS_UM + 150.0 - 60.0 * n)
            frame = await microscope.grab()
            total.update(frame.pixels.tobytes() + f"{frame.wd_um:.1f}".encode())
    return total.hexdigest()


async def jpeg_digest(settings: InstrumentSettings, frames: int, speed: float) -> str:
    """What aisem has to deliver: the frames taken in process, through the same JPEG."""
    total = hashlib.sha256()
    async with connected("in process", settings, ScaledClock(speed)) as microscope:
        for n in range(frames):
            await microscope.move_wd(FOCUS_UM + 150.0 - 60.0 * n)
            frame = await microscope.grab()
            quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
            encoded = cv2.imencode(".jpg", frame.pixels, quality)[1].tobytes()
            total.update(decode_jpeg(encoded).tobytes() + f"{frame.wd_um:.1f}".encode())
    return total.hexdigest()


async def same_bytes(seed: int, frames: int) -> dict[str, list[str]]:
    """Digests by link, of two runs each at different speeds, of an instrument with every flaw."""
    poor = instrument(
        Condition.POOR,
        seed=seed,
        magnification=MAGNIFICATION,
        start_wd_um=FOCUS_UM + 200.0,
        focus_wd_um=FOCUS_UM,
    )
    speeds = (40.0, 100.0)
    found = {link: [await digest(link, poor, frames, speed) for speed in speeds] for link in LINKS}
    found["in process, JPEG"] = [await jpeg_digest(poor, frames, speeds[0])]
    return found


# --- the section ---


async def dynamics(seed: int, quick: bool) -> list[tuple[str, str, float, float, str]]:
    """(link, quantity, set, measured, unit)."""
    rows = []
    widths, rates = ((40.0,), (120.0,)) if quick else ((20.0, 40.0, 80.0), (-240.0, 60.0, 240.0))
    for link in WIRES:
        for settle_s in (6.0,) if quick else (3.0, 6.0, 10.0):
            lens = replace(a_column(seed), settle_s=settle_s, wd_noise_um=0.2)
            seen = await time_constant_s(link, lens, speed=2.0)
            rows.append((link, "settling time constant", lens.time_constant_s, seen, "s"))
        for width in widths:
            seen = await hysteresis_um(link, a_column(seed, hysteresis_um=width), speed=40.0)
            rows.append((link, "hysteresis", width, seen, "um"))
        for rate in rates:
            drifting = a_column(seed, drift_um_per_min=rate)
            sweeps = 8 if quick else 16
            seen = await drift_um_per_min(link, drifting, speed=20.0, sweeps=sweeps)
            rows.append((link, "drift", rate, seen, "um/min"))
    return rows


def measure(seed: int, quick: bool) -> tuple[list[str], list[Bar], list[dict[str, object]]]:
    """The table's lines, the bars, and the rows for JSON."""
    lines = [f"{'link':<12}{'quantity':<26}{'set':>10}{'measured':>12}{'error':>9}"]
    bars, rows = [], []
    for link, quantity, wanted, seen, unit in asyncio.run(dynamics(seed, quick)):
        error = seen / wanted - 1.0
        lines.append(f"{link:<12}{quantity:<26}{wanted:>10.4g}{seen:>12.4g}{error:>+9.1%} {unit}")
        bars.append(
            Bar(
                f"{quantity} {wanted:.4g} {unit} over {link} within {TOLERANCE:.0%}",
                abs(error) <= TOLERANCE,
                f"{seen:.4g} {unit}",
            )
        )
        rows.append({"link": link, "quantity": quantity, "set": wanted, "measured": seen})
    found = asyncio.run(same_bytes(seed, frames=4 if quick else 12))
    lines += ["", f"{'link':<20}{'digest of each run':<40}"]
    lines += [f"{link:<20}{'  '.join(d[:12] for d in digests)}" for link, digests in found.items()]
    rows += [{"link": link, "digests": digests} for link, digests in found.items()]
    exact = {d for link in ("stream", "usb", "in process") for d in found[link]}
    lossy = {*found["aisem"], *found["in process, JPEG"]}
    bars.append(
        Bar("same seed, same bytes: stream, usb, in process, two runs each", len(exact) == 1,
            f"{len(exact)} different")
    )  # fmt: skip
    bars.append(
        Bar("same seed, same bytes: aisem twice and in process through its JPEG", len(lossy) == 1,
            f"{len(lossy)} different")
    )  # fmt: skip
    return lines, bars, rows


def main() -> int:
    """This section alone."""
    arguments = parse(__doc__ or "", quick="one setting of each")
    lines, bars, rows = measure(arguments.seed, arguments.quick)
    table = "\n".join(lines)
    return conclude(arguments, "benchmarks/sim_physics_column.py", table, bars, rows)


if __name__ == "__main__":
    sys.exit(main())
