"""The files of a system service: what is in them, and where they go."""

import os
import re
import stat
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from afdaemon.errors import UsageError

UNITS = ("afdaemon.service", "afdaemon@.service")
EXAMPLE = "afdaemon.toml"
_PROGRAM = "/usr/bin/afdaemon"
"""What the units start before an interpreter is filled in."""
_PLACES = {
    "afdaemon.sysusers.conf": "/etc/sysusers.d/afdaemon.conf",
    "afdaemon.tmpfiles.conf": "/etc/tmpfiles.d/afdaemon.conf",
    "60-afdaemon-em30.rules": "/etc/udev/rules.d/60-afdaemon-em30.rules",
}
_HOMES = ("/home", "/root", "/run/user")
"""What ProtectHome= hides from the service."""


def wanted(python: Path, instance: str | None) -> dict[str, bytes]:
    """Every file by its absolute path; the units start the interpreter `python`.

    `instance` names one of several microscopes, with settings of its own. Raises `UsageError` for an impossible name.
    """
    files = {f"/etc/systemd/system/{name}": unit(_text(name), python) for name in UNITS}
    files |= {place: _text(name) for name, place in _PLACES.items()}
    files[config_path(instance)] = config(_text(EXAMPLE), instance)
    return {path: text.encode() for path, text in files.items()}


def config_path(instance: str | None) -> str:
    """Where the settings are. Raises `UsageError`."""
    if instance is not None and not re.fullmatch("(?!afdaemon$)[a-z0-9][a-z0-9-]{0,30}", instance):
        raise UsageError(
            f"--instance {instance!r} cannot be a name",
            remedy="use up to 31 small letters, digits and hyphens, but not afdaemon itself",
        )
    return f"/etc/afdaemon/{instance or 'afdaemon'}.toml"


def runtime_dir(instance: str | None) -> str:
    """Where the sockets are."""
    return "/run/afdaemon" if instance is None else f"/run/afdaemon-{instance}"


def state_dir(instance: str | None) -> str:
    """Where journal and calibration are."""
    return "/var/lib/afdaemon" if instance is None else f"/var/lib/afdaemon-{instance}"


def unit_name(instance: str | None) -> str:
    """What systemd calls the service."""
    return "afdaemon" if instance is None else f"afdaemon@{instance}"


def unit(text: str, python: Path) -> str:
    """A unit that starts this interpreter."""
    return text.replace(f"={_PROGRAM} ", f"={_quoted(str(python))} -I -m afdaemon ")


def config(text: str, instance: str | None) -> str:
    """The example settings, with the folders of an instance."""
    return text.replace("/run/afdaemon", runtime_dir(instance)).replace(
        "/var/lib/afdaemon/", f"{state_dir(instance)}/"
    )


def why_unreachable(python: Path, mode_of: Callable[[Path], int] | None = None) -> str:
    """Why the service's user could not start this interpreter; empty if it could."""
    ask = mode_of or (lambda path: path.stat().st_mode)
    for path in (python, Path(os.path.realpath(python))):
        for home in _HOMES:
            if path.is_relative_to(home):
                return f"{path} lies in {home}, which the service does not see"
        for part in (path, *path.parents):
            if not ask(part) & stat.S_IXOTH:
                return f"{part} is closed to other users"
    return ""


def _quoted(text: str) -> str:
    """A path as a word of ExecStart=."""
    escaped = re.sub(r'(["\\])', r"\\\1", text).replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if re.search(r"[^\w/.%$+@:-]", escaped) else escaped


def _text(name: str) -> str:
    return resources.files("afdaemon").joinpath("systemd", name).read_text(encoding="utf-8")
