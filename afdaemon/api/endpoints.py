"""Addresses of the three sockets, derived from the one that people write.

`ipc:///run/afdaemon` (or the folder's plain path) stands for `control.sock`, `abort.sock` and
`events.sock` in that folder; `tcp://127.0.0.1:60650` for that port and the two after it.
"""

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from afdaemon.errors import ConfigError
from afdaemon.paths import runtime_dir

_DEFAULT_TCP_PORT = 60650
_MAX_IPC_PATH_BYTES = 107
"""The operating system's limit on a socket's path."""

NAMES = ("control.sock", "abort.sock", "events.sock")
_FORM = "write ipc:///path/of/the/folder, or tcp://host:port"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """Where the sockets are. `folder` holds them if they are of the ipc kind."""

    address: str
    control: str
    abort: str
    events: str
    folder: Path | None = None
    host: str = ""

    @property
    def all(self) -> tuple[str, str, str]:
        """Control, abort, events."""
        return self.control, self.abort, self.events


def default_address() -> str:
    """Where a daemon is by default: the setting api.runtime_dir, or the default of that."""
    return f"ipc://{os.environ.get('AFDAEMON_API__RUNTIME_DIR') or runtime_dir()}"


def parse_endpoint(address: str) -> Endpoints:
    """The sockets that `address` stands for.

    Raises:
        ConfigError: it is not an address, or too long for the operating system.
    """
    scheme, separator, rest = address.partition("://")
    if not separator:
        scheme, rest = "ipc", address
    if scheme == "ipc":
        return _ipc(rest)
    if scheme == "tcp":
        return _tcp(address)
    raise ConfigError(f"{address!r} is not an address of the daemon", remedy=_FORM)


def check_bind(endpoints: Endpoints, *, insecure: bool, has_keys: bool) -> None:
    """Refuse to listen where anybody could move the microscope.

    Raises:
        ConfigError: tcp without keys that is not `insecure`, or that reaches beyond this machine.
    """
    if endpoints.folder is not None or (has_keys and not insecure):
        return
    if not insecure:
        raise ConfigError(
            f"{endpoints.address} would let anybody who reaches it move the microscope",
            remedy="listen on an ipc address, or name a folder of keys",
        )
    if not is_loopback(endpoints.host):
        raise ConfigError(
            f"{endpoints.address} is open to the network, and with --insecure there are no keys",
            remedy="leave out --insecure: then clients need a key (`afctl keys new`); or listen on"
            f" tcp://127.0.0.1:{_DEFAULT_TCP_PORT}",
        )


def _ipc(text: str) -> Endpoints:
    if not text or text[0] in "*@" or not text.isprintable():
        raise ConfigError(f"{text!r} is not the path of a folder", remedy=_FORM)
    path = Path(text).expanduser().absolute()
    folder = path.parent if path.name in NAMES else path
    control, abort, events = (f"ipc://{folder / name}" for name in NAMES)
    longest = max(len(os.fsencode(folder / name)) for name in NAMES)
    if longest > _MAX_IPC_PATH_BYTES:
        raise ConfigError(
            f"the path {folder} is too long for sockets: with their names it has {longest} bytes,"
            f" and at most {_MAX_IPC_PATH_BYTES} are allowed",
            remedy="choose a shorter folder",
        )
    return Endpoints(
        address=f"ipc://{folder}", control=control, abort=abort, events=events, folder=folder
    )


def _tcp(address: str) -> Endpoints:
    try:
        parts = urlsplit(address)
        port = _DEFAULT_TCP_PORT if parts.port is None else parts.port
    except ValueError as error:
        raise ConfigError(f"{address!r} is not an address: {error}", remedy=_FORM) from None
    host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
    if not host or parts.path.strip("/") or parts.query or parts.username is not None:
        raise ConfigError(f"{address!r} is not of the form tcp://host:port", remedy=_FORM)
    if not 1 <= port <= 65533:
        raise ConfigError(
            f"port {port} does not leave room for the two after it: 1 to 65533 do", remedy=_FORM
        )
    shown = f"[{host}]" if ":" in host else host
    control, abort, events = (f"tcp://{shown}:{port + i}" for i in range(3))
    return Endpoints(address=control, control=control, abort=abort, events=events, host=host)


def is_loopback(host: str) -> bool:
    """Whether it is an address that only programs of this machine reach."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
