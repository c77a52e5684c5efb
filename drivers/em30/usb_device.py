"""A USB device with a pair of bulk endpoints, through pyusb. Every call blocks, and all of them belong to one thread.

pyusb's errors become `DriverError`s here and nowhere else.
"""

import contextlib
import errno
from dataclasses import dataclass
from typing import Any

import usb.core
import usb.util
from usb.backend import IBackend

from afdaemon.drivers.em30.settings import UsbSettings
from afdaemon.drivers.errors import DriverError, LinkLost, NotConnected

SLICE_S = 0.02
"""The longest time that one call blocks: it cannot be interrupted, and what is to be written waits for it."""
_BUFFER_BYTES = 64 * 1024
"""A multiple of every packet size, so that no packet overflows it."""
_MAX_STALLS_IN_ROW = 8
"""More than this are a lost link."""
DRAIN_READS = 256
"""Most reads of `drain`: a device that never stops sending must not block it."""
VENDOR_SPECIFIC_CLASS = 0xFF
UDEV_RULE = "systemd/60-afdaemon-em30.rules"

_SLICE_MS = round(SLICE_S * 1000)


def open_device(settings: UsbSettings, backend: IBackend | None) -> "UsbDevice":
    """Find, configure and claim the device. Raises `NotConnected`, which says what is in the way."""
    name = f"the USB device {settings.vendor_id:04x}:{settings.product_id:04x}"
    found: list[Any] = []
    try:
        found = _find(settings, backend)
        device = _choose(found, settings.serial, name)
        found.remove(device)
        return _prepare(device, name)
    except usb.core.NoBackendError:
        raise NotConnected(
            "pyusb finds no libusb on this machine",
            remedy="install libusb 1.0 (Debian and Ubuntu: apt install libusb-1.0-0)",
        ) from None
    except usb.core.USBError as error:
        raise _cannot_open(name, error) from error
    finally:
        for other in found:
            _release(other)


class UsbDevice:
    """A claimed device. `stalls` counts those that were cleared; `serial` is empty where it has no serial number."""

    def __init__(self, device: Any, pair: "_BulkPair", serial: str) -> None:
        self.serial = serial
        self._device = device
        self._pair = pair
        self._buffer = usb.util.create_buffer(_BUFFER_BYTES)
        self._stalls_in_row = 0
        self.stalls = 0

    def read(self) -> bytes:
        """What has come within a slice; empty if nothing has. Raises `LinkLost`."""
        try:
            count = self._device.read(self._pair.into_host, self._buffer, _SLICE_MS)
        except usb.core.USBTimeoutError:
            return b""
        except usb.core.USBError as error:
            self._recover(error, self._pair.into_host)
            return b""
        self._stalls_in_row = 0
        return bytes(memoryview(self._buffer)[:count])

    def write(self, data: memoryview) -> int:
        """How many bytes of `data` the device took within a slice. Raises `LinkLost`."""
        try:
            count = int(self._device.write(self._pair.out_of_host, data, _SLICE_MS))
        except usb.core.USBTimeoutError:
            return 0
        except usb.core.USBError as error:
            self._recover(error, self._pair.out_of_host)
            return 0
        self._stalls_in_row = 0
        return count

    def clear_halts(self) -> None:
        """Synchronise both ends again: after a time-out they may disagree on what was sent last."""
        with contextlib.suppress(usb.core.USBError):
            self._device.clear_halt(self._pair.into_host)
            self._device.clear_halt(self._pair.out_of_host)

    def drain(self) -> None:
        """Discard what the device still held for the previous program. Raises `LinkLost`."""
        for _ in range(DRAIN_READS):
            if not self.read():
                return

    def close(self) -> None:
        """Release it. A device that has gone cannot be released and need not be."""
        _release(self._device)

    def _recover(self, error: usb.core.USBError, endpoint: int) -> None:
        """Clear a stall; anything else, or stalls without end, is a lost link."""
        if error.errno != errno.EPIPE:
            raise _lost(error) from error
        self.stalls += 1
        self._stalls_in_row += 1
        if self._stalls_in_row > _MAX_STALLS_IN_ROW:
            raise LinkLost(f"the device stalled {self._stalls_in_row} times in a row") from error
        try:
            self._device.clear_halt(endpoint)
        except usb.core.USBError as failed:
            raise _lost(failed) from failed


@dataclass(frozen=True, slots=True, kw_only=True)
class _BulkPair:
    """An interface and the addresses of its bulk endpoints."""

    interface: int
    into_host: int
    out_of_host: int


def _find(settings: UsbSettings, backend: IBackend | None) -> list[Any]:
    return list(
        usb.core.find(
            find_all=True,
            backend=backend,
            idVendor=settings.vendor_id,
            idProduct=settings.product_id,
        )
    )


def _choose(found: list[Any], serial: str, name: str) -> Any:
    if not found:
        raise NotConnected(
            f"{name} is not plugged in",
            remedy="check its cable and power, and vendor_id and product_id against `lsusb`",
        )
    if not serial and len(found) == 1:
        return found[0]
    serials = [_serial(device) for device in found]
    if serials.count(serial) == 1:
        return found[serials.index(serial)]
    there = ", ".join(each or "(none)" for each in serials)
    problem = f"has no serial number {serial}" if serial else "is there more than once"
    raise NotConnected(
        f"{name} {problem}; plugged in: {there}", remedy="set `serial` to the number of one of them"
    )


def _serial(device: Any) -> str:
    _active_configuration(device)  # opens it: reading the serial number would hide why that fails
    try:
        return device.serial_number or ""
    except ValueError:  # it has no strings
        return ""


def _told_serial(device: Any) -> str:
    """The serial number of a configured device; empty where it does not tell one."""
    try:
        return device.serial_number or ""
    except (ValueError, usb.core.USBError):
        return ""


def _prepare(device: Any, name: str) -> UsbDevice:
    try:
        pair = _configure(device, name)
        opened = UsbDevice(device, pair, _told_serial(device))
        opened.drain()
    except (usb.core.USBError, DriverError):
        _release(device)
        raise
    return opened


def _configure(device: Any, name: str) -> _BulkPair:
    """Set the configuration unless it is set (setting it again resets the device), and claim the interface."""
    active = _active_configuration(device)
    wanted = device[0]
    pair = _bulk_pair(wanted)
    if pair is None:
        raise NotConnected(
            f"{name} has no vendor-specific interface with bulk endpoints both ways",
            remedy="check vendor_id and product_id: this is another device",
        )
    with contextlib.suppress(NotImplementedError):  # not every system has such drivers
        if device.is_kernel_driver_active(pair.interface):
            device.detach_kernel_driver(pair.interface)
    if active is None or active.bConfigurationValue != wanted.bConfigurationValue:
        device.set_configuration(wanted)
    usb.util.claim_interface(device, pair.interface)
    return pair


def _active_configuration(device: Any) -> Any:
    """The active configuration, None when none is set: pyusb reports that as an error without a number."""
    try:
        return device.get_active_configuration()
    except usb.core.USBError as error:
        if error.errno is not None:
            raise
        return None


def _bulk_pair(configuration: Any) -> _BulkPair | None:
    for interface in configuration:
        if interface.bInterfaceClass != VENDOR_SPECIFIC_CLASS or interface.bAlternateSetting:
            continue
        ways: dict[int, int] = {}
        for endpoint in interface:
            if usb.util.endpoint_type(endpoint.bmAttributes) == usb.util.ENDPOINT_TYPE_BULK:
                address = endpoint.bEndpointAddress
                ways.setdefault(usb.util.endpoint_direction(address), address)
        if len(ways) == 2:
            return _BulkPair(
                interface=interface.bInterfaceNumber,
                into_host=ways[usb.util.ENDPOINT_IN],
                out_of_host=ways[usb.util.ENDPOINT_OUT],
            )
    return None


def _release(device: Any) -> None:
    with contextlib.suppress(usb.core.USBError):
        usb.util.dispose_resources(device)


def _cannot_open(name: str, error: usb.core.USBError) -> NotConnected:
    if error.errno == errno.EACCES:
        return NotConnected(
            f"{name} may not be opened by this user",
            remedy=f"install the udev rule {UDEV_RULE} and plug it in again",
        )
    if error.errno == errno.EBUSY:
        return NotConnected(
            f"{name} has been claimed by another program",
            remedy="end that program; the vendor's own may be running",
        )
    return NotConnected(f"{name} cannot be opened: {_reason(error)}")


def _lost(error: usb.core.USBError) -> LinkLost:
    if error.errno == errno.ENODEV:
        return LinkLost("the device was unplugged", remedy="plug it in again")
    return LinkLost(f"the transfer failed: {_reason(error)}")


def _reason(error: usb.core.USBError) -> str:
    return error.strerror or str(error)
