"""The packages, built once from what git tracks."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def tracked() -> Callable[..., list[str]]:
    """Lists the tracked files (and links) in some folders, or all, that are on disk."""
    return _tracked


def _tracked(*folders: str) -> list[str]:
    command = ["git", "ls-files", "-z", *folders]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name and os.path.lexists(ROOT / name)]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the sdist and the wheel that is made from it."""
    tree = tmp_path_factory.mktemp("tree")
    for name in _tracked():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tree / name, follow_symlinks=False)
    options = ["--no-isolation", "--outdir", str(tree / "dist")]
    command = [sys.executable, "-m", "build", *options, str(tree)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    yield tree / "dist"
    shutil.rmtree(tree)


@pytest.fixture(scope="session")
def unpacked(built: Path) -> Path:
    """A folder with what the wheel installs."""
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(built / "wheel")
    return built / "wheel"
