"""Whatever a user gets wrong, the answer is one clear sentence and a non-zero exit, never a traceback."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import cv2
import numpy as np
import pytest
import zmq

from afdaemon.api.client import Client
from afdaemon.errors import Unreachable

BIN = Path(sys.executable).parent
START_S = 40.0


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    program, *rest = words
    return subprocess.run(
        [BIN / program, *rest], capture_output=True, text=True, timeout=60, check=False
    )


def assert_one_sentence(result: subprocess.CompletedProcess[str], *expected: str) -> None:
    assert result.returncode not in (0, None)
    assert "Traceback" not in result.stderr + result.stdout
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    for words in expected:
        assert words in lines[0]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    picture = np.random.default_rng(0).integers(0, 255, (240, 320), dtype=np.uint8)
    cv2.imwrite(str(folder / "good.png"), picture)
    (folder / "text.png").write_text("I am no picture.\n")
    whole = cv2.imencode(".tif", picture)[1].tobytes()
    (folder / "half.tif").write_bytes(whole[: len(whole) // 2])
    cv2.imwrite(str(folder / "tiny.png"), picture[:20, :20])
    (folder / "misspelt.toml").write_text("[control]\ntimeuot_s = 10\n")
    (folder / "broken.toml").write_text("[control\n")
    (folder / "wrong.toml").write_text("[limits]\nhard_min_um = nan\n")
    return folder


OFFLINE = {
    "a missing file": (["score", "absent.png", "--magnification=1000"], ["absent.png"]),
    "text called png": (["score", "text.png", "--magnification=1000"], ["text.png", "not a PNG"]),
    "a truncated TIFF": (["score", "half.tif", "--magnification=1000"], ["half.tif", "cut off"]),
    "a tiny image": (["score", "tiny.png", "--magnification=1000"], ["too small"]),
    "magnification 0": (["score", "good.png", "--magnification=0"], ["magnification", "from 1"]),
    "magnification NaN": (["score", "good.png", "--magnification=nan"], ["magnification", "nan"]),
    "no file": (["score", "--magnification=1000"], ["Missing argument"]),
    "a misspelt key": (["config", "check", "misspelt.toml"], ["timeuot_s", "timeout_s"]),
    "no TOML": (["config", "check", "broken.toml"], ["broken.toml"]),
    "a limit that is NaN": (["config", "check", "wrong.toml"], ["hard_min_um"]),
    "a daemon with a misspelt key": (["serve", "--config=misspelt.toml"], ["timeout_s"]),
    "a specimen nobody has": (["sim", "serve", "--specimen=tin_bals"], ["tin_bals", "tin_balls"]),
    "a specimen of text": (["sim", "serve", "--specimen=image:text.png"], ["text.png"]),
    "a WD out of reach": (["sim", "serve", "--start-wd-um=1"], ["start WD", "5000 to 50000"]),
    "a WD that is NaN": (["sim", "serve", "--focus-wd-um=nan"], ["focus WD", "nan"]),
    "a fault nobody knows": (["sim", "serve", "--fault=unplugged"], ["unplugged", "unplug?"]),
    "a probability above 1": (["sim", "serve", "--fault=reset:2"], ["reset", "0 to 1, not 2"]),
    "a magnification too low": (["sim", "serve", "--magnification=1"], ["20 to 150000, not 1"]),
    "a setting nobody has": (["sim", "serve", "--set=scan.hum=1"], ["scan.hum_"]),
    "a folder in a file": (["sim", "serve", "--port=0", "--folder=good.png/a"], ["good.png/a"]),
    "nobody to tell": (["sim", "tell", "truth", "--port=1"], ["no simulator answers", ":1"]),
    "a demo of nothing": (["demo", "--specimen=image:absent.png"], ["absent.png"]),
    "a demo from far off": (["demo", "--start-offset-um=1e9"], ["start_offset_um"]),
    "a demo from NaN": (["demo", "--start-offset-um=nan"], ["start_offset_um"]),
    "a demo at magnification 0": (["demo", "--magnification=0"], ["magnification", "20"]),
}


@pytest.mark.parametrize("case", OFFLINE)
def test_offline(case: str, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words, expected = OFFLINE[case]
    monkeypatch.chdir(files)
    assert_one_sentence(run("afdaemon", *words), *expected)


@pytest.fixture(scope="module")
def lonely_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A real daemon, networks and all, whose microscope nobody has switched on; its folder."""
    folder = Path(f"/tmp/afd-{uuid4().hex[:8]}")  # noqa: S108 - a socket's path must be short
    folder.mkdir(mode=0o700)
    config = folder / "afdaemon.toml"
    config.write_text(
        f"[microscope]\nport = 1\nfolder = '{folder}'\n[api]\nruntime_dir = '{folder}'\n"
        f"[journal]\npath = '{folder / 'journal'}'\n"
    )
    log = folder / "log"
    with log.open("wb") as out:
        daemon = subprocess.Popen([BIN / "afdaemon", "serve", "--config", config], stderr=out)
    try:
        _wait_for(folder, daemon, log)
        yield folder
    finally:
        daemon.terminate()
        daemon.wait(10)
        subprocess.run(["rm", "-r", folder], check=True)


def _wait_for(folder: Path, daemon: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(int(START_S)):
        assert daemon.poll() is None, log.read_text()
        try:
            with Client(str(folder)) as client:
                client.ping()
                return
        except Unreachable:
            continue
    raise AssertionError(log.read_text())


def test_no_simulator_listens(lonely_daemon: Path) -> None:
    result = run("afctl", "focus", "--endpoint", lonely_daemon)
    assert_one_sentence(result, "no link to em30")
    assert result.returncode == 5


@pytest.mark.parametrize(
    ("wd", "words"), [("1", "5000 .. 50000"), ("1e9", "wd_um"), ("nan", "wd_um"), ("inf", "wd_um")]
)
def test_a_wd_outside_the_limits(lonely_daemon: Path, wd: str, words: str) -> None:
    assert_one_sentence(run("afctl", "wd", wd, "--endpoint", lonely_daemon), words)


def test_a_second_daemon_on_the_same_sockets(lonely_daemon: Path) -> None:
    config = lonely_daemon / "afdaemon.toml"
    assert_one_sentence(run("afdaemon", "serve", "--config", config), "another afdaemon")


def test_an_unknown_method_names_the_nearest(lonely_daemon: Path) -> None:
    context = zmq.Context()
    try:
        with context.socket(zmq.DEALER) as line:
            line.linger = 0
            line.connect(f"ipc://{lonely_daemon}/control.sock")
            line.send(b'{"jsonrpc":"2.0","id":"1","method":"autofocus.rum","params":{}}')
            assert line.poll(5000)
            answer = line.recv_multipart()[-1].decode()
    finally:
        context.term()
    assert "-32601" in answer
    assert "autofocus.run" in answer
    assert "Traceback" not in answer


def test_nobody_at_that_address(tmp_path: Path) -> None:
    result = run("afctl", "status", "--endpoint", "/tmp/afd-nobody")  # noqa: S108 - is not there
    assert_one_sentence(result, "no daemon answers")
    assert result.returncode == 3


def test_a_port_in_use(lonely_daemon: Path) -> None:
    context = zmq.Context()
    try:
        with context.socket(zmq.REP) as taken:
            port = taken.bind_to_random_port("tcp://127.0.0.1")
            result = run("afdaemon", "sim", "serve", f"--port={port}")
    finally:
        context.term()
    assert_one_sentence(result, str(port), "in use")
