"""Where a daemon listens: the addresses of its sockets, the folder that holds them, and who may come in there."""

from dataclasses import dataclass

from afdaemon.api.access.callers import Callers
from afdaemon.api.access.guard import Guard
from afdaemon.api.endpoints import Endpoints
from afdaemon.api.rundir import Folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Addresses `at` which it listens, and `callers`, who tells who comes.

    `folder` is held by it if the addresses are of the ipc kind; `guard` lets in who has a key, if they need one.
    """

    at: Endpoints
    callers: Callers
    folder: Folder | None = None
    guard: Guard | None = None
