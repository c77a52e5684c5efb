"""Where daemon and clients meet when nobody says otherwise, and where the daemon remembers."""

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
