"""Who sent a message: the user of a process on the ipc sockets, the holder of a key on tcp."""

import os
import pwd
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import structlog
import zmq

from afdaemon.api.access import keys
from afdaemon.api.access.roles import Caller, Role, role_named
from afdaemon.errors import ConfigError

_LOCAL = re.compile(r"localhost:(\d+):\d+:\d+")
_UNKNOWN = "unknown"
_ANOTHER_KEY = (
    "ask for a key with another role: `afctl keys new NAME --role ROLE` on the daemon's machine"
)
_ANOTHER_ROLE = (
    "the settings api.roles (for a user) and api.group_role (for all others) give another role"
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may come in, and as what.

    `keys` is the folder of the keys for tcp; without one there is no tcp but by `--insecure`. On ipc root and the
    daemon's own user are admins, the users in `roles` (by uid) what these say, all others have `group_role`.
    """

    keys: Path | None = None
    group_role: Role = Role.AUTOMATION
    roles: Mapping[int, Role] = field(default_factory=dict)


class Callers(Protocol):
    """Tells who sent a message. From any thread."""

    def of(self, frame: zmq.Frame) -> Caller:
        """Who sent the message with this frame; somebody without a role where that isn't known."""
        ...

    @property
    def version(self) -> object:
        """Another one when `of` may say something else than before; None if it never does."""
        ...


class Users:
    """On ipc the kernel says whose process it is."""

    version = None

    def __init__(self, access: Access) -> None:
        self._others = access.group_role
        self._roles = {**access.roles, 0: Role.ADMIN, os.geteuid(): Role.ADMIN}

    def of(self, frame: zmq.Frame) -> Caller:
        """The user."""
        known = _LOCAL.fullmatch(address_of(frame))
        if known is None:
            return Caller(name="the sender", role=Role.NOBODY)
        uid = int(known[1])
        role = self._roles.get(uid, self._others)
        return Caller(name=f"user {uid}", role=role, remedy=_ANOTHER_ROLE)


class Anybody:
    """On tcp without keys (`--insecure`) everybody may do everything."""

    version = None

    def of(self, frame: zmq.Frame) -> Caller:
        """The address, as an admin."""
        return Caller(name=address_of(frame), role=Role.ADMIN)


class KeyHolders:
    """The clients that the key files in a folder name, as they are at each moment."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: tuple[object, Mapping[str, Caller]] = (None, {})

    @property
    def version(self) -> object:
        """Another one when a key file has changed."""
        return keys.signature(self._folder)

    def of(self, frame: zmq.Frame) -> Caller:
        """The holder of the key that the connection was made with."""
        try:
            public = str(frame.get("User-Id"))
        except zmq.ZMQError:
            # The guard lets nobody in without; should it fail, that must not open the door.
            public = ""
        return self.holder_of(public)

    def holder_of(self, public: str) -> Caller:
        """Who has this public key."""
        return self._now().get(public) or Caller(
            name="the key of this client", role=Role.NOBODY, remedy=_ANOTHER_KEY
        )

    def _now(self) -> Mapping[str, Caller]:
        """By public key; read again when a file has changed."""
        version, seen = self.version, self._seen
        if version != seen[0]:
            seen = self._seen = (version, self._read())
        return seen[1]

    def _read(self) -> dict[str, Caller]:
        try:
            found = keys.known(self._folder)
        except ConfigError as error:
            found = keys.Known({}, (str(error),))
        for trouble in found.troubles:
            log.warning("key_unusable", trouble=trouble)
        return {
            grant.public: Caller(name=f"key {name}", role=grant.role, remedy=_ANOTHER_KEY)
            for name, grant in found.grants.items()
        }


def address_of(frame: zmq.Frame) -> str:
    """Where it came from: user and process on ipc, the address on tcp."""
    try:
        return str(frame.get("Peer-Address"))
    except zmq.ZMQError:  # no message should be without; should one be, it must not end the service
        return _UNKNOWN


def roles_of(names: Mapping[str, object]) -> dict[int, Role]:
    """Roles by uid, from those by a user's name or number. Raises `ConfigError`."""
    return {_uid_of(user): role_named(role) for user, role in names.items()}


def _uid_of(user: str) -> int:
    if user.isdecimal():
        return int(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        raise ConfigError(
            f"there is no user {user}, to whom api.roles gives a role",
            remedy="correct the name, or write the user's number",
        ) from None
