"""The daemon and the simulated EM-30 as processes: what is left when one of them is ended.

The networks are replaced by ones that never find focus, so that a job is under way for long.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from afdaemon.api.client import Client
from afdaemon.api.schemas import JobState
from afdaemon.clock import SystemClock
from afdaemon.errors import Unreachable
from afdaemon.job.bench import DEADLINES
from afdaemon.service.watchdog import EXIT_STUCK

START_UM = 12_000.0
NEAR_START_UM = pytest.approx(START_UM, abs=2.0)
"""What the instrument reads back of it."""
ENDS_S = 20.0

DAEMON = """
import asyncio, sys, time
from pathlib import Path
from afdaemon import logs
from afdaemon.config import load
from afdaemon.control.procedures import Laws
from afdaemon.models.frames.measures import Measures
from afdaemon.service import compose as service, scoring, watchdog
from afdaemon.service.scoring import Networks

if sys.argv[2]:
    scoring.SCORING_DEADLINE_S = watchdog.LOOP_DEADLINE_S = 1.5
    watchdog._HOME_S = 2.0
readings = 0

def score(pixels, magnification):
    global readings
    readings += 1
    if readings > 3 and sys.argv[2] == "scoring":
        time.sleep(600)
    if readings > 3 and sys.argv[2] == "loop":
        loop.call_soon_threadsafe(time.sleep, 600)
    return Measures(score=1.0, contrast=0.3, entropy=5.0, expected_error=0.5)

async def main():
    global loop
    loop = asyncio.get_running_loop()
    settings = load(Path(sys.argv[1]), environ={}).settings
    logs.configure("info", "json")
    laws = Laws(step=lambda readings: 0.0)
    networks = Networks(score=score, laws=laws, hashes={})
    stop = asyncio.Event()
    with service.stopped_by_signals(stop):
        await service.serve(settings, stop, load=lambda _: networks)

asyncio.run(main())
"""


@contextmanager
def process(
    *command: str | Path, environ: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A Python process that is gone when the context ends."""
    with subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(environ or {})},
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def until(child: subprocess.Popen[str], text: str) -> str:
    """The first line that it writes with `text` in it; all of them are shown if a test fails."""
    assert child.stdout is not None
    for line in child.stdout:
        sys.stdout.write(line)
        if text in line:
            return line
    raise AssertionError(f"it ended without saying {text!r}")


class Bench:
    """A folder with simulator, daemon and their files."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.truth_file = folder / "truth.json"
        self._stack = stack

    def start_simulator(self, port: int = 0) -> tuple[subprocess.Popen[str], int]:
        options = {
            "port": port,
            "folder": self.folder / "drop",
            "truth": self.truth_file,
            "start-wd-um": START_UM,
            "focus-wd-um": 30_000.0,
        }
        arguments = [f"--{key}={value}" for key, value in options.items()]
        child = self._stack.enter_context(process("-m", "afdaemon", "sim", "serve", *arguments))
        address = until(child, "listening on ").split()[2]
        return child, int(address.rpartition(":")[2])

    def start_daemon(
        self, port: int, stuck: str = "", environ: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        config = self.folder / "afdaemon.toml"
        config.write_text(
            f"[microscope]\nport = {port}\nfolder = '{self.folder / 'drop'}'\n"
            f"reconnect_first_s = 0.05\nreconnect_cap_s = 0.2\n"
            "[control]\nprofile = 'paper'\n"  # what the fake networks there can do
            f"[api]\nruntime_dir = '{self.folder / 'run'}'\n"
            f"[journal]\npath = '{self.folder / 'journal'}'\n"
        )
        command: list[str | Path] = ["-c", DAEMON, config, stuck]
        child = self._stack.enter_context(process(*command, environ=environ))
        until(child, '"connected"')
        return child

    def commanded_um(self) -> list[float]:
        """Every WD that has reached the instrument, as it says itself."""
        truth = json.loads(self.truth_file.read_text())
        return [command["wd_um"] for command in truth["commands"]]

    def start_job(self, client: Client) -> str:
        """A job that has moved the instrument; its id."""
        with client.events("job.") as events:
            job_id = client.start().job
            while (event := events.next(ENDS_S)) is not None:
                if event.type == "progress" and int(str(event.data["reading"])) >= 2:
                    return job_id
        raise AssertionError("the job does not move")


@pytest.fixture
def bench() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="afd-") as name, ExitStack() as stack:
        yield Bench(Path(name), stack)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_mid_job_restores_the_start(bench: Bench, number: signal.Signals) -> None:
    _, port = bench.start_simulator()
    daemon = bench.start_daemon(port)
    with Client(str(bench.folder / "run")) as client:
        bench.start_job(client)
        assert bench.commanded_um()[-1] != NEAR_START_UM
        daemon.send_signal(number)
        until(daemon, '"stopping"')
        daemon.send_signal(number)
        until(daemon, '"still_stopping"')
        daemon.send_signal(signal.SIGTERM)
        until(daemon, '"stopped"')
        assert daemon.wait(ENDS_S) == 0
    assert bench.commanded_um()[-1] == NEAR_START_UM
    with Client(str(bench.folder / "run")) as client, pytest.raises(Unreachable):
        client.ping()


def test_a_stuck_scorer_ends_the_daemon_with_the_lens_at_home(bench: Bench) -> None:
    _, port = bench.start_simulator()
    daemon = bench.start_daemon(port, stuck="scoring")
    with Client(str(bench.folder / "run")) as client:
        bench.start_job(client)
        line = json.loads(until(daemon, '"part_stuck"'))
        assert line["part"] == "scoring thread"
        assert "in score" in line["stack"]
        assert daemon.wait(ENDS_S) == EXIT_STUCK
    assert bench.commanded_um()[-1] == NEAR_START_UM


def test_a_blocked_loop_ends_the_daemon_and_the_next_one_knows_the_way_back(bench: Bench) -> None:
    _, port = bench.start_simulator()
    daemon = bench.start_daemon(port, stuck="loop")
    with Client(str(bench.folder / "run")) as client:
        job_id = bench.start_job(client)
        assert json.loads(until(daemon, '"part_stuck"'))["part"] == "event loop"
        assert daemon.wait(ENDS_S) == EXIT_STUCK
    bench.start_daemon(port)
    with Client(str(bench.folder / "run")) as client:
        owed = client.status().owed
        assert owed is not None
        assert owed.job == job_id
        assert owed.start_wd_um == NEAR_START_UM


def test_systemd_hears_that_it_is_ready_when_it_answers_and_how_it_stands(bench: Bench) -> None:
    address = str(bench.folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(ENDS_S)

        def heard(text: str) -> str:
            while text not in (message := manager.recv(4096).decode()):
                assert "EXTEND" not in message
            return message

        _, port = bench.start_simulator()
        told = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "2000000"}
        daemon = bench.start_daemon(port, environ=told)
        heard("READY=1")
        with Client(str(bench.folder / "run")) as client:
            client.ping()
            client.abort()
            heard("WATCHDOG=1")
            assert "connected" in heard("STATUS=ready; em30 (aisem")
            job_id = bench.start_job(client)
            heard(f"job {job_id}")
        daemon.send_signal(signal.SIGTERM)
        heard("STOPPING=1")
        assert daemon.wait(ENDS_S) == 0


def test_a_simulator_killed_in_mid_job_is_a_device_error_and_the_daemon_reconnects(
    bench: Bench,
) -> None:
    simulator, port = bench.start_simulator()
    daemon = bench.start_daemon(port)
    with Client(str(bench.folder / "run")) as client:
        job_id = bench.start_job(client)
        simulator.kill()
        began_s = SystemClock().now_s()
        job = client.wait(job_id, ENDS_S)
        waits_s = DEADLINES.outage_s + DEADLINES.restore_s
        assert SystemClock().now_s() - began_s < waits_s + 2.0
        assert (job.state, job.reason, job.restored) == (JobState.FAILED, "device", False)
        assert client.status().state == "no_microscope"
        bench.start_simulator(port)
        until(daemon, '"connected"')
        assert client.status().state == "ready"
        assert client.wd().wd_um == NEAR_START_UM
        bench.start_job(client)
