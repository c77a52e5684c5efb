"""The bridge as a program: what it needs, what it is told wrong, what it says."""

import ast
import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from afdaemon.drivers.bridge import em30_bridge
from afdaemon.drivers.wire.messages import Ack, FrameData, Grab, Move

# The classes stand in conftest.py, which is not importable.
Bridge = Any
Kit = Any
Vendor = Any
Until = Callable[[Callable[[], object]], Awaitable[None]]

PROGRAM = Path(em30_bridge.__file__)
SOURCE = PROGRAM.read_text(encoding="utf-8")
OLDEST = (3, 9)


def run(*words: str | Path, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    command = [python, "-I", "-S", PROGRAM, *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)


# --- one file, nothing to install ---


def test_nothing_but_the_standard_library_is_imported() -> None:
    imported = set()
    for node in ast.walk(ast.parse(SOURCE)):
        if isinstance(node, ast.Import):
            imported |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).partition(".")[0])
    assert imported <= sys.stdlib_module_names


def test_its_syntax_is_that_of_the_oldest_python() -> None:
    ast.parse(SOURCE, feature_version=OLDEST)
    assert not any(
        isinstance(node, ast.Match | ast.TryStar) for node in ast.walk(ast.parse(SOURCE))
    )


NEWER = {
    "asyncio.timeout", "asyncio.timeout_at", "asyncio.TaskGroup", "asyncio.Runner", "asyncio.Barrier",
    "itertools.pairwise", "itertools.batched", "datetime.UTC", "enum.StrEnum", "math.cbrt",
    "contextlib.chdir", "contextlib.aclosing", "typing.Self", "typing.TypeAlias", "typing.ParamSpec",
    "types.NoneType", "types.UnionType",
}  # fmt: skip
NEWER_KEYWORDS = {("zip", "strict"), ("dataclass", "slots"), ("dataclass", "kw_only")}
NEWER_BUILTINS = {"aiter", "anext", "ExceptionGroup", "TimeoutError"}
"""A time-out of asyncio is not yet the built-in one there."""


def test_it_uses_nothing_that_the_oldest_python_lacks() -> None:
    used = set()
    for node in ast.walk(ast.parse(SOURCE)):
        if isinstance(node, ast.Attribute | ast.Name):
            used.add(ast.unparse(node))
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert not {(called, word.arg) for word in node.keywords} & NEWER_KEYWORDS
        elif isinstance(node, ast.ImportFrom):
            used |= {f"{node.module}.{name.name}" for name in node.names}
    assert not used & (NEWER | NEWER_BUILTINS)


def test_numpy_cannot_even_be_found_where_the_tests_run_it(python: str) -> None:
    command = [python, "-I", "-S", "-c", "import numpy"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "No module named 'numpy'" in result.stderr


async def test_it_works_in_every_python_that_is_here(
    vendor: Vendor, kit: Kit, python: str, until: Until
) -> None:
    async with kit.run(vendor.folder, vendor.port, python=python) as bridge:
        await bridge.says("connected to the vendor")
        async with kit.connect(bridge.port) as daemon:
            for wd_um in (11_000.0, 12_500.0):
                assert isinstance(await daemon.ask(Move(wd_um=wd_um)), Ack)
                frame = await daemon.ask(Grab())
                assert isinstance(frame, FrameData)
                assert frame.wd_um == wd_um
        assert await bridge.end() == 0
        await until(lambda: vendor.heard[-1] == b"FINISH")
        assert not any("Traceback" in line for line in bridge.lines)


# --- bad input ---


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "--folder"),
        (["--folder", "{folder}", "--listn", "1"], "--listn"),
        (["--folder", "{folder}/absent"], "absent does not exist"),
        (["--folder", "{folder}/plain"], "is not a folder"),
        (["--folder", "{folder}", "--listen", "9030"], "--listen is HOST:PORT"),
        (["--folder", "{folder}", "--listen", "127.0.0.1:99999"], "--listen is HOST:PORT"),
        (["--folder", "{folder}", "--listen", "my-pc:9030"], "--listen takes an IP address"),
        (["--folder", "{folder}", "--vendor", "127.0.0.1:0"], "--vendor is HOST:PORT"),
        (["--folder", "{folder}", "--listen", "0.0.0.0:9030"], "needs --allow"),
        (["--folder", "{folder}", "--allow", "300.1.1.1/24"], "--allow is a network"),
        (["--folder", "{folder}", "--frame-timeout", "nan"], "--frame-timeout lies in"),
        (["--folder", "{folder}", "--frame-timeout", "soon"], "--frame-timeout"),
        (["--folder", "{folder}", "--log", "{folder}"], "cannot be written"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    tmp_path: Path, words: list[str], expected: str
) -> None:
    (tmp_path / "plain").write_text("")
    result = run(*[word.format(folder=tmp_path) for word in words])
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stderr.startswith("em30_bridge: ")
    assert expected in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["plain"]


async def test_a_port_in_use_is_one_sentence(bridge: Bridge, tmp_path: Path) -> None:
    words = ("--folder", tmp_path, "--listen", f"127.0.0.1:{bridge.port}")
    result = await asyncio.to_thread(run, *words)
    assert result.returncode == 2
    assert f"cannot listen on 127.0.0.1:{bridge.port}" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_folder_that_cannot_be_used_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path, data: bytes) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_bytes", denied)
    with pytest.raises(em30_bridge.BadInput, match="cannot be used: Permission denied"):
        em30_bridge.DropFolder(tmp_path).check()


# --- who may connect ---


def networks(*allow: str, listen: str = "0.0.0.0:9030") -> list[str]:
    words = ["--folder", ".", "--listen", listen]
    options = em30_bridge.parse_options([*words, *[f"--allow={network}" for network in allow]])
    return [str(network) for network in options.allow]


def test_by_default_this_machine_alone_may_connect() -> None:
    assert networks(listen="127.0.0.1:1") == ["127.0.0.0/8", "::1/128"]
    assert networks(listen="[::1]:1") == ["127.0.0.0/8", "::1/128"]
    assert networks("192.168.1.7/24", "10.0.0.1") == ["192.168.1.0/24", "10.0.0.1/32"]


async def test_whoever_is_not_allowed_is_hung_up_on(vendor: Vendor, kit: Kit) -> None:
    async with kit.run(vendor.folder, vendor.port, options=("--allow", "192.0.2.0/24")) as bridge:
        async with kit.visit(bridge.port) as stranger:
            with pytest.raises(kit.hung_up):
                await stranger.ask(Grab())
        await bridge.says("is turned away")


# --- what it says ---


def test_version_and_help() -> None:
    assert run("--version").stdout == f"em30_bridge {em30_bridge.__version__}, stream version 1\n"
    assert "--folder" in run("--help").stdout


async def test_check_says_what_it_finds_and_moves_nothing(vendor: Vendor) -> None:
    (vendor.folder / "RESPONSEIMAGE.jpg").write_bytes(b"")
    words = ("--check", "--folder", vendor.folder, "--listen", "127.0.0.1:0")
    result = await asyncio.to_thread(run, *words, "--vendor", f"127.0.0.1:{vendor.port}")
    assert result.returncode == 0, result.stderr
    folder, port, software = result.stdout.splitlines()
    assert "usable; it contains RESPONSEIMAGE.jpg" in folder
    assert "is free" in port
    assert "is there, at WD 12000.0 um, 2000x" in software
    assert vendor.heard[-1] == b"FINISH"
    assert vendor.orders == []


async def test_check_finds_what_is_amiss(vendor: Vendor, bridge: Bridge) -> None:
    await vendor.stop()
    words = ("--check", "--folder", vendor.folder, "--listen", f"127.0.0.1:{bridge.port}")
    result = await asyncio.to_thread(run, *words, "--vendor", f"127.0.0.1:{vendor.port}")
    assert result.returncode == 1
    assert "cannot listen" in result.stdout
    assert "is not there" in result.stdout
    await vendor.start()


async def test_the_log_file_is_written(vendor: Vendor, kit: Kit, tmp_path: Path) -> None:
    path = tmp_path / "with a space" / "bridge.log"
    path.parent.mkdir()
    async with kit.run(vendor.folder, vendor.port, options=("--log", str(path))) as bridge:
        await bridge.says("connected to the vendor")
        assert await bridge.end() == 0
    assert "listening on" in path.read_text()
    assert "ended" in path.read_text()
