"""What is decided on, and what was decided, cannot be changed afterwards."""

import dataclasses
import importlib
import inspect
import pkgutil
from typing import Any

import pytest

import afdaemon.control
import afdaemon.job


def _values() -> dict[str, type]:
    """Every dataclass of the two rooms by its dotted name."""
    found = {}
    for room in (afdaemon.control, afdaemon.job):
        for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            for name, kind in inspect.getmembers(
                importlib.import_module(module.name), inspect.isclass
            ):
                if dataclasses.is_dataclass(kind) and kind.__module__ == module.name:
                    found[f"{module.name}.{name}"] = kind
    return found


@pytest.mark.parametrize("name", _values())
def test_a_value_never_changes_and_takes_no_stray_attribute(name: str) -> None:
    value: Any = object.__new__(_values()[name])
    for attribute in (dataclasses.fields(value)[0].name, "stray"):
        with pytest.raises((AttributeError, TypeError)):
            setattr(value, attribute, 1)
    assert not hasattr(value, "__dict__")


@pytest.mark.parametrize("name", _values())
def test_the_fields_of_a_value_are_named_where_it_is_made(name: str) -> None:
    """Numbers of the same kind stand side by side in them; two that are swapped would go unnoticed."""
    fields = dataclasses.fields(_values()[name])
    assert all(field.kw_only for field in fields) or [field.name for field in fields] == [
        "profile",
        "law",
    ]


SAYS_SOMETHING = {
    "Proposal.dof_scale": 1.0,
    "FastMemory.descents_left": 2,
    "Deadlines.move_s": 3.0,
    "Deadlines.read_s": 10.0,
    "Deadlines.restore_s": 4.0,
    "Deadlines.outage_s": 3.0,
    "Deadlines.job_s": 300.0,
}
"""What is assumed where nothing is told, and is not nothing. The deadlines are in docs/using.md, or outlast the
drivers' own time-outs."""


@pytest.mark.parametrize("name", [name for name in _values() if "profile" not in name])
def test_what_is_not_told_is_nothing(name: str) -> None:
    for field in dataclasses.fields(_values()[name]):
        default = field.default
        if isinstance(default, bool):
            assert default is False, field.name
        elif isinstance(default, int | float):
            known = SAYS_SOMETHING.get(f"{name.rpartition('.')[2]}.{field.name}", 0)
            assert default == known or default != default, field.name
