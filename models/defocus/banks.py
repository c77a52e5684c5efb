"""Banks of measured scenes, whatever was measured: dataclasses of arrays whose first axis counts the scenes."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from afdaemon.models.training.kept_arrays import load_arrays, save_arrays

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

B = TypeVar("B", bound="DataclassInstance")


def joined(banks: Sequence[B]) -> B:
    """The scenes of all of them, at least one."""
    kind = type(banks[0])
    return kind(*(np.concatenate([getattr(b, part) for b in banks]) for part in _parts(kind)))


def save_banks(
    path: Path, banks: "Mapping[str, DataclassInstance]", facts: Mapping[str, Any]
) -> None:
    """Write banks by name, and how they were made."""
    arrays = {
        f"{name}.{part}": getattr(bank, part)
        for name, bank in banks.items()
        for part in _parts(type(bank))
    }
    save_arrays(path, arrays, facts)


def load_banks(
    kind: type[B], path: Path, names: Sequence[str], facts: Mapping[str, Any]
) -> list[B]:
    """What `save_banks` wrote with the same facts.

    Raises:
        TrainingError: the file can't be read, or holds scenes that were made differently.
    """
    parts = _parts(kind)
    stored = tuple(f"{name}.{part}" for name in names for part in parts)
    held = load_arrays(path, stored, facts, what="measured scenes")
    return [kind(*(held[f"{name}.{part}"] for part in parts)) for name in names]


def _parts(kind: "type[DataclassInstance]") -> tuple[str, ...]:
    return tuple(part.name for part in fields(kind))
