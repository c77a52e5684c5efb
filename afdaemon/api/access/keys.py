"""The files of the keys: the daemon's own, what it knows of its clients, and the one that each client has.

    FOLDER/server.key            the daemon's key pair: secret
    FOLDER/clients/NAME.json     a client's role and public key
    NAME.key                     a client's key pair, and the public key of the daemon that it is for: secret

All are JSON. Keys are those of CURVE (Curve25519), in Z85 as in all of ZeroMQ. A file with a secret is made for its
owner alone, and refused when others may read it.
"""

import os
import re
import secrets
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import zmq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from afdaemon.api.access.roles import Role
from afdaemon.errors import ConfigError, UsageError
from afdaemon.paths import client_key

_SERVER, _CLIENTS, _SUFFIX = "server.key", "clients", ".json"
_FOLDER_MODE, _FILE_MODE = 0o700, 0o600
_MOST_BYTES = 4096
KEY_VARIABLE = "AFCTL_KEY"
"""Names the client's key file."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Z85 = Annotated[str, Field(pattern=r"^[0-9A-Za-z.:+=^!/*?&<>()\[\]{}@%$#-]{40}$")]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class KeyPair(_File):
    """A key pair: the daemon's own."""

    public: Z85
    secret: Z85


class ClientKey(KeyPair):
    """A client's key pair, and the public key of its daemon."""

    server: Z85


class Grant(_File):
    """What a daemon knows of a client."""

    role: Role
    public: Z85


F = TypeVar("F", bound=_File)


@dataclass(frozen=True, slots=True)
class Known:
    """The clients that a daemon knows, by name; and what is wrong with files that are of no use."""

    grants: Mapping[str, Grant]
    troubles: tuple[str, ...] = ()


def server_key(folder: Path) -> KeyPair:
    """The daemon's own key; it is made on first need.

    Raises:
        ConfigError: the folder or the file can't be used, or others may write or read there.
    """
    _make_folder(folder)
    path = folder / _SERVER
    if not path.exists():
        public, secret = _pair()
        with suppress(FileExistsError):  # somebody else has just made it
            _write_new(path, KeyPair(public=public, secret=secret))
    return _read(KeyPair, path, secret=True)


def hand_out(folder: Path, name: str, role: Role, file: Path) -> None:
    """Enter a new client, and write its own key to `file`, which is kept nowhere else.

    Both or neither: no client is known whose key could not be written, and no file is ever replaced.

    Raises:
        UsageError: it is no name, there is a client of that name, or the file can't be written.
        ConfigError: the folder can't be used.
    """
    _require_name(name)
    server = server_key(folder).public
    _make_folder(folder / _CLIENTS)
    public, secret = _pair()
    try:
        _create(file, ClientKey(public=public, secret=secret, server=server))
    except OSError as error:
        raise UsageError(
            f"{file} cannot be written: {error.strerror}", remedy="name another file with --out"
        ) from None
    try:
        _write_new(_file_of(folder, name), Grant(role=role, public=public))
    except FileExistsError:
        file.unlink()
        raise UsageError(
            f"there is a key {name} already",
            remedy=f"choose another name, or `afctl keys revoke {name}` first",
        ) from None
    except ConfigError:
        file.unlink()
        raise


def revoke(folder: Path, name: str) -> None:
    """Forget a client: from now on it is let in no more. Raises `UsageError` if there is none of that name."""
    _require_name(name)
    try:
        _file_of(folder, name).unlink()
    except FileNotFoundError:
        raise UsageError(
            f"there is no key {name} in {folder}", remedy="`afctl keys list` shows all"
        ) from None
    except OSError as error:
        raise _unusable(folder, error) from None


def key_in_use(given: str | Path | None = None) -> ClientKey | None:
    """A client's key: from the file that is `given`, that AFCTL_KEY names, or the user's own if there is one.

    An empty name means none. Raises `ConfigError` for a file that can't be used.
    """
    named = os.environ.get(KEY_VARIABLE) if given is None else given
    if named is None:
        return _read(ClientKey, client_key(), secret=True) if client_key().exists() else None
    return _read(ClientKey, Path(named).expanduser(), secret=True) if str(named) else None


def known(folder: Path) -> Known:
    """The clients that are entered in a folder; a file that can't be used keeps nobody else out."""
    grants: dict[str, Grant] = {}
    troubles: list[str] = []
    owners: dict[str, str] = {}
    for path in _files(folder):
        try:
            grant = _read(Grant, path, secret=False)
        except ConfigError as error:
            troubles.append(str(error))
            continue
        first = owners.setdefault(grant.public, path.stem)
        if first == path.stem:
            grants[path.stem] = grant
        else:
            troubles.append(f"{path} has the key of {first}: only that one counts")
    return Known(grants, tuple(troubles))


def signature(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Changes with each change of what `known` says."""
    with suppress(OSError, ConfigError):
        return tuple((path.name, *_stamp(path)) for path in _files(folder))
    return ()


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_ino


def _files(folder: Path) -> list[Path]:
    place = folder / _CLIENTS
    try:
        found = sorted(place.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unusable(place, error) from None
    return [path for path in found if path.suffix == _SUFFIX and path.name[0] != "."]


def _file_of(folder: Path, name: str) -> Path:
    return folder / _CLIENTS / f"{name}{_SUFFIX}"


def _require_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be the name of a key",
            remedy="use up to 64 letters, digits and `._-`, a letter or a digit first",
        )


def _pair() -> tuple[str, str]:
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()


def _make_folder(folder: Path) -> None:
    """Make it if need be, for its owner alone. Raises `ConfigError` where it can't be used, or others may write."""
    try:
        if not folder.exists():
            folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            _give_to_owner_of(folder.parent, folder)
        status = folder.stat()
    except OSError as error:
        raise _unusable(folder, error) from None
    is_strangers = status.st_uid not in (os.geteuid(), 0) and os.geteuid() != 0
    if is_strangers or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(
            f"others may write in {folder}, and so let in whom they like",
            remedy=f"`chmod 700 {folder}` as the daemon's user, or name another with api.keys_dir",
        )


def _write_new(path: Path, content: _File) -> None:
    """Whole or not at all, and never in place of another file: then `FileExistsError`."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        _create(part, content)
        _give_to_owner_of(path.parent, part)
        path.hardlink_to(part)
    except FileExistsError:
        raise
    except OSError as error:
        raise _unusable(path.parent, error) from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _create(path: Path, content: _File) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(content.model_dump_json(indent=2) + "\n")
        file.flush()
        os.fsync(descriptor)


def _give_to_owner_of(folder: Path, path: Path) -> None:
    """What root makes for a daemon belongs to the daemon's user."""
    if os.geteuid() == 0:
        status = folder.stat()
        os.chown(path, status.st_uid, status.st_gid)


def _read(kind: type[F], path: Path, *, secret: bool) -> F:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            raw = file.read(_MOST_BYTES)
    except OSError as error:
        raise ConfigError(
            f"the key file {path} cannot be read: {error.strerror}",
            remedy="name the right file, or make a key with `afctl keys new NAME --role ROLE`",
        ) from None
    if secret and os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"the key file {path} is secret, and open to others (mode {stat.S_IMODE(mode):04o})",
            remedy=f"`chmod 600 {path}`; make a new key if somebody may have read it",
        )
    try:
        return kind.model_validate_json(raw)
    except ValidationError as error:
        raise ConfigError(
            f"{path} is not a file of this kind: {_first(error)}",
            remedy="make a new key with `afctl keys new NAME --role ROLE`",
        ) from None


def _first(error: ValidationError) -> str:
    """What is wrong, without what is in the file: that may be a secret."""
    problem = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, problem["loc"]))
    return f"{where}: {problem['msg']}" if where else str(problem["msg"])


def _unusable(folder: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"the keys in {folder} cannot be used: {error.strerror}",
        remedy="run this as the daemon's user or as root, or name the folder with api.keys_dir",
    )
