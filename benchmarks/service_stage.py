"""The real daemon in a process of its own, a simulated EM-30 in another, and a witness on the wire between them."""

import json
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from afdaemon.api.client import Client
from afdaemon.drivers.wire.messages import FrameData, Grab, Message, Move
from afdaemon.drivers.wire.stream import Decoder
from afdaemon.errors import Unreachable

AFDAEMON = [sys.executable, "-m", "afdaemon"]
FOCUS_UM = 12_000.0
MAGNIFICATION = 2_000
_REACH_UM = 2_000.0
_START_S = 60.0
_CHUNK = 1 << 16
_SHOWN_OF_LOG = 4_000


@dataclass
class Witness:
    """Passes bytes on between the daemon and the instrument, and remembers when they came."""

    instrument: tuple[str, int]
    chunks: list[tuple[float, bool, bytes]] = field(default_factory=list)
    """Time (s), whether the instrument sent them, bytes."""

    def __post_init__(self) -> None:
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        self._open: list[socket.socket] = []
        self._flows = threading.Event()
        self._flows.set()
        self._threads = [threading.Thread(target=self._accept, name="witness")]
        self._threads[0].start()

    def forget(self) -> None:
        """Begin to remember anew."""
        self.chunks.clear()

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """Nothing passes while the block runs; what came meanwhile passes afterwards."""
        self._flows.clear()
        try:
            yield
        finally:
            self._flows.set()

    def close(self) -> None:
        """Hang up."""
        self._flows.set()
        for line in (self._door, *self._open):
            with closing(line), suppress(OSError):  # the other side may have hung up
                line.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def moves_s(self) -> list[float]:
        """When each command for a move came from the daemon, s."""
        decoder, found = Decoder(), []
        for stamp_s, is_instrument, data in list(self.chunks):
            if not is_instrument:
                decoder.feed(data)
                found += [stamp_s for message in _messages(decoder) if isinstance(message, Move)]
        return found

    def _accept(self) -> None:
        while True:
            try:
                daemon, _ = self._door.accept()
            except OSError:
                return
            instrument = socket.create_connection(self.instrument)
            for line in (daemon, instrument):
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open += [daemon, instrument]
            for source, target, is_instrument in (
                (daemon, instrument, False),
                (instrument, daemon, True),
            ):
                thread = threading.Thread(
                    target=self._pass_on, args=(source, target, is_instrument), name="witness"
                )
                self._threads.append(thread)
                thread.start()

    def _pass_on(self, source: socket.socket, target: socket.socket, is_instrument: bool) -> None:
        try:
            while data := source.recv(_CHUNK):
                came_s = time.perf_counter()
                self._flows.wait()
                target.sendall(data)
                stamp_s = time.perf_counter() if is_instrument else came_s
                self.chunks.append((stamp_s, is_instrument, data))
        except OSError:
            return

    def moves(self) -> list[tuple[float, float]]:
        """When each move was commanded (s), and the WD that it leads to (um), in order."""
        decoder, found = Decoder(), []
        for stamp_s, is_instrument, data in sorted(self.chunks, key=lambda chunk: chunk[0]):
            if not is_instrument:
                decoder.feed(data)
                found += [(stamp_s, m.wd_um) for m in _messages(decoder) if isinstance(m, Move)]
        return found

    def answers_s(self) -> list[float]:
        """From the last byte of each frame to the first byte of the move that followed from it, s."""
        decoders = {True: Decoder(), False: Decoder()}
        found, frame_s = [], None
        for stamp_s, is_instrument, data in sorted(self.chunks, key=lambda chunk: chunk[0]):
            decoder = decoders[is_instrument]
            decoder.feed(data)
            for message in _messages(decoder):
                if isinstance(message, FrameData):
                    frame_s = stamp_s
                elif isinstance(message, Move) and frame_s is not None:
                    found.append(stamp_s - frame_s)
                    frame_s = None
                elif isinstance(message, Grab):
                    frame_s = None
        return found


def _messages(decoder: Decoder) -> Iterator[Message]:
    while (received := decoder.next_message()) is not None:
        yield received.message


@dataclass(frozen=True, slots=True)
class Service:
    """A daemon that is ready, the seconds that took, and the witness on its wire."""

    endpoint: str
    pid: int
    ready_s: float
    witness: Witness

    def is_running(self) -> bool:
        """Whether its process is there, and has not ended."""
        return "State:\tZ" not in Path(f"/proc/{self.pid}/status").read_text()

    def resident_mb(self) -> float:
        """Resident memory of the daemon, 10^6 bytes."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024 / 1e6
        raise RuntimeError("the daemon has ended")


def focus_from_elsewhere(client: Client, rng: np.random.Generator) -> None:
    """One job, from a WD drawn around the focus."""
    client.set_wd(FOCUS_UM + float(rng.uniform(-_REACH_UM, _REACH_UM)))
    client.autofocus()


@contextmanager
def service(
    *, speed: float, seed: int, profile: str, most_files: int | None = None, tcp_port: int = 0
) -> Iterator[Service]:
    """A daemon and a simulated instrument until the block ends. The daemon may open `most_files`."""
    with tempfile.TemporaryDirectory(prefix="afb-") as name, ExitStack() as stack:
        folder = Path(name)
        options = {
            "link": "stream", "specimen": "tin_balls", "magnification": MAGNIFICATION, "seed": seed,
            "focus-wd-um": FOCUS_UM, "start-wd-um": FOCUS_UM, "port": 0, "speed": speed,
        }  # fmt: skip
        words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
        simulator = stack.enter_context(
            _running(["sim", "serve", "--until-eof", *words], folder / "sim.log")
        )
        witness = stack.enter_context(closing(Witness(_address(simulator))))
        config = folder / "afdaemon.toml"
        config.write_text(_config(folder, witness.port, profile), encoding="utf-8")
        endpoint = f"ipc://{folder / 'run'}"
        began_s = time.perf_counter()
        words = ["serve", "--config", str(config), "--endpoint", endpoint]
        if tcp_port:
            words += ["--insecure", "--endpoint", f"tcp://127.0.0.1:{tcp_port}"]
        daemon = stack.enter_context(_running(words, folder / "daemon.log", most_files))
        ready_s = _answering(endpoint, daemon) - began_s
        yield Service(endpoint, daemon.pid, ready_s, witness)


def _config(folder: Path, port: int, profile: str) -> str:
    return "\n".join(
        [
            "[microscope]", 'link = "stream"', f"port = {port}",
            "[control]", f'profile = "{profile}"',
            "[api]", f"runtime_dir = {json.dumps(str(folder / 'run'))}",
            "[journal]", f"path = {json.dumps(str(folder / 'journal'))}",
            "[log]", 'format = "json"', 'level = "warning"',
        ]
    )  # fmt: skip


@contextmanager
def _running(
    arguments: list[str], log: Path, most_files: int | None = None
) -> "Iterator[subprocess.Popen[bytes]]":
    pipe = subprocess.PIPE
    with log.open("wb") as said:
        process = subprocess.Popen([*AFDAEMON, *arguments], stdin=pipe, stdout=pipe, stderr=said)
        if most_files is not None:  # long before the daemon itself looks at its limit
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (most_files, most_files))
        try:
            yield process
        finally:
            code = process.poll()
            if code is not None:  # nobody has asked it to end
                print(f"{arguments[0]} ended with {code}: {_end_of(log)}", file=sys.stderr)
            process.terminate()
            process.communicate(timeout=20.0)


def _end_of(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-_SHOWN_OF_LOG:]


def _address(simulator: "subprocess.Popen[bytes]") -> tuple[str, int]:
    line = simulator.stdout.readline().decode() if simulator.stdout is not None else ""
    host, _, port = line.removeprefix("listening on ").split()[0].rpartition(":")
    return host, int(port)


def _answering(endpoint: str, daemon: "subprocess.Popen[bytes]") -> float:
    """The time at which the daemon reported that it has an instrument."""
    end_s = time.perf_counter() + _START_S
    while time.perf_counter() < end_s and daemon.poll() is None:
        try:
            with Client(endpoint) as client:
                if client.status().microscope.connected:
                    return time.perf_counter()
        except Unreachable:
            continue
    raise RuntimeError("the daemon was not ready in time")
