"""The daemon's doors: control, abort and event sockets, opened together and closed together.

with open_doors(["ipc:///run/afdaemon"], instance=..., clock=...) as doors:
    backend = ...               # publishes through doors.events
    await doors.serve(backend)  # until cancelled
"""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager

import structlog
import zmq
import zmq.asyncio

from afdaemon.api import faults, wire
from afdaemon.api.abort import AbortDoor
from afdaemon.api.dispatch import AbortDispatcher, Backend, Dispatcher
from afdaemon.api.endpoints import Endpoints, check_bind, parse_endpoint
from afdaemon.api.events import Calendar, Publisher
from afdaemon.api.rundir import held
from afdaemon.api.sockets import bind, harden, unwrap

MAX_REQUESTS = 256
"""Requests under way at once, waiting ones included; more are refused, so that memory is bounded."""

log = structlog.get_logger(__name__)


class Doors:
    """The open sockets. `events` may be published to at any time."""

    def __init__(
        self,
        control: "zmq.asyncio.Socket",
        abort: AbortDoor,
        events: Publisher,
        endpoints: Sequence[Endpoints],
        instance: str,
    ) -> None:
        self.events = events
        self.endpoints = tuple(endpoints)
        self._control = control
        self._abort = abort
        self._instance = instance
        self._under_way = 0

    async def serve(self, backend: Backend) -> None:
        """Answer until cancelled. If the abort thread ends by itself, this fails with its error."""
        aborts = AbortDispatcher(backend.abort, instance=self._instance)
        finished = self._abort.start(aborts.answer)
        dispatcher = Dispatcher(backend, instance=self._instance)
        async with asyncio.TaskGroup() as group:
            group.create_task(_ended(finished), name="abort")
            group.create_task(self.events.run(), name="events")
            group.create_task(self._receive(dispatcher, group), name="control")

    async def _receive(self, dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        """The one task that receives: cancelling a receive may lose a message."""
        while True:
            message = await self._control.recv_multipart()
            address, payload = unwrap(message)
            if self._under_way >= MAX_REQUESTS:
                await self._reply(address, _overloaded(payload))
                continue
            self._under_way += 1
            group.create_task(self._answer(dispatcher, address, payload))

    async def _answer(
        self, dispatcher: Dispatcher, address: Sequence[bytes], payload: Sequence[bytes]
    ) -> None:
        try:
            await self._reply(address, await dispatcher.answer(payload))
        finally:
            self._under_way -= 1

    async def _reply(self, address: Sequence[bytes], reply: bytes) -> None:
        """Without waiting: a client that doesn't read must not hold up the others."""
        try:
            await self._control.send_multipart([*address, reply], flags=zmq.DONTWAIT)
        except zmq.ZMQError as error:
            log.debug("reply_undeliverable", reason=error.strerror)


@contextmanager
def open_doors(
    addresses: Sequence[str], *, instance: str, clock: Calendar, insecure: bool = False
) -> Iterator[Doors]:
    """Bind all sockets at `addresses` (see `endpoints`); needs a running event loop.

    Raises:
        BusyError: another daemon holds them; nothing of its own was touched.
        ConfigError: an address is wrong or not safe.
    """
    endpoints = [parse_endpoint(address) for address in addresses]
    for place in endpoints:
        check_bind(place, insecure=insecure)
    with ExitStack() as stack:
        for place in endpoints:
            if place.folder is not None:
                stack.enter_context(held(place.folder))
        context = zmq.asyncio.Context()
        stack.callback(context.term)
        control = stack.enter_context(closing(context.socket(zmq.ROUTER)))
        harden(control, max_bytes=wire.MAX_IMAGE_BYTES)
        for place in endpoints:
            bind(control, place.control, place)
        publisher = Publisher(context, endpoints, instance=instance, clock=clock)
        stack.enter_context(closing(publisher))
        abort = stack.enter_context(closing(AbortDoor(endpoints)))
        yield Doors(control, abort, publisher, endpoints, instance)


async def _ended(thread: Future[None]) -> None:
    """Fail with the error of a thread that should have gone on."""
    await asyncio.wrap_future(thread)


def _overloaded(payload: Sequence[bytes]) -> bytes:
    fault = faults.RpcFault(
        faults.OVERLOADED,
        f"{MAX_REQUESTS} requests are under way already",
        kind="overloaded",
        retryable=True,
        remedy="wait for answers before sending more",
    )
    return wire.encode_error(wire.request_id_of(payload[0] if payload else b""), fault.error)
