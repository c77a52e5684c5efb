"""The folder of the sockets, held by one daemon at a time.

libzmq unlinks whatever it finds at an ipc path and binds anew, so a second daemon would silently
take the sockets from a running one. Therefore a lock on a file beside them is taken first; the kernel
drops it with the process, so that what a crash leaves behind blocks nobody.
"""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from afdaemon.api.endpoints import NAMES
from afdaemon.errors import BusyError, ConfigError

_LOCK_NAME = "daemon.lock"
_FOLDER_MODE = 0o750
_SOCKET_MODE = 0o660


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Create `folder` if need be, and hold it.

    Raises:
        BusyError: another daemon holds it.
        ConfigError: it cannot be created or used, or anybody could replace the sockets in it.
    """
    try:
        folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        open_to_all = folder.stat().st_mode & stat.S_IWOTH
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        lock = -1 if open_to_all else os.open(folder / _LOCK_NAME, flags, 0o640)
    except OSError as error:
        raise ConfigError(
            f"the folder {folder} cannot hold the sockets: {error.strerror}",
            remedy="name another one with api.runtime_dir or --endpoint",
        ) from None
    if open_to_all:
        raise ConfigError(
            f"everybody may write to {folder}, and so replace the daemon's sockets",
            remedy="name a folder of its own with api.runtime_dir or --endpoint",
        )
    try:
        _take(lock, folder)
        try:
            yield
        finally:
            for name in NAMES:  # libzmq leaves them; while the lock is held they are ours
                (folder / name).unlink(missing_ok=True)
    finally:
        os.close(lock)


def share(socket_path: Path) -> None:
    """Let the owner and the group of the daemon connect, nobody else."""
    socket_path.chmod(_SOCKET_MODE)


def _take(lock: int, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 16, 0).decode("ascii", "replace").strip() or "unknown"
        raise BusyError(
            f"another afdaemon (process {holder}) already serves {folder}",
            remedy="use that one (`afctl status`), or give this one another api.runtime_dir",
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode("ascii"), 0)
