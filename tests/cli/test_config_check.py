"""`afdaemon config check` asks the link's driver, and looks for what the settings name."""

from collections.abc import Callable
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from afdaemon.cli.daemon import app
from afdaemon.cli.runner import run_app
from afdaemon.drivers import registry

GRABBER = """
from dataclasses import dataclass
from afdaemon.drivers.settings import build

@dataclass(frozen=True)
class Settings:
    port: int
    folder: str = "."

def open_grabber(settings, clock):
    return build(Settings, settings)
"""
Check = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    """Checks a text as a file of settings: exit code, stdout and stderr."""

    def of(text: str) -> tuple[int, str, str]:
        file = tmp_path / "f.toml"
        file.write_text(text)
        code = run_app(app, program="afdaemon", args=["config", "check", str(file)])
        return code, *capsys.readouterr()

    return of


@pytest.fixture
def grabber(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another package's link, with a driver that needs a port."""
    (tmp_path / "laboratory_grabber.py").write_text(GRABBER)
    monkeypatch.syspath_prepend(tmp_path)
    offered = EntryPoints(
        [EntryPoint("grabber", "laboratory_grabber:open_grabber", registry.GROUP)]
    )
    monkeypatch.setattr(registry, "entry_points", offered.select)


@pytest.mark.usefixtures("grabber")
@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("prot = 1", "there is no setting prot; did you mean port?"),
        ("folder = 'x'", "the setting port is missing"),
    ],
)
def test_the_options_of_another_packages_driver_are_tried(
    check: Check, options: str, complaint: str
) -> None:
    code, out, err = check(f"[microscope]\nlink = 'grabber'\n[microscope.options]\n{options}\n")
    assert (code, out) == (2, "")
    assert complaint in err
    assert "the link grabber refuses section [microscope] of" in err
    assert err.count("\n") == 1


@pytest.mark.usefixtures("grabber")
def test_options_that_the_driver_takes_are_good(check: Check) -> None:
    code, out, err = check("[microscope]\nlink = 'grabber'\n[microscope.options]\nport = 1\n")
    assert (code, err) == (0, "")
    assert "is good" in out


def test_a_token_that_cannot_be_read_is_named(check: Check) -> None:
    code, _, err = check("[microscope]\nlink = 'stream'\ntoken_file = '/nowhere/token'\n")
    assert code == 2
    assert "token_file /nowhere/token cannot be read" in err


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[microscope]\nfolder = '/nowhere'\n", "microscope.folder"),
        ("[calibration]\nfile = '/nowhere'\n", "calibration.file"),
        ("[models]\ndefocus = '/nowhere'\n", "models.defocus"),
    ],
)
def test_what_is_not_there_is_told_but_may_be_there_elsewhere(
    check: Check, text: str, key: str
) -> None:
    code, out, err = check(text)
    assert (code, err) == (0, "")
    assert f"{key} is /nowhere, which does not exist on this machine." in out


def test_what_is_there_is_not_told(check: Check, tmp_path: Path) -> None:
    code, out, _ = check(f"[microscope]\nfolder = '{tmp_path}'\n")
    assert code == 0
    assert out.count("\n") == 1
