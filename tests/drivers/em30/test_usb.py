"""The USB link through unmodified pyusb, with a simulated bus below."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import usb.core
import usb.util
from hypothesis import given, settings
from hypothesis import strategies as st

from afdaemon.drivers.em30 import usb_device
from afdaemon.drivers.em30.settings import UsbSettings
from afdaemon.drivers.em30.usb import UsbLink
from afdaemon.drivers.errors import DriverError, LinkLost, LinkTimeout, NotConnected
from afdaemon.sim.links.usb import SimulatedUsb
from afdaemon.sim.links.usb_device import (
    ENDPOINT_IN,
    ENDPOINT_OUT,
    Attachment,
    Firmware,
    Mishap,
    SimulatedUsbDevice,
)

Until = Callable[[Callable[[], object]], Awaitable[None]]

SETTINGS = UsbSettings(connect_timeout_s=5.0)
SEND_S = 5.0
HELD_S = 30.0
"""A call that is held longer was not released in time."""


async def echo(wire: Attachment) -> None:
    while True:
        await wire.send(await wire.receive())


def plugged(firmware: Firmware = echo, serial: str = "EM30-0001") -> SimulatedUsbDevice:
    return SimulatedUsbDevice(
        firmware, vendor_id=SETTINGS.vendor_id, product_id=SETTINGS.product_id, serial=serial
    )


@asynccontextmanager
async def linked(device: SimulatedUsbDevice) -> AsyncIterator[tuple[UsbLink, Attachment]]:
    bus = SimulatedUsb(device)
    async with device:
        link = await UsbLink.open(SETTINGS, backend=bus)
        assert device.attachment is not None
        try:
            yield link, device.attachment
        finally:
            await link.close()
    assert bus.open_handles == 0
    assert owners() == []


def owners() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name == "usb owner"]


class Held:
    """The link's thread stays in each such call of the bus until it is released; `begun` tells of the first."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
        self.begun = asyncio.Event()
        self.in_time = True
        self._released = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._whole: Callable[..., Any] = getattr(SimulatedUsb, call)
        monkeypatch.setattr(SimulatedUsb, call, lambda *arguments: self._hold(*arguments))

    def release(self) -> None:
        self._released.set()

    def _hold(self, *arguments: object) -> Any:
        self._loop.call_soon_threadsafe(self.begun.set)
        self.in_time &= self._released.wait(HELD_S)
        return self._whole(*arguments)


async def hear(link: UsbLink, size: int) -> bytes:
    heard = b""
    async with asyncio.timeout(10.0):
        while len(heard) < size:
            heard += await link.receive()
    return heard


async def refused(device: SimulatedUsbDevice, *others: SimulatedUsbDevice) -> NotConnected:
    """Why no link to `device` can be had; nothing is left open."""
    bus = SimulatedUsb(device, *others)
    with pytest.raises(NotConnected) as caught:
        await UsbLink.open(SETTINGS, backend=bus)
    assert bus.open_handles == 0
    assert owners() == []
    return caught.value


# --- opening ---


async def test_it_carries_bytes_both_ways() -> None:
    async with linked(plugged()) as (link, _):
        assert link.is_up
        assert link.why_lost == ""
        await link.send(b"to and fro", timeout_s=SEND_S)
        assert await hear(link, 10) == b"to and fro"


async def test_a_configured_device_is_not_configured_again() -> None:
    async with linked(plugged()) as (_, wire):
        assert wire.configuration == 1
        assert wire.resets == 0


async def test_an_unconfigured_device_is_configured() -> None:
    device = plugged()
    bus = SimulatedUsb(device)
    async with device:
        found = usb.core.find(backend=bus)
        found.set_configuration(0)
        usb.util.dispose_resources(found)
        link = await UsbLink.open(SETTINGS, backend=bus)
        assert device.attachment is not None
        assert device.attachment.configuration == 1
        await link.close()


async def test_a_driver_of_the_kernel_is_detached() -> None:
    device = plugged()
    device.kernel_driver = True
    async with linked(device) as (link, wire):
        assert not wire.kernel_driver
        await link.send(b"free", timeout_s=SEND_S)
        assert await hear(link, 4) == b"free"


async def test_what_was_left_for_the_program_before_is_thrown_away(until: Until) -> None:
    device = plugged()
    bus = SimulatedUsb(device)
    async with device:
        before = await UsbLink.open(SETTINGS, backend=bus)
        assert device.attachment is not None
        device.attachment.trip(ENDPOINT_IN, 0, Mishap.HOLD)
        await before.send(b"old" * 100, timeout_s=SEND_S)
        answers = device.attachment.pipe(ENDPOINT_IN)
        await until(lambda: answers.held and answers.packets)
        await before.close()
        device.attachment.let_go()
        after = await UsbLink.open(SETTINGS, backend=bus)
        await after.send(b"new", timeout_s=SEND_S)
        assert await hear(after, 3) == b"new"
        await after.close()


async def test_without_a_device_it_says_what_to_check() -> None:
    device = plugged()
    async with device:
        device.unplug()
        error = await refused(device)
    assert str(error) == "the USB device 1209:0001 is not plugged in"
    assert "lsusb" in error.remedy


async def test_without_permission_the_remedy_is_the_udev_rule() -> None:
    device = plugged()
    device.permitted = False
    async with device:
        error = await refused(device)
    assert "may not be opened" in str(error)
    assert "60-afdaemon-em30.rules" in error.remedy


async def test_a_device_that_another_program_has_is_busy() -> None:
    device = plugged()
    bus = SimulatedUsb(device)
    async with device:
        other = usb.core.find(backend=bus)
        usb.util.claim_interface(other, 0)
        with pytest.raises(NotConnected, match="claimed by another program") as caught:
            await UsbLink.open(SETTINGS, backend=bus)
        assert "end that program" in caught.value.remedy
        usb.util.dispose_resources(other)
    assert bus.open_handles == 0


async def test_without_libusb_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_backend(**_: object) -> None:
        raise usb.core.NoBackendError("No backend available")

    monkeypatch.setattr(usb.core, "find", no_backend)
    with pytest.raises(NotConnected, match="no libusb") as caught:
        await UsbLink.open(SETTINGS)
    assert "libusb-1.0" in caught.value.remedy
    assert owners() == []


async def test_of_two_devices_the_serial_number_chooses() -> None:
    one, other = plugged(serial="A"), plugged(serial="B")
    bus = SimulatedUsb(one, other)
    async with one, other:
        link = await UsbLink.open(UsbSettings(serial="B"), backend=bus)
        one.unplug()
        await link.send(b"B", timeout_s=SEND_S)
        assert await hear(link, 1) == b"B"
        assert bus.open_handles == 1
        await link.close()
    assert bus.open_handles == 0


@pytest.mark.parametrize("serial", ["", "C"])
async def test_a_serial_number_that_is_wanting_is_asked_for(serial: str) -> None:
    one, other = plugged(serial="A"), plugged(serial="B")
    bus = SimulatedUsb(one, other)
    async with one, other:
        with pytest.raises(NotConnected, match="plugged in: A, B") as caught:
            await UsbLink.open(UsbSettings(serial=serial), backend=bus)
    assert "`serial`" in caught.value.remedy
    assert bus.open_handles == 0


async def test_another_kind_of_device_is_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usb_device, "VENDOR_SPECIFIC_CLASS", 0x08)
    device = plugged()
    async with device:
        error = await refused(device)
    assert "no vendor-specific interface" in str(error)


@pytest.mark.parametrize("call", ["get_configuration", "claim_interface", "bulk_read"])
async def test_unplugged_while_it_is_opened(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    device = plugged()
    whole: Callable[..., Any] = getattr(SimulatedUsb, call)

    def unplugging(bus: SimulatedUsb, *arguments: object) -> Any:
        device.unplug()
        return whole(bus, *arguments)

    monkeypatch.setattr(SimulatedUsb, call, unplugging)
    bus = SimulatedUsb(device)
    async with device:
        with pytest.raises(DriverError):
            await UsbLink.open(SETTINGS, backend=bus)
    assert bus.open_handles == 0


async def test_an_opening_that_takes_too_long_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = Held(monkeypatch, "open_device")
    whole = UsbLink.close

    async def close(link: UsbLink) -> None:
        held.release()
        await whole(link)

    monkeypatch.setattr(UsbLink, "close", close)
    device = plugged()
    bus = SimulatedUsb(device)
    async with device:
        with pytest.raises(NotConnected, match="within"):
            await UsbLink.open(UsbSettings(connect_timeout_s=0.01), backend=bus)
    assert bus.open_handles == 0
    assert owners() == []


CALLS = ["enumerate_devices", "open_device", "get_configuration", "claim_interface", "bulk_read"]


@pytest.mark.parametrize("call", CALLS)
async def test_an_opening_that_is_cancelled_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    held = Held(monkeypatch, call)
    device = plugged()
    bus = SimulatedUsb(device)
    async with device:
        opening = asyncio.create_task(UsbLink.open(SETTINGS, backend=bus))
        await held.begun.wait()
        opening.cancel()
        held.release()
        with pytest.raises(asyncio.CancelledError):
            await opening
    assert bus.open_handles == 0
    assert owners() == []


async def test_an_opening_that_is_cancelled_as_it_begins_leaves_nothing() -> None:
    device = plugged()
    bus = SimulatedUsb(device)
    async with device:
        opening = asyncio.create_task(UsbLink.open(SETTINGS, backend=bus))
        await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
    assert bus.open_handles == 0
    assert owners() == []


async def test_an_opening_that_is_cancelled_as_it_succeeds_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opening: list[asyncio.Task[UsbLink]] = []
    whole = UsbLink._settle

    def settle(
        link: UsbLink, future: asyncio.Future[None], error: DriverError | None = None
    ) -> None:
        whole(link, future, error)
        opening[0].cancel()

    monkeypatch.setattr(UsbLink, "_settle", settle)
    device = plugged()
    bus = SimulatedUsb(device)
    async with device:
        opening.append(asyncio.create_task(UsbLink.open(SETTINGS, backend=bus)))
        with pytest.raises(asyncio.CancelledError):
            await opening[0]
    assert bus.open_handles == 0
    assert owners() == []


# --- while it is up ---


@settings(max_examples=30)
@given(
    messages=st.lists(st.binary(min_size=1, max_size=3000), min_size=1, max_size=4),
    piece_bytes=st.integers(1, 512),
)
def test_bytes_come_whole_and_in_order_however_they_are_cut(
    messages: list[bytes], piece_bytes: int
) -> None:
    async def run() -> bytes:
        device = plugged()
        device.piece_bytes = piece_bytes
        async with linked(device) as (link, _):
            for message in messages:
                await link.send(message, timeout_s=SEND_S)
            return await hear(link, sum(map(len, messages)))

    assert asyncio.run(run()) == b"".join(messages)


@pytest.mark.parametrize("call", ["bulk_read", "bulk_write", "clear_halt"])
async def test_the_loop_is_never_blocked(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    async with linked(plugged()) as (link, wire):
        wire.trip(ENDPOINT_OUT, 0, Mishap.HOLD)
        held = Held(monkeypatch, call)
        if call == "bulk_read":  # it reads while there is nothing to send
            await held.begun.wait()
        sending = asyncio.create_task(link.send(b"x" * 5000, timeout_s=0.03))
        await held.begun.wait()
        others = (link.send(b"y", timeout_s=SEND_S), link.receive())
        waiting = [asyncio.create_task(other) for other in others]
        await asyncio.sleep(0)
        assert link.is_up
        assert link.stalls == 0
        held.release()  # only the loop can do that
        with pytest.raises(LinkTimeout):
            await sending
        for task in waiting:
            with pytest.raises(LinkLost):
                await task
        assert held.in_time


async def test_a_part_that_came_before_a_time_out_is_kept() -> None:
    async with linked(plugged()) as (link, wire):
        wire.trip(ENDPOINT_IN, 1536, Mishap.HOLD)
        await link.send(bytes(range(250)) * 10, timeout_s=SEND_S)
        first = await hear(link, 1536)
        wire.let_go()
        assert first + await hear(link, 964) == bytes(range(250)) * 10


async def test_a_stall_of_what_comes_is_cleared_and_counted() -> None:
    async with linked(plugged()) as (link, wire):
        for number in range(1, 4):
            wire.trip(ENDPOINT_IN, 0, Mishap.STALL)
            await link.send(b"again", timeout_s=SEND_S)
            assert await hear(link, 5) == b"again"
            assert link.stalls == number


async def test_a_stall_of_what_is_sent_is_cleared_and_the_rest_goes_out() -> None:
    async with linked(plugged()) as (link, wire):
        wire.trip(ENDPOINT_OUT, 0, Mishap.STALL)
        await link.send(b"s" * 2000, timeout_s=SEND_S)
        assert await hear(link, 2000) == b"s" * 2000
        assert link.stalls == 1


async def test_stalls_without_end_are_a_lost_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimulatedUsb, "clear_halt", lambda *_: None)
    async with linked(plugged()) as (link, wire):
        wire.trip(ENDPOINT_IN, 0, Mishap.STALL)
        with pytest.raises(LinkLost, match="stalled"):
            await hear(link, 1)


async def test_what_is_not_taken_in_time_ends_the_link_with_both_halts_cleared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cleared = []
    whole = SimulatedUsb.clear_halt

    def clear_halt(bus: SimulatedUsb, handle: Any, endpoint: int) -> None:
        cleared.append(endpoint)
        whole(bus, handle, endpoint)

    monkeypatch.setattr(SimulatedUsb, "clear_halt", clear_halt)
    async with linked(plugged()) as (link, wire):
        wire.trip(ENDPOINT_OUT, 0, Mishap.HOLD)
        with pytest.raises(LinkTimeout, match="did not take a command"):
            await link.send(b"never", timeout_s=0.03)
        await link.wait_lost()
        assert "did not take a command" in link.why_lost
        assert cleared == [ENDPOINT_IN, ENDPOINT_OUT]


async def test_a_send_that_is_cancelled_goes_out_whole() -> None:
    async with linked(plugged()) as (link, _):
        sending = asyncio.create_task(link.send(b"c" * 9000, timeout_s=SEND_S))
        await asyncio.sleep(0)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert await hear(link, 9000) == b"c" * 9000


async def test_a_receive_that_is_cancelled_loses_nothing() -> None:
    async with linked(plugged()) as (link, _):
        for _ in range(20):
            hearing = asyncio.create_task(link.receive())
            await asyncio.sleep(0)
            hearing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await hearing
        await link.send(b"all of it", timeout_s=SEND_S)
        assert await hear(link, 9) == b"all of it"


async def test_a_reader_that_lags_makes_the_device_wait(
    monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    inbox_bytes = 64 * 1024
    monkeypatch.setattr("afdaemon.drivers.em30.usb.INBOX_BYTES", inbox_bytes)
    sent = reads = 0
    bulk_read = SimulatedUsb.bulk_read

    def counted(bus: SimulatedUsb, *arguments: Any) -> int:
        nonlocal reads
        reads += 1
        return bulk_read(bus, *arguments)

    monkeypatch.setattr(SimulatedUsb, "bulk_read", counted)

    async def flood(wire: Attachment) -> None:
        nonlocal sent
        while True:
            data = bytes(16 * 1024)
            await wire.send(data)
            sent += len(data)

    device = plugged(flood)
    monkeypatch.setattr(usb_device, "DRAIN_READS", 1)
    async with linked(device) as (link, _):
        await until(lambda: len(link._inbox) >= inbox_bytes)
        await link.send(b"!", timeout_s=SEND_S)  # the thread has gone round, and heard all it will
        before = (sent, reads)
        for _ in range(3):
            await link.send(b"!", timeout_s=SEND_S)
        assert (sent, reads) == before  # it waits
        await hear(link, 300_000)
        assert sent > before[0]  # it goes on


async def test_what_is_sent_does_not_wait_for_what_is_not_read() -> None:
    size = 200_000  # more than the device holds, which says it all back
    async with linked(plugged()) as (link, _):
        await link.send(b"e" * size, timeout_s=SEND_S)
        assert await hear(link, size) == b"e" * size


# --- the end of it ---


@pytest.mark.parametrize("endpoint", [ENDPOINT_IN, ENDPOINT_OUT])
@pytest.mark.parametrize("after_bytes", [0, 1, 511, 512, 513, 4000])
async def test_unplugged_in_mid_transfer_everybody_hears_of_it(
    endpoint: int, after_bytes: int
) -> None:
    async with linked(plugged()) as (link, wire):
        wire.trip(endpoint, after_bytes, Mishap.UNPLUG)
        with pytest.raises(LinkLost, match="unplugged"):
            await talk_on(link)
        await link.wait_lost()
        assert not link.is_up
        assert link.why_lost == "the device was unplugged"
        with pytest.raises(LinkLost):
            link.check()
        with pytest.raises(LinkLost):
            await link.send(b"gone", timeout_s=SEND_S)


async def talk_on(link: UsbLink) -> None:
    while True:
        await link.send(b"u" * 3000, timeout_s=SEND_S)
        await hear(link, 3000)


async def test_unplugged_while_nothing_happens_it_is_noticed() -> None:
    async with linked(plugged()) as (link, wire):
        hearing = asyncio.create_task(link.receive())
        await asyncio.sleep(0)
        wire.device.unplug()
        with pytest.raises(LinkLost, match="unplugged"):
            async with asyncio.timeout(5.0):
                await hearing


async def test_what_was_sent_still_goes_out_when_it_is_closed() -> None:
    heard = bytearray()

    async def listen(wire: Attachment) -> None:
        while True:
            heard.extend(await wire.receive())

    async with linked(plugged(listen)) as (link, _):
        sending = asyncio.create_task(link.send(b"farewell", timeout_s=SEND_S))
        await asyncio.sleep(0)
        await link.close()
        await sending
        await asyncio.sleep(0)
    assert heard == b"farewell"


async def test_an_abort_is_quick_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    async with linked(plugged()) as (link, wire):
        wire.trip(ENDPOINT_OUT, 0, Mishap.HOLD)
        writing = Held(monkeypatch, "bulk_write")
        writing.release()
        sending = asyncio.create_task(link.send(b"x" * 5000, timeout_s=60.0))
        hearing = asyncio.create_task(link.receive())
        await writing.begun.wait()
        link.abort("somebody had enough")
        for waiting in (sending, hearing):
            with pytest.raises(LinkLost):
                async with asyncio.timeout(5.0):
                    await waiting
        assert link.why_lost == "somebody had enough"


async def test_closed_twice_it_leaves_no_thread() -> None:
    async with linked(plugged()) as (link, _):
        assert owners() == ["usb owner"]
        await link.close()
        await link.close()
        assert owners() == []
        assert link.why_lost == "closed from this side"


async def test_a_thread_that_is_stuck_does_not_hold_up_the_close(
    monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    monkeypatch.setattr("afdaemon.drivers.em30.usb.CLOSE_S", 0.05)
    async with linked(plugged()) as (link, _):
        stuck = Held(monkeypatch, "bulk_read")
        await stuck.begun.wait()
        with pytest.raises(LinkTimeout):
            await link.send(b"anybody?", timeout_s=0.05)
        await link.close()
        assert owners() == ["usb owner"]
        stuck.release()
        await until(lambda: owners() == [])


async def test_a_hundred_replugs_leave_no_thread_handle_or_device() -> None:
    device = plugged()
    bus = SimulatedUsb(device)
    async with device:
        for _ in range(100):
            device.plug_in()
            link = await UsbLink.open(SETTINGS, backend=bus)
            await link.send(b"hello", timeout_s=SEND_S)
            assert await hear(link, 5) == b"hello"
            device.unplug()
            await link.wait_lost()
            await link.close()
    assert bus.open_handles == 0
    assert owners() == []
    gc.collect()
    assert not [each for each in gc.get_objects() if isinstance(each, usb.core.Device)]
