"""Settings of the EM-30's links: defaults, ranges and meanings, each declared once."""

from dataclasses import dataclass
from pathlib import Path

from afdaemon.drivers.errors import SettingsError
from afdaemon.drivers.settings import seconds
from afdaemon.drivers.wire import aisem, stream
from afdaemon.spec import check, flag, made, number, text, whole

_HOST = "Host name or address of the other side: the vendor's software, or the bridge."
_PORT = f"TCP port of the other side; by default {aisem.DEFAULT_PORT} for aisem and {stream.DEFAULT_PORT} for stream."
_CAP_S, _USB_CAP_S = 3.0, 1.0
_CAP = f"Longest pause between two attempts to connect; by default {_CAP_S:g} s, for usb {_USB_CAP_S:g} s."


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSettings:
    """What every link has: how long to wait, and when to retry. Raises SettingsError for a wrong value.

    `frame_timeout_s` bounds a whole `grab`, within which frames that are not evidence are replaced. `ask_again_s` is
    longer than a slow lens settles (2 s): with each repeated command it would begin again.
    """

    connect_timeout_s: float = seconds(2.0, "Longest wait for a connection.")
    reply_timeout_s: float = seconds(
        2.0, "Longest wait for the answer to a command; the bridge itself waits 1 s."
    )
    frame_timeout_s: float = seconds(3.5, "Longest wait for a usable frame.")
    wd_tolerance_um: float = number(
        2.0, 0.0, 1000.0, "um", above=True,
        what="A WD that is read back may differ from its command by this much, beyond the wire's own steps.",
    )  # fmt: skip
    max_dropped_in_row: int = whole(
        5, 1, 1000, "This many unusable frames in a row are a failure of the instrument."
    )
    accept_odd_jpegs: bool = flag(
        False,
        "Use frames of which libjpeg warns. For an instrument that writes all its JPEGs in such a way: damaged ones"
        " are hardly found then.",
    )
    reconnect_first_s: float = seconds(
        0.25, "Pause before the first attempt to connect again; it doubles with each."
    )
    reconnect_cap_s: float = seconds(_CAP_S, _CAP)

    def __post_init__(self) -> None:
        check(self, SettingsError)


@dataclass(frozen=True, slots=True, kw_only=True)
class AisemSettings(LinkSettings):
    """Where the vendor's software listens and writes."""

    host: str = text("127.0.0.1", _HOST)
    port: int = whole(aisem.DEFAULT_PORT, 1, 65535, _PORT)
    folder: Path = made(
        Path("/var/lib/aisem"), Path, "a path",
        "Drop folder of the vendor's software, as this machine sees it.",
    )  # fmt: skip
    ask_again_s: float = seconds(2.5, "A command is repeated when no frame has come for this long.")
    half_written_s: float = seconds(
        0.75, "A frame that is still half written after this time is given up."
    )
    poll_s: float = seconds(0.02, "Pause between two looks into the drop folder.")


@dataclass(frozen=True, slots=True, kw_only=True)
class FramedSettings(LinkSettings):
    """What `stream` and `usb` share."""

    ask_again_s: float = seconds(
        2.5, "A frame is asked for again when none has come for this long."
    )
    cut_off_s: float = seconds(
        0.3, "A message that stops in its middle is given up after this time."
    )
    ping_s: float = seconds(2.0, "A peer that is silent for this long is asked for a sign of life.")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings(FramedSettings):
    """Where the bridge, or another instrument that speaks `stream`, listens."""

    host: str = text("127.0.0.1", _HOST)
    port: int = whole(stream.DEFAULT_PORT, 1, 65535, _PORT)
    token_file: Path | None = made(
        None, Path, "a path", "File with the token that the bridge asks for; absent: none.",
        optional=True, example="/etc/afdaemon/bridge.token",
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class UsbSettings(FramedSettings):
    """Which device. Nothing signals that it has been plugged in, so it is looked for once a second.

    ASSUMED: the ids; they are those that pid.codes sets aside for tests.
    """

    vendor_id: int = whole(
        stream.USB_VENDOR_ID,
        0,
        0xFFFF,
        "Vendor id of the USB device, as lsusb shows it; 0x1209 can be written too.",
    )
    product_id: int = whole(stream.USB_PRODUCT_ID, 0, 0xFFFF, "Product id of the USB device.")
    serial: str = text(
        "", "Serial number of the USB device, where there are several; empty: the only one.",
        optional=True,
    )  # fmt: skip
    reconnect_cap_s: float = seconds(_USB_CAP_S, _CAP)
