"""The vendor's program presses the button: real sockets, a daemon with a simulated EM-30 and the shipped networks."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from afdaemon.api.client import Client

BUTTON = Path(__file__).parents[2] / "docs" / "examples" / "vendor_button.py"
TOKEN = "0123456789abcdef"  # noqa: S105 - of this test's own daemon
ENDS_S = 100.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: sockets go there."""
    with tempfile.TemporaryDirectory(prefix="afd-") as name:
        yield Path(name)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def daemon(folder: Path, *options: str) -> Iterator[int]:
    """The port of the vendor door of a daemon that is ready."""
    port, token, config = free_port(), folder / "token", folder / "afdaemon.toml"
    token.write_text(TOKEN)
    token.chmod(0o600)
    config.write_text(
        f"[vendor]\nport = {port}\ntoken_file = '{token}'\n[models]\nthreads = 1\n"
        f"[api]\nruntime_dir = '{folder / 'run'}'\n[journal]\npath = '{folder / 'journal'}'\n"
    )
    wanted = [word for option in options for word in ("--sim-option", option)]
    command = [
        sys.executable,
        "-m",
        "afdaemon",
        "serve",
        "--config",
        str(config),
        "--sim",
        "--vendor",
    ]
    with subprocess.Popen(
        [*command, *wanted],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "AFDAEMON_LOG__FORMAT": "json"},
    ) as process:
        assert process.stderr is not None
        try:
            while '"connected"' not in (line := process.stderr.readline()):
                assert line
            yield port
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=ENDS_S)
    assert process.returncode == 0


def until(lines: IO[str], word: str) -> str:
    """The first line that begins with `word`."""
    for line in lines:
        sys.stdout.write(line)
        if line.startswith(word):
            return line
    raise AssertionError(f"the door hung up without {word}")


def test_the_button_is_pressed_and_the_picture_comes_into_focus(folder: Path) -> None:
    truth = folder / "truth.json"
    with daemon(folder, "specimen=tin_balls", "speed=10", "seed=4", f"truth={truth}") as port:
        command = [sys.executable, str(BUTTON), "127.0.0.1", str(port), str(folder / "token")]
        pressed = subprocess.run(
            command, capture_output=True, text=True, timeout=ENDS_S, check=False
        )
        with Client(str(folder / "run")) as client:
            now = client.status()
            assert now.vendor == f"127.0.0.1:{port}"
            assert now.last_job is not None
            job = client.job(now.last_job)
    *progress, end = pressed.stdout.splitlines()
    assert (pressed.returncode, job.converged) == (0, True), pressed.stdout + pressed.stderr
    assert end == f"FOCUSED wd_um={job.best_wd_um:.1f} score={job.score:.2f}"
    assert len(progress) >= len(job.trace) >= 3
    assert all(line.startswith("reading ") for line in progress)


def test_an_abort_in_mid_job_brings_the_lens_back(folder: Path) -> None:
    with (
        daemon(folder, "specimen=tin_balls", "start_wd_um=12000") as port,
        socket.create_connection(("127.0.0.1", port), timeout=ENDS_S) as line,
        line.makefile("r", encoding="ascii") as lines,
    ):
        line.sendall(f"TOKEN {TOKEN}\r\nAUTOFOCUS\r\n".encode())
        until(lines, "PROGRESS reading 1")
        line.sendall(b"ABORT\r\n")
        until(lines, "OK abort job=")
        end = until(lines, "FAILED")
        assert end.startswith("FAILED reason=aborted restored=yes wd_um=1")
        assert end.endswith(": by the vendor's software\n")
