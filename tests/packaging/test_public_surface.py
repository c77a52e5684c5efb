"""What users may import is what docs/public.md says, with the signatures that are written down beside this test."""

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "public.md").read_text(encoding="utf-8")
WRITTEN = Path(__file__).with_name("public_surface.txt")
ROWS = re.findall(r"(?m)^\| `(afdaemon\.[\w.]+)` \| ([^|]+) \|", PAGE)


def names_of(module: str, cell: str) -> list[str]:
    if "every name in its `__all__`" in cell:
        return sorted(importlib.import_module(module).__all__)
    return sorted(set(re.findall(r"`(\w+)`", cell)) - {"em30"})


@pytest.mark.parametrize(("module", "cell"), ROWS, ids=[module for module, _ in ROWS])
def test_the_page_names_what_a_module_offers(module: str, cell: str) -> None:
    assert sorted(importlib.import_module(module).__all__) == names_of(module, cell)


def signatures() -> Iterator[str]:
    for module, cell in ROWS:
        for name in names_of(module, cell):
            yield from signatures_of(
                f"{module}.{name}", getattr(importlib.import_module(module), name)
            )


def signatures_of(name: str, value: object) -> Iterator[str]:
    if not inspect.isclass(value):
        shown = f"{name}{inspect.signature(value)}" if inspect.isfunction(value) else name
        yield shown
        return
    yield f"class {name}({', '.join(base.__name__ for base in value.__bases__)})"
    declared = getattr(value, "model_fields", getattr(value, "__dataclass_fields__", ()))
    fields = [f"{name}.{field}" for field in declared]
    is_built_by_hand = not declared and not getattr(value, "_is_protocol", False)
    methods = [
        f"{name}.{key}{inspect.signature(member)}"
        for key, member in vars(value).items()
        if inspect.isfunction(member)
        and (not key.startswith("_") or (key == "__init__" and is_built_by_hand))
    ]
    yield from sorted([*fields, *methods])


def test_signatures_are_those_that_are_written_down() -> None:
    """Where this fails, a user's program may: add a line to the changelog, then write them down anew.

    python tests/packaging/test_public_surface.py
    """
    told = "\n".join(signatures()) + "\n"
    assert told == WRITTEN.read_text(encoding="utf-8")


OLD_PATHS = (
    ("afdaemon.api.client", "Client"),
    ("afdaemon.api.client", "AsyncClient"),
    ("afdaemon.api.schemas", "Job"),
    ("afdaemon.sim.pytest_plugin", "em30"),
    ("afdaemon.drivers.registry", "kept_up"),
    ("afdaemon.drivers.registry", "open_microscope"),
    ("afdaemon.cli.daemon", "main"),
    ("afdaemon.cli.afctl", "main"),
)


@pytest.mark.parametrize(("module", "name"), OLD_PATHS)
def test_paths_that_users_had_still_work(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name)


if __name__ == "__main__":
    WRITTEN.write_text("\n".join(signatures()) + "\n", encoding="utf-8")
