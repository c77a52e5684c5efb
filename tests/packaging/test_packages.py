"""What is built is what is here: every file under its import name, and nothing beside it."""

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MADE = ("PKG-INFO", "setup.cfg")
Tracked = Callable[..., list[str]]
LINKS = {f"afdaemon/{name}": f"../{name}" for name in ("drivers", "models", "sim", "systemd")}


@pytest.fixture(scope="module")
def wheel(built: Path) -> Iterator[zipfile.ZipFile]:
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def python(code: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        cwd=path,
        env={"PYTHONPATH": str(path)},
        check=False,
    )


@pytest.fixture(scope="module")
def expected(tracked: Tracked) -> dict[str, bytes]:
    """Every tracked file of the package, under its name in the wheel."""
    files = {name: name for name in tracked("afdaemon") if name not in LINKS}
    files |= {f"afdaemon/{name}": name for name in tracked("drivers", "models", "sim", "systemd")}
    return {inside: (ROOT / name).read_bytes() for inside, name in files.items()}


def test_the_links_are_links_in_git_and_on_disk() -> None:
    command = ["git", "ls-files", "-s", *LINKS]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    modes = {line.split("\t")[1]: line.split()[0] for line in listed.splitlines()}
    assert modes == dict.fromkeys(LINKS, "120000")
    assert {link: str((ROOT / link).readlink()) for link in LINKS} == LINKS


def test_the_wheel_holds_every_tracked_file_and_no_other(
    wheel: zipfile.ZipFile, expected: dict[str, bytes]
) -> None:
    content = {name: wheel.read(name) for name in wheel.namelist() if ".dist-info/" not in name}
    assert content == expected


def test_the_sdist_holds_the_whole_repository(
    built: Path, tracked: Tracked, expected: dict[str, bytes]
) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {file.name.partition("/")[2] for file in archive if not file.isdir()}
    linked = tuple(f"{link.removeprefix('afdaemon/')}/" for link in LINKS)
    beside = {name for name in tracked() if not name.startswith((*linked, "afdaemon/"))}
    made = {name for name in names if name in MADE or ".egg-info/" in name}
    assert names - made == expected.keys() | beside


def test_the_wheel_brings_the_licence_and_both_commands(wheel: zipfile.ZipFile) -> None:
    (entry_points,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    parser = ConfigParser()
    parser.read_string(wheel.read(entry_points).decode())
    assert dict(parser["console_scripts"]) == {
        "afdaemon": "afdaemon.cli.daemon:main",
        "afctl": "afdaemon.cli.afctl:main",
    }
    assert dict(parser["pytest11"]) == {"afdaemon.sim.pytest_plugin": "afdaemon.sim.pytest_plugin"}
    assert any(name.endswith("/licenses/LICENSE") for name in wheel.namelist())


@pytest.mark.parametrize("module", ["afdaemon.cli.daemon", "afdaemon.cli.afctl"])
def test_the_commands_of_the_wheel_start(unpacked: Path, module: str) -> None:
    result = python(
        f"import sys, {module} as command; print(command.__file__)\n"
        "sys.argv = ['it', '--help']; command.main()",
        unpacked,
    )
    assert result.returncode == 0, result.stderr
    where, usage, *_ = result.stdout.split("\n", 1)
    assert Path(where).is_relative_to(unpacked)
    assert "Usage" in usage


@pytest.mark.parametrize(
    "module",
    ["afdaemon.api.client", "afdaemon.api.schemas", "afdaemon.errors", "afdaemon.cli.afctl"],
)
def test_the_client_needs_neither_torch_nor_numpy_nor_opencv(unpacked: Path, module: str) -> None:
    blocked = "import sys; sys.modules.update(dict.fromkeys(['torch', 'numpy', 'cv2', 'scipy']))\n"
    result = python(f"{blocked}import {module}", unpacked)
    assert result.returncode == 0, result.stderr
