"""The `usb` link's instrument side: the stream's conversation in a simulated USB device."""

import asyncio
from types import TracebackType
from typing import Self

from afdaemon.drivers.base import Clock
from afdaemon.drivers.wire.stream import USB_PRODUCT_ID, USB_VENDOR_ID
from afdaemon.sim.chaos.plan import Chaos
from afdaemon.sim.instrument.instrument import Instrument
from afdaemon.sim.links.chaos_wire import ChaosWire
from afdaemon.sim.links.stream import StreamInstrument
from afdaemon.sim.links.usb import SimulatedUsb
from afdaemon.sim.links.usb_device import Attachment, SimulatedUsbDevice

BACK_S = 0.1
"""Shortest time, on the instrument's clock, that a device is away after it was pulled or has reset itself."""


class UsbServer:
    """One instrument behind a USB device. `async with` plugs it in, and unplugs it at the end.

    `bus` is the backend to give to pyusb. The cable follows the instrument: it is out while the instrument is
    unplugged. `device` may be moved by hand instead: once pulled there, it stays out until it is plugged in there.
    `chaos` happens to what the cable carries.
    """

    def __init__(self, instrument: Instrument, *, clock: Clock, chaos: Chaos | None = None) -> None:
        self.device = SimulatedUsbDevice(
            self._converse,
            vendor_id=USB_VENDOR_ID,
            product_id=USB_PRODUCT_ID,
            serial=instrument.world.settings.serial,
        )
        self.bus = SimulatedUsb(self.device)
        self._instrument = instrument
        self._clock = clock
        self._chaos = chaos or Chaos()
        self._pulled = asyncio.Event()
        self._hand: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.device.__aenter__()
        self._hand = asyncio.create_task(self._put_back(), name="usb cable")
        self._instrument.on_unplug(self.pull)
        if self._instrument.unplugged:
            self.pull()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._hand is not None:
            self._hand.cancel()
            await asyncio.wait([self._hand])
        await self.device.__aexit__(kind, error, traceback)

    def pull(self) -> None:
        """Pull the cable; it is plugged in again once the instrument is no longer unplugged."""
        self.device.unplug()
        self._pulled.set()

    async def _put_back(self) -> None:
        while True:
            await self._pulled.wait()
            self._pulled.clear()
            await self._clock.sleep(BACK_S)
            while self._instrument.unplugged:
                await self._clock.sleep(BACK_S)
            self.device.serial = self._instrument.world.settings.serial
            self.device.plug_in()

    async def _converse(self, attachment: Attachment) -> None:
        """One client after the other: a device does not learn that a program has ended without BYE."""
        wire = ChaosWire(_UsbWire(attachment, self), self._chaos, clock=self._clock)
        while True:
            await StreamInstrument(self._instrument, wire).serve()


class _UsbWire:
    """Implements `afdaemon.sim.links.stream.Wire`; the only way to hang up is to be unplugged."""

    def __init__(self, attachment: Attachment, server: UsbServer) -> None:
        self._attachment = attachment
        self._server = server

    async def receive(self) -> bytes:
        """What the host has sent."""
        return await self._attachment.receive()

    async def send(self, data: bytes) -> None:
        """Send all of it; returns when the host has it."""
        await self._attachment.send(data)

    def reset(self) -> None:
        """Leave the bus for a moment, like a device that restarts."""
        self._server.pull()
