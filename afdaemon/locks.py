"""A lock on a file that names its holder. The kernel drops it with the process: a crash blocks nobody."""

import fcntl
import os
from pathlib import Path

_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW


class Held(Exception):
    """Another process has it: its number, or "unknown"."""

    def __init__(self, holder: str) -> None:
        super().__init__(holder)
        self.holder = holder


def take(path: Path, mode: int) -> int:
    """The descriptor of the lock, taken until it is closed; the file is made if it is missing. Raises Held, OSError."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, mode)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode("ascii"), 0)
    except BlockingIOError:
        holder = _told(lock)
        os.close(lock)
        raise Held(holder or "unknown") from None
    except BaseException:
        os.close(lock)
        raise
    return lock


def holder_of(path: Path) -> int | None:
    """The process that holds the lock; None if nobody does, or if that cannot be found out."""
    try:
        lock = os.open(path, os.O_RDONLY | _FLAGS)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        told = _told(lock)
        return int(told) if told.isdecimal() else None
    else:
        return None
    finally:
        os.close(lock)


def _told(lock: int) -> str:
    return os.pread(lock, 16, 0).decode("ascii", "replace").strip()
