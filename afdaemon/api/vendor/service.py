"""The service, as the vendor door's thread sees it: what it does at once, and what its event loop has to do."""

import asyncio
from concurrent.futures import Future

from afdaemon.api.access.roles import Caller, Role
from afdaemon.api.dispatch import AbortDispatcher, Dispatcher
from afdaemon.api.vendor import protocol

CALLER = Caller(name="the vendor's software", role=Role.OPERATOR)
"""Whoever comes in here has shown the token, or sits at this machine: the button is the operator's."""


class Service:
    """Made and ended in the service's event loop; the other methods are for the vendor door's thread."""

    def __init__(self, dispatcher: Dispatcher, aborts: AbortDispatcher) -> None:
        self._dispatcher = dispatcher
        self._aborts = aborts
        self._loop = asyncio.get_running_loop()
        self._under_way: set[asyncio.Task[bytes]] = set()
        self._is_over = False

    def at_once(self, request: bytes) -> bytes:
        """The answer to one of `ABORT_METHODS`, however busy the service is."""
        return self._aborts.answer([request], CALLER)

    def ask(self, request: bytes, client: str) -> Future[bytes]:
        """The answer to any request. It is cancelled when the service ends."""
        return asyncio.run_coroutine_threadsafe(self._answer(request, client), self._loop)

    def call_off(self, asked: Future[bytes], job_id: str, by: str) -> None:
        """Let a request begin no job any more; if it has begun one, end that."""
        self._loop.call_soon_threadsafe(self._called_off, asked, protocol.abort_request(job_id, by))

    async def end(self) -> None:
        """Give up what is under way, and answer nothing more."""
        self._is_over = True
        tasks = tuple(self._under_way)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, request: bytes, client: str) -> bytes:
        if self._is_over:
            raise asyncio.CancelledError
        answer = self._dispatcher.answer([request], CALLER, client)
        task = asyncio.create_task(answer, name="answer")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await task

    def _called_off(self, asked: Future[bytes], abort: bytes) -> None:
        asked.cancel()
        # Behind the cancelling, which the line before has only put into the queue.
        self._loop.call_soon(self.at_once, abort)
