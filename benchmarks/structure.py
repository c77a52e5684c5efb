"""Structure: does the code still keep its parts apart? Counted in the source; nothing is run.

Import cycles, folders that import each other, control parameters that are declared twice, files side by side in one
folder, lengths of functions and modules. Names that other modules may use are counted for information.

    python benchmarks/structure.py [--root FOLDER] [--quick] [--seed N] [--json FILE]
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from reporting import conclude, parser_of

from afdaemon.evaluate.section import Bar, at_most

ROOMS = ("afdaemon", "drivers", "models", "sim")
LINKED = ("drivers", "models", "sim")
"""Folders of the top level that are links in afdaemon/ too: looked at once, where they are."""
MOST_SIBLINGS = 12
MOST_LINES = 400
MOST_MEDIAN, MOST_P90 = 6.0, 18.0
ONE_FILE = "afdaemon.drivers.bridge.em30_bridge"
"""The program for the vendor's PC: one file by design."""
DOORS = {
    "afdaemon.api.fake": "serves a fake service through the doors that the module `server` opens",
    "afdaemon.api.server": "opens the doors, also the one in the folder below; that doesn't know it",
    "afdaemon.cli.afctl": "a program, which joins the commands in the folders below",
    "afdaemon.cli.daemon": "a program, which joins the commands in the folders below",
    "afdaemon.control.procedures": "names the procedures in the folders below; they don't know it",
    "afdaemon.drivers.registry": "names the drivers in the folder below; they don't know it",
    "afdaemon.sim.pytest_plugin": "joins the simulator for users, at the path that they import",
}
"""Modules that stand above the folders beside them, and why: each counts as a folder of its own."""
Names = Mapping[str, set[str]]


@dataclass(frozen=True, slots=True)
class Module:
    """A source file: its dotted name, the folder it lies in, its syntax tree and its length in lines."""

    name: str
    folder: str
    tree: ast.Module
    lines: int


def main() -> int:
    parser = parser_of(__doc__, quick="the same; it takes two seconds")
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1])
    arguments = parser.parse_args()
    modules = {module.name: module for module in _modules(arguments.root)}
    arrows = {name: set(_imported(module, modules)) for name, module in modules.items()}
    circles, pairs = _circles(arrows), _pairs(arrows, modules)
    lengths = [length for module in modules.values() for length in _lengths(module.tree)]
    p90 = quantiles(lengths, n=10)[8]
    long = [m.name for m in modules.values() if m.lines > MOST_LINES and m.name != ONE_FILE]
    twice = _declared_twice(modules)
    crowded = {
        room: _most_siblings(arguments.root / room) for room in ("afdaemon/control", "models")
    }
    bars = [
        _none("import circles", [" -> ".join(circle) for circle in circles]),
        _none(
            "pairs of folders that import each other, doors apart",
            [f"{a} <-> {b}" for a, b in pairs],
        ),
        _none("control numbers with two owners", twice),
        *(
            at_most(f"most siblings in {room}/", count, MOST_SIBLINGS)
            for room, count in crowded.items()
        ),
        at_most("lines of a function, median", median(lengths), MOST_MEDIAN),
        at_most("lines of a function, 90th percentile", p90, MOST_P90),
        _none(f"modules of more than {MOST_LINES} lines", long),
    ]
    counts = {
        "modules": len(modules),
        "folders": len({module.folder for module in modules.values()}),
        "functions": len(lengths),
        "public names": sum(len(_public(module.tree)) for module in modules.values()),
        "named constants": sum(len(_constants(module.tree)) for module in modules.values()),
    }
    lines = [f"{name:<18}{count:>6}" for name, count in counts.items()]
    lines += [f"door: {name} {reason}" for name, reason in DOORS.items() if name in modules]
    table = "\n".join(lines)
    return conclude(arguments, "benchmarks/structure.py", table, bars, [counts])


def _none(name: str, found: Iterable[str]) -> Bar:
    seen = sorted(found)
    return Bar(name, not seen, f"{len(seen)}" + (f" ({', '.join(seen)})" if seen else ""))


def _modules(root: Path) -> Iterator[Module]:
    for room in ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            if room == "afdaemon" and parts[1] in LINKED:
                continue
            name = ".".join(parts if room == "afdaemon" else ("afdaemon", *parts))
            source = path.read_text(encoding="utf-8")
            yield Module(
                name=name.removesuffix(".__init__"),
                folder=name.rpartition(".")[0],
                tree=ast.parse(source),
                lines=len(source.splitlines()),
            )


def _imported(module: Module, known: Mapping[str, Module]) -> Iterator[str]:
    """Our own modules that a module names, wherever in it."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                nearest = f"{node.module}.{alias.name}"
                nearest = nearest if nearest in known else node.module
                if nearest in known and nearest != module.name:
                    yield nearest


def _circles(arrows: Names) -> list[list[str]]:
    """Groups of modules that reach each other (Tarjan's strongly connected components)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in arrows[name]:
            if other not in order:
                visit(other)
            if other in stack:
                low[name] = min(low[name], low[other])
        if low[name] == order[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                found.append(group)

    for name in arrows:
        if name not in order:
            visit(name)
    return found


def _room_of(module: Module) -> str:
    """Its folder; a door, or a module at the top of afdaemon/, counts as one of its own."""
    is_alone = module.folder == "afdaemon" or module.name in DOORS
    return module.name if is_alone else module.folder


def _pairs(arrows: Names, modules: Mapping[str, Module]) -> list[tuple[str, str]]:
    rooms: dict[str, set[str]] = defaultdict(set)
    for name, others in arrows.items():
        rooms[_room_of(modules[name])] |= {_room_of(modules[other]) for other in others}
    return [
        (one, other)
        for one, others in rooms.items()
        for other in others
        if one < other and one in rooms[other]
    ]


def _declared_twice(modules: Mapping[str, Module]) -> list[str]:
    """Parameters of control's profiles that the settings declare again, with a default of their own."""
    profiles: set[str] = set()
    settings: set[str] = set()
    for name, module in modules.items():
        if name.startswith("afdaemon.control."):
            profiles |= _fields_with_defaults(module.tree, "Profile")
        elif name in ("afdaemon.settings", "afdaemon.config"):
            settings |= _fields_with_defaults(module.tree, "Settings")
    return sorted(profiles & settings)


def _fields_with_defaults(tree: ast.Module, suffix: str) -> set[str]:
    return {
        f"{statement.target.id}"
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name.endswith(suffix)
        for statement in node.body
        if isinstance(statement, ast.AnnAssign)
        and statement.value is not None
        and isinstance(statement.target, ast.Name)
        and "ClassVar" not in ast.unparse(statement.annotation)
    }


def _most_siblings(room: Path) -> int:
    """Modules and packages side by side, in the folder itself or in one below it."""
    folders = [room, *(path for path in room.rglob("*") if path.is_dir())]
    return max(sum(_is_module(path) for path in folder.iterdir()) for folder in folders)


def _is_module(path: Path) -> bool:
    if path.is_dir():
        return (path / "__init__.py").is_file()
    return path.suffix == ".py" and path.name != "__init__.py"


def _lengths(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield (node.end_lineno or node.lineno) - node.lineno + 1


def _assigned(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                yield from (name.id for name in ast.walk(target) if isinstance(name, ast.Name))


def _public(tree: ast.Module) -> list[str]:
    """Functions, classes and values of a module's own level whose names begin with no underscore."""
    defined = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    ]
    return [name for name in [*defined, *_assigned(tree)] if not name.startswith("_")]


def _constants(tree: ast.Module) -> list[str]:
    return [name for name in _assigned(tree) if name.isupper()]


if __name__ == "__main__":
    sys.exit(main())
