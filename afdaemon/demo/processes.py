"""The two processes of a demonstration: the daemon stays, the simulated instrument changes with the scene."""

import json
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from afdaemon.api.client import Client
from afdaemon.clock import Clock, SystemClock
from afdaemon.demo.scene import ALPHA_RAD, Scene
from afdaemon.errors import AfdaemonError, Unreachable

_COMMAND = [sys.executable, "-m", "afdaemon"]
_START_S = 60.0
_STOP_S = 10.0
_LOOK_S = 0.05


class StageError(AfdaemonError):
    """A process of the demonstration did not start, or ended by itself."""

    kind = "stage"
    remedy = "run it by hand to see more"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorProcess:
    """A simulated instrument that runs; `truth` is read from its witness file."""

    folder: Path

    def truth(self) -> dict[str, Any]:
        """What only the simulator knows, as JSON."""
        content: dict[str, Any] = json.loads((self.folder / "truth.json").read_text())
        return content

    def frames(self) -> list[Path]:
        """The frames it delivered, in order."""
        return sorted((self.folder / "frames").glob("*.jpg"))


class Stage:
    """A folder, a port, and what runs there. Open it with `open_stage`."""

    def __init__(self, folder: Path, *, speed: float, clock: Clock) -> None:
        self.folder = folder
        self.endpoint = f"ipc://{folder / 'run'}"
        self._speed = speed
        self._clock = clock
        self._port = _free_port()
        self._drop = folder / "drop"
        self._shown = 0

    @contextmanager
    def daemon(self) -> Iterator[None]:
        """The daemon, until the block ends; it is ready when the block begins."""
        config = self.folder / "afdaemon.toml"
        config.write_text(self._config(), encoding="utf-8")
        with _running("daemon", ["serve", "--config", str(config)], self.folder) as process:
            self._wait(process, "daemon", self._answers)
            yield

    def _config(self) -> str:
        lines = [
            "[microscope]",
            f"port = {self._port}",
            f"folder = {json.dumps(str(self._drop))}",
            "poll_s = 0.01",
            "reconnect_first_s = 0.1",
            "reconnect_cap_s = 0.2",
            "[api]",
            f"runtime_dir = {json.dumps(str(self.folder / 'run'))}",
            "[journal]",
            f"path = {json.dumps(str(self.folder / 'journal'))}",
            "[log]",
            'format = "json"',
        ]
        return "\n".join(lines) + "\n"

    @contextmanager
    def instrument(self, scene: Scene, client: Client) -> Iterator[SimulatorProcess]:
        """A simulated instrument that shows `scene`; the daemon has found it when the block begins."""
        self._shown += 1
        place = self.folder / f"scene{self._shown}"
        place.mkdir()
        self._drop.mkdir(exist_ok=True)
        arguments = {
            "specimen": scene.specimen,
            "magnification": scene.magnification,
            "seed": scene.seed,
            "start-wd-um": scene.start_wd_um,
            "focus-wd-um": scene.focus_wd_um,
            "alpha-mrad": 1e3 * ALPHA_RAD,
            "port": self._port,
            "folder": self._drop,
            "speed": self._speed,
            "truth": place / "truth.json",
            "keep-frames": place / "frames",
        }
        options = [word for name, value in arguments.items() for word in (f"--{name}", str(value))]
        with _running("simulator", ["sim", "serve", "--until-eof", *options], place) as process:
            self._wait(process, "simulator", lambda: client.status().microscope.connected)
            yield SimulatorProcess(folder=place)
        self._wait(None, "daemon", lambda: not client.status().microscope.connected)

    def _answers(self) -> bool:
        try:
            with Client(self.endpoint) as client:
                client.ping()
        except Unreachable:
            return False
        return True

    def _wait(
        self, process: "subprocess.Popen[bytes] | None", name: str, ready: Callable[[], bool]
    ) -> None:
        end_s = self._clock.now_s() + _START_S
        while not ready():
            if process is not None and process.poll() is not None:
                raise StageError(_last_words(name, self.folder, process))
            if self._clock.now_s() > end_s:
                raise StageError(f"the {name} was not ready within {_START_S:g} s")
            threading.Event().wait(_LOOK_S)


@contextmanager
def open_stage(*, speed: float = 1.0, clock: Clock | None = None) -> Iterator[Stage]:
    """A stage in a temporary folder; `speed` is that of the simulated instrument."""
    with tempfile.TemporaryDirectory(prefix="afd-") as folder:
        yield Stage(Path(folder), speed=speed, clock=clock or SystemClock())


@contextmanager
def _running(name: str, arguments: list[str], folder: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """One of our own commands in a process of its own, ended politely with the block.

    Its stdin is a pipe that nobody writes to: a simulator that watches it ends with us, however we end.
    """
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command with checked arguments
            [*_COMMAND, *arguments], stdin=subprocess.PIPE, stdout=log, stderr=log
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdin is not None:
                process.stdin.close()


def _last_words(name: str, folder: Path, process: "subprocess.Popen[bytes]") -> str:
    logs = sorted(folder.rglob(f"{name}.log"), key=lambda p: p.stat().st_mtime)
    lines = logs[-1].read_text(errors="replace").strip().splitlines() if logs else []
    said = lines[-1] if lines else "nothing"
    return f"the {name} ended with code {process.returncode}; it said: {said}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
