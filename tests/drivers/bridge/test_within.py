"""Waiting for a limited time, on the vendor's PC's old Python as here."""

import asyncio

import pytest

from afdaemon.drivers.bridge.em30_bridge import within


async def test_what_comes_in_time_is_returned() -> None:
    assert await within(asyncio.sleep(0.0, "it"), 5.0) == "it"
    assert await within(asyncio.sleep(0.0, "it"), None) == "it"


async def test_what_does_not_come_in_time_is_given_up() -> None:
    work = asyncio.ensure_future(asyncio.Event().wait())
    with pytest.raises(asyncio.TimeoutError):
        await within(work, 0.001)
    assert work.cancelled()


async def test_its_error_is_passed_on() -> None:
    async def fail() -> None:
        raise OSError("it broke")

    with pytest.raises(OSError, match="it broke"):
        await within(fail(), 5.0)


async def test_a_cancellation_that_comes_together_with_the_result_is_not_lost() -> None:
    news = asyncio.Event()

    async def go_on_for_ever() -> None:
        while True:
            await within(news.wait(), 5.0)
            news.clear()

    task = asyncio.create_task(go_on_for_ever())
    await asyncio.sleep(0.01)
    news.set()
    task.cancel()
    await asyncio.wait({task}, timeout=1.0)
    assert task.cancelled()


async def test_a_cancellation_reaches_what_is_waited_for() -> None:
    work = asyncio.ensure_future(asyncio.Event().wait())
    task = asyncio.create_task(within(work, 5.0))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait({task, work}, timeout=1.0)
    assert task.cancelled()
    assert work.cancelled()
