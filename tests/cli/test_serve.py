"""`afdaemon serve`, as a process: what it refuses, and that it runs with real networks."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from afdaemon.api.client import Client
from afdaemon.api.rundir import held
from afdaemon.cli.serve import sim_arguments
from afdaemon.errors import UsageError
from afdaemon.models.acnet import train as train_acnet
from afdaemon.models.acnet.network import ACNet
from afdaemon.models.aenet import train as train_aenet
from afdaemon.models.aenet.network import AENetCompact
from afdaemon.models.defocus import train as train_defocus
from afdaemon.models.defocus.network import DefocusNet
from afdaemon.models.training.trainer import Settings

ENDS_S = 30.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: sockets go there."""
    with tempfile.TemporaryDirectory(prefix="afd-") as name:
        yield Path(name)


def config(folder: Path, text: str = "") -> Path:
    path = folder / "afdaemon.toml"
    path.write_text(
        f"[journal]\npath = '{folder / 'journal'}'\n[api]\nruntime_dir = '{folder / 'run'}'\n{text}"
    )
    return path


def serve(*args: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "afdaemon", "serve", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "AFDAEMON_LOG__FORMAT": "json"},
    )


def refused(*args: str | Path) -> tuple[int, str]:
    """Exit code and the one sentence of a service that does not start."""
    with serve(*args) as process:
        out, err = process.communicate(timeout=ENDS_S)
    assert out == ""
    assert err.startswith("afdaemon: ")
    assert err.count("\n") == 1
    return process.returncode, err


def test_a_second_daemon_on_the_same_sockets_is_refused(folder: Path) -> None:
    with held(folder / "run"):
        code, sentence = refused("--config", config(folder))
    assert code == 4
    assert f"process {os.getpid()}" in sentence


REFUSED = {
    "misspelt key": ("[limits]\nhard_mn_um = 1", [], 2, r"did you mean hard_min_um\?"),
    "not a number": ("[limits]\nhard_min_um = nan", [], 2, "hard_min_um = nan"),
    "no weights": ("[models]\naenet = '/absent.safetensors'", [], 2, "/absent"),
    "bad endpoint": ("", ["--endpoint", "udp://x"], 2, "udp://x"),
    "tcp without keys": ("", ["--insecure", "--endpoint", "tcp://0.0.0.0:60650"], 2, "--insecure"),
    "no such role": ("group_role = 'king'", [], 2, '"viewer", "automation"'),
    "no such role of a user": ("roles = {root = 'king'}", [], 2, "no role 'king'"),
    "no such user": ("roles = {no-such-user = 'viewer'}", [], 2, "no user no-such-user"),
    "vendor door without token": ("", ["--vendor"], 2, "without a token .*vendor.token_file"),
    "vendor door's token missing": (
        "[vendor]\nenabled = true\ntoken_file = '/absent'",
        [],
        2,
        "vendor.token_file /absent cannot be read",
    ),
    "vendor door for strangers": (
        "[vendor]\nenabled = true\nhost = '0.0.0.0'",
        ["--insecure"],
        2,
        "open to the network",
    ),
    "no addresses": ("[vendor]\nallow = 'anna'", [], 2, "addresses or networks with commas"),
    "option without simulator": ("", ["--sim-option", "seed=1"], 2, "--sim"),
    "option of no form": ("", ["--sim", "--sim-option", "seed"], 2, "KEY=VALUE"),
    "missing file": ("", ["--config", "/absent.toml"], 2, "/absent.toml cannot be read"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_said_in_one_sentence(folder: Path, case: str) -> None:
    text, args, expected, pattern = REFUSED[case]
    code, sentence = refused("--config", config(folder, text), *args)
    assert code == expected
    assert re.search(pattern, sentence), sentence


def test_options_of_the_simulator_are_passed_on() -> None:
    assert sim_arguments(["specimen=image:/a=b", "start_wd_um=1e4"]) == [
        "--specimen=image:/a=b",
        "--start-wd-um=1e4",
    ]
    for wrong in ("seed", "=1", "--seed=1; rm=2", ""):
        with pytest.raises(UsageError):
            sim_arguments([wrong])


@pytest.fixture
def untrained(folder: Path) -> str:
    """Weights of all networks as they are before training, named as settings."""
    torch.manual_seed(0)
    aenet, acnet = folder / "aenet.safetensors", folder / "acnet.safetensors"
    train_aenet.save(
        AENetCompact(),
        aenet,
        settings=Settings(steps=1),
        data={},
        metrics={},
        seconds=0.0,
    )
    train_acnet.save(
        ACNet(), acnet, config=train_acnet.TrainConfig(), notes={}, metrics={}, seconds=0.0
    )
    defocus = folder / "defocus.safetensors"
    recipe = train_defocus.TrainConfig()
    train_defocus.save(
        DefocusNet(hidden=16), defocus, config=recipe, data={}, metrics={}, seconds=0.0
    )
    files = f"aenet = '{aenet}'\nacnet = '{acnet}'\ndefocus = '{defocus}'\n"
    return f"[models]\ndevice = 'cpu'\nthreads = 1\n{files}"


@pytest.mark.parametrize("link", ["aisem", "stream"])
def test_serve_with_a_simulator_answers_and_ends_with_it(
    folder: Path, untrained: str, link: str
) -> None:
    options = ["specimen=tem_grid", "start_wd_um=12000", f"link={link}"]
    options += [f"truth={folder / 'truth.json'}"] if link == "aisem" else []
    wanted = [word for option in options for word in ("--sim-option", option)]
    with serve("--config", config(folder, untrained), "--sim", *wanted) as process:
        try:
            assert process.stderr is not None
            log = [next(process.stderr)]
            while '"connected"' not in log[-1]:
                log.append(next(process.stderr))
            with Client(str(folder / "run")) as client:
                assert client.status().state == "ready"
                assert 0.0 <= client.score_image().score <= 9.0, "it waits for the networks"
                assert set(client.status().models) == {"aenet", "acnet", "defocus"}
                job = client.autofocus(timeout_s=ENDS_S)
                assert job.state.final
                assert job.reason != "device", job.detail
        finally:
            process.send_signal(signal.SIGTERM)
            _, rest = process.communicate(timeout=ENDS_S)
    assert process.returncode == 0
    assert "Traceback" not in "".join(log) + rest
    address = re.search(rf"{link}, ([\d.]+):(\d+)", "".join(log))
    assert address is not None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address[1], int(address[2])), timeout=1.0)


STARTER = """
import asyncio, sys
from pathlib import Path
from afdaemon.cli.serve import simulator

async def main():
    async with simulator(Path(sys.argv[1]), []) as (host, port):
        print(port, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_simulator_ends_with_whoever_started_it_however_that_ends(folder: Path) -> None:
    command = [sys.executable, "-c", STARTER, str(folder / "drop")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        port = int(starter.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), timeout=ENDS_S) as client:
            starter.kill()
            assert client.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1.0)


def test_a_simulator_that_cannot_start_is_a_sentence(folder: Path) -> None:
    with serve("--config", config(folder), "--sim", "--sim-option", "specimen=cheese") as process:
        _, err = process.communicate(timeout=ENDS_S)
    assert process.returncode == 2
    assert "cheese" in err
    assert "Traceback" not in err
