"""The daemon's doors: control, abort and event sockets and the vendor door, opened together and closed together.

with open_doors(["ipc:///run/afdaemon"], instance=..., clock=...) as doors:
    backend = ...               # publishes through doors.events
    await doors.serve(backend)  # until cancelled
"""

import asyncio
from collections.abc import Awaitable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, closing, contextmanager

import structlog
import zmq
import zmq.asyncio

from afdaemon.api import descriptors, methods, wire
from afdaemon.api.abort import AbortDoor
from afdaemon.api.access.callers import Access, Anybody, Users, address_of
from afdaemon.api.access.guard import Guard
from afdaemon.api.allowance import Allowance, Pace
from afdaemon.api.caps import ANSWERED, BYTES, COUNTED_BYTES, RECEIVED, REQUESTS, Caps, Share
from afdaemon.api.dispatch import AbortDispatcher, Backend, Dispatcher, refusal
from afdaemon.api.endpoints import Endpoints, check_bind, parse_endpoint
from afdaemon.api.entry import Entry, enter
from afdaemon.api.events import Calendar, Publisher
from afdaemon.api.faults import RpcFault
from afdaemon.api.gate import MEND_S, attend
from afdaemon.api.places import Place
from afdaemon.api.porter import Guests
from afdaemon.api.rundir import held
from afdaemon.api.sockets import unwrap
from afdaemon.api.vendor.access import VendorPlace, check_place
from afdaemon.api.vendor.door import VendorDoor
from afdaemon.api.vendor.service import Service
from afdaemon.pulse import Part

_LARGE_BYTES = 1024 * 1024
"""A request that needs as much leaves memory behind that is worth giving back."""

log = structlog.get_logger(__name__)


class ControlDoor:
    """The control socket. Bound when made, answering in `serve`, released by `close`."""

    def __init__(
        self, context: zmq.asyncio.Context, places: Sequence[Place], connections: Share
    ) -> None:
        self._requests = Allowance(REQUESTS, "requests")
        self._bytes = Allowance(BYTES, "bytes of requests")
        self._received = Pace(RECEIVED)
        self._answered = Pace(ANSWERED)
        addresses = [(place.at.control, place) for place in places]
        guests = Guests("control", connections)
        self.entries = enter(
            lambda place: context if place.guard is None else place.guard.context,
            zmq.ROUTER,
            addresses,
            guests,
            max_bytes=wire.MAX_IMAGE_BYTES,
        )

    def close(self) -> None:
        """Release the socket; the last answers still leave within the linger time."""
        for entry in self.entries:
            entry.close()

    async def serve(self, dispatcher: Dispatcher) -> None:
        """Answer until cancelled."""
        async with asyncio.TaskGroup() as group:
            for entry in self.entries:
                group.create_task(self._listen(entry, dispatcher, group), name="control")

    async def _listen(
        self, entry: Entry[zmq.asyncio.Socket], dispatcher: Dispatcher, group: asyncio.TaskGroup
    ) -> None:
        """Receive at one address. Only this task does: cancelling a receive may lose a message."""
        now_s = asyncio.get_running_loop().time
        while True:
            await self._take(entry, dispatcher, group)
            # Also without a delay the others get their turn: a receive that need not wait gives none.
            await asyncio.sleep(self._received.delay_s("", now_s()))

    async def _take(
        self, entry: Entry[zmq.asyncio.Socket], dispatcher: Dispatcher, group: asyncio.TaskGroup
    ) -> None:
        frames = await entry.socket.recv_multipart(copy=False)
        address, payload = unwrap(frames)
        client = address_of(frames[-1])
        size = sum(map(len, payload))
        with ExitStack() as holding:
            try:
                holding.enter_context(self._requests.held(client))
                holding.enter_context(self._bytes.held(client, size))
            except RpcFault as fault:
                await _reply(entry, address, refusal([frame.bytes for frame in payload[:1]], fault))
            else:
                now_s = asyncio.get_running_loop().time()
                delay_s = self._answered.delay_s(client, now_s, 1.0 + size / COUNTED_BYTES)
                work = _answer(entry, dispatcher, client, frames, delay_s)
                group.create_task(_while_held(holding.pop_all(), work), name="answer")
        if size >= _LARGE_BYTES:
            entry.porter.tidy_later()


class Doors:
    """The open sockets. `events` may be published to at any time."""

    def __init__(
        self,
        control: ControlDoor,
        abort: AbortDoor,
        events: Publisher,
        places: Sequence[Place],
        instance: str,
        vendor: VendorDoor | None = None,
    ) -> None:
        self.events = events
        self.vendor = None if vendor is None else vendor.address
        """Where the vendor door listens; None where there is none."""
        self.endpoints = tuple(place.at for place in places)
        self.answering = asyncio.Event()
        """Set as soon as requests and aborts are answered."""
        self._control = control
        self._places = places
        self._folders = [place.folder for place in places if place.folder is not None]
        self._entries = [*control.entries, *events.entries]
        self._abort = abort
        self._vendor = vendor
        self.instance = instance

    @property
    def parts(self) -> tuple[Part, ...]:
        """What is to be watched of them."""
        guards = {place.guard for place in self._places if place.guard is not None}
        vendor = () if self._vendor is None else (self._vendor.part,)
        return (self._abort.part, *(guard.part for guard in guards), *vendor)

    @property
    def troubles(self) -> list[str]:
        """What keeps clients from finding the sockets, for people; empty where all is well."""
        return [folder.trouble for folder in self._folders if folder.trouble]

    async def serve(self, backend: Backend) -> None:
        """Answer until cancelled. If a thread of the doors ends by itself, this fails with its error."""
        aborts = AbortDispatcher(backend.abort, instance=self.instance)
        finished = self._abort.start(aborts.answer)
        dispatcher = Dispatcher(backend, instance=self.instance)
        async with asyncio.TaskGroup() as group:
            group.create_task(_ended(finished), name="abort")
            group.create_task(self.events.run(), name="events")
            group.create_task(self._control.serve(dispatcher), name="control")
            group.create_task(self._keep(), name="runtime folder")
            if self._vendor is not None:
                work = self._serve_vendor(self._vendor, Service(dispatcher, aborts))
                group.create_task(work, name="vendor")
            for entry in self._entries:
                if entry.gate is not None:
                    group.create_task(attend(entry.gate), name="gate")
            self.answering.set()

    async def _serve_vendor(self, door: VendorDoor, service: Service) -> None:
        self.events.listeners.append(door.heard)
        try:
            await _ended(door.start(service))
        finally:
            await service.end()

    async def _keep(self) -> None:
        """Make the folder again if somebody has removed it."""
        while True:
            for folder in self._folders:
                folder.mend()
            await asyncio.sleep(MEND_S)


@contextmanager
def open_doors(
    addresses: Sequence[str],
    *,
    instance: str,
    clock: Calendar,
    insecure: bool = False,
    caps: Caps | None = None,
    vendor: VendorPlace | None = None,
    access: Access | None = None,
) -> Iterator[Doors]:
    """Bind all sockets at `addresses` (see `endpoints`), and the vendor door if it has a place; needs a running loop.

    With `insecure` tcp has no keys, and is for this machine alone.

    Raises:
        BusyError: another daemon holds them; nothing of its own was touched.
        ConfigError: an address is wrong or not safe, or too few files may be open for what `caps` allow.
    """
    methods.build()
    caps, access = caps or Caps(), access or Access()
    endpoints = [parse_endpoint(address) for address in addresses]
    for place in endpoints:
        check_bind(place, insecure=insecure, has_keys=access.keys is not None)
    if vendor is not None:
        check_place(vendor, insecure=insecure)
    has_tcp = any(at.folder is None for at in endpoints)
    descriptors.secure(caps, tcp=has_tcp, vendor=vendor is not None)
    with ExitStack() as stack:
        guard = None
        if has_tcp and not insecure and access.keys is not None:
            guard = stack.enter_context(closing(Guard(access.keys)))
        places = [_place(at, access, guard, stack) for at in endpoints]
        context = zmq.asyncio.Context()
        stack.callback(context.term)
        control = ControlDoor(context, places, caps.connections)
        stack.enter_context(closing(control))
        publisher = Publisher(
            context, places, instance=instance, clock=clock, connections=caps.connections
        )
        stack.enter_context(closing(publisher))
        abort = stack.enter_context(closing(AbortDoor(places, caps.connections)))
        door = None if vendor is None else stack.enter_context(closing(VendorDoor(vendor)))
        yield Doors(control, abort, publisher, places, instance, door)


def _place(at: Endpoints, access: Access, guard: Guard | None, stack: ExitStack) -> Place:
    """A place whose folder, if it has one, is held as long as `stack` is open."""
    if at.folder is not None:
        return Place(at=at, callers=Users(access), folder=stack.enter_context(held(at.folder)))
    if guard is None:
        return Place(at=at, callers=Anybody())
    return Place(at=at, callers=guard.callers, guard=guard)


async def _ended(thread: Future[None]) -> None:
    """Fail with the error of a thread that should have gone on."""
    await asyncio.wrap_future(thread)


async def _while_held(held: ExitStack, work: Awaitable[None]) -> None:
    with held:
        await work


async def _answer(
    entry: Entry[zmq.asyncio.Socket],
    dispatcher: Dispatcher,
    client: str,
    frames: Sequence[zmq.Frame],
    delay_s: float,
) -> None:
    if delay_s > 0.0:
        await asyncio.sleep(delay_s)
    address, payload = unwrap(frames)
    message = [frame.bytes for frame in payload]
    answer = await dispatcher.answer(message, entry.callers.of(frames[-1]), client)
    await _reply(entry, address, answer)


async def _reply(
    entry: Entry[zmq.asyncio.Socket], address: Sequence[zmq.Frame], reply: bytes
) -> None:
    """Without waiting: a client that doesn't read must not hold up the others."""
    try:
        await entry.socket.send_multipart([*address, reply], flags=zmq.DONTWAIT)
    except zmq.ZMQError as error:
        log.debug("reply_undeliverable", reason=error.strerror)
