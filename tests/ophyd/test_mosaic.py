"""The plan of docs/bluesky.md, under Bluesky's engine, with a daemon and a simulated EM-30."""

import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import pytest
from bluesky import RunEngine
from bluesky.run_engine import call_in_bluesky_event_loop
from bluesky.utils import FailedStatus, Msg
from ophyd_async.core import (
    AsyncStatus,
    StandardReadable,
    init_devices,
    soft_signal_r_and_setter,
    soft_signal_rw,
)

from afdaemon.ophyd import Autofocus

PAGE = (Path(__file__).parents[2] / "docs" / "bluesky.md").read_text(encoding="utf-8")
ENDS_S = 60.0
SIMULATOR = ("specimen=tin_balls", "seed=3", "speed=20")
Plan = Generator[Msg, Any, Any]

pytestmark = pytest.mark.slow


class Camera(StandardReadable):
    """Counts its frames."""

    def __init__(self) -> None:
        self._taken = 0
        with self.add_children_as_readables():
            self.frames, self._set_frames = soft_signal_r_and_setter(int)
        super().__init__()

    @AsyncStatus.wrap
    async def trigger(self) -> None:
        self._taken += 1
        self._set_frames(self._taken)


@pytest.fixture(scope="module")
def engine() -> Iterator[RunEngine]:
    engine = RunEngine(context_managers=[])
    yield engine
    engine.loop.call_soon_threadsafe(engine.loop.stop)
    engine._th.join()
    engine.loop.close()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a daemon with a simulated EM-30."""
    with tempfile.TemporaryDirectory(prefix="af-") as name:
        folder = Path(name)
        settings = (
            f"[api]\nruntime_dir = '{folder / 'run'}'\n[journal]\npath = '{folder / 'journal'}'\n"
        )
        (folder / "afdaemon.toml").write_text(settings)
        options = [word for option in SIMULATOR for word in ("--sim-option", option)]
        command = [sys.executable, "-m", "afdaemon", "serve", "--sim", *options]
        command += ["--config", str(folder / "afdaemon.toml")]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as daemon:
            assert daemon.stderr is not None
            while "connected" not in (line := next(daemon.stderr)) or "disconnected" in line:
                pass
            yield str(folder / "run")
            daemon.send_signal(signal.SIGTERM)
            daemon.communicate(timeout=ENDS_S)


@pytest.fixture(scope="module")
def em30(engine: RunEngine, address: str) -> Autofocus:
    device = Autofocus(address, timeout_s=ENDS_S)
    call_in_bluesky_event_loop(device.connect())
    device.set_name("em30")
    return device


def plan_of_the_page() -> Callable[..., Plan]:
    (text,) = re.findall(r"(?ms)^```python\n(import bluesky.plan_stubs.*?)^```", PAGE)
    names: dict[str, Any] = {}
    exec(text, names)  # noqa: S102 - our own page
    plan: Callable[..., Plan] = names["mosaic"]
    return plan


def test_each_tile_of_the_mosaic_is_focused(engine: RunEngine, em30: Autofocus) -> None:
    documents: list[tuple[str, dict[str, Any]]] = []
    with init_devices():
        x, y = soft_signal_rw(float), soft_signal_rw(float)
        camera = Camera()
    plan = plan_of_the_page()(em30, x, y, camera, columns=2, rows=1, step_um=50.0)
    engine(plan, lambda name, document: documents.append((name, document)))
    tiles = [document["data"] for name, document in documents if name == "event"]
    assert [(tile["x"], tile["y"]) for tile in tiles] == [(0.0, 0.0), (50.0, 0.0)]
    assert all(tile["em30-converged"] and tile["em30-score"] > 5.0 for tile in tiles)
    assert len({tile["em30-job"] for tile in tiles}) == 2
    (descriptor,) = [document for name, document in documents if name == "descriptor"]
    configuration = descriptor["configuration"]["em30"]["data"]
    assert configuration["em30-microscope"].startswith("em30 (aisem, ")
    assert descriptor["hints"]["em30"]["fields"] == ["em30-wd", "em30-score"]


def test_a_plan_moves_the_lens_within_the_limits(engine: RunEngine, em30: Autofocus) -> None:
    engine(bps.mv(em30.wd, 12_000.0))
    with pytest.raises(FailedStatus, match="outside"):
        engine(bps.mv(em30.wd, 100_000.0))
    assert call_in_bluesky_event_loop(em30.wd.locate())["readback"] == pytest.approx(
        12_000.0, abs=2.0
    )


def test_a_plan_that_ends_early_aborts_its_job(engine: RunEngine, em30: Autofocus) -> None:
    def left_behind() -> Plan:
        yield from bps.stage(em30)
        yield from bps.trigger(em30, group="focus")
        yield from bps.unstage(em30)
        yield from bps.wait("focus")

    with pytest.raises(FailedStatus, match="ended as aborted"):
        engine(left_behind())
