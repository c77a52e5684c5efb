"""The `usb` link: the stream's messages over the bulk endpoints of a USB device.

One thread owns the device and makes every call to pyusb; the event loop hands it what is to be sent and takes what has
come. A blocked call cannot be interrupted, so each lasts `SLICE_S` at most, and a send waits for one at most.
"""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ParamSpec

from usb.backend import IBackend

from afdaemon.drivers.base import Clock
from afdaemon.drivers.counters import Tally
from afdaemon.drivers.em30.identity import Identity
from afdaemon.drivers.em30.link import Fate
from afdaemon.drivers.em30.microscope import Em30Microscope
from afdaemon.drivers.em30.settings import UsbSettings
from afdaemon.drivers.em30.stream_session import Client, StreamSession, open_stream_session
from afdaemon.drivers.em30.usb_device import SLICE_S, UsbDevice, open_device
from afdaemon.drivers.errors import (
    AnotherInstrument,
    DriverError,
    LinkLost,
    LinkTimeout,
    NotConnected,
)
from afdaemon.drivers.settings import build
from afdaemon.pulse import Part, Work

INBOX_BYTES = 4 * 1024 * 1024
"""No more than this is read ahead; then the device has to wait, as the bus allows."""
CLOSE_S = 2.0
"""A thread that is stuck in a call for longer than this is left behind."""
THREAD_DEADLINE_S = 10.0
"""Opening takes 5 s at most (`DRAIN_READS`), each turn after that two slices: a thread that takes longer is stuck in a
call, and keeps the device from every other."""

_Args = ParamSpec("_Args")


def open_usb(
    settings: Mapping[str, object], clock: Clock, backend: IBackend | None = None
) -> Em30Microscope:
    """The driver from a plain table of `UsbSettings`; `backend` None is this machine's libusb.

    Raises `SettingsError`.
    """
    return _usb_microscope(build(UsbSettings, settings), clock=clock, backend=backend)


def _usb_microscope(
    settings: UsbSettings, *, clock: Clock, backend: IBackend | None = None
) -> Em30Microscope:
    """The driver."""
    tally, identity, client = Tally(), Identity(), Client()
    part = Part("thread that owns the USB device", THREAD_DEADLINE_S)

    async def open_session() -> StreamSession:
        link = await UsbLink.open(settings, backend=backend, part=part)
        try:
            identity.require("serial number", link.serial)
        except AnotherInstrument:
            await link.close()
            raise
        return await open_stream_session(
            link, settings, clock=clock, tally=tally, identity=identity, client=client
        )

    which = f"{settings.vendor_id:04x}:{settings.product_id:04x} {settings.serial}".rstrip()
    name = f"em30 (usb, {which})"
    return Em30Microscope(name, open_session, settings, clock=clock, tally=tally, parts=(part,))


@dataclass(slots=True, kw_only=True)
class _Order:
    """Bytes that are still to send, their deadline (s, the loop's time), and the future of whoever waits."""

    left: memoryview
    deadline_s: float
    sent: asyncio.Future[None]


class UsbLink:
    """An open device as a `ByteLink`. Make it with `open`; `close` or `abort` ends it. `serial` may be empty."""

    def __init__(self, settings: UsbSettings, backend: IBackend | None, part: Part) -> None:
        self._part = part
        self._settings = settings
        self._backend = backend
        self._loop = asyncio.get_running_loop()
        self._fate = Fate()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._arrived = asyncio.Event()
        self._ended = asyncio.Event()
        self._changed = threading.Condition()  # guards what follows
        self._outbox: deque[_Order] = deque()
        self._inbox = bytearray()
        self._closing = False
        self._stalls = 0
        self.serial = ""
        # A daemon: a call that never returns must not keep the process alive.
        self._thread = threading.Thread(target=self._own, name="usb owner", daemon=True)

    @classmethod
    async def open(
        cls, settings: UsbSettings, *, backend: IBackend | None = None, part: Part | None = None
    ) -> "UsbLink":
        """Find and claim the device within `connect_timeout_s`, or raise `NotConnected` saying why not.

        `backend` None is the machine's own libusb. The thread that owns the device is work of `part`.
        """
        link = cls(settings, backend, part or Part("USB", THREAD_DEADLINE_S))
        opened = False
        link._thread.start()
        try:
            async with asyncio.timeout(settings.connect_timeout_s):
                await link._opened
            opened = True
        except TimeoutError:
            raise NotConnected(
                f"the USB device did not open within {settings.connect_timeout_s:g} s"
            ) from None
        finally:
            if not opened:
                await link.close()
        return link

    @property
    def is_up(self) -> bool:
        """Whether the device is still there, as far as is known."""
        return self._fate.is_up

    @property
    def why_lost(self) -> str:
        """What broke the link; empty while it is up."""
        return self._fate.why

    @property
    def stalls(self) -> int:
        """How many stalls were cleared."""
        return self._stalls

    def check(self) -> None:
        """Raise `LinkLost` when the link has broken."""
        self._fate.check()

    async def wait_lost(self) -> None:
        """Return when the link has broken."""
        await self._fate.wait()

    async def send(self, data: bytes, *, timeout_s: float) -> None:
        """Send all of `data`, even if the caller is cancelled. Raises `LinkLost` or `LinkTimeout`."""
        self.check()
        order = _Order(
            left=memoryview(data),
            deadline_s=self._loop.time() + timeout_s,
            sent=self._loop.create_future(),
        )
        with self._changed:
            self._outbox.append(order)
            self._changed.notify()
        try:
            async with asyncio.timeout(timeout_s + CLOSE_S):
                await order.sent
        except TimeoutError:
            self.abort("the thread that owns the USB device is stuck")
            raise LinkTimeout(f"no command went out for {timeout_s + CLOSE_S:g} s") from None

    async def receive(self) -> bytes:
        """What has come, at least one byte; waits until there is some. Raises `LinkLost`."""
        while True:
            self._arrived.clear()
            with self._changed:
                data = bytes(self._inbox)
                self._inbox.clear()
                self._changed.notify()
            if data:
                return data
            self.check()
            await self._arrived.wait()

    def abort(self, why: str) -> None:
        """Break the link now; what has not been sent stays unsent."""
        self._lose(LinkLost(why))

    async def close(self) -> None:
        """Send what is still to be sent, release the device and end the thread. Safe to call twice."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await self._ended.wait()
                self._thread.join()
        self._lose(LinkLost("closed from this side"))

    # --- in the event loop, for the thread ---

    def _settle(self, future: asyncio.Future[None], error: DriverError | None = None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    def _lose(self, error: DriverError) -> None:
        """Mark the link as broken, and wake everyone who is waiting."""
        self._fate.end(str(error))
        with self._changed:
            self._closing = True
            orders = tuple(self._outbox)
            self._outbox.clear()
            self._changed.notify()
        for order in orders:
            self._settle(order.sent, LinkLost(f"the connection broke: {self._fate.why}"))
        self._arrived.set()

    # --- in the thread ---

    def _own(self) -> None:
        with self._part.busy() as work:
            self._own_device(work)

    def _own_device(self, work: Work) -> None:
        try:
            device = open_device(self._settings, self._backend)
        except DriverError as error:
            self._post(self._settle, self._opened, error)
        else:
            self.serial = device.serial
            self._post(self._settle, self._opened)
            self._serve(device, work)
        finally:
            self._post(self._ended.set)

    def _serve(self, device: UsbDevice, work: Work) -> None:
        why: DriverError = LinkLost("its thread has failed")
        try:
            while self._write_slice(device):
                self._read_slice(device)
                work.beat()
            why = LinkLost("closed from this side")
        except DriverError as error:
            why = error
        finally:
            device.close()
            self._post(self._lose, why)

    def _write_slice(self, device: UsbDevice) -> bool:
        """Send what is due, and go on to reading when the device is slow to take it; False when the link is closing."""
        while (order := self._first_order()) is not None:
            order.left = order.left[device.write(order.left) :]
            if order.left:
                self._check_in_time(order, device)
                return True
            with self._changed:
                self._outbox = deque(each for each in self._outbox if each is not order)
            self._post(self._settle, order.sent)
        return not self._closing

    def _first_order(self) -> _Order | None:
        with self._changed:
            return self._outbox[0] if self._outbox else None

    def _check_in_time(self, order: _Order, device: UsbDevice) -> None:
        if self._loop.time() > order.deadline_s:
            device.clear_halts()
            late = LinkTimeout("the instrument did not take a command in time")
            self._post(self._settle, order.sent, late)
            raise late

    def _read_slice(self, device: UsbDevice) -> None:
        with self._changed:
            if len(self._inbox) >= INBOX_BYTES:
                self._changed.wait(SLICE_S)
                return
        data = device.read()
        self._stalls = device.stalls
        if data:
            with self._changed:
                self._inbox += data
            self._post(self._arrived.set)

    def _post(
        self, call: Callable[_Args, object], *args: _Args.args, **kwargs: _Args.kwargs
    ) -> None:
        try:
            self._loop.call_soon_threadsafe(lambda: call(*args, **kwargs))
        except RuntimeError:  # the loop is closed: nobody is waiting any more
            self._closing = True
