"""Settings: defaults < TOML file < environment (`AFDAEMON_SECTION__KEY`) < command-line flags.

A misspelt key is refused with the nearest existing one, a wrong value with what is allowed. A key's name from an
earlier version is accepted, and reported.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from afdaemon import settings as kinds
from afdaemon.control.fast.profile import FastProfile
from afdaemon.control.published.profile import PublishedProfile
from afdaemon.drivers.em30.settings import LinkSettings
from afdaemon.drivers.errors import DriverError
from afdaemon.drivers.registry import link_names, settings_of
from afdaemon.errors import ConfigError
from afdaemon.settings import MicroscopeSettings, Settings
from afdaemon.spec import Spec, SpecError, defaults, nearest, specs

ENV_PREFIX = "AFDAEMON_"
_ENV_DELIMITER = "__"
_NOT_SETTINGS = ("AFDAEMON_MICROGRAPHS",)
"""Variables of ours that only a single command reads."""
_MICROSCOPE = "microscope"
_LINK = "microscope.link"
_OF_BOTH = ("alpha_mrad", "calibrated")
"""Facts about the instrument that both procedures need; they are set in [fast] only."""


@dataclass(frozen=True, slots=True)
class Given:
    """A value that was given, and where: a file's name, an environment variable or a flag."""

    value: object
    origin: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings; for every key that was given, its origin; and the old names that were used, with the new ones."""

    settings: Settings
    given: Mapping[str, Given]
    renamed: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Key:
    """A setting: what it may be, its default, and the parts of `Settings` that take it."""

    spec: Spec
    default: Any
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """A section: what it is about, and its keys by name."""

    about: str
    keys: Mapping[str, Key]


def sections(link: str | None = None) -> dict[str, Section]:
    """The sections by name, in the order they are shown; those of one link, or of all (None)."""
    return {_MICROSCOPE: _microscope(link), **_other_sections()}


def fields(link: str | None = None) -> dict[str, Key]:
    """Every setting as `section.key`."""
    return {
        f"{name}.{key}": held
        for name, section in sections(link).items()
        for key, held in section.keys.items()
    }


def _link_key() -> Key:
    """The setting that names the link."""
    what = (
        "Link to the instrument: aisem (the vendor program's socket and drop folder), stream (the bridge on the"
        " vendor's PC), usb (a frame grabber), or one that another package provides."
    )
    return Key(Spec(kind=str, allowed=link_names(), what=what), "aisem", (_MICROSCOPE,))


def _microscope(link: str | None) -> Section:
    """The link's own keys come first, then those that all links have."""
    own: dict[str, Key] = {}
    for name in link_names() if link is None else (link,):
        kind = settings_of(name)
        own = {**own, **({} if kind is None else _keys(kind, _MICROSCOPE)), **own}
    shared = {name: own.pop(name) for name in _keys(LinkSettings, _MICROSCOPE) if name in own}
    keys = {"link": _link_key(), **own, **shared}
    if link is None or settings_of(link) is None:
        what = "Settings, as a table, of a link that another package provides."
        keys["options"] = Key(Spec(kind=dict, what=what), {}, (_MICROSCOPE,))
    return Section(_about(MicroscopeSettings), keys)


@cache
def _other_sections() -> Mapping[str, Section]:
    published = _keys(PublishedProfile, "published")
    fast = _keys(FastProfile, "fast")
    for name in _OF_BOTH:
        fast[name] = Key(fast[name].spec, fast[name].default, ("fast", "published"))
        del published[name]
    control = {**_keys(kinds.ControlSettings, "control"), **published}
    about = (
        f"{_about(kinds.ControlSettings)} The rest are the parameters of the published procedure."
    )
    fast_about = "The parameters of the fast procedure. Distances are in depths of focus (DoF)."
    return MappingProxyType(
        {
            "limits": _section(kinds.LimitSettings, "limits"),
            "control": Section(about, control),
            "fast": Section(fast_about, fast),
            "calibration": _section(kinds.CalibrationSettings, "calibration"),
            "dose": _section(kinds.DoseSettings, "dose"),
            "models": _section(kinds.ModelSettings, "models"),
            "api": _section(kinds.ApiSettings, "api"),
            "vendor": _section(kinds.VendorSettings, "vendor"),
            "log": _section(kinds.LogSettings, "log"),
            "journal": _section(kinds.JournalSettings, "journal"),
        }
    )


def _section(kind: type[Any], part: str) -> Section:
    return Section(_about(kind), _keys(kind, part))


def _about(kind: type[Any]) -> str:
    """The first paragraph of its docstring."""
    return " ".join((kind.__doc__ or "").partition("\n\n")[0].split())


def _keys(kind: type[Any], part: str) -> dict[str, Key]:
    default = defaults(kind)
    return {name: Key(spec, default[name], (part,)) for name, spec in specs(kind).items()}


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
    known = fields()
    if path is not None:
        given.update(_from_toml(path))
    given.update(_from_environment(os.environ if environ is None else environ, known))
    given.update({key: Given(value, "the command line") for key, value in (flags or {}).items()})
    given, renamed = _present_names(given, _old_names(known))
    _refuse_unknown(given, known)
    return Loaded(_built(given, known[_LINK]), given, renamed)


def _from_toml(path: Path) -> dict[str, Given]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"the configuration file {path} cannot be read: {error.strerror}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is not a TOML file: {error}") from error
    return dict(_flatten(document, str(path)))


def _flatten(document: Mapping[str, object], origin: str) -> Iterator[tuple[str, Given]]:
    known = sections()
    for name, section in document.items():
        if name not in known:
            near = nearest(name, known)
            raise ConfigError(f"there is no section [{name}] in {origin}{near}")
        if not isinstance(section, dict):
            raise ConfigError(
                f"{name} in {origin} must be a section: write [{name}] and its keys below"
            )
        for key, value in section.items():
            yield f"{name}.{key}", Given(value, origin)


def _from_environment(environ: Mapping[str, str], known: Mapping[str, Key]) -> dict[str, Given]:
    given = {}
    names = {*known, *_old_names(known)}
    for variable, value in environ.items():
        if variable.upper().startswith(ENV_PREFIX) and variable not in _NOT_SETTINGS:
            name = variable[len(ENV_PREFIX) :].lower().replace(_ENV_DELIMITER, ".", 1)
            if name not in names:
                near = nearest(variable.upper(), map(variable_of, known))
                raise ConfigError(f"the environment variable {variable} is not a setting{near}")
            given[name] = Given(value, f"the environment variable {variable}")
    return given


def variable_of(key: str) -> str:
    """The environment variable of `section.key`."""
    return ENV_PREFIX + key.upper().replace(".", _ENV_DELIMITER)


def _old_names(known: Mapping[str, Key]) -> dict[str, str]:
    """`section.key` of an earlier version, and what it is called now."""
    return {
        f"{key.partition('.')[0]}.{held.spec.formerly}": key
        for key, held in known.items()
        if held.spec.formerly
    }


def _present_names(
    given: Mapping[str, Given], now: Mapping[str, str]
) -> tuple[dict[str, Given], dict[str, str]]:
    """The values under their present names, and the old names that were used; a present name has priority."""
    renamed = {key: now[key] for key in given if key in now}
    kept = {key: where for key, where in given.items() if key not in renamed}
    return {**{now[key]: given[key] for key in renamed}, **kept}, renamed


def _refuse_unknown(given: Mapping[str, Given], known: Mapping[str, Key]) -> None:
    for key, where in given.items():
        if key not in known:
            section, _, name = key.partition(".")
            beside = [k.partition(".")[2] for k in known if k.startswith(f"{section}.")]
            elsewhere = [other for other in known if other.endswith(f".{name}")]
            near = f"; did you mean {elsewhere[0]}?" if elsewhere else nearest(name, beside)
            raise ConfigError(
                f"there is no key {name} in section [{section}] of {where.origin}{near}"
            )


def _built(given: Mapping[str, Given], link_key: Key) -> Settings:
    named = given.get(_LINK)
    link = link_key.default if named is None else _read(_LINK, link_key, named)
    known = fields(link)
    parts: dict[str, dict[str, Any]] = {}
    for key, where in given.items():
        if key not in known:
            raise ConfigError(f"section [{_MICROSCOPE}] of {where.origin}: {_foreign(link, key)}")
        for part in known[key].parts:
            parts.setdefault(part, {})[key.partition(".")[2]] = _read(key, known[key], where)
    microscope = parts.pop(_MICROSCOPE, {})
    microscope.pop("link", None)
    kind = settings_of(link)
    driver = microscope.get("options", {}) if kind is None else kind(**microscope)
    built = {part: _part(part, values, given) for part, values in parts.items()}
    return Settings(microscope=MicroscopeSettings(link=link, driver=driver), **built)


def _read(key: str, held: Key, where: Given) -> Any:
    try:
        return held.spec.read(key, where.value)
    except SpecError:
        raise ConfigError(
            f"{key} = {where.value!r} in {where.origin} is not allowed: it must be {held.spec.words}"
        ) from None


def _foreign(link: str, key: str) -> str:
    own = [name for name in sections(link)[_MICROSCOPE].keys if name != "link"]
    name = key.partition(".")[2]
    return f"the link {link} has no {name}; its settings are link, {', '.join(own)}"


def _part(part: str, values: Mapping[str, Any], given: Mapping[str, Given]) -> Any:
    """A part of the settings. An error about several values together names the places that gave them."""
    kind = type(getattr(Settings(), part))
    try:
        return kind(**values)
    except (ConfigError, DriverError) as error:
        section = "control" if part == "published" else part
        origins = sorted({w.origin for key, w in given.items() if key.startswith(f"{section}.")})
        raise ConfigError(f"section [{section}] of {' and '.join(origins)}: {error}") from error
