"""Files that cannot be scored: one line for many that have the same trouble."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from afdaemon.errors import UsageError

_NAMED = 3
"""So many more files are named; the others are counted."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A file, and why it cannot be scored."""

    path: Path
    error: UsageError


def summary(failures: Sequence[Failure]) -> list[UsageError]:
    """An error for each kind of trouble, in the order in which they came."""
    kinds: dict[str, list[Failure]] = defaultdict(list)
    for failure in failures:
        kinds[str(failure.error).replace(str(failure.path), "")].append(failure)
    return [_told(kind) for kind in kinds.values()]


def _told(alike: Sequence[Failure]) -> UsageError:
    first, *others = alike
    if not others:
        return first.error
    names = ", ".join(other.path.name for other in others[:_NAMED])
    more = len(others) - _NAMED
    named = f"{names} and {more} more" if more > 0 else names
    return UsageError(f"{first.error}; the same is true of {named}", remedy=first.error.remedy)
