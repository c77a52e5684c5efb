"""`pytest -p afdaemon.sim.pytest_plugin`, in a pytest of its own that has no other plugin of ours."""

import subprocess
import sys
from pathlib import Path

ENDS_S = 100.0
TESTS = """
import socket
import pytest

left = []

@pytest.mark.em30(specimen="tem_grid", seed=4, start_wd_um=12_000, speed=20, faults=["blank:0.5"])
def test_it_is_there_with_a_drop_folder(em30):
    left.append(em30)
    assert em30.folder.is_dir()
    with socket.create_connection((em30.host, em30.port), timeout=5) as client:
        client.sendall(b"Connected.COMM.START.READYWDMAG,12.4,2000")
        assert client.recv(1024) == b"OK"
        truth = em30.truth()
        assert (truth.seed, truth.specimen) == (4, "tem_grid")
        assert [command.wd_um for command in truth.commands] == [12_400.0]
        em30.fault("wd-refused,times=1")
        client.sendall(b"WDMAG,12.6,2000")
        assert client.recv(1024).startswith(b"NG ")
        assert em30.strikes()["wd-refused"] == 1
        em30.clear()
        em30.unplug(60)
        with pytest.raises(ConnectionResetError):
            client.recv(1024)
        em30.replug()

def test_the_one_before_is_gone():
    [em30] = left
    assert not em30.folder.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((em30.host, em30.port), timeout=1)

@pytest.mark.em30(speed=20, chaos=["double,step=1", "drop,way=frames,times=1"])
def test_things_happen_on_the_way(em30):
    with socket.create_connection((em30.host, em30.port), timeout=5) as client:
        client.sendall(b"Connected.COMM.START.READYWDMAG,12.4,2000")
        said = b""
        while len(said) < 4:
            said += client.recv(1024)
        assert said == b"OKOK"
        em30.trouble("half,times=1")
        client.sendall(b"WDMAG,12.6,2000")
        with pytest.raises(ConnectionResetError):
            assert client.recv(1024) == b"O"
            client.recv(1024)
        assert {name: em30.strikes()[name] for name in ("double", "half")} == {"double": 1, "half": 1}
        em30.clear()

@pytest.mark.em30(link="stream", settings={"column.kv": 10})
class TestStream:
    def test_it_speaks_stream(self, em30):
        assert em30.folder is None
        assert em30.truth().kv == 10
        socket.create_connection((em30.host, em30.port), timeout=5).close()

    def test_a_wrong_rule_is_an_error(self, em30):
        with pytest.raises(Exception, match="did you mean reset"):
            em30.fault("rest")
"""


def run(folder: Path, text: str, *options: str) -> "subprocess.CompletedProcess[str]":
    (folder / "test_laboratory.py").write_text(text)
    scratch = folder / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-m", "pytest", "-p", "afdaemon.sim.pytest_plugin", *options]
    plain = ["-p", "no:asyncio", "-p", "no:cacheprovider", "-W", "error", "--strict-markers"]
    return subprocess.run(
        [*command, *plain, "-c", "/dev/null", "--rootdir", folder, folder],
        env={"TMPDIR": str(scratch), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=ENDS_S,
        check=False,
    )


def test_a_laboratorys_tests_use_it(tmp_path: Path) -> None:
    result = run(tmp_path, TESTS)
    assert "5 passed" in result.stdout, result.stdout + result.stderr
    assert result.returncode == 0
    assert [left.name for left in (tmp_path / "scratch").iterdir() if "em30" in left.name] == []


def test_what_it_cannot_be_is_said_in_its_own_words(tmp_path: Path) -> None:
    text = (
        "import pytest\n@pytest.mark.em30(specimen='cheese')\ndef test_a(em30): pass\n"
        "@pytest.mark.em30(colour='red')\ndef test_b(em30): pass\n"
    )
    result = run(tmp_path, text)
    assert "2 errors" in result.stdout
    assert "cheese" in result.stdout
    assert "--colour" in result.stdout
    assert "Traceback" not in result.stdout


def test_its_marker_is_known(tmp_path: Path) -> None:
    assert "@pytest.mark.em30(**options)" in run(tmp_path, "", "--markers").stdout
