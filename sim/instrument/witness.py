"""The ground truth in JSON and on disk, never on the vendor's wire: for tests, reports and benchmarks."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from afdaemon.sim.errors import ServeError
from afdaemon.sim.instrument.told import Commanded, Truth


def truth_from(document: Mapping[str, Any]) -> Truth:
    """The truth out of the JSON object that `asdict` made of it."""
    commands = tuple(Commanded(**command) for command in document["commands"])
    return Truth(**{**document, "commands": commands})


def write_truth(path: Path, truth: Truth) -> None:
    """Write `truth` as JSON atomically, so that a reader never sees half of it.

    Raises `ServeError`.
    """
    text = json.dumps(asdict(truth), indent=1)
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise ServeError(
            f"the truth cannot be written to {path}: {error.strerror}",
            remedy="name another file with --truth",
        ) from error
