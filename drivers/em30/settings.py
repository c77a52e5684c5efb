"""Settings of the EM-30's links."""

from dataclasses import dataclass
from pathlib import Path

from afdaemon.drivers.errors import SettingsError
from afdaemon.drivers.settings import require_positive, require_whole
from afdaemon.drivers.wire.aisem import DEFAULT_PORT


@dataclass(frozen=True, slots=True, kw_only=True)
class AisemSettings:
    """Where the vendor's software listens and writes, and how long to wait for it.

    `folder` is the drop folder as this machine sees it. `frame_timeout_s` bounds a whole `grab`,
    within which the command is repeated when nothing has come for `ask_again_s`, and a pair is
    given up that is still half-written after `half_written_s`. `wd_tolerance_um` is how far a
    read-back may lie from its command, beyond the wire's own steps of 0.1 um. A broken link is
    tried again after `reconnect_first_s`, doubled up to `reconnect_cap_s`.
    """

    folder: Path
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    connect_timeout_s: float = 2.0
    reply_timeout_s: float = 1.0
    frame_timeout_s: float = 3.5
    ask_again_s: float = 1.5
    half_written_s: float = 0.75
    poll_s: float = 0.02
    wd_tolerance_um: float = 2.0
    max_dropped_in_row: int = 5
    reconnect_first_s: float = 0.25
    reconnect_cap_s: float = 3.0

    def __post_init__(self) -> None:
        if not self.host:
            raise SettingsError("host is empty")
        require_whole("port", self.port, 1, 65535)
        require_whole("max_dropped_in_row", self.max_dropped_in_row, 1, 1000)
        require_positive("connect_timeout_s", self.connect_timeout_s)
        require_positive("reply_timeout_s", self.reply_timeout_s)
        require_positive("frame_timeout_s", self.frame_timeout_s)
        require_positive("ask_again_s", self.ask_again_s)
        require_positive("half_written_s", self.half_written_s)
        require_positive("poll_s", self.poll_s)
        require_positive("wd_tolerance_um", self.wd_tolerance_um)
        require_positive("reconnect_first_s", self.reconnect_first_s)
        require_positive("reconnect_cap_s", self.reconnect_cap_s)
