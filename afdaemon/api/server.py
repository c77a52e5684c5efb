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
from afdaemon.api.places import Place
from afdaemon.api.rundir import held
from afdaemon.api.sockets import Binding, harden, unwrap
from afdaemon.pulse import Part

_MEND_S = 1.0
"""How often it is checked that our sockets are still where clients look for them."""
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
        places: Sequence[Place],
        instance: str,
    ) -> None:
        self.events = events
        self.endpoints = tuple(place.at for place in places)
        self.answering = asyncio.Event()
        """Set as soon as requests and aborts are answered."""
        self._control = control
        self._folders = [place.folder for place in places if place.folder is not None]
        self._bindings = [
            *(Binding(control, place.at.control, place.folder) for place in places),
            *events.bindings,
        ]
        self._abort = abort
        self.instance = instance
        self._under_way = 0

    @property
    def parts(self) -> tuple[Part, ...]:
        """What is to be watched of them."""
        return (self._abort.part,)

    @property
    def troubles(self) -> list[str]:
        """What keeps clients from finding the sockets, for people; empty where all is well."""
        return [folder.trouble for folder in self._folders if folder.trouble]

    async def serve(self, backend: Backend) -> None:
        """Answer until cancelled. If the abort thread ends by itself, this fails with its error."""
        aborts = AbortDispatcher(backend.abort, instance=self.instance)
        finished = self._abort.start(aborts.answer)
        dispatcher = Dispatcher(backend, instance=self.instance)
        async with asyncio.TaskGroup() as group:
            group.create_task(_ended(finished), name="abort")
            group.create_task(self.events.run(), name="events")
            group.create_task(self._receive(dispatcher, group), name="control")
            group.create_task(self._keep(), name="runtime folder")

    async def _keep(self) -> None:
        """Make again what somebody has removed: the folder, or sockets in it."""
        while True:
            for folder in self._folders:
                folder.mend()
            for binding in self._bindings:
                binding.mend()
            await asyncio.sleep(_MEND_S)

    async def _receive(self, dispatcher: Dispatcher, group: asyncio.TaskGroup) -> None:
        """The one task that receives: cancelling a receive may lose a message."""
        self.answering.set()
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
        places = [_place(at, stack) for at in endpoints]
        context = zmq.asyncio.Context()
        stack.callback(context.term)
        control = stack.enter_context(closing(context.socket(zmq.ROUTER)))
        harden(control, max_bytes=wire.MAX_IMAGE_BYTES)
        publisher = Publisher(context, places, instance=instance, clock=clock)
        stack.enter_context(closing(publisher))
        abort = stack.enter_context(closing(AbortDoor(places)))
        yield Doors(control, abort, publisher, places, instance)


def _place(at: Endpoints, stack: ExitStack) -> Place:
    """A place whose folder, if it has one, is held as long as `stack` is open."""
    return Place(at, None if at.folder is None else stack.enter_context(held(at.folder)))


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
