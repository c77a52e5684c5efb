"""`afdaemon install`: puts the files of a system service in place, and takes them away again."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from afdaemon.cli.install import files
from afdaemon.cli.install.plan import Deed, Step, in_words, ours_after, to_install, to_remove
from afdaemon.errors import UsageError

_RECORD = "/etc/afdaemon/.installed.json"
"""What was put where, by digest. In a folder of root: a daemon must not choose what root removes."""
_MODE = 0o644
_CONFIG_MODE = 0o640
"""Settings may hold a token; tmpfiles gives them to the daemon's group."""


def install(
    *,
    prefix: Annotated[
        Path, typer.Option(help="put everything below this folder, for a package or an image")
    ] = Path("/"),
    instance: Annotated[
        str | None, typer.Option(help="name of one of several microscopes: afdaemon@NAME")
    ] = None,
    python: Annotated[
        Path | None, typer.Option(help="interpreter that the service starts; default: this one")
    ] = None,
    uninstall: Annotated[
        bool, typer.Option("--uninstall", help="remove what was installed, except what was edited")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be done")] = False,
) -> None:
    """Install afdaemon as a systemd service: units, user, udev rule, settings. Edited files are never overwritten."""
    ours = _recorded(prefix)
    if uninstall:
        only = None if instance is None else files.config_path(instance)
        steps, after = to_remove(_present(prefix, ours), ours, only), _goodbye(instance)
    else:
        interpreter = (python or Path(sys.executable)).absolute()
        if prefix == Path("/"):
            _require_reachable(interpreter)
        wanted = files.wanted(interpreter, instance)
        steps, after = to_install(wanted, _present(prefix, wanted), ours), _commands(instance)
    if not dry_run:
        _carry_out(prefix, steps, ours)
    typer.echo("\n".join([*in_words(steps, done=not dry_run), "", *after]))


def _require_reachable(python: Path) -> None:
    try:
        why = files.why_unreachable(python)
    except OSError as error:
        why = f"{python}: {error.strerror}"
    if why:
        raise UsageError(
            f"the service's user cannot start this interpreter: {why}",
            remedy="install afdaemon into a virtual environment in /opt/afdaemon and call `install` from there,"
            " or name an interpreter with --python",
        )


def _recorded(prefix: Path) -> dict[str, str]:
    """Digests of what was put where before."""
    path = _below(prefix, _RECORD)
    try:
        return {str(k): str(v) for k, v in dict(json.loads(path.read_bytes())).items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _refused(path, error) from error
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"{path} does not say what was installed: {error}",
            remedy="remove it; what is installed then counts as edited",
        ) from error


def _present(prefix: Path, paths: Iterable[str]) -> dict[str, bytes]:
    """What is there; a link or a folder counts as edited."""
    there = {path: _below(prefix, path) for path in paths}
    try:
        return {
            path: place.read_bytes() if place.is_file() and not place.is_symlink() else b""
            for path, place in there.items()
            if place.exists() or place.is_symlink()
        }
    except OSError as error:
        raise _refused(Path(str(error.filename)), error) from error


def _carry_out(prefix: Path, steps: Sequence[Step], ours: Mapping[str, str]) -> None:
    try:
        for step in steps:
            path = _below(prefix, step.path)
            if step.deed in (Deed.WRITE, Deed.BESIDE):
                _write(path, step.content, _CONFIG_MODE if "/etc/afdaemon/" in step.path else _MODE)
            elif step.deed is Deed.REMOVE:
                path.unlink()
        _record(prefix, ours_after(steps, ours))
    except OSError as error:
        raise _refused(Path(str(error.filename)), error) from error


def _record(prefix: Path, ours: Mapping[str, str]) -> None:
    path = _below(prefix, _RECORD)
    if ours:
        _write(path, json.dumps(ours, indent=2).encode() + b"\n", _MODE)
        return
    path.unlink(missing_ok=True)
    if path.parent.is_dir() and not any(path.parent.iterdir()):
        path.parent.rmdir()


def _write(path: Path, content: bytes, mode: int) -> None:
    """All of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=mode, exist_ok=False)
    part.chmod(mode)
    part.write_bytes(content)
    part.replace(path)


def _below(prefix: Path, path: str) -> Path:
    return prefix / path.lstrip("/")


def _refused(path: Path, error: OSError) -> UsageError:
    return UsageError(
        f"{path} cannot be changed: {error.strerror}",
        remedy="run it with sudo, or put the files elsewhere with --prefix",
    )


def _commands(instance: str | None) -> list[str]:
    name, config = files.unit_name(instance), files.config_path(instance)
    return [
        f"Now set the link to the microscope in {config}, then run as root:",
        "    systemd-sysusers && systemd-tmpfiles --create afdaemon.conf",
        "    udevadm control --reload && udevadm trigger --subsystem-match=usb",
        f"    systemctl daemon-reload && systemctl enable --now {name}",
        f"    afdaemon doctor --config {config}",
        "Let people use it (they have to log in again):",
        "    usermod -aG afdaemon NAME",
        f"    afctl --endpoint {files.runtime_dir(instance)} status",
    ]


def _goodbye(instance: str | None) -> list[str]:
    name = files.unit_name(instance)
    return [
        "If the service still runs, end it as root:",
        f"    systemctl disable --now {name}; systemctl daemon-reload",
        f"Journal and calibration are kept in {files.state_dir(instance)}.",
    ]
