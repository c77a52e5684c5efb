"""A daemon of which one part gets stuck as soon as a job has moved the lens; started by `stuck.py`.

    python benchmarks/stuck_daemon.py PART FOLDER PORT SHARE

PART is loop, scoring, abort, device or none; deadlines are multiplied by SHARE. The networks are replaced by ones that
never find focus, so that a job is under way for long.
"""

import asyncio
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from afdaemon import logs
from afdaemon.api import abort, dispatch
from afdaemon.api.access.roles import Caller
from afdaemon.clock import SystemClock
from afdaemon.config import load
from afdaemon.control.procedures import Laws
from afdaemon.drivers.base import Microscope
from afdaemon.drivers.em30 import usb
from afdaemon.drivers.em30.usb_device import UsbDevice
from afdaemon.models.frames.measures import Measures
from afdaemon.service import compose, scoring, watchdog
from afdaemon.settings import Settings
from afdaemon.sim.instrument.instrument import Instrument
from afdaemon.sim.instrument.settings import InstrumentSettings
from afdaemon.sim.instrument.world import World
from afdaemon.sim.links.usb_server import UsbServer

_STUCK_AT = 4
"""The reading with which it happens: the lens is away from its start by then."""
_FOR_EVER_S = 3600.0

PART, FOLDER, PORT, SHARE = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
stuck = threading.Event()
readings = 0


def hang() -> None:
    """Say when, and never return."""
    sys.stdout.write(f"stuck {SystemClock().now_s()}\n")
    sys.stdout.flush()
    time.sleep(_FOR_EVER_S)


def score(_pixels: object, _magnification: float) -> Measures:
    """A score that tells the job nothing."""
    global readings
    readings += 1
    if readings == _STUCK_AT:
        stuck.set()
        if PART == "scoring":
            hang()
    return Measures(score=1.0, contrast=0.3, entropy=5.0, expected_error=0.5)


def break_parts(loop: asyncio.AbstractEventLoop) -> None:
    """Let the one part hang as soon as `stuck` is set."""
    read, answer = UsbDevice.read, dispatch.AbortDispatcher.answer

    def read_or_hang(self: UsbDevice) -> bytes:
        if stuck.is_set():
            hang()
        return read(self)

    def answer_or_hang(
        self: dispatch.AbortDispatcher, payload: Sequence[bytes], caller: Caller
    ) -> bytes:
        if stuck.is_set():
            hang()
        return answer(self, payload, caller)

    if PART == "device":
        UsbDevice.read = read_or_hang  # type: ignore[method-assign]
    if PART == "abort":
        dispatch.AbortDispatcher.answer = answer_or_hang  # type: ignore[assignment,method-assign]
    if PART == "loop":
        threading.Thread(
            target=lambda: (stuck.wait(), loop.call_soon_threadsafe(hang)), daemon=True
        ).start()


def settings_of_it() -> Settings:
    """Its files lie in FOLDER."""
    flags: dict[str, object] = {
        "microscope.link": "usb" if PART == "device" else "aisem",
        "control.profile": "paper",
        "api.runtime_dir": FOLDER / "run",
        "journal.path": FOLDER / "journal",
    }
    if PART != "device":
        flags |= {"microscope.port": PORT, "microscope.folder": FOLDER / "drop"}
    return load(environ={}, flags=flags).settings


async def main() -> None:
    """Serve until a signal or the watchdog ends it."""
    scoring.SCORING_DEADLINE_S *= SHARE
    watchdog.LOOP_DEADLINE_S *= SHARE
    abort.DEADLINE_S *= SHARE
    usb.THREAD_DEADLINE_S *= SHARE
    logs.configure("info", "json")
    break_parts(asyncio.get_running_loop())
    stop = asyncio.Event()
    networks = scoring.Networks(score=score, laws=Laws(step=lambda _: 0.0), hashes={})
    clock = SystemClock()
    made_of = InstrumentSettings(start_wd_um=12_000.0, focus_wd_um=30_000.0)
    instrument = Instrument(World(made_of, clock=clock), clock=clock)
    async with UsbServer(instrument, clock=clock) as server:

        def connect(settings: Settings, own: SystemClock) -> Microscope:
            if PART == "device":
                return usb.open_usb(settings.microscope.of_driver, own, server.bus)
            return compose._microscope_of(settings, own)  # noqa: SLF001

        with compose.stopped_by_signals(stop):
            await compose.serve(settings_of_it(), stop, load=lambda _: networks, connect=connect)  # type: ignore[arg-type]


if __name__ == "__main__":
    asyncio.run(main())
