"""The journal's file: SQLite in WAL mode with `synchronous=FULL`, private, and held by one daemon.

Every failure is a `JournalError` whose remedy fits it. A job is never refused for a full disk in words that fit a
damaged file.
"""

import errno
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from afdaemon import locks
from afdaemon.errors import BusyError, JournalError

BUSY_TIMEOUT_S = 1.0
"""How long to wait for another process that holds the file, e.g. a backup."""
_FOLDER_MODE = 0o700
_FILE_MODE = 0o600
_ALL_BUT_OURS = 0o077
_COMPANIONS = ("-wal", "-shm", "-journal")
"""Files that SQLite keeps beside its own."""
_MOST_WAL_BYTES = 4 << 20
"""To this length the WAL is cut once its content is in the file: about 1 000 pages, SQLite's own checkpoint."""

_SPACE = "free space on the disk of {folder}, or set journal.path to a file on another one"
_ACCESS = "let the daemon's user write to {folder} and the file in it, or set journal.path"
_REMEDIES = {
    sqlite3.SQLITE_FULL: _SPACE,
    sqlite3.SQLITE_IOERR: "check the disk of {folder} (kernel log), and how large a file may be (ulimit -f)",
    sqlite3.SQLITE_READONLY: _ACCESS,
    sqlite3.SQLITE_PERM: _ACCESS,
    sqlite3.SQLITE_CANTOPEN: _ACCESS,
    sqlite3.SQLITE_BUSY: "let the program that holds it (a backup, a sqlite3 shell) finish, then try again",
    sqlite3.SQLITE_CORRUPT: (
        "move it away with its -wal and -shm files, and start again: a new one is made. What earlier jobs owe is then"
        " not known: look where the microscope stands"
    ),
}
_REMEDIES[sqlite3.SQLITE_LOCKED] = _REMEDIES[sqlite3.SQLITE_BUSY]
_REMEDIES[sqlite3.SQLITE_NOTADB] = _REMEDIES[sqlite3.SQLITE_CORRUPT]
_PRIMARY = 0xFF
"""The byte of an extended result code of SQLite that names the family."""
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Store:
    """An open file. Use it from one thread at a time; make it with `held` or `looked_at`."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: int | None = None) -> None:
        self.path = path
        self.connection = connection
        self._lock = lock
        self._file = None if lock is None else _identity(path)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything in it is durable when it ends, or nothing is. Raises `JournalError`."""
        with errors_named(self.path):
            if self._file is not None and _identity(self.path) != self._file:
                raise JournalError(
                    f"the journal {self.path} was moved or removed while the daemon used it",
                    remedy="put it back, or stop the daemon and start it again: it makes a new one",
                )
            with self.connection:
                yield self.connection

    def close(self) -> None:
        """Release the file. Safe to call twice."""
        self.connection.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def held(path: Path, prepare: Callable[[sqlite3.Connection], None]) -> Store:
    """The file at `path` for this process alone, made if it is missing, and readable by its owner only.

    `prepare` is given the connection before anything else. Readers are not kept out.

    Raises:
        BusyError: another daemon holds it.
        JournalError: it cannot be used, or belongs to somebody else.
    """
    path = path.resolve()
    with errors_named(path):
        path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        lock = _locked(path)
    try:
        with errors_named(path):
            _make_private(path)
            store = Store(path, _connected(path, "rw"), lock)
    except BaseException:
        os.close(lock)
        raise
    try:
        with errors_named(path):
            prepare(store.connection)
            store.connection.execute("PRAGMA journal_mode = WAL")
            store.connection.execute("PRAGMA synchronous = FULL")
            store.connection.execute(f"PRAGMA journal_size_limit = {_MOST_WAL_BYTES}")
    except BaseException:
        store.close()
        raise
    return store


def looked_at(path: Path) -> Store:
    """The file at `path`, only to be read, also while a daemon writes it. Raises `JournalError`."""
    path = path.resolve()
    with errors_named(path):
        return Store(path, _connected(path, "ro"))


@contextmanager
def errors_named(path: Path) -> Iterator[None]:
    """What the disk or SQLite says, as a `JournalError` with the remedy that fits."""
    try:
        yield
    except sqlite3.Error as error:
        family = getattr(error, "sqlite_errorcode", 0) & _PRIMARY
        raise _failure(path, error, _REMEDIES.get(family)) from error
    except OSError as error:
        remedy = _SPACE if error.errno in _DISK_FULL else _ACCESS
        raise _failure(path, error, remedy) from error


def _failure(path: Path, error: Exception, remedy: str | None) -> JournalError:
    fitting = None if remedy is None else remedy.format(folder=path.parent)
    return JournalError(f"the journal {path} fails: {error}", remedy=fitting)


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level="IMMEDIATE" if mode == "rw" else "DEFERRED",
        check_same_thread=False,
    )
    connection.row_factory = sqlite3.Row
    return connection


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file lies there, if any."""
    try:
        now = path.stat()
    except FileNotFoundError:
        return None
    return now.st_dev, now.st_ino


def _locked(path: Path) -> int:
    """A lock beside the file."""
    try:
        return locks.take(path.with_name(f"{path.name}.lock"), _FILE_MODE)
    except locks.Held as held:
        raise BusyError(
            f"another afdaemon (process {held.holder}) keeps its journal in {path}",
            remedy="use that one (`afctl status`), or give this one another journal.path",
        ) from None


def _make_private(path: Path) -> None:
    """Make the file if it is missing; it and its companions must be ours, and become ours alone."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE))
    for one in (path, *(path.with_name(path.name + suffix) for suffix in _COMPANIONS)):
        try:
            found = one.lstat()
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise JournalError(
                f"{one} does not belong to the daemon's user, or is no plain file",
                remedy="remove it if nobody needs it, or set journal.path to a file in a folder of the daemon's own",
            )
        if found.st_mode & _ALL_BUT_OURS:
            one.chmod(_FILE_MODE)
