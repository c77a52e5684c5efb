"""Fields that describe themselves: default, range, unit and a sentence, declared once. Pure.

The lowest layer: the profiles of control, the settings of the drivers and those of the simulator are frozen dataclasses
of such fields. `check` is called in their `__post_init__`; the configuration, the command lines and the docs read the
same declarations.

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Lens:
        settle_s: float = number(0.15, 0.0, 10.0, "s", "Time from a command to the exposure.")

        def __post_init__(self) -> None:
            check(self)
"""

import difflib
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_NOUNS: Mapping[type, str] = {bool: "true or false", dict: "a table"}
_YES, _NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
"""Texts for true and false, as in environment variables."""
SHOWN_CHARACTERS = 60
"""Most characters of a peer's name or value that a message quotes: no message grows with its input."""


class SpecError(ValueError):
    """A value that a field cannot have, or a field that does not exist. Each package raises its own error instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Values from `low` to `high`, both included; with `above`, `low` is not."""

    low: float
    high: float
    above: bool = False

    def holds(self, value: float) -> bool:
        """Whether `value` is a number in the range."""
        return self.low <= value <= self.high and not (self.above and value == self.low)

    def __str__(self) -> str:
        lowest = f"above {self.low:.10g}" if self.above else f"{self.low:.10g}"
        return lowest if math.isinf(self.high) else f"{lowest} to {self.high:.10g}"


Choice = type[StrEnum] | tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What a field may be.

    `kind` is float, int, bool, dict, str, or what a text is turned into, such as a path. `allowed` is the range of a
    number, or the names that a text may be (None: any). `noun` says in words what it must be, where that does not
    follow from these; `name` is used in messages, `what` is a sentence for the help. `formerly` is the field's name in
    an earlier version, `example` a value to show where the default says nothing.
    """

    kind: type
    what: str
    allowed: Range | Choice | None = None
    unit: str = ""
    name: str = ""
    noun: str = ""
    optional: bool = False
    formerly: str = ""
    example: object = None

    def __str__(self) -> str:
        """The range, or the choice, in words."""
        if isinstance(self.allowed, Range):
            return f"{self.allowed} {self.unit}".rstrip()
        if self.allowed is not None:
            return " or ".join(self.allowed)
        return self.noun or _NOUNS.get(self.kind, "text")

    @property
    def words(self) -> str:
        """What it must be, as a message puts it."""
        if isinstance(self.allowed, Range):
            number = "a whole number" if self.kind is int else "a number"
            return f"{number} {self}" if self.allowed.above else f"{number} from {self}"
        if self.allowed is not None:
            return "one of " + ", ".join(f'"{name}"' for name in self.allowed)
        return "a text that is not empty" if self.kind is str else str(self)

    def read(self, key: str, value: object) -> Any:
        """`value`, parsed if it is a text. Raises `SpecError`, which names `key` where the field has no name."""
        if self.optional and value in (None, ""):
            return value if self.kind is str else None
        try:
            return self._read(value)
        except (ValueError, OverflowError):
            raise SpecError(f"{self.name or key} must be {self.words}, not {value!r}") from None

    def _read(self, value: object) -> Any:
        if isinstance(self.allowed, Range):
            return self._number(value, self.allowed)
        if self.kind is bool:
            return _truth(value)
        if self.kind is dict:
            return _table(value)
        return value if self._is_made(value) else self._text(value)

    def _is_made(self, value: object) -> bool:
        """Whether it already is what a text would be turned into."""
        return self.kind is not str and isinstance(value, self.kind)

    def _text(self, value: object) -> Any:
        if not isinstance(value, str) or (not value and not self.optional):
            raise ValueError
        if isinstance(self.allowed, type):
            return self.allowed(value)
        if isinstance(self.allowed, tuple) and value not in self.allowed:
            raise ValueError
        return self.kind(value)

    def _number(self, value: object, allowed: Range) -> float | int:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError  # noqa: TRY004 - `read` says what it must be
        number = float(value)
        if not (math.isfinite(number) and allowed.holds(number)):
            raise ValueError
        if self.kind is int:
            if number != math.floor(number):
                raise ValueError
            return int(number)
        return number

    def json_schema(self, default: object) -> dict[str, Any]:
        """The same as a JSON schema."""
        names = {float: "number", int: "integer", bool: "boolean", dict: "object"}
        schema: dict[str, Any] = {"type": names.get(self.kind, "string"), "description": self.what}
        if isinstance(self.allowed, Range):
            lowest = "exclusiveMinimum" if self.allowed.above else "minimum"
            schema |= {lowest: self.allowed.low}
            schema |= {} if math.isinf(self.allowed.high) else {"maximum": self.allowed.high}
        elif self.allowed is not None:
            schema |= {"enum": [str(name) for name in self.allowed]}
        if default is not None:
            schema |= {"default": str(default) if self.kind not in names else default}
        return schema


def _truth(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in (*_YES, *_NO):
        return value.lower() in _YES
    raise ValueError


def _table(value: object) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise ValueError


def within(default: float | None, kind: type, allowed: Range, what: str, **more: Any) -> Any:
    """A field for a number in a range that is declared elsewhere."""
    return _declared(default, Spec(kind=kind, allowed=allowed, what=what, **more))


def number(
    default: float | None, low: float, high: float, unit: str, what: str, **more: Any
) -> Any:
    """A field for a number from `low` to `high`. `more` are further fields of `Spec`, and `above`."""
    allowed = Range(low=low, high=high, above=more.pop("above", False))
    return _declared(default, Spec(kind=float, allowed=allowed, unit=unit, what=what, **more))


def whole(default: int | None, low: int, high: int, what: str, **more: Any) -> Any:
    """A field for a whole number from `low` to `high`."""
    return _declared(default, Spec(kind=int, allowed=Range(low=low, high=high), what=what, **more))


def flag(default: bool, what: str, **more: Any) -> Any:
    """A field for true or false."""
    return _declared(default, Spec(kind=bool, what=what, **more))


def choice(default: str, allowed: Choice, what: str, **more: Any) -> Any:
    """A field for one of several names."""
    return _declared(default, Spec(kind=str, allowed=allowed, what=what, **more))


def text(default: str, what: str, **more: Any) -> Any:
    """A field for any text that is not empty; if `optional`, an empty one too."""
    return _declared(default, Spec(kind=str, what=what, **more))


def made(default: object, kind: type, noun: str, what: str, **more: Any) -> Any:
    """A field for what `kind` makes of a text, such as a path; messages call it `noun`."""
    return _declared(default, Spec(kind=kind, noun=noun, what=what, **more))


def table(what: str, **more: Any) -> Any:
    """A field for a table with any content."""
    return _declared(dict, Spec(kind=dict, what=what, **more))


def _declared(default: Any, spec: Spec) -> Any:
    if callable(default):
        return field(default_factory=default, metadata={"spec": spec})
    return field(default=default, metadata={"spec": spec})


def specs(kind: "type[DataclassInstance]") -> dict[str, Spec]:
    """The specs of a settings class by field."""
    return {f.name: f.metadata["spec"] for f in fields(kind) if "spec" in f.metadata}


def defaults(kind: "type[DataclassInstance]") -> dict[str, Any]:
    """The defaults of a settings class by field."""
    return {
        f.name: f.default if f.default_factory is MISSING else f.default_factory()
        for f in fields(kind)
    }


def check(settings: "DataclassInstance", error: type[Exception] = SpecError) -> None:
    """Replace every field's value by what its spec reads from it; for `__post_init__`. Raises `error`."""
    for key, spec in specs(type(settings)).items():
        try:
            object.__setattr__(settings, key, spec.read(key, getattr(settings, key)))
        except SpecError as wrong:
            raise error(str(wrong)) from None


def renamed(kind: "type[DataclassInstance]", values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` under the present names of the fields; they may come from an earlier version."""
    now = {spec.formerly: name for name, spec in specs(kind).items() if spec.formerly}
    return {now.get(key, key): value for key, value in values.items()}


def require_known(keys: Iterable[str], known: Collection[str], error: type[Exception]) -> None:
    """Raise `error` for a key that does not exist, with the nearest one that does."""
    for key in keys:
        if key not in known:
            raise error(f"there is no setting {key}{nearest(key, known)}")


def nearest(name: str, known: Iterable[str], *, most_listed: int = 12) -> str:
    """The end of a sentence about a wrong name: `; did you mean X?`, or else the existing names if they are few."""
    names = list(known)
    within = [other for other in names if name and name in other]
    close = within or difflib.get_close_matches(name[:SHOWN_CHARACTERS], names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; there are {', '.join(names)}" if 0 < len(names) <= most_listed else ""
