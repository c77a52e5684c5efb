"""Settings: defaults < TOML file < environment (`AFDAEMON_SECTION__KEY`) < command-line flags.

A misspelt key is refused with the nearest right one; a wrong value with the range that is allowed.
"""

import difflib
import os
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from afdaemon.errors import ConfigError
from afdaemon.settings import Section, Settings

ENV_PREFIX = "AFDAEMON_"
ENV_DELIMITER = "__"
NOT_SETTINGS = ("AFDAEMON_MICROGRAPHS",)
"""Variables of ours that tell a single command something."""


@dataclass(frozen=True, slots=True)
class Given:
    """A value somebody gave, and where: a file's name, an environment variable or a flag."""

    value: object
    origin: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and for every key that was given, by whom."""

    settings: Settings
    given: Mapping[str, Given]


def sections() -> dict[str, type[Section]]:
    """The sections by name, in the order they are shown."""
    return {
        name: cast("type[Section]", field.annotation)
        for name, field in Settings.model_fields.items()
    }


def fields() -> dict[str, FieldInfo]:
    """Every setting as `section.key`."""
    return {
        f"{name}.{key}": field
        for name, section in sections().items()
        for key, field in section.model_fields.items()
    }


def load(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> Loaded:
    """Join defaults, the TOML file `path`, the environment and `flags` (`{"section.key": value}`).

    Raises:
        ConfigError: a file that cannot be read, a key that does not exist, a value not allowed.
    """
    given: dict[str, Given] = {}
    if path is not None:
        given.update(_from_toml(path))
    given.update(_from_environment(os.environ if environ is None else environ))
    given.update({key: Given(value, "the command line") for key, value in (flags or {}).items()})
    _refuse_unknown(given)
    return Loaded(_validate(given), given)


def _from_toml(path: Path) -> dict[str, Given]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"the configuration file {path} cannot be read: {error.strerror}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a TOML file: {error}") from error
    return dict(_flatten(document, str(path)))


def _flatten(document: Mapping[str, object], origin: str) -> Iterator[tuple[str, Given]]:
    for name, section in document.items():
        if name not in sections():
            raise ConfigError(
                f"there is no section [{name}] in {origin}{_nearest(name, sections())}"
            )
        if not isinstance(section, dict):
            raise ConfigError(
                f"{name} in {origin} must be a section: write [{name}] and its keys below"
            )
        for key, value in section.items():
            yield f"{name}.{key}", Given(value, origin)


def _from_environment(environ: Mapping[str, str]) -> dict[str, Given]:
    given = {}
    for variable, value in environ.items():
        if variable.upper().startswith(ENV_PREFIX) and variable not in NOT_SETTINGS:
            name = variable[len(ENV_PREFIX) :].lower().replace(ENV_DELIMITER, ".", 1)
            if name not in fields():
                candidates = [variable_of(key) for key in fields()]
                near = _nearest(variable.upper(), candidates)
                raise ConfigError(f"the environment variable {variable} is no setting{near}")
            given[name] = Given(value, f"the environment variable {variable}")
    return given


def variable_of(key: str) -> str:
    """The environment variable of `section.key`."""
    return ENV_PREFIX + key.upper().replace(".", ENV_DELIMITER)


def _refuse_unknown(given: Mapping[str, Given]) -> None:
    for key, where in given.items():
        if key not in fields():
            section, _, name = key.partition(".")
            known = [
                other.partition(".")[2] for other in fields() if other.startswith(f"{section}.")
            ]
            elsewhere = [other for other in fields() if other.endswith(f".{name}")]
            near = f"; did you mean {elsewhere[0]}?" if elsewhere else _nearest(name, known)
            raise ConfigError(
                f"there is no key {name} in section [{section}] of {where.origin}{near}"
            )


def _nearest(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return (
        f"; did you mean {close[0]}?"
        if close
        else f"; there are {', '.join(known)}"
        if len(known) < 10
        else ""
    )


def _validate(given: Mapping[str, Given]) -> Settings:
    nested: dict[str, dict[str, object]] = {}
    for key, where in given.items():
        section, _, name = key.partition(".")
        nested.setdefault(section, {})[name] = where.value
    try:
        return Settings.model_validate(nested)
    except ValidationError as error:
        raise ConfigError(_explain(error, given)) from error


def _explain(error: ValidationError, given: Mapping[str, Given]) -> str:
    """The first thing that is wrong, as a sentence."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"][:2])
    if key not in fields():
        origins = sorted(
            {where.origin for name, where in given.items() if name.startswith(f"{key}.")}
        )
        problem = first["msg"].removeprefix("Value error, ")
        return f"section [{key}] of {' and '.join(origins)}: {problem}"
    where = given[key]
    return f"{key} = {where.value!r} in {where.origin} is not allowed: it must be {allowed(key)}"


def allowed(key: str) -> str:
    """In words, what the setting `section.key` may be."""
    match _schema(key):
        case {"enum": [*choices]}:
            return "one of " + ", ".join(f'"{choice}"' for choice in choices)
        case {"const": choice}:
            return f'"{choice}"'
        case {"type": "integer", **bounds}:
            return f"a whole number{_between(bounds)}"
        case {"type": "number", **bounds}:
            return f"a number{_between(bounds)}"
        case {"type": "boolean"}:
            return "true or false"
        case {"format": "path"}:
            return "a path"
        case {"type": "object"}:
            return "a table"
        case _:
            return "a text that is not empty"


def _schema(key: str) -> dict[str, object]:
    """The JSON schema of one setting, without the null that stands for absent."""
    section, _, name = key.partition(".")
    schema = sections()[section].model_json_schema()["properties"][name]
    return dict(
        next(option for option in schema.get("anyOf", [schema]) if option.get("type") != "null")
    )


def _between(bounds: Mapping[str, object]) -> str:
    words = (
        ("minimum", "from"),
        ("exclusiveMinimum", "above"),
        ("maximum", "up to"),
        ("exclusiveMaximum", "below"),
    )
    return "".join(f" {word} {bounds[name]:g}" for name, word in words if name in bounds)
