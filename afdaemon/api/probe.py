"""Why a client gets no connection: what is found at the daemon's address, and the sentence for it."""

import errno
import socket
from enum import Enum, auto
from pathlib import Path

from afdaemon.api.endpoints import NAMES, Endpoints
from afdaemon.errors import AccessError, AfdaemonError, Unreachable

_ANSWER_S, _STAYS_S = 1.0, 0.2
_HELLO = b"\xff" + bytes(8) + b"\x7f\x03\x00"
"""How a peer that speaks ZMTP 3 begins (RFC 23): the other side then says which mechanism it wants."""
_GREETING_BYTES, _MECHANISM = 64, slice(12, 32)


class Found(Enum):
    """What is at a tcp address."""

    NOTHING = auto()
    SILENT = auto()
    STRANGE = auto()
    CLOSED = auto()
    KEYED = auto()
    KEYLESS = auto()


def somebody_listens(folder: Path) -> bool:
    """Whether a connection to the control socket in this folder is accepted, or waits to be."""
    return _trouble_at(folder / NAMES[0]) is None


def no_connection(places: Endpoints, *, has_key: bool, waited_s: float) -> AfdaemonError:
    """Why there is none."""
    if places.folder is not None:
        return _no_local_connection(places, places.folder, waited_s)
    host, _, port = places.control.removeprefix("tcp://").rpartition(":")
    return why(found_at(host.strip("[]"), int(port)), places, has_key=has_key)


def unknown_key(places: Endpoints) -> AccessError:
    """The daemon has refused the client's key."""
    return AccessError(
        f"the daemon at {places.address} does not know this client's key, or not any more"
    )


def why(found: Found, places: Endpoints, *, has_key: bool) -> AfdaemonError:
    """The sentence for what was found at a tcp address, by a client with a key or without."""
    address = places.address
    match found:
        case Found.KEYED if has_key:
            return AccessError(
                f"the daemon at {address} is not the one that this client's key was made for",
                remedy="correct the address; if the daemon's own key is a new one, this client needs a new one too:"
                " `afctl keys new NAME --role ROLE` on the daemon's machine",
            )
        case Found.KEYED:
            return AccessError(
                f"the daemon at {address} wants a key, and this client has none",
                remedy="name the key's file (--key, or AFCTL_KEY); `afctl keys new NAME --role ROLE` on the daemon's"
                " machine makes one",
            )
        case Found.KEYLESS if has_key:
            return AccessError(
                f"the daemon at {address} uses no keys, so that anybody could listen and command it",
                remedy="start it without --insecure; or, on this machine, give an empty --key",
            )
        case Found.CLOSED | Found.KEYLESS:
            return Unreachable(
                f"the daemon at {address} lets this client in no more",
                remedy="close connections that this machine doesn't need: an address may have only so many",
            )
        case Found.SILENT:
            return Unreachable(
                f"the daemon at {address} accepts a connection and says nothing: it hangs",
                remedy="see its log, and `systemctl status afdaemon`",
            )
        case Found.STRANGE:
            return Unreachable(f"what answers at {address} is not an afdaemon")
        case Found.NOTHING:
            return Unreachable(f"no daemon answers at {address}")


def found_at(host: str, port: int) -> Found:
    """Look what is at a tcp address; takes up to a second."""
    try:
        line = socket.create_connection((host, port), _ANSWER_S)
    except OSError:
        return Found.NOTHING
    with line:
        try:
            line.sendall(_HELLO)
            greeting = _received(line)
        except TimeoutError:
            return Found.SILENT
        except OSError:
            return Found.CLOSED
        return _meaning(greeting) if _stays_open(line) else Found.CLOSED


def _received(line: socket.socket) -> bytes:
    greeting = b""
    while len(greeting) < _GREETING_BYTES and (more := line.recv(_GREETING_BYTES - len(greeting))):
        greeting += more
    if not greeting:
        raise ConnectionResetError
    return greeting


def _stays_open(line: socket.socket) -> bool:
    line.settimeout(_STAYS_S)
    try:
        return bool(line.recv(1))
    except TimeoutError:
        return True
    except OSError:
        return False


def _meaning(greeting: bytes) -> Found:
    if len(greeting) < _GREETING_BYTES or greeting[0] != _HELLO[0]:
        return Found.STRANGE
    mechanism = greeting[_MECHANISM].rstrip(b"\0")
    return {b"CURVE": Found.KEYED, b"NULL": Found.KEYLESS}.get(mechanism, Found.STRANGE)


def _no_local_connection(places: Endpoints, folder: Path, waited_s: float) -> Unreachable:
    trouble = _trouble_at(folder / NAMES[0])
    if trouble is None:
        return Unreachable(
            f"the daemon at {places.address} did not let this program in within {waited_s:g} s",
            remedy="close connections that this program doesn't need; if it has none, see whether the daemon hangs"
            " (its log, `systemctl status afdaemon`)",
        )
    if trouble in (errno.EACCES, errno.EPERM):
        return Unreachable(
            f"this user may not connect to the daemon at {places.address}",
            remedy="become a member of its group (`sudo usermod -aG afdaemon $USER`), and log in again",
        )
    return Unreachable(f"no daemon answers at {places.address}")


def _trouble_at(path: Path) -> int | None:
    """What the system says to a connection there; None if somebody listens."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        trouble = probe.connect_ex(str(path))
    return None if trouble in (0, errno.EAGAIN) else trouble
