"""Instruments by the name of their condition, and from a plain table, as in a configuration file or command line."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from afdaemon.sim.errors import SettingError
from afdaemon.sim.instrument.settings import (
    ColumnSettings,
    DetectorSettings,
    InstrumentSettings,
    ScanSettings,
    StageSettings,
)
from afdaemon.sim.optics import depth_of_focus_um
from afdaemon.spec import Spec, SpecError, require_known, specs

_CONDITION = "condition"
_GROUPS = {
    "column": ColumnSettings,
    "detector": DetectorSettings,
    "scan": ScanSettings,
    "stage": StageSettings,
}


class Condition(StrEnum):
    """What shape an instrument is in."""

    IDEAL = "ideal"
    GOOD = "good"
    POOR = "poor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A setting as it is written in a table or on a command line; `default` is that of a good instrument."""

    name: str
    spec: Spec
    default: float | int | str | None


def instrument(condition: Condition, **flat: Any) -> InstrumentSettings:
    """An instrument in that condition; `flat` are fields of `InstrumentSettings`. Raises `SettingError`.

    Ideal has no flaws except counting noise; good is the default; poor drifts, lags, vibrates and is noisy, and its
    astigmatism is 1.5 depths of focus at its first magnification.
    """
    match condition:
        case Condition.IDEAL:
            return InstrumentSettings(**(_IDEAL | flat))
        case Condition.GOOD:
            return InstrumentSettings(**flat)
        case Condition.POOR:
            return _astigmatic(InstrumentSettings(**(_POOR | flat)))


def settings_from(table: Mapping[str, object]) -> InstrumentSettings:
    """An instrument from a table as in a TOML file, or with dotted keys, or both; values may be strings.

    The key `condition` names what the others start from. Raises `SettingError` for an unknown key, naming the nearest
    known one, and for a value out of range.
    """
    given = dict(_flattened(table))
    known = {key.name: key.spec for key in keys()}
    require_known(given, known, SettingError)
    read = {name: read_as(known[name], name, value) for name, value in given.items()}
    condition = Condition(str(read.pop(_CONDITION, Condition.GOOD)))
    settings = instrument(condition, **{n: v for n, v in read.items() if "." not in n})
    for group in _GROUPS:
        changes = {
            name.removeprefix(f"{group}."): value
            for name, value in read.items()
            if name.startswith(f"{group}.")
        }
        if changes:
            settings = replace(settings, **{group: replace(getattr(settings, group), **changes)})
    return settings


def read_as(spec: Spec, name: str, value: object) -> Any:
    """Read `value` as the setting called `name`. Raises `SettingError`."""
    try:
        return spec.read(name, value)
    except SpecError as wrong:
        raise SettingError(str(wrong)) from None


def keys() -> tuple[Key, ...]:
    """Every setting: for help, and for the documentation."""
    good = InstrumentSettings()
    condition = Spec(kind=str, allowed=Condition, what="what the other settings start from")
    found = [Key(name=_CONDITION, spec=condition, default=Condition.GOOD)]
    for name, spec in specs(InstrumentSettings).items():
        found.append(Key(name=name, spec=spec, default=getattr(good, name)))
    for group, kind in _GROUPS.items():
        held = getattr(good, group)
        found += [
            Key(name=f"{group}.{name}", spec=spec, default=getattr(held, name))
            for name, spec in specs(kind).items()
        ]
    return tuple(found)


def _flattened(table: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            require_known((name,), _GROUPS, SettingError)
            yield from ((f"{name}.{inner}", held) for inner, held in value.items())
        elif name in _GROUPS:
            raise SettingError(f"{name} is a table of settings, not {value!r}")
        else:
            yield name, value


def _astigmatic(settings: InstrumentSettings) -> InstrumentSettings:
    dof_um = depth_of_focus_um(settings.magnification, settings.alpha_rad)
    column = replace(settings.column, astigmatism_x_um=1.2 * dof_um, astigmatism_y_um=-0.9 * dof_um)
    return replace(settings, column=column)


_IDEAL: dict[str, Any] = {
    "wd_noise_um": 0.0,
    "column": ColumnSettings(
        astigmatism_x_um=0.0,
        astigmatism_y_um=0.0,
        hysteresis_um=0.0,
        drift_um_per_min=0.0,
        wander_um=0.0,
        rotation_deg=0.0,
        shift_pct=0.0,
    ),
    "detector": DetectorSettings(read_noise=0.0),
    "scan": ScanSettings(
        jitter_nm=0.0,
        hum_nm=0.0,
        vibration_nm=0.0,
        creep_x_nm_per_s=0.0,
        creep_y_nm_per_s=0.0,
        charging=0.0,
    ),
}
_POOR: dict[str, Any] = {
    "wd_noise_um": 0.5,
    "column": ColumnSettings(
        hysteresis_um=8.0,
        backlash_um=2.0,
        drift_um_per_min=3.0,
        wander_um=2.0,
        rotation_deg=2.0,
        shift_pct=5.0,
    ),
    "detector": DetectorSettings(current_pa=30.0, contrast=0.7, brightness=0.45, read_noise=6.0),
    "scan": ScanSettings(
        jitter_nm=15.0,
        hum_nm=25.0,
        vibration_nm=15.0,
        creep_x_nm_per_s=8.0,
        creep_y_nm_per_s=-5.0,
        charging=0.6,
    ),
}
