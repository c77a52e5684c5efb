"""Files that commands write: all of them or none, and what cannot be written is reported in one sentence."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

from afdaemon.errors import UsageError


def check_suffix(path: Path, allowed: tuple[str, ...]) -> None:
    """Raise `UsageError` for a name that ends in none of these suffixes."""
    if path.suffix.lower() not in allowed:
        raise UsageError(
            f"{path} does not end in {' or '.join(allowed)}", remedy="choose the kind by the suffix"
        )


def check_place(path: Path, *, option: str) -> None:
    """Raise `UsageError` if no file can be written there: before the work, not after it."""
    if path.is_dir():
        raise _refused(path, "it is a folder", option)
    if not path.parent.is_dir():
        raise _refused(path, f"{path.parent} is not a folder", option)


def write_all(files: Mapping[Path, bytes], *, option: str) -> None:
    """Write all files, or none. `option` is where the user named them.

    Raises:
        UsageError: one of them cannot be written.
    """
    parts = {path.with_name(f".{path.name}.part"): path for path in files}
    try:
        for part, path in parts.items():
            if path.is_dir():
                raise _refused(path, "it is a folder", option)
            part.write_bytes(files[path])
        for part, path in parts.items():
            part.replace(path)
    except OSError as error:
        raise _refused(next(iter(files)), str(error.strerror), option) from error
    finally:
        for part in parts:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


def _refused(path: Path, why: str, option: str) -> UsageError:
    return UsageError(
        f"{path} cannot be written: {why}", remedy=f"give another place with {option}"
    )
