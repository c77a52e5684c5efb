"""What every test is held to: no task, thread or socket outlives it."""

import asyncio
import gc
import inspect
import os
import signal
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

import pytest
from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

THREAD_GRACE_S = 1.0
PATIENCE_S = 30.0
"""What has not come true by then never does; where all is well nothing waits so long."""
# Networks compute in one thread, here and in the programs under test: on a busy machine two wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_configure() -> None:
    """Ctrl-C reaches the programs under test, even where a shell's background job ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Leave what the imports made out of the collections below: they are then quick."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_leaked_threads() -> Iterator[None]:
    """A thread that a test started ends with it, and so does every socket (or it warns)."""
    before = set(threading.enumerate())
    yield
    started = [thread for thread in threading.enumerate() if thread not in before]
    for thread in started:
        thread.join(THREAD_GRACE_S)
    leaked = [thread.name for thread in started if thread.is_alive()]
    assert not leaked, f"threads still running: {leaked}"
    gc.collect()


@pytest.fixture(autouse=True)
def no_leaked_tasks(request: pytest.FixtureRequest, no_leaked_threads: None) -> None:
    """An asyncio task that a test started ends with it."""
    function = getattr(request, "function", None)
    if inspect.iscoroutinefunction(function):
        request.getfixturevalue("only_own_task")


@pytest.fixture
async def only_own_task() -> AsyncIterator[None]:
    """After the test, nothing but this fixture's own task is left in the loop."""
    yield
    await asyncio.sleep(0)
    leaked = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert not leaked, f"tasks still running: {[task.get_name() for task in leaked]}"


@pytest.fixture(scope="session")
def until() -> Callable[[Callable[[], object]], Awaitable[None]]:
    """Waits until something holds that comes true behind a socket, in a folder, a thread or a process."""
    return _until


async def _until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - nobody there can set an event here
            await asyncio.sleep(0.001)


@pytest.fixture(scope="session")
def make_tiff() -> Callable[..., bytes]:
    """Makes a grey TIFF of pages, each (pixels, uint8 or uint16 (H, W); texts by their tags)."""
    return _tiff


def _tiff(
    *pages: tuple[memoryview, Mapping[int, bytes]], reduced: frozenset[int] = frozenset()
) -> bytes:
    data = bytearray(b"II*\0\0\0\0\0")
    link = 4
    for number, (array, texts) in enumerate(pages):
        pixels = memoryview(array)
        assert pixels.shape is not None
        height, width = pixels.shape
        at = len(data)
        data += pixels.tobytes()
        numbers = {254: int(number in reduced), 256: width, 257: height, 258: 8 * pixels.itemsize}
        numbers |= {259: 1, 262: 1, 273: at, 277: 1, 278: height, 279: pixels.nbytes}
        entries = {tag: struct.pack("<HHII", tag, 4, 1, value) for tag, value in numbers.items()}
        for tag, text in texts.items():
            entries[tag] = struct.pack("<HHII", tag, 2, len(text), len(data))
            data += text
        data += b"\0" * (len(data) % 2)
        struct.pack_into("<I", data, link, len(data))
        data += struct.pack("<H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries))
        link = len(data)
        data += bytes(4)
    return bytes(data)
