"""What is built is what is here: every file under its import name, and nothing beside it."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINKS = {f"afdaemon/{name}": f"../{name}" for name in ("drivers", "models", "sim", "systemd")}


def git(*args: str) -> str:
    return subprocess.run(
        ["git", *args], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout


def tracked(*folders: str) -> list[str]:
    """Tracked files (and links) that are on disk."""
    names = git("ls-files", "-z", *folders).split("\0")
    return [name for name in names if name and os.path.lexists(ROOT / name)]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the sdist and the wheel that is made from it."""
    tree = tmp_path_factory.mktemp("tree")
    for name in tracked():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tree / name, follow_symlinks=False)
    options = ["--no-isolation", "--outdir", str(tree / "dist")]
    command = [sys.executable, "-m", "build", *options, str(tree)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    yield tree / "dist"
    shutil.rmtree(tree)


@pytest.fixture(scope="module")
def wheel(built: Path) -> Iterator[zipfile.ZipFile]:
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


@pytest.fixture(scope="module")
def installed(built: Path, wheel: zipfile.ZipFile) -> Path:
    """A folder that holds what the wheel installs, to be put on PYTHONPATH."""
    site = built / "site"
    for name in wheel.namelist():
        wheel.extract(name, site)
    return site


def python(code: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        cwd=path,
        env={"PYTHONPATH": str(path)},
        check=False,
    )


def expected() -> dict[str, bytes]:
    """Every tracked file of the package, under its name in the wheel."""
    files = {name: name for name in tracked("afdaemon") if name not in LINKS}
    files |= {f"afdaemon/{name}": name for name in tracked("drivers", "models", "sim", "systemd")}
    return {inside: (ROOT / name).read_bytes() for inside, name in files.items()}


def test_the_links_are_links_in_git_and_on_disk() -> None:
    modes = {
        line.split("\t")[1]: line.split()[0] for line in git("ls-files", "-s", *LINKS).splitlines()
    }
    assert modes == dict.fromkeys(LINKS, "120000")
    assert {link: str((ROOT / link).readlink()) for link in LINKS} == LINKS


def test_the_wheel_holds_every_tracked_file_and_no_other(wheel: zipfile.ZipFile) -> None:
    content = {name: wheel.read(name) for name in wheel.namelist() if ".dist-info/" not in name}
    assert content == expected()


def test_the_sdist_holds_them_too_and_the_licence(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert expected().keys() | {"LICENSE", "pyproject.toml"} <= names


def test_the_wheel_brings_the_licence_and_both_commands(wheel: zipfile.ZipFile) -> None:
    (entry_points,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    parser = ConfigParser()
    parser.read_string(wheel.read(entry_points).decode())
    assert dict(parser["console_scripts"]) == {
        "afdaemon": "afdaemon.cli.daemon:main",
        "afctl": "afdaemon.cli.afctl:main",
    }
    assert any(name.endswith("/licenses/LICENSE") for name in wheel.namelist())


@pytest.mark.parametrize("module", ["afdaemon.cli.daemon", "afdaemon.cli.afctl"])
def test_the_commands_of_the_wheel_start(installed: Path, module: str) -> None:
    result = python(
        f"import sys, {module} as command; print(command.__file__)\n"
        "sys.argv = ['it', '--help']; command.main()",
        installed,
    )
    assert result.returncode == 0, result.stderr
    where, usage, *_ = result.stdout.split("\n", 1)
    assert Path(where).is_relative_to(installed)
    assert "Usage" in usage


@pytest.mark.parametrize(
    "module",
    ["afdaemon.api.client", "afdaemon.api.schemas", "afdaemon.errors", "afdaemon.cli.afctl"],
)
def test_the_client_needs_neither_torch_nor_numpy_nor_opencv(installed: Path, module: str) -> None:
    blocked = "import sys; sys.modules.update(dict.fromkeys(['torch', 'numpy', 'cv2', 'scipy']))\n"
    result = python(f"{blocked}import {module}", installed)
    assert result.returncode == 0, result.stderr
