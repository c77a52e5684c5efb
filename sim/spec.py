"""Settings that say for themselves what they may be: check, help and reading of a text from one line each."""

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from afdaemon.sim.errors import SettingError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Value = float | int | str | None
Choice = type[StrEnum]


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Values from `low` to `high`, both allowed."""

    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether `value` is a number in the range."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:.10g} to {self.high:.10g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What a setting may be.

    `allowed` is a range, the names to choose from, or None for any text; `name` stands in messages, `what` in the help.
    """

    allowed: Range | Choice | None
    what: str
    unit: str = ""
    name: str = ""
    whole: bool = False
    optional: bool = False

    def __str__(self) -> str:
        """The range in words."""
        if isinstance(self.allowed, Range):
            return f"{self.allowed} {self.unit}".rstrip()
        return " or ".join(self.allowed) if self.allowed is not None else "text"

    def read(self, key: str, value: object) -> Value:
        """`value`, or what a text of it means. Raises `SettingError`; it names `key` where the setting has no name."""
        if self.optional and value in (None, ""):
            return None
        name = self.name or key
        if self.allowed is None:
            if not isinstance(value, str):
                raise SettingError(f"{name} is a text, not {value!r}")
            return value
        if isinstance(self.allowed, Range):
            return self._number(name, self.allowed, value)
        try:
            return self.allowed(str(value))
        except ValueError:
            raise SettingError(f"{name} is {self}, not {value!r}") from None

    def _number(self, name: str, allowed: Range, value: object) -> float | int:
        wrong = SettingError(f"{name} must lie in {self}, not {value}")
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise wrong
        try:
            number = float(value)
        except (ValueError, OverflowError):
            raise wrong from None
        if not (math.isfinite(number) and allowed.holds(number)):
            raise wrong
        if not self.whole:
            return number
        if number != math.floor(number):
            raise SettingError(f"{name} is a whole number in {self}, not {value}")
        return int(number)


def setting(default: Any, allowed: Range | Choice | None, what: str, **more: Any) -> Any:
    """A dataclass field whose values `check` and the help know. `more` are further fields of `Spec`."""
    return field(default=default, metadata={"spec": Spec(allowed=allowed, what=what, **more)})


def number(
    default: float | None, low: float, high: float, unit: str, what: str, **more: Any
) -> Any:
    """A number in `low` to `high`."""
    return setting(default, Range(low=low, high=high), what, unit=unit, **more)


def specs(kind: "type[DataclassInstance]") -> dict[str, Spec]:
    """The specs of a settings class by field."""
    return {f.name: f.metadata["spec"] for f in fields(kind) if "spec" in f.metadata}


def check(settings: "DataclassInstance") -> None:
    """Give every field the value that its spec reads: for `__post_init__`. Raises `SettingError`."""
    for key, spec in specs(type(settings)).items():
        object.__setattr__(settings, key, spec.read(key, getattr(settings, key)))


def unknown(key: str, known: Iterable[str]) -> SettingError:
    """The error for a key that does not exist, with the nearest that does."""
    names = list(known)
    near = [name for name in names if key in name] or difflib.get_close_matches(key, names, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return SettingError(f"there is no setting {key}{hint}")
