"""The settings of a simulated instrument from a TOML file, `KEY=VALUE` texts and options: the later ones win."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from afdaemon.sim.errors import SettingError
from afdaemon.sim.instrument.conditions import keys, settings_from
from afdaemon.sim.instrument.faults import FaultRule, parse_rule
from afdaemon.sim.instrument.settings import InstrumentSettings

_FAULTS = "faults"
_REMEDY = "see `afdaemon sim settings` for every key and its range"


def gather(
    config: Path | None, pairs: Sequence[str], options: Mapping[str, object]
) -> tuple[InstrumentSettings, list[FaultRule]]:
    """Join the file `config`, `pairs` and those `options` that are not None; and the rules under `faults` in the file.

    Raises `SettingError` or `FaultError`.
    """
    table = _from_toml(config) if config is not None else {}
    rules = table.pop(_FAULTS, [])
    if not (isinstance(rules, list) and all(isinstance(rule, str) for rule in rules)):
        raise SettingError(f"{_FAULTS} in {config} is a list of texts", remedy=_REMEDY)
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator:
            raise SettingError(f"--set {pair!r} is not of the form KEY=VALUE", remedy=_REMEDY)
        table[key.strip()] = value.strip()
    table.update({key: value for key, value in options.items() if value is not None})
    return settings_from(table), [parse_rule(rule) for rule in rules]


def _from_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingError(f"the file {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SettingError(f"{path} is not a TOML file: {error}") from error


def listed() -> list[str]:
    """Every setting on a line of its own: its key, its default, what it may be and what it is."""
    return [
        f"{key.name} = {'' if key.default is None else key.default}  ({key.spec}): {key.spec.what}"
        for key in keys()
    ]
