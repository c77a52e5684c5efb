"""The programs of docs/examples, run against a fake daemon."""

import asyncio
import shutil
import sys
from pathlib import Path

import pytest
import zmq

from afdaemon.api.fake import FakeBackend

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
SYSTEM_HEADER = Path("/usr/include/zmq.h")
OWN_HEADERS = Path(__file__).parent / "include"


async def run(*command: str | Path) -> tuple[int | None, list[str]]:
    """Exit code and what it prints."""
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return process.returncode, out.decode().splitlines()


async def test_the_python_one_for_zeromq_focuses(backend: FakeBackend, folder: Path) -> None:
    assert await run(sys.executable, EXAMPLES / "zmq_button.py", folder) == (
        0,
        ["servo 12145.0 3.0", "servo 12245.0 6.0", "servo 12345.0 9.0", "converged"],
    )


def library() -> list[str]:
    """How to link with libzmq: the system's, or the one that pyzmq brings."""
    if SYSTEM_HEADER.exists():
        return ["-lzmq"]
    (bundled,) = (Path(zmq.__file__).parents[1] / "pyzmq.libs").glob("libzmq*.so*")
    return [f"-I{OWN_HEADERS}", str(bundled), f"-Wl,-rpath,{bundled.parent}"]


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler here")
async def test_where_there_is_a_compiler_the_c_one_is_compiled_and_focuses(
    backend: FakeBackend, folder: Path
) -> None:
    program = folder / "zmq_button"
    source = EXAMPLES / "zmq_button.c"
    flags = ("-Wall", "-Wextra", "-Werror")
    assert (await run("cc", *flags, source, *library(), "-o", program))[0] == 0
    assert await run(program, folder) == (0, ["focused"])
    assert (await run(program))[0] == 2
