"""Where a daemon listens: the addresses of its sockets, and the folder that holds them."""

from dataclasses import dataclass

from afdaemon.api.endpoints import Endpoints
from afdaemon.api.rundir import Folder


@dataclass(frozen=True, slots=True)
class Place:
    """Addresses `at` which it listens; `folder` is held by it if they are of the ipc kind."""

    at: Endpoints
    folder: Folder | None
