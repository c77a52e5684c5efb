"""The vendor door: a thread and an event loop of its own, so that nothing delays an abort.

Connections are accepted one at a time, and closed at once where there is no room: however many come, few descriptors
are taken, of which libzmq must never find none.
"""

import asyncio
import errno
import socket
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress

import structlog
from pydantic import JsonValue

from afdaemon.api import descriptors
from afdaemon.api import schemas as s
from afdaemon.api.abort import DEADLINE_S
from afdaemon.api.allowance import Allowance, Pace, Seldom
from afdaemon.api.caps import (
    RECEIVED,
    VENDOR_CONNECTIONS,
    VENDOR_PRESENT,
    VENDOR_QUEUED,
    VENDOR_REQUESTS,
    VENDOR_STRANGERS,
)
from afdaemon.api.connections import Connections
from afdaemon.api.events import job_of
from afdaemon.api.faults import RpcFault, overloaded
from afdaemon.api.vendor import protocol
from afdaemon.api.vendor.access import VendorPlace
from afdaemon.api.vendor.connection import Connection
from afdaemon.api.vendor.service import Service
from afdaemon.errors import BusyError, ConfigError
from afdaemon.pulse import Part, Work

_BEAT_S = 0.5
_TELL_S = 10.0
"""A client that is refused again and again is logged so often."""
_RETRY_S = 0.1
_KEEPALIVE = {
    socket.TCP_KEEPIDLE: 5,
    socket.TCP_KEEPINTVL: 5,
    socket.TCP_KEEPCNT: 2,
    socket.TCP_USER_TIMEOUT: 15_000,
}
"""A client whose cable was pulled is gone after 15 s, and its job with it."""

log = structlog.get_logger(__name__)


class VendorDoor:
    """Bound when made, answering from `start` on, released by `close`.

    Raises:
        BusyError: something else listens there.
        ConfigError: it can't be listened on.
    """

    def __init__(self, place: VendorPlace) -> None:
        self.part = Part("vendor door's thread", DEADLINE_S)
        self._place = place
        self._listening = _listening(place)
        host, port = self._listening.getsockname()[:2]
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._members = Connections(VENDOR_CONNECTIONS)
        self._requests = Allowance(VENDOR_REQUESTS, "requests")
        self._present: dict[Connection, None] = {}
        self._told = Seldom(_TELL_S)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stop = asyncio.Event()

    def start(self, service: Service) -> Future[None]:
        """Answer clients in a thread. The future ends with the thread, and has its error."""
        finished: Future[None] = Future()
        finished.set_running_or_notify_cancel()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._work, args=(self._loop, service, finished), name="vendor", daemon=True
        )
        self._thread.start()
        return finished

    def close(self) -> None:
        """End the thread and release the socket."""
        if self._loop is not None and self._thread is not None:
            with suppress(RuntimeError):  # the thread has ended by itself
                self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
        self._listening.close()

    def heard(self, topic: str, data: s.Reply | Mapping[str, JsonValue]) -> None:
        """An event was published. From the service's thread."""
        job_id = job_of(topic)
        if job_id is None or self._loop is None or not isinstance(data, s.Progress | s.Job):
            return
        with suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(self._tell, job_id, data)

    # In the door's thread

    def _work(
        self, loop: asyncio.AbstractEventLoop, service: Service, finished: Future[None]
    ) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner, self.part.busy() as work:
                runner.run(self._serve(service, work))
        except BaseException as error:  # noqa: BLE001 - handed to the watcher of the thread
            finished.set_exception(error)
        else:
            finished.set_result(None)

    async def _serve(self, service: Service, work: Work) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_beat(work)),
                group.create_task(self._listen(service, group)),
            ]
            await self._stop.wait()
            for task in tasks:
                task.cancel()
            for connection in self._present:
                connection.close()

    async def _listen(self, service: Service, group: asyncio.TaskGroup) -> None:
        loop, pace = asyncio.get_running_loop(), Pace(RECEIVED)
        while True:
            await _readable(self._listening)
            try:
                line, address = self._listening.accept()
            except OSError:  # it has gone again, or there are no descriptors
                await asyncio.sleep(_RETRY_S)
                continue
            connection = await self._admitted(line, address[0], service)
            if connection is not None:
                group.create_task(self._attend(connection))
            await asyncio.sleep(pace.delay_s("", loop.time()))

    async def _admitted(
        self, line: socket.socket, client: str, service: Service
    ) -> Connection | None:
        """The client's connection, or None if it was sent away."""
        why_not = self._why_not(client)
        if why_not is not None:
            self._complain(client, str(why_not))
            with line, suppress(OSError):
                line.setblocking(False)
                line.send(f"{protocol.error(why_not.error)}\r\n".encode("ascii"))
            return None
        try:
            _watch_over(line)
            reader, writer = await asyncio.open_connection(sock=line, limit=protocol.MAX_LINE_BYTES)
        except BaseException as error:
            line.close()
            if isinstance(error, OSError):  # it has gone again
                return None
            raise
        self._make_room()
        connection = Connection(
            reader,
            writer,
            client=client,
            place=self._place,
            service=service,
            requests=self._requests,
            welcomed=self._welcome,
            complain=self._complain,
        )
        self._present[connection] = None
        return connection

    def _why_not(self, client: str) -> RpcFault | None:
        """Why a client cannot come in."""
        if client not in self._place.allow:
            return protocol.stranger(client)
        if len(self._present) >= VENDOR_PRESENT or not descriptors.is_room():
            return overloaded("there are too many connections", remedy="try again in a second")
        return None

    def _make_room(self) -> None:
        """Of those who have not shown the token, the one that has had the longest time gives way."""
        strangers = [one for one in self._present if not one.is_known]
        if len(strangers) >= VENDOR_STRANGERS:
            strangers[0].refuse(overloaded("others come", remedy="say TOKEN at once"))
            strangers[0].close()
            self._present.pop(strangers[0])
            self._complain(strangers[0].client, "has not shown the token, and others come")

    def _welcome(self, connection: Connection) -> str | None:
        """Why a client that has shown the token can't stay; None if it can."""
        now_s = asyncio.get_running_loop().time()
        return self._members.opened(connection, connection.client, now_s)

    async def _attend(self, connection: Connection) -> None:
        try:
            await connection.run()
        except Exception:  # one connection's failure is not that of the others
            log.exception("vendor_connection_failed", client=connection.client)
            connection.close()
        finally:
            self._members.closed(connection)
            self._present.pop(connection, None)

    def _tell(self, job_id: str, told: s.Progress | s.Job) -> None:
        for connection in tuple(self._present):
            connection.heard(job_id, told)

    def _complain(self, client: str, why: str) -> None:
        if self._told.is_due(client, asyncio.get_running_loop().time()):
            log.warning("connection_refused", door="vendor", client=client, reason=why)


async def _readable(listening: socket.socket) -> None:
    """Wait for somebody. Unlike `sock_accept`, to cancel this loses nobody."""
    loop, somebody = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(listening, somebody.set)
    try:
        await somebody.wait()
    finally:
        loop.remove_reader(listening)


async def _beat(work: Work) -> None:
    while True:
        work.beat()
        await asyncio.sleep(_BEAT_S)


def _listening(place: VendorPlace) -> socket.socket:
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    try:
        made = socket.create_server((place.host, place.port), family=family, backlog=VENDOR_QUEUED)
    except OSError as error:
        where = f"{place.host}:{place.port}"
        if error.errno == errno.EADDRINUSE:
            raise BusyError(
                f"another program already listens on {where}",
                remedy="end it, or set vendor.port to another one",
            ) from None
        raise ConfigError(
            f"cannot listen on {where}: {error.strerror}", remedy="set vendor.host and vendor.port"
        ) from None
    made.setblocking(False)
    return made


def _watch_over(line: socket.socket) -> None:
    """Notice also the end of a client that can't tell of it."""
    line.setblocking(False)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE.items():
        line.setsockopt(socket.IPPROTO_TCP, option, value)
