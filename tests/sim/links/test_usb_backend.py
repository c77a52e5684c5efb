"""Plain pyusb sessions with the simulated bus: every call is one that any pyusb program makes."""

import asyncio
import errno
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import usb.control
import usb.core
import usb.util
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.sim.links.usb import SimulatedUsb
from afdaemon.sim.links.usb_device import (
    ENDPOINT_IN,
    ENDPOINT_OUT,
    Attachment,
    Firmware,
    Mishap,
    SimulatedUsbDevice,
)


async def echo(wire: Attachment) -> None:
    while True:
        await wire.send(await wire.receive())


def plugged(firmware: Firmware, serial: str = "EM30-0001") -> SimulatedUsbDevice:
    return SimulatedUsbDevice(firmware, vendor_id=0x1209, product_id=0x0001, serial=serial)


@dataclass
class Bench:
    """A device that echoes, the bus it is plugged into, and what pyusb opened there."""

    device: SimulatedUsbDevice
    bus: SimulatedUsb
    opened: list[Any] = field(default_factory=list)

    def find(self) -> Any:
        found = usb.core.find(backend=self.bus, idVendor=0x1209, idProduct=0x0001)
        if found is not None:
            self.opened.append(found)
        return found

    def trip(self, endpoint: int, after_bytes: int, mishap: Mishap) -> None:
        assert self.device.attachment is not None
        self.device.attachment.trip(endpoint, after_bytes, mishap)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with plugged(echo) as device:
        bench = Bench(device, SimulatedUsb(device))
        yield bench
        for opened in bench.opened:
            usb.util.dispose_resources(opened)
        assert bench.bus.open_handles == 0


def send(device: Any, data: bytes, timeout_ms: int = 1000) -> int:
    return int(device.write(ENDPOINT_OUT, data, timeout_ms))


def take(device: Any, size: int = 65536, timeout_ms: int = 1000) -> bytes:
    return bytes(device.read(ENDPOINT_IN, size, timeout_ms))


def number_of(caught: pytest.ExceptionInfo[Any]) -> int | None:
    return caught.value.errno if isinstance(caught.value, usb.core.USBError) else None


async def test_an_ordinary_session(bench: Bench) -> None:
    def session() -> None:
        device = bench.find()
        configuration = device.get_active_configuration()
        interface = configuration[(0, 0)]
        assert (interface.bInterfaceClass, interface.bNumEndpoints) == (0xFF, 2)
        assert [e.bEndpointAddress for e in interface] == [ENDPOINT_IN, ENDPOINT_OUT]
        assert {e.wMaxPacketSize for e in interface} == {512}
        assert usb.util.get_string(device, device.iSerialNumber) == "EM30-0001"
        assert device.product == "EM-30 (simulated)"
        assert "1209" in str(device)
        assert device.parent is None
        assert usb.control.get_status(device) == 1
        usb.util.claim_interface(device, 0)
        assert send(device, b"hello") == 5
        assert take(device) == b"hello"
        usb.util.release_interface(device, 0)

    await asyncio.to_thread(session)


@given(
    messages=st.lists(st.binary(min_size=1, max_size=2000), min_size=1, max_size=5),
    piece_bytes=st.integers(1, 512),
    packets=st.integers(1, 8),
)
def test_bytes_come_whole_and_in_order_however_they_are_cut(
    messages: list[bytes], piece_bytes: int, packets: int
) -> None:
    def session(bus: SimulatedUsb) -> bytes:
        device = usb.core.find(backend=bus)
        got = b""
        for message in messages:
            assert send(device, message) == len(message)
        while len(got) < sum(map(len, messages)):
            part = take(device, 512 * packets)
            assert len(part) <= 512 * packets
            got += part
        usb.util.dispose_resources(device)
        return got

    async def run() -> bytes:
        async with plugged(echo) as device:
            device.piece_bytes = piece_bytes
            return await asyncio.to_thread(session, SimulatedUsb(device))

    assert asyncio.run(run()) == b"".join(messages)


@pytest.mark.parametrize("size", [1, 511, 512, 513, 1024])
async def test_a_transfer_ends_with_a_packet_that_is_not_full(bench: Bench, size: int) -> None:
    def session() -> None:
        device = bench.find()
        send(device, b"x" * size)
        assert take(device, 65536, 60_000) == b"x" * size

    await asyncio.to_thread(session)


async def test_with_nothing_to_read_it_times_out(bench: Bench) -> None:
    def session() -> None:
        with pytest.raises(usb.core.USBTimeoutError) as caught:
            take(bench.find(), timeout_ms=5)
        assert number_of(caught) == errno.ETIMEDOUT

    await asyncio.to_thread(session)


async def test_a_read_that_times_out_returns_the_part_that_came(bench: Bench) -> None:
    def session() -> None:
        device = bench.find()
        bench.trip(ENDPOINT_IN, 1024, Mishap.HOLD)
        send(device, bytes(range(256)) * 8)
        assert take(device, timeout_ms=20) == bytes(range(256)) * 4
        with pytest.raises(usb.core.USBTimeoutError):
            take(device, timeout_ms=5)
        assert bench.device.attachment is not None
        bench.device.attachment.let_go()
        assert take(device) == bytes(range(256)) * 4

    await asyncio.to_thread(session)


async def test_a_write_that_times_out_says_how_much_went_out(bench: Bench) -> None:
    def session() -> None:
        device = bench.find()
        bench.trip(ENDPOINT_OUT, 700, Mishap.HOLD)
        assert send(device, b"y" * 2000, 20) == 700
        with pytest.raises(usb.core.USBTimeoutError):
            send(device, b"y", 5)

    await asyncio.to_thread(session)


async def test_a_device_that_does_not_listen_takes_what_its_buffer_holds() -> None:
    async def deaf(wire: Attachment) -> None:
        await asyncio.get_running_loop().create_future()

    def session(bus: SimulatedUsb) -> None:
        device = usb.core.find(backend=bus)
        assert send(device, b"z" * 65536, 20) == 16 * 512
        usb.util.dispose_resources(device)

    async with plugged(deaf) as device:
        await asyncio.to_thread(session, SimulatedUsb(device))


@pytest.mark.parametrize("endpoint", [ENDPOINT_IN, ENDPOINT_OUT])
async def test_a_stall_lasts_until_it_is_cleared(bench: Bench, endpoint: int) -> None:
    def session() -> None:
        device = bench.find()
        send(device, b"first")
        assert take(device) == b"first"
        bench.trip(endpoint, 0, Mishap.STALL)
        for _ in range(2):
            with pytest.raises(usb.core.USBError) as caught:
                take(device, timeout_ms=5) if endpoint == ENDPOINT_IN else send(device, b"no")
            assert number_of(caught) == errno.EPIPE
        device.clear_halt(endpoint)
        send(device, b"second")
        assert take(device) == b"second"

    await asyncio.to_thread(session)


async def test_what_came_before_a_stall_in_the_same_read_is_lost(bench: Bench) -> None:
    def session() -> None:
        device = bench.find()
        bench.trip(ENDPOINT_IN, 512, Mishap.STALL)
        send(device, b"a" * 512 + b"b" * 100)
        with pytest.raises(usb.core.USBError):
            take(device)
        device.clear_halt(ENDPOINT_IN)
        assert take(device) == b"b" * 100

    await asyncio.to_thread(session)


async def test_a_packet_that_does_not_fit_overflows(bench: Bench) -> None:
    def session() -> None:
        device = bench.find()
        send(device, b"a" * 100)
        with pytest.raises(usb.core.USBError) as caught:
            take(device, 99)
        assert number_of(caught) == errno.EOVERFLOW

    await asyncio.to_thread(session)


STEPS: dict[str, Callable[[Any], object]] = {
    "configure": lambda device: device.set_configuration(),
    "claim": lambda device: usb.util.claim_interface(device, 0),
    "string": lambda device: device.ctrl_transfer(0x80, 0x06, 0x0303, 0x0409, 64),
    "read": lambda device: take(device),
    "write": lambda device: send(device, b"gone"),
    "clear": lambda device: device.clear_halt(ENDPOINT_IN),
    "reset": lambda device: device.reset(),
}


@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize("step", STEPS)
async def test_unplugged_before_any_step_it_has_gone(
    bench: Bench, step: str, is_open: bool
) -> None:
    def session() -> None:
        device = bench.find()
        if is_open:
            send(device, b"here")
            assert take(device) == b"here"
            usb.util.release_interface(device, 0)
        bench.device.unplug()
        with pytest.raises(usb.core.USBError) as caught:
            STEPS[step](device)
        assert number_of(caught) == errno.ENODEV
        assert bench.find() is None

    await asyncio.to_thread(session)


@given(after_bytes=st.integers(0, 3000), endpoint=st.sampled_from([ENDPOINT_IN, ENDPOINT_OUT]))
def test_unplugged_in_the_middle_of_a_transfer(after_bytes: int, endpoint: int) -> None:
    def talk(device: Any) -> None:
        send(device, b"u" * 4000)
        while True:
            take(device)

    def session(simulated: SimulatedUsbDevice, bus: SimulatedUsb) -> None:
        device = usb.core.find(backend=bus)
        device.get_active_configuration()
        assert simulated.attachment is not None
        simulated.attachment.trip(endpoint, after_bytes, Mishap.UNPLUG)
        with pytest.raises(usb.core.USBError) as caught:
            talk(device)
        assert number_of(caught) == errno.ENODEV
        usb.util.dispose_resources(device)
        assert bus.open_handles == 0

    async def run() -> None:
        async with plugged(echo) as simulated:
            await asyncio.to_thread(session, simulated, SimulatedUsb(simulated))

    asyncio.run(run())


async def test_unplugged_while_a_read_waits_it_fails_at_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking = asyncio.Event()
    loop = asyncio.get_running_loop()
    whole = Attachment._take

    def looked(attachment: Attachment, got: bytearray, size: int) -> bool:
        loop.call_soon_threadsafe(looking.set)
        return whole(attachment, got, size)

    monkeypatch.setattr(Attachment, "_take", looked)
    device = bench.find()
    waiting = asyncio.create_task(asyncio.to_thread(take, device, timeout_ms=60_000))
    await looking.wait()
    bench.device.unplug()  # who looks holds the lock that this needs, until it waits
    with pytest.raises(usb.core.USBError) as caught:
        await waiting
    assert number_of(caught) == errno.ENODEV


async def test_plugged_in_again_it_is_another_device_with_an_empty_buffer(bench: Bench) -> None:
    def session() -> None:
        before = bench.find()
        send(before, b"old")
        bench.device.unplug()
        bench.device.plug_in()
        after = bench.find()
        assert after != before
        assert after.address != before.address
        send(after, b"new")
        assert take(after) == b"new"
        with pytest.raises(usb.core.USBError) as caught:
            send(before, b"old")
        assert number_of(caught) == errno.ENODEV

    await asyncio.to_thread(session)


async def test_addresses_go_round(bench: Bench) -> None:
    seen = set()
    for _ in range(300):
        bench.device.unplug()
        seen.add(bench.device.plug_in().address)
    assert seen == set(range(1, 128))


@pytest.mark.parametrize("how", ["set_configuration", "reset"])
async def test_a_reset_throws_away_what_is_under_way(bench: Bench, how: str) -> None:
    def session() -> None:
        device = bench.find()
        device.get_active_configuration()
        bench.trip(ENDPOINT_IN, 0, Mishap.HOLD)
        send(device, b"old")
        getattr(device, how)()
        send(device, b"new")
        assert take(device) == b"new"

    await asyncio.to_thread(session)


async def test_an_interface_belongs_to_one_program(bench: Bench) -> None:
    def session() -> None:
        ours, theirs = bench.find(), bench.find()
        usb.util.claim_interface(ours, 0)
        for attempt in (lambda: send(theirs, b"mine"), theirs.set_configuration):
            with pytest.raises(usb.core.USBError) as caught:
                attempt()
            assert number_of(caught) == errno.EBUSY
        usb.util.dispose_resources(ours)
        assert send(theirs, b"mine") == 4
        assert take(theirs) == b"mine"

    await asyncio.to_thread(session)


async def test_without_permission_it_is_seen_and_not_opened(bench: Bench) -> None:
    bench.device.permitted = False
    device = bench.find()
    with pytest.raises(usb.core.USBError) as caught:
        device.set_configuration()
    assert number_of(caught) == errno.EACCES


async def test_a_driver_of_the_kernel_has_to_be_detached(bench: Bench) -> None:
    bench.device.unplug()
    bench.device.kernel_driver = True
    bench.device.plug_in()

    def session() -> None:
        device = bench.find()
        assert device.is_kernel_driver_active(0)
        with pytest.raises(usb.core.USBError) as caught:
            usb.util.claim_interface(device, 0)
        assert number_of(caught) == errno.EBUSY
        device.detach_kernel_driver(0)
        assert not device.is_kernel_driver_active(0)
        send(device, b"now")
        assert take(device) == b"now"
        usb.util.release_interface(device, 0)
        device.attach_kernel_driver(0)
        assert device.is_kernel_driver_active(0)

    await asyncio.to_thread(session)


async def test_two_devices_are_told_apart_by_their_serial_numbers() -> None:
    def session(bus: SimulatedUsb) -> None:
        found = {d.serial_number: d for d in usb.core.find(find_all=True, backend=bus)}
        assert set(found) == {"A", "B"}
        for serial, device in found.items():
            send(device, serial.encode())
        assert {serial: take(device) for serial, device in found.items()} == {"A": b"A", "B": b"B"}
        for device in found.values():
            usb.util.dispose_resources(device)

    async with (
        plugged(echo, "A") as one,
        plugged(echo, "B") as other,
    ):
        await asyncio.to_thread(session, SimulatedUsb(one, other))


async def test_what_is_not_simulated_says_so(bench: Bench) -> None:
    for method in ("intr_read", "intr_write", "iso_read", "iso_write"):
        with pytest.raises(NotImplementedError):
            getattr(bench.bus, method)(None, 0x81, 0, b"", 1)
    device = bench.find()
    with pytest.raises(usb.core.USBError) as caught:
        device.ctrl_transfer(0xC0, 0x51, 0, 0, 8)
    assert number_of(caught) == errno.EPIPE
    with pytest.raises(usb.core.USBError) as caught:
        device.clear_halt(0x83)
    assert number_of(caught) == errno.ENOENT


async def test_firmware_that_fails_is_not_kept_quiet() -> None:
    async def broken(wire: Attachment) -> None:
        raise ValueError("a fault of the simulator")

    with pytest.raises(ValueError, match="simulator"):
        async with plugged(broken):
            await asyncio.sleep(0)


async def test_the_cable_may_be_moved_from_any_thread() -> None:
    async with plugged(echo) as device:

        def fidget() -> None:
            for _ in range(200):
                device.unplug()
                device.plug_in()

        threads = [threading.Thread(target=fidget) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join)
        device.plug_in()

        def session() -> bytes:
            found = usb.core.find(backend=SimulatedUsb(device))
            send(found, b"still there")
            said = take(found)
            usb.util.dispose_resources(found)
            return said

        assert await asyncio.to_thread(session) == b"still there"
