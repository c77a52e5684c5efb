"""What every link's settings share: how they are made from a plain table.

Settings are frozen dataclasses whose fields declare their allowed values (`afdaemon.spec`); a wrong value is a
`SettingsError`.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, TypeVar

from afdaemon.drivers.errors import SettingsError
from afdaemon.spec import number, require_known

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Settings = TypeVar("Settings", bound="DataclassInstance")


def seconds(default: float, what: str) -> Any:
    """A field for a time to wait, from a millisecond to an hour."""
    return number(default, 0.001, 3600.0, "s", what)


def build(kind: type[Settings], values: Mapping[str, Any]) -> Settings:
    """A settings dataclass from a plain table; an unknown or missing key is a `SettingsError`."""
    known = {f.name: f for f in fields(kind)}
    require_known(values, known, SettingsError)
    for name, field in known.items():
        is_needed = field.default is MISSING and field.default_factory is MISSING
        if is_needed and name not in values:
            raise SettingsError(f"the setting {name} is missing")
    return kind(**values)
