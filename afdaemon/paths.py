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
    """Folder of the journal and of the keys: the user's state folder."""
    return platformdirs.user_state_path("afdaemon")


def keys_dir() -> Path:
    """Folder of the keys that a daemon knows: the setting api.keys_dir, or the default of that."""
    return Path(os.environ.get("AFDAEMON_API__KEYS_DIR") or state_dir() / "keys")


def client_key() -> Path:
    """The key that a client uses unless it names another."""
    return platformdirs.user_config_path("afdaemon") / "client.key"
