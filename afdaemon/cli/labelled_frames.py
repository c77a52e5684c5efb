"""A user's labelled frames for the networks: their folder format on top of the drivers' codecs."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from afdaemon.drivers.errors import DriverError
from afdaemon.drivers.wire import labelled_files as wire
from afdaemon.models.errors import DatasetError

if TYPE_CHECKING:
    from afdaemon.models.training.labelled_folder import (
        FileFormat,
        FolderFault,
        Label,
        LabelledFolder,
    )

T = TypeVar("T")


def open_labelled(folder: Path, *, lenient: bool = False) -> "LabelledFolder":
    """The labelled frames under `folder`; parts as its `dataset.json` names them, else by the scenes' names.

    Raises:
        DatasetError: no labelled frame is there, or (unless `lenient`) something is wrong with one.
    """
    from afdaemon.models.training.labelled_folder import open_folder

    return open_folder(folder, reading(), parts=parts_noted(folder), lenient=lenient)


def reading() -> "FileFormat":
    """How the instrument's pictures and texts are read."""
    from afdaemon.drivers.wire.jpeg import decode_jpeg
    from afdaemon.models.training.labelled_folder import FileFormat

    return FileFormat(
        pixels=lambda data: _told(decode_jpeg, data),
        label=_label,
        picture_suffixes=wire.PICTURE_SUFFIXES,
        text_suffix=wire.TEXT_SUFFIX,
    )


def _read_note(folder: Path) -> dict[str, Any] | None:
    """What `folder` says of itself in `dataset.json`; None if it says nothing.

    Raises:
        DatasetError: there is such a file, but it is not a JSON object.
    """
    path = folder / wire.NOTE_NAME
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not JSON: {error}") from error
    if not isinstance(note, dict):
        raise DatasetError(f"{path} is not a JSON object")
    return note


def parts_noted(folder: Path) -> Mapping[str, str]:
    """The part of each scene that `dataset.json` names; empty without one.

    Raises:
        DatasetError: it names something that is not a part.
    """
    from afdaemon.models.training.labelled_folder import PARTS

    parts = (_read_note(folder) or {}).get("parts", {})
    if not isinstance(parts, dict):
        raise DatasetError(f"{folder / wire.NOTE_NAME}: parts must map scenes to parts")
    for scene, part in parts.items():
        if part not in PARTS:
            raise DatasetError(
                f"{folder / wire.NOTE_NAME}: the part of {scene!r} must be one of {', '.join(PARTS)},"
                f" not {part!r}"
            )
    return parts


def listing_faults(folder: Path) -> "list[FolderFault]":
    """Where a written data set is no longer what its note and its listing say; none for a folder without a note."""
    from afdaemon.models.training.labelled_folder import FolderFault

    note = _read_note(folder)
    if note is None or "complete" not in note:
        return []
    if note["complete"] is not True:
        return [FolderFault(wire.NOTE_NAME, "it is incomplete: write it again to continue")]
    try:
        listing = (folder / wire.LISTING_NAME).read_bytes()
    except OSError as error:
        return [FolderFault(wire.LISTING_NAME, f"it cannot be read ({error.strerror})")]
    if hashlib.sha256(listing).hexdigest() != note.get("listing_sha256"):
        return [
            FolderFault(wire.LISTING_NAME, f"it is not the one that {wire.NOTE_NAME} describes")
        ]
    lines = (line.partition("  ") for line in listing.decode().splitlines())
    checked = ((name, _changed(folder / name, digest)) for digest, _, name in lines)
    return [FolderFault(name, message) for name, message in checked if message]


def _changed(path: Path, sha256: str) -> str:
    """What is wrong with a listed file; nothing if it is as it was written."""
    try:
        same = hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    except OSError as error:
        return f"it is listed and cannot be read ({error.strerror})"
    return "" if same else "it was changed after it was written (SHA-256 differs)"


def _label(data: bytes) -> "Label":
    from afdaemon.models.training.labelled_folder import Label

    read = _told(wire.decode_labelled, data)
    controls = {"brightness": read.brightness, "contrast": read.contrast}
    return Label(
        score=read.score,
        magnification=float(read.magnification),
        wd_um=read.wd_um,
        **{name: value for name, value in controls.items() if value is not None},
    )


def _told(decode: Callable[[bytes], T], data: bytes) -> T:
    """`decode(data)`, with its errors raised as the data set's."""
    try:
        return decode(data)
    except DriverError as error:
        raise DatasetError(str(error)) from error
