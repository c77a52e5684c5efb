"""A simulated USB device: what is plugged into the port that `afdaemon.sim.links.usb` lets pyusb see.

The host's calls come from the driver's thread and block there; the instrument behind it lives in the event loop.
Between the two is an `Attachment`: the device while it is plugged in, with an address of its own and a buffer for each
bulk endpoint. Pulling the cable ends it for good, and plugging in again begins another.
"""

import asyncio
import errno
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from enum import StrEnum
from types import TracebackType
from typing import Self

from usb.core import USBError, USBTimeoutError

PACKET_BYTES = 512
"""Largest packet of a high-speed bulk endpoint (USB 2.0, 5.8.3)."""
ENDPOINT_IN = 0x81
ENDPOINT_OUT = 0x02
_OUT_PACKETS = 16
"""Packets that the device holds until its firmware has taken them; while it is full it takes no more from the host."""
_LAST_ADDRESS = 127

_LIBUSB_CODES = {
    errno.EIO: -1,
    errno.EACCES: -3,
    errno.ENODEV: -4,
    errno.ENOENT: -5,
    errno.EBUSY: -6,
    errno.ETIMEDOUT: -7,
    errno.EOVERFLOW: -8,
    errno.EPIPE: -9,
}


def usb_error(number: int) -> OSError:
    """What pyusb raises for `number` (errno) over libusb 1.0."""
    kind: type[OSError] = USBTimeoutError if number == errno.ETIMEDOUT else USBError
    return kind(os.strerror(number), _LIBUSB_CODES[number], number)


class Mishap(StrEnum):
    """What can happen to a transfer."""

    UNPLUG = "unplug"
    STALL = "stall"
    HOLD = "hold"
    """The device goes on saying "not yet": the host's transfers time out."""


class _Pipe:
    """One bulk endpoint's packets, sent but not yet taken."""

    def __init__(self) -> None:
        self.packets: deque[bytes] = deque()
        self.halted = False
        self.held = False
        self._mishap: tuple[int, Mishap] | None = None

    def trip(self, after_bytes: int, mishap: Mishap) -> None:
        self._mishap = (after_bytes, mishap)

    def due(self) -> Mishap | None:
        """The mishap whose time has come, once."""
        if self._mishap is None or self._mishap[0] > 0:
            return None
        _, mishap = self._mishap
        self._mishap = None
        return mishap

    def let_go(self) -> None:
        """End a HOLD, and forget one whose time has not come."""
        self.held = False
        if self._mishap is not None and self._mishap[1] is Mishap.HOLD:
            self._mishap = None

    def cross(self, wanted: int) -> int:
        """How many of `wanted` bytes cross the cable before the next mishap; they are counted."""
        if self._mishap is None:
            return wanted
        left, mishap = self._mishap
        crossing = min(wanted, left)
        self._mishap = (left - crossing, mishap)
        return crossing


class Attachment:
    """A device while it is plugged in. Every method may be called from any thread, except those marked async."""

    def __init__(
        self, device: "SimulatedUsbDevice", address: int, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.device = device
        self.address = address
        self.configuration = 1  # the kernel configures a device when it is plugged in
        self.resets = 0
        self._restarts_due = 0
        self.kernel_driver = device.kernel_driver
        self.gone = False
        self._owner: object = None
        self._changed = threading.Condition()
        self._loop = loop
        self._heard = asyncio.Event()
        self._drained = asyncio.Event()
        self._pipes = {ENDPOINT_IN: _Pipe(), ENDPOINT_OUT: _Pipe()}

    # --- the host's side: blocks ---

    def check(self) -> None:
        """Raise errno 19 when it has been unplugged."""
        if self.gone:
            raise usb_error(errno.ENODEV)

    def claim(self, owner: object) -> None:
        """Take the interface; errno 16 when another owner or a kernel driver has it."""
        with self._changed:
            self.check()
            if self.kernel_driver or self._owner not in (None, owner):
                raise usb_error(errno.EBUSY)
            self._owner = owner

    def disown(self, owner: object) -> None:
        """Give the interface back, if `owner` has it."""
        with self._changed:
            if self._owner is owner:
                self._owner = None

    def configure(self, owner: object, configuration: int) -> None:
        """Set the configuration and reset; errno 16 when another owner has the interface."""
        with self._changed:
            if self._owner not in (None, owner):
                raise usb_error(errno.EBUSY)
            self.configuration = configuration
            self.reset()

    def read(self, owner: object, size: int, timeout_s: float | None) -> bytes:
        """Bytes until `size` have come, a packet was short, or the time is up.

        What has come by a time-out is returned; errno 110 if that is nothing.
        """
        got = bytearray()
        with self._changed:
            self._check_owner(owner)
            whole = self._changed.wait_for(lambda: self._take(got, size), timeout_s)
        if not (whole or got):
            raise usb_error(errno.ETIMEDOUT)
        return bytes(got)

    def write(self, owner: object, data: bytes, timeout_s: float | None) -> int:
        """How many bytes the device took before the time-out; errno 110 if it took none."""
        left = bytearray(data)
        with self._changed:
            self._check_owner(owner)
            whole = self._changed.wait_for(lambda: self._give(left), timeout_s)
        if not whole and len(left) == len(data):
            raise usb_error(errno.ETIMEDOUT)
        return len(data) - len(left)

    def clear_halt(self, endpoint: int) -> None:
        """End a stall."""
        with self._changed:
            self.check()
            self.pipe(endpoint).halted = False

    def reset(self) -> None:
        """Forget everything under way, and restart the firmware."""
        with self._changed:
            self.check()
            self.resets += 1
            self._restarts_due += 1
            self._pipes = {ENDPOINT_IN: _Pipe(), ENDPOINT_OUT: _Pipe()}
        self._loop.call_soon_threadsafe(self._restart)

    def _restart(self) -> None:
        with self._changed:
            self._restarts_due -= 1
        self.device.restart(self)

    def pipe(self, endpoint: int) -> _Pipe:
        """The endpoint of that address; errno 2 where there is none."""
        try:
            return self._pipes[endpoint]
        except KeyError:
            raise usb_error(errno.ENOENT) from None

    def _check_owner(self, owner: object) -> None:
        if self._owner is not owner:
            raise usb_error(errno.EBUSY)

    def _take(self, got: bytearray, size: int) -> bool:
        pipe = self.pipe(ENDPOINT_IN)
        while len(got) < size:
            if self._refuses(pipe) or not pipe.packets:
                return False
            packet = pipe.packets.popleft()
            if len(packet) > size - len(got):
                raise usb_error(errno.EOVERFLOW)
            crossing = pipe.cross(len(packet))
            got += packet[:crossing]
            if crossing < len(packet):
                pipe.packets.appendleft(packet[crossing:])
            if not pipe.packets:
                self._loop.call_soon_threadsafe(self._drained.set)
            if crossing == len(packet) < PACKET_BYTES:
                return True
        return True

    def _give(self, left: bytearray) -> bool:
        pipe = self.pipe(ENDPOINT_OUT)
        while left:
            if self._refuses(pipe) or len(pipe.packets) >= _OUT_PACKETS:
                return False
            crossing = pipe.cross(min(PACKET_BYTES, len(left)))
            pipe.packets.append(bytes(left[:crossing]))
            del left[:crossing]
            self._loop.call_soon_threadsafe(self._heard.set)
        return True

    def _refuses(self, pipe: _Pipe) -> bool:
        """Let a mishap happen whose time has come; returns whether the device says "not yet"."""
        match pipe.due():
            case Mishap.UNPLUG:
                self.device.unplug()
            case Mishap.STALL:
                pipe.halted = True
            case Mishap.HOLD:
                pipe.held = True
            case None:
                pass
        self.check()
        if pipe.halted:
            raise usb_error(errno.EPIPE)
        return pipe.held

    # --- the firmware's side: in the event loop ---

    async def receive(self) -> bytes:
        """What the host has sent, at least one byte."""
        while True:
            self._heard.clear()
            with self._changed:
                data = b"" if self._restarts_due else self._take_all()
                self._changed.notify_all()
            if data:
                return data
            await self._heard.wait()

    async def send(self, data: bytes) -> None:
        """Send `data` as one transfer, which ends with a packet that is not full; wait until the host has it."""
        self._drained.clear()
        with self._changed:
            if not self._restarts_due:  # otherwise the data are from before the reset
                self.pipe(ENDPOINT_IN).packets.extend(_packets(data, self.device.piece_bytes))
            self._changed.notify_all()
        await self._drained.wait()

    def _take_all(self) -> bytes:
        packets = self.pipe(ENDPOINT_OUT).packets
        data = b"".join(packets)
        packets.clear()
        return data

    # --- the cable ---

    def trip(self, endpoint: int, after_bytes: int, mishap: Mishap) -> None:
        """Let `mishap` happen when `after_bytes` more have crossed the cable."""
        with self._changed:
            self.pipe(endpoint).trip(after_bytes, mishap)
            self._changed.notify_all()

    def let_go(self) -> None:
        """End a HOLD of either endpoint, and cancel one that has been tripped but has not come yet."""
        with self._changed:
            for pipe in self._pipes.values():
                pipe.let_go()
            self._changed.notify_all()

    def unplug(self) -> None:
        """End it; transfers under way fail with errno 19."""
        with self._changed:
            self.gone = True
            self._changed.notify_all()


def _packets(data: bytes, piece_bytes: int) -> list[bytes]:
    packets = [data[at : at + piece_bytes] for at in range(0, len(data), piece_bytes)]
    if not packets or len(packets[-1]) == PACKET_BYTES:
        packets.append(b"")
    return packets


Firmware = Callable[[Attachment], Coroutine[None, None, None]]
"""What runs in the device while it is plugged in; it is cancelled when the cable is pulled."""


class SimulatedUsbDevice:
    """A vendor-specific device with a pair of bulk endpoints, and `firmware` behind it.

    `async with` plugs it in, and unplugs it at the end. `permitted` False: opening it fails with errno 13.
    `kernel_driver` True: a kernel driver is attached to the interface until it is detached. `piece_bytes` is the size
    of a packet. These may be changed at any time and from any thread; they take effect the next time that the device
    is plugged in, is opened or sends.
    """

    def __init__(
        self, firmware: Firmware, *, vendor_id: int, product_id: int, serial: str = "EM30-0001"
    ) -> None:
        self.vendor_id = vendor_id
        self.product_id = product_id
        self.serial = serial
        self.permitted = True
        self.kernel_driver = False
        self.piece_bytes = PACKET_BYTES
        self._firmware = firmware
        self._attachment: Attachment | None = None
        self._last_address = 0
        self._moving = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: dict[Attachment, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self.plug_in()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.unplug()
        self._loop = None
        await asyncio.sleep(0)  # lets the calls that other threads scheduled run
        ended = await asyncio.gather(*self._ending, return_exceptions=True)
        failures = [e for e in ended if isinstance(e, Exception)]
        if failures:
            raise failures[0]

    @property
    def attachment(self) -> Attachment | None:
        """The present attachment; None while the cable is out."""
        return self._attachment

    def plug_in(self) -> Attachment:
        """Plug the cable in, if it is out; the device gets the next address."""
        if self._loop is None:
            raise RuntimeError("a simulated device is plugged in within its `async with`")
        with self._moving:
            if self._attachment is None:
                self._last_address = self._last_address % _LAST_ADDRESS + 1
                self._attachment = Attachment(self, self._last_address, self._loop)
                self._loop.call_soon_threadsafe(self.restart, self._attachment)
            return self._attachment

    def unplug(self) -> None:
        """Pull the cable, if it is in; what is under way fails with errno 19."""
        with self._moving:
            attachment, self._attachment = self._attachment, None
        if attachment is not None and self._loop is not None:
            attachment.unplug()
            self._loop.call_soon_threadsafe(self.restart, attachment)

    def restart(self, attachment: Attachment) -> None:
        """End the firmware that serves `attachment`, and restart it unless the cable is out. In the event loop."""
        running = self._running.pop(attachment, None)
        if running is not None:
            running.cancel()
            self._ending.add(running)
            running.add_done_callback(self._forget)
        if not attachment.gone:
            task = asyncio.get_running_loop().create_task(
                self._firmware(attachment), name=f"usb device {self.serial}"
            )
            self._running[attachment] = task

    def _forget(self, ended: asyncio.Task[None]) -> None:
        if ended.cancelled() or ended.exception() is None:
            self._ending.discard(ended)  # one that failed is reported at the end
