"""Arrays that took long to make, in a file that records how they were made: they are reused only if that matches."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from afdaemon.models.errors import TrainingError

_FACTS = "facts"


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
    """Write arrays by name, and how they were made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    held: dict[str, Any] = {_FACTS: np.array(json.dumps(facts, sort_keys=True)), **arrays}
    with path.open("wb") as file:
        np.savez_compressed(file, **held)


def load_arrays(
    path: Path, names: tuple[str, ...], facts: Mapping[str, Any], *, what: str
) -> dict[str, NDArray[Any]]:
    """What `save_arrays` wrote under these names with the same facts; `what` they are, in words.

    Raises:
        TrainingError: the file can't be read, or what it holds was made differently.
    """
    remedy = "name another file, or remove it"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
            told, found = str(held[_FACTS]), {name: held[name] for name in names}
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise TrainingError(f"{path} holds no {what} ({error})", remedy=remedy) from error
    if told != json.dumps(facts, sort_keys=True):
        raise TrainingError(
            f"the {what} in {path} were made with other settings: {told}", remedy=remedy
        )
    return found
