"""Who may come in by the vendor door: where from, and with which token."""

import hmac
import ipaddress
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from afdaemon.api.endpoints import is_loopback
from afdaemon.errors import ConfigError

LEAST_TOKEN = 16
"""Characters of a token: fewer can be guessed by trying."""
_MOST_TOKEN = 256
_NOT_OURS = stat.S_IRWXG | stat.S_IRWXO

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class AllowList:
    """Addresses and networks, from a text with commas between them. Raises ValueError for anything else."""

    text: str
    networks: tuple[Network, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        parts = [part.strip() for part in self.text.split(",")]
        object.__setattr__(self, "networks", tuple(map(ipaddress.ip_network, parts)))

    def __str__(self) -> str:
        return self.text

    def __contains__(self, address: str) -> bool:
        """Whether that address may connect."""
        known = ipaddress.ip_address(address)
        return any(known in network for network in self.networks)

    @property
    def is_local(self) -> bool:
        """Whether it allows programs of this machine alone."""
        return all(network.is_loopback for network in self.networks)


LOCAL = AllowList("127.0.0.0/8, ::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorPlace:
    """Where the vendor door is, who may come in, and after how long without a line a client is sent away.

    `token` is empty where none is asked for; port 0 is any free one.
    """

    host: str
    port: int
    idle_s: float
    allow: AllowList = LOCAL
    token: str = field(default="", repr=False)

    def knows(self, token: str) -> bool:
        """Whether it is the token, found out in a time that does not depend on how much of it is right."""
        return hmac.compare_digest(self.token.encode(), token.encode("utf-8", "surrogatepass"))


def check_place(place: VendorPlace, *, insecure: bool) -> None:
    """Refuse to listen where anybody could move the microscope.

    Raises:
        ConfigError: the host is no address; or there is no token, without `insecure` or beyond this machine.
    """
    try:
        ipaddress.ip_address(place.host)
    except ValueError:
        raise ConfigError(
            f"vendor.host = {place.host!r} is not an address",
            remedy="set vendor.host to 127.0.0.1, or to an address of this machine",
        ) from None
    if place.token:
        return
    if not insecure:
        raise ConfigError(
            "the vendor door without a token would let every program of this machine move the microscope",
            remedy="set vendor.token_file; on a loopback address --insecure allows to do without",
        )
    if not (is_loopback(place.host) and place.allow.is_local):
        raise ConfigError(
            "the vendor door would be open to the network, without a token",
            remedy="set vendor.token_file, or listen on 127.0.0.1 and allow this machine alone",
        )


def read_token(path: Path, uid: int | None = None) -> str:
    """The token in a file that only the daemon's user can read: ours, or the one with that `uid`.

    Raises:
        ConfigError: it cannot be read, others can read it, or what it holds is no token.
    """
    try:
        with path.open("rb") as file:
            _check_secret(path, os.fstat(file.fileno()), os.geteuid() if uid is None else uid)
            raw = file.read(_MOST_TOKEN + 2)
    except OSError as error:
        raise ConfigError(
            f"vendor.token_file {path} cannot be read: {error.strerror}",
            remedy="make it, for the daemon's user alone: `install -m 600 -o USER /dev/null FILE`",
        ) from None
    token = raw.decode("ascii", "replace").strip()
    if (
        not LEAST_TOKEN <= len(token) <= _MOST_TOKEN
        or not token.isascii()
        or len(token.split()) > 1
    ):
        raise ConfigError(
            f"vendor.token_file {path} holds no token: {LEAST_TOKEN} to {_MOST_TOKEN} letters and digits in a line",
            remedy="`openssl rand -hex 16` prints a good one",
        )
    return token


def _check_secret(path: Path, status: os.stat_result, uid: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"vendor.token_file {path} is not a file", remedy="name a file")
    if status.st_mode & _NOT_OURS:
        raise ConfigError(
            f"others can read vendor.token_file {path} (mode {stat.S_IMODE(status.st_mode):04o})",
            remedy=f"`chmod 600 {path}`, and take a new token",
        )
    if status.st_uid not in (0, uid):
        raise ConfigError(
            f"vendor.token_file {path} belongs to user {status.st_uid}, who can read it",
            remedy="give it to the daemon's user",
        )
