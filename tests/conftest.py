"""What every test is held to: no task, thread or socket outlives it."""

import asyncio
import gc
import inspect
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

THREAD_GRACE_S = 1.0


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
