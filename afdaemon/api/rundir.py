"""The folder of the sockets: held by one daemon at a time, and safe from everybody else.

A second daemon must not take the sockets from a running one, so a lock on a file beside them is taken first; the kernel
drops it with the process, and what a crash leaves behind blocks nobody. The sockets are made here, not by libzmq, which
unlinks whatever it finds at an ipc path. Each is known by its inode, and only what is ours is ever removed.
"""

import itertools
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from afdaemon import locks
from afdaemon.errors import AfdaemonError, BusyError, ConfigError

_LOCK_NAME = "daemon.lock"
_FOLDER_MODE, _LOCK_MODE = 0o700, 0o640
_FORBIDDEN = stat.S_IWGRP | stat.S_IRWXO
"""The owner may let a group in, as the systemd unit does; nobody but the owner may put anything there."""
_SOCKET_MODE = 0o660
_PROBE_S = 0.2
_Identity = tuple[int, int]
"""Device and inode."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Listening:
    """A listening socket. It was made as `path`, which is what its connections call their own end, and then renamed."""

    descriptor: int
    door: str
    number: int

    @property
    def path(self) -> str:
        """Where it was made."""
        return f"{self.door}{self.number}"

    @property
    def address(self) -> str:
        """What libzmq calls it."""
        return f"ipc://{self.path}"

    def close(self) -> None:
        """Refuse whoever waits there."""
        os.close(self.descriptor)


class Folder:
    """A folder that this daemon holds. For one thread, except `listen`, `is_listening`, `is_held` and `trouble`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trouble = ""
        """What is wrong with it now, for people."""
        self._lock = _locked(path)
        self._held = _of(os.fstat(self._lock))
        self._sockets: dict[str, _Identity] = {}
        self._numbers = itertools.count(1)

    @property
    def is_held(self) -> bool:
        """Whether the lock that we hold is the one that others would find there."""
        return _identity(self.path / _LOCK_NAME) == self._held

    def listen(self, name: str, backlog: int) -> Listening:
        """A new listening socket under that name, for owner and group; it replaces ours, if there is one.

        Whoever connects finds either the old one or the new one.

        Raises:
            BusyError: another program listens there.
            ConfigError: what lies there is no socket of ours, or the folder has become unusable.
        """
        path = self.path / name
        if not self.is_listening(name):
            _clear(path)
        listening = _listening(door_of(path), next(self._numbers), backlog)
        made = Path(listening.path)
        try:
            identity = _of(made.lstat())
            made.rename(path)
        except OSError as error:
            listening.close()
            raise ConfigError(f"cannot listen on {path}: {error.strerror}") from None
        self._sockets[name] = identity
        return listening

    def is_listening(self, name: str) -> bool:
        """Whether others still find our socket under that name."""
        return _identity(self.path / name) == self._sockets.get(name)

    def mend(self) -> None:
        """Make and lock the folder again if it, or the lock in it, has gone; say what is wrong in `trouble`."""
        try:
            if self.is_held:
                _checked(self.path)
            else:
                lost, self._lock = self._lock, _locked(self.path)
                os.close(lost)
                self._held = _of(os.fstat(self._lock))
                log.warning("runtime_folder_made_again", folder=str(self.path))
        except AfdaemonError as error:
            self.tell(str(error), error.remedy)
        else:
            if all(map(self.is_listening, self._sockets)):
                self.tell("")

    def tell(self, trouble: str, remedy: str = "") -> None:
        """What is wrong now; a change goes to the log."""
        if trouble and trouble != self.trouble:
            log.error("runtime_folder", trouble=trouble, remedy=remedy)
        self.trouble = trouble

    def close(self) -> None:
        """Remove our sockets, and let the folder go."""
        for name in self._sockets:
            if self.is_listening(name):
                with suppress(OSError):
                    (self.path / name).unlink()
        os.close(self._lock)


@contextmanager
def held(path: Path) -> Iterator[Folder]:
    """Create the folder if need be, and hold it.

    Raises:
        BusyError: another daemon holds it.
        ConfigError: it cannot be created or used, or is not ours alone.
    """
    folder = Folder(path)
    try:
        yield folder
    finally:
        folder.close()


def problem_of(path: Path, status: os.stat_result, uid: int) -> ConfigError | None:
    """Why a daemon of the user `uid` must not put its sockets at `path`, if it must not; `status` is that of lstat."""
    another = "name another folder with api.runtime_dir or --endpoint"
    if stat.S_ISLNK(status.st_mode):
        return ConfigError(
            f"{path} is a symbolic link: whoever made it decides where the sockets go",
            remedy=f"name the folder itself, or {another}",
        )
    if not stat.S_ISDIR(status.st_mode):
        return ConfigError(f"{path} cannot hold the sockets: it is not a folder", remedy=another)
    if status.st_uid != uid:
        return ConfigError(
            f"{path} belongs to user {status.st_uid}, who could replace the sockets of user {uid}",
            remedy=f"remove it if nobody needs it, or {another}",
        )
    if status.st_mode & _FORBIDDEN:
        mode = stat.S_IMODE(status.st_mode)
        return ConfigError(
            f"{path} is open to others (mode {mode:04o})",
            remedy=f"`chmod 700 {path}`, or 750 to let its group connect",
        )
    return None


def holder_of(path: Path) -> int | None:
    """The process that holds the folder; None if nobody does, or if that cannot be found out."""
    return locks.holder_of(path / _LOCK_NAME)


def _checked(path: Path) -> None:
    try:
        status = path.lstat()
    except OSError as error:
        raise _unusable(path, error) from None
    problem = problem_of(path, status, os.geteuid())
    if problem is not None:
        raise problem


def _locked(path: Path) -> int:
    """The descriptor of the folder's lock, taken."""
    try:
        path.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    except FileExistsError:
        pass  # what is there instead is told below
    except OSError as error:
        raise _unusable(path, error) from None
    _checked(path)
    try:
        return locks.take(path / _LOCK_NAME, _LOCK_MODE)
    except locks.Held as held:
        raise BusyError(
            f"another afdaemon (process {held.holder}) already serves {path}",
            remedy="use that one (`afctl status`), or give this one another api.runtime_dir",
        ) from None
    except OSError as error:
        raise _unusable(path, error) from None


def door_of(path: Path) -> str:
    """How the names begin under which the sockets of `path` are made; a number follows. Not longer than `path`."""
    return str(path.with_name(f".{path.name[0]}"))


def _listening(door: str, number: int, backlog: int) -> Listening:
    path = Path(f"{door}{number}")
    _clear(path)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
            path.chmod(_SOCKET_MODE)
            made.listen(backlog)
            return Listening(made.detach(), door, number)
    except OSError as error:
        raise ConfigError(f"cannot listen on {path}: {error.strerror}") from None


def _clear(path: Path) -> None:
    """Remove a socket that a crash has left; anything else is left alone. Raises `BusyError` or `ConfigError`."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unusable(path.parent, error) from None
    if not stat.S_ISSOCK(status.st_mode):
        raise ConfigError(
            f"{path} is in the way: it is not a socket, and afdaemon removes nothing else",
            remedy="move it away, or name another folder with api.runtime_dir or --endpoint",
        )
    if _is_alive(path):
        raise BusyError(
            f"another program already listens on {path}",
            remedy="end it, or name another folder with api.runtime_dir or --endpoint",
        )
    path.unlink(missing_ok=True)


def _is_alive(path: Path) -> bool:
    """Whether somebody listens on the socket there."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:  # somebody who is too busy, or who doesn't let us in
            return True
        return True


def _unusable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"the folder {path} cannot hold the sockets: {error.strerror}",
        remedy="name another one with api.runtime_dir or --endpoint",
    )


def _identity(path: Path) -> _Identity | None:
    try:
        return _of(path.lstat())
    except OSError:
        return None


def _of(status: os.stat_result) -> _Identity:
    return status.st_dev, status.st_ino
