"""`afdaemon sim serve`, in a process of its own."""

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from afdaemon.cli import sim
from afdaemon.cli.runner import run_app

PROGRAM = (
    "import sys; from afdaemon.cli import sim; from afdaemon.cli.runner import run_app;"
    "sys.exit(run_app(sim.app, program='afdaemon sim'))"
)


@contextmanager
def serving(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and the line it prints when it is ready."""
    command = [sys.executable, "-c", PROGRAM, "serve", "--port", "0", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline()
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_and_ends_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    drop, truth = tmp_path / "drop", tmp_path / "truth.json"
    options = ("--folder", str(drop), "--truth", str(truth), "--seed", "4", "--speed", "20")
    with serving(*options, "--start-wd-um", "12000") as (process, line):
        found = re.fullmatch(r"listening on 127\.0\.0\.1:(\d+) folder (.*)\n", line)
        assert found is not None
        assert found[2] == str(drop)
        with socket.create_connection(("127.0.0.1", int(found[1])), timeout=5.0) as client:
            client.sendall(b"Connected.COMM.START.READYWDMAG,12.4,2000")
            assert client.recv(1024) == b"OK"
        told = json.loads(truth.read_text())
        assert (told["seed"], told["start_wd_um"]) == (4, 12_000.0)
        assert [order["wd_um"] for order in told["commands"]] == [12_400.0]
        process.send_signal(number)
        _, complaints = process.communicate(timeout=10.0)
        assert process.returncode == 0
        assert complaints == ""


def test_without_a_folder_it_makes_one_and_takes_it_away() -> None:
    with serving() as (process, line):
        folder = Path(line.rpartition("folder ")[2].strip())
        assert folder.is_dir()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10.0)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--specimen", "cheese"], "'cheese'"),
        (["--specimen", "image:/no/such.tif"], "/no/such.tif"),
        (["--magnification", "0"], "magnification must lie in 20 to 150000, not 0"),
        (["--magnification", "nan"], "magnification"),
        (["--seed", "-1"], "seed must lie in 0 to 4294967295"),
        (["--start-wd-um", "nan"], "start WD must lie in 5000 to 50000 um, not nan"),
        (["--focus-wd-um", "1"], "focus WD must lie in"),
        (["--alpha-mrad", "inf"], "convergence angle must lie in 0.1 to 50 mrad"),
        (["--mode", "slow"], "the mode is fast or full"),
        (["--speed", "0"], "speed must lie in"),
        (["--port", "70000"], "cannot listen on 127.0.0.1:70000"),
        (["--folder", "/proc/here"], "drop folder /proc/here cannot be used"),
        (["--truth", "/no/where/truth.json"], "cannot be written to /no/where/truth.json"),
        (["--colour", "red"], "--colour"),
    ],
)
def test_bad_options_are_one_sentence_and_exit_2(
    capsys: pytest.CaptureFixture[str], options: list[str], complaint: str
) -> None:
    assert run_app(sim.app, program="afdaemon sim", args=["serve", "--port", "0", *options]) == 2
    told = capsys.readouterr().err
    assert complaint in told
    assert told.count("\n") == 1
    assert "Traceback" not in told


def test_a_port_in_use_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert run_app(sim.app, program="afdaemon sim", args=["serve", "--port", port]) == 2
    told = capsys.readouterr().err
    assert f"cannot listen on 127.0.0.1:{port}: {os.strerror(errno.EADDRINUSE)}" in told
