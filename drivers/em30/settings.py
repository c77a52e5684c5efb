"""Settings of the EM-30's links."""

from dataclasses import dataclass
from pathlib import Path

from afdaemon.drivers.errors import SettingsError
from afdaemon.drivers.settings import require_positive, require_whole
from afdaemon.drivers.wire import aisem, stream


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSettings:
    """What every link has: how long to wait, and what is tried again.

    `frame_timeout_s` bounds a whole `grab`, within which frames that are no evidence are replaced; so many as
    `max_dropped_in_row` of them are a failure. `wd_tolerance_um` is how far a read-back may lie from its command,
    beyond the wire's own steps. A broken link is tried again after `reconnect_first_s`, doubled up to the cap.
    """

    connect_timeout_s: float = 2.0
    reply_timeout_s: float = 2.0
    frame_timeout_s: float = 3.5
    wd_tolerance_um: float = 2.0
    max_dropped_in_row: int = 5
    reconnect_first_s: float = 0.25
    reconnect_cap_s: float = 3.0

    def __post_init__(self) -> None:
        require_whole("max_dropped_in_row", self.max_dropped_in_row, 1, 1000)
        require_positive("connect_timeout_s", self.connect_timeout_s)
        require_positive("reply_timeout_s", self.reply_timeout_s)
        require_positive("frame_timeout_s", self.frame_timeout_s)
        require_positive("wd_tolerance_um", self.wd_tolerance_um)
        require_positive("reconnect_first_s", self.reconnect_first_s)
        require_positive("reconnect_cap_s", self.reconnect_cap_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class AisemSettings(LinkSettings):
    """Where the vendor's software listens and writes.

    `folder` is the drop folder as this machine sees it. A command is repeated when no pair has come for `ask_again_s`,
    and a pair is given up that is still half-written after `half_written_s`.
    """

    folder: Path
    host: str = "127.0.0.1"
    port: int = aisem.DEFAULT_PORT
    ask_again_s: float = 1.5
    half_written_s: float = 0.75
    poll_s: float = 0.02

    def __post_init__(self) -> None:
        LinkSettings.__post_init__(self)
        _require_address(self.host, self.port)
        require_positive("ask_again_s", self.ask_again_s)
        require_positive("half_written_s", self.half_written_s)
        require_positive("poll_s", self.poll_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class FramedSettings(LinkSettings):
    """What `stream` and `usb` share.

    A frame that has not come after `ask_again_s` is asked for again, and a message is given up whose sender stops in
    its middle for `cut_off_s`. A peer that says nothing for `ping_s` is asked for a sign of life.
    """

    ask_again_s: float = 1.5
    cut_off_s: float = 0.3
    ping_s: float = 2.0

    def __post_init__(self) -> None:
        LinkSettings.__post_init__(self)
        require_positive("ask_again_s", self.ask_again_s)
        require_positive("cut_off_s", self.cut_off_s)
        require_positive("ping_s", self.ping_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings(FramedSettings):
    """Where the bridge, or another instrument that speaks `stream`, listens."""

    host: str = "127.0.0.1"
    port: int = stream.DEFAULT_PORT

    def __post_init__(self) -> None:
        FramedSettings.__post_init__(self)
        _require_address(self.host, self.port)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsbSettings(FramedSettings):
    """Which device: its ids, and its serial number where there are several of them (empty: the only one).

    Nothing tells that it has been plugged in: it is looked for once a second.
    ASSUMED: the ids; they are those that pid.codes sets aside for tests.
    """

    vendor_id: int = stream.USB_VENDOR_ID
    product_id: int = stream.USB_PRODUCT_ID
    serial: str = ""
    reconnect_cap_s: float = 1.0

    def __post_init__(self) -> None:
        FramedSettings.__post_init__(self)
        require_whole("vendor_id", self.vendor_id, 0, 0xFFFF)
        require_whole("product_id", self.product_id, 0, 0xFFFF)


def _require_address(host: str, port: int) -> None:
    if not host:
        raise SettingsError("host is empty")
    require_whole("port", port, 1, 65535)
