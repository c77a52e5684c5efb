"""Files that cannot be scored: one line for many that have the same trouble."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from afdaemon.errors import UsageError

_NAMED = 3
"""So many more files are named; the others are counted."""
_DETAIL = re.compile(r"#?[0-9][0-9.,e+-]*")
"""A number, or the page of a file."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A file, and why it cannot be scored."""

    path: Path
    error: UsageError


def summary(failures: Sequence[Failure]) -> list[UsageError]:
    """An error for each kind of trouble, in the order in which they came; numbers may differ within a kind."""
    kinds: dict[str, list[Failure]] = defaultdict(list)
    for failure in failures:
        kinds[_DETAIL.sub("", _trouble(failure))].append(failure)
    return [_told(kind) for kind in kinds.values()]


def _trouble(failure: Failure) -> str:
    """What is wrong, whatever the file is called."""
    return str(failure.error).replace(str(failure.path), "")


def _told(alike: Sequence[Failure]) -> UsageError:
    first, *others = alike
    if not others:
        return first.error
    names = ", ".join(dict.fromkeys(other.path.name for other in others[:_NAMED]))
    more = len(others) - _NAMED
    named = f"{names} and {more} more" if more > 0 else names
    is_same = all(_trouble(other) == _trouble(first) for other in others)
    link = "the same is true of" if is_same else "with other numbers, the same is true of"
    return UsageError(f"{first.error}; {link} {named}", remedy=first.error.remedy)
