"""`afdaemon bridge` hands the program out."""

from pathlib import Path

import pytest

from afdaemon.cli.daemon import app
from afdaemon.cli.runner import run_app
from afdaemon.drivers.bridge import em30_bridge

SOURCE = Path(em30_bridge.__file__).read_bytes()


@pytest.mark.parametrize("name", ["bridge.py", ""])
def test_it_writes_the_program(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert run_app(app, program="afdaemon", args=["bridge", "--write", str(tmp_path / name)]) == 0
    (written,) = tmp_path.iterdir()
    assert written.name == (name or "em30_bridge.py")
    assert written.read_bytes() == SOURCE
    assert str(written) in capsys.readouterr().out


def test_where_it_cannot_be_written_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "absent" / "bridge.py"
    assert run_app(app, program="afdaemon", args=["bridge", "--write", str(target)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{target} cannot be written: No such file or directory" in line
