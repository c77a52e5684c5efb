"""The USB link's instrument side: a bus that unmodified pyusb can be given as its backend.

    backend = SimulatedUsb(device)
    usb.core.find(backend=backend, idVendor=..., idProduct=...)

It raises what pyusb raises over libusb 1.0: errno 110 (`USBTimeoutError`) for a time-out without data, 19 for a device
that has gone, 32 for a stall, 75 for a packet that does not fit, 13 and 16 for one that may not be opened or is in use.
As in USB, a read ends with a packet that is not full; as in libusb, one cut short by a time-out returns what came.

Not simulated, `NotImplementedError` as in pyusb's own `IBackend`: interrupt and isochronous transfers (`intr_read`,
`intr_write`, `iso_read`, `iso_write`). Of control transfers there are string descriptors and GET_STATUS; every other
one is stalled, as a device does with a request that it does not know. There are no hubs: no device has a parent.
"""

import errno
from array import array
from collections.abc import Iterator
from types import SimpleNamespace

from usb.backend import IBackend

from afdaemon.sim.links.usb_device import (
    ENDPOINT_IN,
    ENDPOINT_OUT,
    PACKET_BYTES,
    Attachment,
    SimulatedUsbDevice,
    usb_error,
)

_VENDOR_SPECIFIC = 0xFF
_BULK = 0x02
_HIGH_SPEED = 3
_ENGLISH = 0x0409
_GET_STATUS, _GET_DESCRIPTOR, _STRING = 0x00, 0x06, 0x03
_TO_HOST = 0x80


class Handle:
    """An open device. Two handles stand for two programs."""

    def __init__(self, attachment: Attachment) -> None:
        self.attachment = attachment


class SimulatedUsb(IBackend):  # type: ignore[misc]  # pyusb has no types
    """The bus that `devices` can be plugged into. `open_handles` shows programs that forget to close."""

    def __init__(self, *devices: SimulatedUsbDevice) -> None:
        self._devices = devices
        self.open_handles = 0

    # --- what is there ---

    def enumerate_devices(self) -> Iterator[Attachment]:
        """What is plugged in now."""
        attached = [device.attachment for device in self._devices]
        return iter([attachment for attachment in attached if attachment is not None])

    def get_parent(self, dev: Attachment) -> None:
        """No hub."""

    def get_device_descriptor(self, dev: Attachment) -> SimpleNamespace:
        """USB 2.0, table 9-8, and where it is plugged in."""
        bus = self._devices.index(dev.device) + 1
        return SimpleNamespace(
            bLength=18,
            bDescriptorType=1,
            bcdUSB=0x0200,
            bDeviceClass=_VENDOR_SPECIFIC,
            bDeviceSubClass=0,
            bDeviceProtocol=0,
            bMaxPacketSize0=64,
            idVendor=dev.device.vendor_id,
            idProduct=dev.device.product_id,
            bcdDevice=0x0100,
            iManufacturer=1,
            iProduct=2,
            iSerialNumber=3,
            bNumConfigurations=1,
            bus=bus,
            address=dev.address,
            port_number=1,
            port_numbers=(1,),
            speed=_HIGH_SPEED,
        )

    def get_configuration_descriptor(self, dev: Attachment, config: int) -> SimpleNamespace:
        """USB 2.0, table 9-10."""
        _require_first(config)
        return SimpleNamespace(
            bLength=9,
            bDescriptorType=2,
            wTotalLength=9 + 9 + 7 + 7,
            bNumInterfaces=1,
            bConfigurationValue=1,
            iConfiguration=0,
            bmAttributes=0xC0,
            bMaxPower=50,
            extra_descriptors=[],
        )

    def get_interface_descriptor(
        self, dev: Attachment, intf: int, alt: int, config: int
    ) -> SimpleNamespace:
        """USB 2.0, table 9-12. Raises `IndexError` for any but the only one."""
        _require_first(config, intf, alt)
        return SimpleNamespace(
            bLength=9,
            bDescriptorType=4,
            bInterfaceNumber=0,
            bAlternateSetting=0,
            bNumEndpoints=2,
            bInterfaceClass=_VENDOR_SPECIFIC,
            bInterfaceSubClass=0,
            bInterfaceProtocol=0,
            iInterface=0,
            extra_descriptors=[],
        )

    def get_endpoint_descriptor(
        self, dev: Attachment, ep: int, intf: int, alt: int, config: int
    ) -> SimpleNamespace:
        """USB 2.0, table 9-13: first the way in, then the way out."""
        _require_first(config, intf, alt)
        return SimpleNamespace(
            bLength=7,
            bDescriptorType=5,
            bEndpointAddress=(ENDPOINT_IN, ENDPOINT_OUT)[ep],
            bmAttributes=_BULK,
            wMaxPacketSize=PACKET_BYTES,
            bInterval=0,
            bRefresh=0,
            bSynchAddress=0,
            extra_descriptors=[],
        )

    # --- holding it ---

    def open_device(self, dev: Attachment) -> Handle:
        """Errno 19 when it has gone, 13 without permission."""
        dev.check()
        if not dev.device.permitted:
            raise usb_error(errno.EACCES)
        self.open_handles += 1
        return Handle(dev)

    def close_device(self, dev_handle: Handle) -> None:
        """Close it, and release what was claimed."""
        self.open_handles -= 1
        dev_handle.attachment.disown(dev_handle)

    def set_configuration(self, dev_handle: Handle, config_value: int) -> None:
        """Errno 2 for any but 0 and 1. Setting the present one is a light reset: what is under way is lost."""
        attachment = dev_handle.attachment
        attachment.check()
        if config_value not in (0, 1):
            raise usb_error(errno.ENOENT)
        attachment.configure(dev_handle, config_value)

    def get_configuration(self, dev_handle: Handle) -> int:
        """0 when it is not configured."""
        dev_handle.attachment.check()
        return dev_handle.attachment.configuration

    def set_interface_altsetting(self, dev_handle: Handle, intf: int, altsetting: int) -> None:
        """There is only setting 0 of interface 0; errno 2 for any other."""
        dev_handle.attachment.check()
        if (intf, altsetting) != (0, 0):
            raise usb_error(errno.ENOENT)

    def claim_interface(self, dev_handle: Handle, intf: int) -> None:
        """Errno 16 when another handle or a kernel driver has it, 2 when there is no such interface."""
        if intf != 0:
            raise usb_error(errno.ENOENT)
        dev_handle.attachment.claim(dev_handle)

    def release_interface(self, dev_handle: Handle, intf: int) -> None:
        """Let others claim it."""
        dev_handle.attachment.check()
        dev_handle.attachment.disown(dev_handle)

    def is_kernel_driver_active(self, dev_handle: Handle, intf: int) -> bool:
        """Whether a kernel driver is attached to it."""
        dev_handle.attachment.check()
        return dev_handle.attachment.kernel_driver

    def detach_kernel_driver(self, dev_handle: Handle, intf: int) -> None:
        """Detach that driver; errno 2 if there is none."""
        dev_handle.attachment.check()
        if not dev_handle.attachment.kernel_driver:
            raise usb_error(errno.ENOENT)
        dev_handle.attachment.kernel_driver = False

    def attach_kernel_driver(self, dev_handle: Handle, intf: int) -> None:
        """Attach it again."""
        dev_handle.attachment.check()
        dev_handle.attachment.kernel_driver = dev_handle.attachment.device.kernel_driver

    # --- transfers: these block ---

    def bulk_read(
        self, dev_handle: Handle, ep: int, intf: int, buff: "array[int]", timeout: int
    ) -> int:
        """How many bytes were put into `buff`; `timeout` in ms, 0 for none."""
        _require(ep == ENDPOINT_IN)
        data = dev_handle.attachment.read(dev_handle, len(buff), _seconds(timeout))
        buff[: len(data)] = array("B", data)
        return len(data)

    def bulk_write(
        self, dev_handle: Handle, ep: int, intf: int, data: "array[int]", timeout: int
    ) -> int:
        """How many bytes of `data` went out; `timeout` in ms, 0 for none."""
        _require(ep == ENDPOINT_OUT)
        return dev_handle.attachment.write(dev_handle, data.tobytes(), _seconds(timeout))

    def clear_halt(self, dev_handle: Handle, ep: int) -> None:
        """End a stall of the endpoint; errno 2 if no endpoint has that address."""
        dev_handle.attachment.clear_halt(ep)

    def reset_device(self, dev_handle: Handle) -> None:
        """What is under way is lost; address and configuration stay."""
        dev_handle.attachment.reset()

    def ctrl_transfer(
        self,
        dev_handle: Handle,
        request_type: int,
        request: int,
        value: int,
        index: int,
        data: "array[int]",
        timeout: int,
    ) -> int:
        """Requests on endpoint 0; how many bytes were put into `data`."""
        dev_handle.attachment.check()
        answer = b""
        if request_type & _TO_HOST and request == _GET_STATUS:
            answer = b"\x01\x00"  # self-powered
        elif request_type & _TO_HOST and (request, value >> 8) == (_GET_DESCRIPTOR, _STRING):
            answer = _string_descriptor(dev_handle.attachment.device, value & 0xFF)
        if not answer:
            raise usb_error(errno.EPIPE)
        fitting = answer[: len(data)]
        data[: len(fitting)] = array("B", fitting)
        return len(fitting)


def _string_descriptor(device: SimulatedUsbDevice, index: int) -> bytes:
    """USB 2.0, 9.6.7; empty where there is none of that index. Index 0 lists the languages."""
    texts = {1: "afdaemon", 2: "EM-30 (simulated)", 3: device.serial}
    if index == 0:
        body = _ENGLISH.to_bytes(2, "little")
    elif index in texts:
        body = texts[index].encode("utf-16-le")
    else:
        return b""
    return bytes((len(body) + 2, _STRING)) + body


def _require_first(*indices: int) -> None:
    if any(indices):
        raise IndexError("the device has one configuration with one interface of one setting")


def _require(has_endpoint: bool) -> None:
    if not has_endpoint:
        raise usb_error(errno.ENOENT)


def _seconds(timeout_ms: int) -> float | None:
    return timeout_ms / 1000.0 if timeout_ms else None
