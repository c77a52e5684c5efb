"""A daemon that is killed and started again on one journal, and a simulated EM-30 that stays and knows every move."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq
from service_stage import AFDAEMON, FOCUS_UM, MAGNIFICATION, Witness

from afdaemon.api.client import Client
from afdaemon.api.endpoints import parse_endpoint
from afdaemon.api.schemas import Status
from afdaemon.drivers.wire.messages import Move
from afdaemon.drivers.wire.stream import Decoder
from afdaemon.sim.instrument.told import Truth
from afdaemon.sim.instrument.witness import truth_from
from afdaemon.sim.links.control import order_of, tell

START_S = 60.0
_CHUNK = 1 << 16
_LOOK_S = 0.002
SPEED = 10.0

OnMove = Callable[[bool], None]
"""Called with False when a command to move has come and not gone on yet, with True when its answer has gone on."""


class Wire(Witness):
    """Passes bytes on, and tells of each command to move; a broken line is broken on both sides."""

    on_move: OnMove | None = None

    def _pass_on(self, source: socket.socket, target: socket.socket, is_instrument: bool) -> None:
        decoder = Decoder()
        try:
            while data := source.recv(_CHUNK):
                if not is_instrument and _has_move(decoder, data):
                    self._tell(has_gone=False)
                    self._awaits_answer = True
                target.sendall(data)
                if is_instrument and self._awaits_answer:
                    self._awaits_answer = False
                    self._tell(has_gone=True)
        except OSError:
            pass
        for line in (source, target):
            with closing(line), suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    _awaits_answer = False

    def _tell(self, *, has_gone: bool) -> None:
        if self.on_move is not None:
            self.on_move(has_gone)


def _has_move(decoder: Decoder, data: bytes) -> bool:
    decoder.feed(data)
    found = False
    while (received := decoder.next_message()) is not None:
        found |= isinstance(received.message, Move)
    return found


@dataclass(frozen=True, slots=True)
class Life:
    """One life of the daemon: its process, and the seconds until it answered."""

    process: "subprocess.Popen[bytes]"
    ready_s: float

    def kill(self) -> None:
        """At once, from any thread."""
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGKILL)


class Stage:
    """What stays while daemons come and go."""

    def __init__(self, folder: Path, wire: Wire, control_port: int) -> None:
        self.wire = wire
        self.endpoint = f"ipc://{folder / 'run'}"
        self.journal = folder / "journal"
        self._control_port = control_port
        self._log = folder / "daemon.log"
        self._config = folder / "afdaemon.toml"
        lines = [
            "[microscope]", 'link = "stream"', f"port = {wire.port}",
            "reconnect_first_s = 0.05", "reconnect_cap_s = 0.2",
            "[api]", f"runtime_dir = {json.dumps(str(folder / 'run'))}",
            "[journal]", f"path = {json.dumps(str(self.journal))}",
            "[log]", 'format = "json"',
        ]  # fmt: skip
        self._config.write_text("\n".join(lines), encoding="utf-8")

    def start(self) -> Life:
        """A daemon that answers."""
        began_s = time.perf_counter()
        with self._log.open("wb") as log:
            command = [*AFDAEMON, "serve", "--config", str(self._config)]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while b'"event": "ready"' not in self._log.read_bytes():
            if process.poll() is not None or time.perf_counter() > began_s + START_S:
                raise RuntimeError(f"the daemon is not ready: {self._log.read_text()[-2_000:]}")
            time.sleep(_LOOK_S)
        with Client(self.endpoint) as client:
            client.status()
        return Life(process, time.perf_counter() - began_s)

    def status(self, is_so: Callable[[Status], object]) -> Status:
        """The status, as soon as it is so."""
        end_s = time.perf_counter() + START_S
        with Client(self.endpoint) as client:
            while not is_so(status := client.status()):
                if time.perf_counter() > end_s:
                    raise RuntimeError(f"the daemon does not come to it: {status}")
                time.sleep(_LOOK_S)
        return status

    def truth(self) -> Truth:
        """What only the simulator knows."""
        return truth_from(tell(self._control_port, order_of("truth"))["truth"])

    def moves_um(self, after_s: float) -> list[float]:
        """The WDs that reached the instrument after that time of its own."""
        return [one.wd_um for one in self.truth().commands if one.time_s > after_s]

    def steps(self, job_id: str) -> int:
        """How many of the job's steps have been committed."""
        with closing(sqlite3.connect(f"{self.journal.as_uri()}?mode=ro", uri=True)) as connection:
            count = "SELECT count(*) FROM steps WHERE job_id = ?"
            return int(connection.execute(count, (job_id,)).fetchone()[0])

    def has_ended(self, job_id: str) -> bool:
        """Whether the job's end has been committed."""
        with closing(sqlite3.connect(f"{self.journal.as_uri()}?mode=ro", uri=True)) as connection:
            ended = "SELECT 1 FROM jobs WHERE job_id = ? AND outcome IS NOT NULL"
            return connection.execute(ended, (job_id,)).fetchone() is not None

    def rows(self) -> set[tuple[Any, ...]]:
        """Every row of jobs and steps that has been committed, without the marks of a later start."""
        with closing(sqlite3.connect(f"{self.journal.as_uri()}?mode=ro", uri=True)) as connection:
            jobs = connection.execute("SELECT job_id, opened_utc, request, outcome FROM jobs")
            steps = connection.execute("SELECT job_id, number, event, command FROM steps")
            return {*jobs.fetchall(), *steps.fetchall()}


@contextmanager
def asked(endpoint: str, job_id: str, profile: str) -> "Iterator[zmq.Socket[bytes]]":
    """A job is asked for, by a client that doesn't wait."""
    params = {"profile": profile}
    request = {"jsonrpc": "2.0", "id": job_id, "method": "autofocus.start", "params": params}
    with zmq.Context() as context, context.socket(zmq.DEALER) as control:
        control.linger = 0
        control.connect(parse_endpoint(endpoint).control)
        control.send_json(request)
        yield control


@contextmanager
def stage(seed: int) -> Iterator[Stage]:
    """A folder and a simulated instrument, until the block ends."""
    options = {
        "link": "stream", "specimen": "tin_balls", "magnification": MAGNIFICATION, "seed": seed,
        "focus-wd-um": FOCUS_UM, "start-wd-um": FOCUS_UM, "port": 0, "speed": SPEED,
        "control-port": 0,
    }  # fmt: skip
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    command = [sys.executable, "-m", "afdaemon", "sim", "serve", "--until-eof", *words]
    with tempfile.TemporaryDirectory(prefix="afk-") as name, ExitStack() as stack:
        pipe = subprocess.PIPE
        simulator = stack.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe))
        stack.callback(simulator.terminate)
        instrument, control = _place(simulator), _place(simulator)
        wire = stack.enter_context(closing(Wire(instrument)))
        yield Stage(Path(name), wire, control[1])


def _place(simulator: "subprocess.Popen[bytes]") -> tuple[str, int]:
    """Host and port out of its next line, `listening on HOST:PORT ...`."""
    line = simulator.stdout.readline().decode() if simulator.stdout is not None else ""
    host, _, port = line.split(" on ")[1].split()[0].rpartition(":")
    return host, int(port)
