"""What each way to install brings: the wheel in environments that hold only what it requires there.

They need no index: their files are those of the environment that runs the tests.
"""

import os
import re
import statistics
import subprocess
import sys
import tomllib
import venv
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import Distribution, distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from afdaemon.cli.extras import MODULES

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
MOST_LIGHT_BYTES = 80e6
MOST_TIMES_ITS_LIBRARIES = 1.3
LAUNCHES = 7
LIBRARIES = """
import zmq, zmq.asyncio
from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError
from pydantic import model_validator
"""
"""pydantic imports its parts when they are named: these are the ones that a client's models are made with."""
CLIENT = "import afdaemon.api.client"

Environment = Callable[..., Path]


@pytest.fixture(scope="module")
def environment(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Makes an environment of the wheel, an extra of it, and other packages; returns its interpreter."""

    def make(extra: str = "", *others: str) -> Path:
        home = tmp_path_factory.mktemp("environment")
        venv.create(home, symlinks=True)
        (site,) = home.glob("lib/python*/site-packages")
        for path in {*unpacked.iterdir(), *files_of(unpacked, [f"afdaemon[{extra}]", *others])}:
            (site / path.name).symlink_to(path)
        return home / "bin" / "python"

    return make


def files_of(unpacked: Path, wanted: Sequence[str]) -> Iterator[Path]:
    """The files and folders that the packages `wanted`, and all that they require, have in site-packages."""
    (ours,) = unpacked.glob("*.dist-info")
    for found in required(Distribution.at(ours), wanted):
        tops = {file.parts[0] for file in found.files or () if file.parts[0] != ".."}
        yield from (Path(str(found.locate_file(top))) for top in tops - {"__pycache__"})


def required(ours: Distribution, wanted: Sequence[str]) -> Iterator[Distribution]:
    """Everything that is required by `wanted`, apart from our own package."""
    waiting, seen = [Requirement(text) for text in wanted], set()
    while waiting:
        one = waiting.pop()
        if str(one) in seen:
            continue
        seen.add(str(one))
        is_ours = one.name == ours.name
        found = ours if is_ours else distribution(one.name)
        if not is_ours:
            yield found
        for text in found.requires or ():
            further = Requirement(text)
            extras = {"", *one.extras}
            if further.marker is None or any(further.marker.evaluate({"extra": e}) for e in extras):
                further.marker = None
                waiting.append(further)


@pytest.fixture(scope="module")
def light(environment: Environment) -> Path:
    """The interpreter of `pip install afdaemon`."""
    return environment()


def run(python: Path, *words: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(folder or python.parent)}
    return subprocess.run(
        [python, *words], capture_output=True, text=True, cwd=folder, env=clean, check=False
    )


def afctl(*words: str) -> tuple[str, ...]:
    return ("-c", "from afdaemon.cli.afctl import main; main()", *words)


def test_the_light_install_is_light(light: Path) -> None:
    (site,) = light.parents[1].glob("lib/python*/site-packages")
    paths = [
        Path(top) / name for top, _, names in os.walk(site, followlinks=True) for name in names
    ]
    size = sum(path.stat().st_size for path in paths)
    assert size <= MOST_LIGHT_BYTES, f"{size / 1e6:.0f} MB"


def test_the_client_and_its_command_need_no_more(light: Path) -> None:
    assert run(light, "-W", "error", "-c", f"{CLIENT}; import afdaemon.api.schemas").stderr == ""
    assert "focus" in run(light, *afctl("--help")).stdout
    answer = run(light, *afctl("status", "--endpoint", "/nowhere"))
    assert (answer.returncode, answer.stdout) == (3, "")
    assert answer.stderr.startswith("afctl: no daemon answers at ipc:///nowhere")


@pytest.mark.parametrize(
    "words",
    ["--help", "--version", "api schema", "bridge --write .", "sim serve --help", "serve --help"],
)
def test_commands_that_take_no_more_work(light: Path, tmp_path: Path, words: str) -> None:
    result = run(light, "-m", "afdaemon", *words.split(), folder=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")


TAKES = {
    "serve": "daemon",
    "demo": "daemon",
    "score x.png": "daemon",
    "replay": "daemon",
    "doctor": "daemon",
    "config check x.toml": "daemon",
    "config show": "daemon",
    "config schema": "daemon",
    "config example": "daemon",
    "config reference": "daemon",
    "evaluate aenet": "daemon",
    "evaluate acnet": "daemon",
    "train aenet": "daemon",
    "train acnet": "daemon",
    "train defocus": "daemon",
    "train posterior": "daemon",
    "train classical": "daemon",
    "train scorer resnet50": "daemon",
    "dataset check x": "daemon",
    "dataset write x": "sim",
    "sim serve": "sim",
    "sim settings": "sim",
    "sim tell truth --port 1": "sim",
    "sim snapshot --out x.png": "sim",
    "sim gallery --out x.png": "sim",
}


@pytest.mark.parametrize("words", TAKES)
def test_what_takes_more_says_which_extra_brings_it(
    light: Path, tmp_path: Path, words: str
) -> None:
    result = run(light, "-m", "afdaemon", *words.split(), folder=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("afdaemon: this takes cv2, ")
    assert result.stderr.endswith(f"not installed. `pip install 'afdaemon[{TAKES[words]}]'`.\n")
    assert list(tmp_path.iterdir()) == []


def test_a_calibration_takes_an_extra_of_its_own(light: Path) -> None:
    said = run(light, *afctl("calibrate", "x.json")).stderr
    assert said.startswith("afctl: this takes matplotlib, scipy, which are not installed.")
    assert said.endswith("`pip install 'afdaemon[calibrate]'`.\n")


def test_the_device_for_bluesky_takes_an_extra_of_its_own(
    light: Path, environment: Environment
) -> None:
    said = run(light, "-c", "import afdaemon.ophyd").stderr
    assert said.endswith("takes bluesky, which `pip install 'afdaemon[ophyd]'` brings\n")
    assert run(environment("ophyd"), "-c", "import afdaemon.ophyd").stderr == ""


TWO_LINES = "def test_it(em30):\n    assert em30.truth().specimen == 'tin_balls'\n"


def pytest_of(python: Path, folder: Path) -> str:
    (folder / "test_it.py").write_text(TWO_LINES)
    options = ["-q", "-p", "no:cacheprovider", "-W", "error", "--strict-markers"]
    return run(python, "-m", "pytest", *options, str(folder), folder=folder).stdout


def test_the_fixture_is_there_without_being_asked_for(
    environment: Environment, tmp_path: Path
) -> None:
    said = pytest_of(environment("sim", "pytest"), tmp_path)
    assert "1 passed" in said, said


def test_the_fixture_says_what_it_takes(environment: Environment, tmp_path: Path) -> None:
    said = pytest_of(environment("", "pytest"), tmp_path)
    assert "1 error" in said, said
    assert "`pip install 'afdaemon[sim]'`" in said
    assert "Traceback" not in said


def test_the_plugin_costs_next_to_nothing() -> None:
    code = "import sys; import afdaemon.sim.pytest_plugin; print(*sys.modules)"
    told = run(Path(sys.executable), "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}")
    ours = {name for name in told.stdout.split() if name.startswith("afdaemon")}
    needed = {"afdaemon", "afdaemon.sim", "afdaemon.sim.errors", "afdaemon.sim.pytest_plugin"}
    assert ours == needed, told.stderr


def test_the_commands_look_for_what_the_extras_bring() -> None:
    """Those of pyproject.toml, by their import names; an extra may name others."""
    of = {name: set(dists) for name, dists in packages_distributions().items()}
    for extra, modules in MODULES.items():
        brought = set(brought_by(extra))
        found = {dist for module in modules for dist in of[module]}
        assert {normal(dist) for dist in found} == brought


def brought_by(extra: str) -> Iterator[str]:
    for text in EXTRAS[extra]:
        one = Requirement(text)
        if one.name != "afdaemon":
            yield normal(one.name)
        for other in one.extras if one.name == "afdaemon" else ():
            yield from brought_by(other)


def normal(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def test_importing_the_client_takes_hardly_longer_than_importing_its_libraries(light: Path) -> None:
    """Processor time, so that a busy machine changes nothing; both in turn, medians of several."""
    pairs = [(import_s(light, LIBRARIES), import_s(light, CLIENT)) for _ in range(LAUNCHES)]
    libraries_s, client_s = (statistics.median(times) for times in zip(*pairs, strict=True))
    assert client_s <= MOST_TIMES_ITS_LIBRARIES * libraries_s, f"{client_s / libraries_s:.2f} times"


def import_s(python: Path, code: str) -> float:
    timed = f"import time; began = time.process_time()\n{code}\nprint(time.process_time() - began)"
    return float(run(python, "-c", timed).stdout)
