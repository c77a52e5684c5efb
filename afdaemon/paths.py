"""Default folders: where daemon and clients meet, and where the daemon keeps its journal."""

import os
import tempfile
from pathlib import Path

import platformdirs


def runtime_dir() -> Path:
    """Folder of the sockets: the session's, or one of the user's own in the temporary folder."""
    session = os.environ.get("XDG_RUNTIME_DIR")
    if session:
        return Path(session) / "afdaemon"
    return Path(tempfile.gettempdir()) / f"afdaemon-{os.getuid()}"


def state_dir() -> Path:
    """Folder of the journal: the user's state folder."""
    return platformdirs.user_state_path("afdaemon")
