"""Checks that every link's settings share.

Settings are frozen dataclasses; a wrong one is a `SettingsError`.
"""

import difflib
import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, TypeVar

from afdaemon.drivers.errors import SettingsError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Settings = TypeVar("Settings", bound="DataclassInstance")


def build(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """A settings dataclass from a plain table; an unknown or missing key is a `SettingsError`."""
    known = {f.name: f for f in fields(kind)}
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SettingsError(f"there is no setting {key}{hint}")
    for name, spec in known.items():
        if name not in values and spec.default is MISSING and spec.default_factory is MISSING:
            raise SettingsError(f"the setting {name} is missing")
    return kind(**values)


def require_whole(name: str, value: object, low: int, high: int) -> None:
    """Raise `SettingsError` unless `value` is a whole number in `low`..`high`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise SettingsError(f"{name} is a whole number in {low} to {high}, not {value!r}")


def require_positive(name: str, value: object) -> None:
    """Raise `SettingsError` unless `value` is a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value < math.inf:
        raise SettingsError(f"{name} is a finite number above 0, not {value!r}")
