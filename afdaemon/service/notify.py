"""What a service tells systemd: sd_notify(3), one datagram a message."""

import os
import socket
from collections.abc import MutableMapping
from types import TracebackType
from typing import Self

import structlog

_SEND_S = 0.2
"""Longest wait for a service manager that doesn't read."""
_MOST_STATUS = 512
"""Characters of a status line: systemd cuts what is much longer, and it is one line for people."""

log = structlog.get_logger(__name__)


class Notifier:
    """Tells whoever listens at `address`; without one it tells nobody. From any thread.

    `watchdog_s` is how often it wants to hear `alive`, if it does. `with` closes it.
    """

    def __init__(self, address: str = "", watchdog_s: float | None = None) -> None:
        self.watchdog_s = watchdog_s
        self._socket: socket.socket | None = None
        self._has_complained = False
        if not address:
            return
        if address[0] not in "/@":
            log.warning("notify_unsupported", address=address)
            return
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(_SEND_S)
        self._address = "\0" + address[1:] if address[0] == "@" else address

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str] | None = None) -> "Notifier":
        """As systemd's variables say. They are taken out of `environ`: they are not for our children."""
        there = os.environ if environ is None else environ
        address = there.pop("NOTIFY_SOCKET", "")
        microseconds = there.pop("WATCHDOG_USEC", "")
        is_ours = there.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        is_watched = is_ours and microseconds.isdecimal() and int(microseconds) > 0
        return cls(address, int(microseconds) / 1e6 if is_watched else None)

    @property
    def is_heard(self) -> bool:
        """Whether there is somebody to tell."""
        return self._socket is not None

    def ready(self) -> None:
        """It has started and answers."""
        self._send("READY=1")

    def stopping(self) -> None:
        """It is on its way to its end."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """All of it makes progress."""
        self._send("WATCHDOG=1")

    def status(self, words: str) -> None:
        """A line for people: `systemctl status` shows it."""
        self._send("STATUS=" + " ".join(words.split())[:_MOST_STATUS])

    def close(self) -> None:
        """Release the socket."""
        if self._socket is not None:
            self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _send(self, message: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto(message.encode(errors="replace"), self._address)
        except OSError as error:  # the service goes on where nobody listens
            if not self._has_complained:
                self._has_complained = True
                log.warning("notify_failed", message=message, reason=str(error))
