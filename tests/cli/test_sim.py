"""`afdaemon sim serve`, in a process of its own."""

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from afdaemon.cli.runner import run_app
from afdaemon.cli.sim import command as sim
from afdaemon.drivers.wire.messages import Hello, Welcome
from afdaemon.drivers.wire.stream import Decoder, encode
from afdaemon.sim.instrument.conditions import keys

PROGRAM = (
    "import sys; from afdaemon.cli.sim import command as sim; from afdaemon.cli.runner import run_app;"
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


def test_it_speaks_stream_too_and_is_told_what_goes_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "em30.toml"
    config.write_text(
        "specimen = 'tem_grid'\nfaults = ['blank:0.5']\n"
        "[column]\nkv = 5\ndrift_um_per_min = 7\n[detector]\ngamma = 2\n"
    )
    options = ("--config", str(config), "--set", "column.kv=10", "--set=detector.gamma=1.5")
    more = ("--link=stream", "--seed=9", "--fault=frame-missing:0.2", "--control-port=0")
    with serving(*options, *more) as (process, line):
        found = re.fullmatch(r"listening on 127\.0\.0\.1:(\d+) link stream\n", line)
        assert found is not None
        assert process.stdout is not None
        control = re.fullmatch(r"control on 127\.0\.0\.1:(\d+)\n", process.stdout.readline())
        assert control is not None

        def told(*words: str) -> dict[str, Any]:
            args = ["tell", *words, "--port", control[1]]
            assert run_app(sim.app, program="afdaemon sim", args=args) == 0
            answer: dict[str, Any] = json.loads(capsys.readouterr().out)
            return answer

        truth = told("truth")["truth"]
        assert (truth["seed"], truth["specimen"], truth["kv"]) == (9, "tem_grid", 10.0)
        assert told("faults")["rules"] == ["frame-missing:0.2", "blank:0.5"]
        assert told("fault", "reset,times=1")["rules"][1] == "reset,times=1"
        assert told("clear")["rules"] == []
        with socket.create_connection(("127.0.0.1", int(found[1])), timeout=5.0) as client:
            client.sendall(encode(Hello(), sequence=1))
            decoder = Decoder()
            decoder.feed(client.recv(1024))
            received = decoder.next_message()
            assert received is not None
            assert isinstance(received.message, Welcome)
            told("unplug", "60")
            with pytest.raises(ConnectionResetError):
                client.recv(1024)
        told("replug")
        assert run_app(sim.app, program="x", args=["tell", "fault", "x", "--port", control[1]]) == 2
        assert "there is no fault 'x'" in capsys.readouterr().err


def test_with_until_eof_it_ends_when_its_stdin_does() -> None:
    command = [sys.executable, "-c", PROGRAM, "serve", "--port=0", "--until-eof"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        folder = Path(process.stdout.readline().rpartition("folder ")[2].strip())
        process.stdin.write("it may say what it likes\n")
        process.stdin.flush()
        assert folder.is_dir()
        process.stdin.close()
        assert process.wait(10.0) == 0
    assert not folder.exists()


def test_its_settings_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(sim.app, program="afdaemon sim", args=["settings"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == len(keys())
    assert any(line.startswith("column.kv = 15") and "1 to 30 kV" in line for line in listed)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, in which everything temporary would be."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--fault", "frame-mising"], "did you mean frame-missing?"),
        (["--fault", "frame-missing:1.5"], "lies in 0 to 1, not 1.5"),
        (["--fault", "wd-late,amount=-1"], "amount of wd-late lies in 0 to 600"),
        (["--link", "usb"], "the link is aisem or stream, not 'usb'"),
        (["--link", "stream", "--folder", "drop"], "--folder is for the link aisem only"),
        (["--set", "column.kvv=1"], "did you mean column.kv?"),
        (["--set", "column.kv=31"], "column.kv must be a number from 1 to 30 kV, not '31'"),
        (["--set", "seed"], "'seed' is not of the form KEY=VALUE"),
        (["--condition", "fair"], '"ideal", "good", "poor", not'),
        (["--config", "absent.toml"], "absent.toml cannot be read"),
        (["--control-port", "70000"], "cannot listen on 127.0.0.1:70000"),
        (["--folder", "made/for/it", "--truth", "/no/where/truth.json"], "/no/where/truth.json"),
        (["--folder", "made/for/it", "--truth", "truth.json", "--port=70000"], ":70000"),
        (["--specimen", "cheese"], "'cheese'"),
        (["--specimen", "image:/no/such.tif"], "/no/such.tif"),
        (["--magnification", "0"], "magnification must be a whole number from 20 to 150000, not 0"),
        (["--magnification", "nan"], "magnification"),
        (["--seed", "-1"], "seed must be a whole number from 0 to 4294967295"),
        (["--start-wd-um", "nan"], "start WD must be a number from 5000 to 50000 um, not nan"),
        (["--focus-wd-um", "1"], "focus WD must be a number from"),
        (["--alpha-mrad", "inf"], "convergence angle must be a number from 0.1 to 50 mrad"),
        (["--mode", "slow"], 'the mode must be one of "fast", "full"'),
        (["--speed", "0"], "speed must lie in"),
        (["--port", "70000"], "cannot listen on 127.0.0.1:70000"),
        (["--folder", "/proc/here"], "drop folder /proc/here cannot be used"),
        (["--truth", "/no/where/truth.json"], "cannot be written to /no/where/truth.json"),
        (["--colour", "red"], "--colour"),
    ],
)
def test_bad_options_are_one_sentence_and_exit_2_and_nothing_is_left(
    capsys: pytest.CaptureFixture[str], options: list[str], complaint: str, scratch: Path
) -> None:
    assert run_app(sim.app, program="afdaemon sim", args=["serve", "--port", "0", *options]) == 2
    told = capsys.readouterr().err
    assert complaint in told
    assert told.count("\n") == 1
    assert "Traceback" not in told
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("specimen = ", "is not a TOML file"),
        ("colum = 3", "colum"),
        ("faults = 'blank'", "faults in em30.toml is a list of texts"),
        ("faults = ['blanc']", "did you mean blank?"),
        ("column = 5", "column is a table"),
        ("magnification = true", "magnification"),
    ],
)
def test_a_bad_file_is_one_sentence(
    capsys: pytest.CaptureFixture[str], text: str, complaint: str, scratch: Path
) -> None:
    (scratch / "em30.toml").write_text(text)
    options = ["serve", "--port", "0", "--config", "em30.toml"]
    assert run_app(sim.app, program="afdaemon sim", args=options) == 2
    told = capsys.readouterr().err
    assert complaint in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("options", [["--folder=drop", "--truth=truth.json"], ["--link=stream"]])
def test_a_port_in_use_is_one_sentence_and_nothing_is_left(
    capsys: pytest.CaptureFixture[str], options: list[str], scratch: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        args = ["serve", "--port", port, "--control-port=0", *options]
        assert run_app(sim.app, program="afdaemon sim", args=args) == 2
    assert list(scratch.iterdir()) == []
    told = capsys.readouterr().err
    assert f"cannot listen on 127.0.0.1:{port}: {os.strerror(errno.EADDRINUSE)}" in told
