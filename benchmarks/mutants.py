"""Mutants: would a test notice if a decision were different?

Each mutant is control/ or job/ with one small change: a number off by one, a comparison or a sign turned about, a
condition negated (operators of cosmic-ray). The tests that run the changed line are run in a process of their own; a
mutant that none of them notices survives. Nothing on the disk is changed.

    python benchmarks/mutants.py [--quick] [--seed N] [--json FILE] [--count N] [--only TEXT] [--jobs N] [--again FILE]
"""

import contextlib
import importlib.abc
import importlib.util
import json
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import coverage
import cv2  # noqa: F401 - what the tests import is here before a process is forked for each mutant
import numpy as np  # noqa: F401
import parso
import pydantic  # noqa: F401
import pytest
import scipy.fft
import scipy.special  # noqa: F401
import structlog  # noqa: F401
import torch  # noqa: F401
import zmq.asyncio  # noqa: F401
from cosmic_ray.ast import ast_nodes
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from reporting import conclude, parser_of

from afdaemon.evaluate.section import at_least

ROOT = Path(__file__).parents[1]
ROOMS = ("afdaemon/control", "afdaemon/job")
TESTS = (
    "tests/control",
    "tests/job",
    "tests/test_config.py",
    "tests/cli/test_replay.py",
    "tests/service/test_translate.py",
)
SLOW = "tests/job/test_fast_job.py"
"""Its networks take seconds to load in each process; other files test the same with scripted laws."""
DECLARATIONS = (
    "tests/control/test_values.py",
    "tests/test_config.py::test_example_and_reference_are_those_that_the_commands_print",
)
"""What is declared at import (defaults, bounds, immutable values) is compared here, without a line of it being run."""
LEAST_KILLED = 0.85
QUICK = ("afdaemon/control/published/stop.py", "tests/control/test_rules.py")
"""What --quick mutates, and the tests it runs."""
PATIENCE, LEAST_LIMIT_S = 4.0, 30.0
"""Tests that take so many times as long as without a change do not end: the mutant is noticed."""
WAITING = 8.0
"""A mutant that only waits is given this much more time than one that computes: others may use the machine too."""
OPERATORS = (
    "NumberReplacer",
    "AddNot",
    "ReplaceTrueWithFalse",
    "ReplaceFalseWithTrue",
    "ReplaceAndWithOr",
    "ReplaceOrWithAnd",
    "ReplaceBreakWithContinue",
    "ReplaceContinueWithBreak",
    "ReplaceBinaryOperator_Add_Sub",
    "ReplaceBinaryOperator_Sub_Add",
    "ReplaceBinaryOperator_Mul_Div",
    "ReplaceBinaryOperator_Div_Mul",
    "ReplaceComparisonOperator_Eq_NotEq",
    "ReplaceComparisonOperator_NotEq_Eq",
    "ReplaceComparisonOperator_Lt_LtE",
    "ReplaceComparisonOperator_LtE_Lt",
    "ReplaceComparisonOperator_Gt_GtE",
    "ReplaceComparisonOperator_GtE_Gt",
    "ReplaceComparisonOperator_Lt_Gt",
    "ReplaceComparisonOperator_LtE_GtE",
    "ReplaceComparisonOperator_Gt_Lt",
    "ReplaceComparisonOperator_GtE_LtE",
    "ReplaceComparisonOperator_Is_IsNot",
    "ReplaceComparisonOperator_IsNot_Is",
    "ReplaceUnaryOperator_Delete_Not",
    "ReplaceUnaryOperator_USub_UAdd",
    "ExceptionReplacer",
    "ZeroIterationForLoop",
)
"""Those of cosmic-ray that make another plausible program: no bit operators on floats, which cannot run."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one file: the operator's n-th place in it, and the line where that is."""

    path: str
    operator: str
    occurrence: int
    line: int
    is_changed: bool = True

    @property
    def module(self) -> str:
        """Its dotted name."""
        return ".".join(Path(self.path).with_suffix("").parts)

    def source(self) -> str:
        """The file with the change."""
        code = (ROOT / self.path).read_text(encoding="utf-8")
        if not self.is_changed:
            return code
        changed: str = mutate_code(code, get_operator(f"core/{self.operator}")(), self.occurrence)
        return changed


_UNCHANGED = Mutant(f"{ROOMS[0]}/machine.py", "", 0, 0, is_changed=False)


def main() -> int:
    parser = parser_of(__doc__, quick="the mutants of one module, and its own tests")
    parser.add_argument("--count", type=int, help="so many mutants, drawn by the seed; else all")
    parser.add_argument("--only", default="", help="mutants of files whose path has this in it")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--again",
        type=Path,
        help="test only those that survived in this earlier --json, of the same code: new tests kill no fewer",
    )
    arguments = parser.parse_args()
    os.chdir(ROOT)
    only, tests = (QUICK[0], QUICK[1:]) if arguments.quick else (arguments.only, TESTS)
    everyone = [m for m in _all_mutants() if only in m.path]
    random.Random(arguments.seed).shuffle(everyone)  # noqa: S311 - a part of them says much of all
    mutants = everyone[: arguments.count]
    tested = mutants if arguments.again is None else _survivors(mutants, arguments.again)
    covering = _covering(tests)
    wholes = [whole for (_, line), whole in covering.items() if line == 0]
    everything = sorted({test for tests, _ in wholes for test in tests}), sum(s for _, s in wholes)
    (_, is_killed), *_ = _run([_UNCHANGED], {(_UNCHANGED.path, 0): everything}, 1)
    if is_killed:
        raise SystemExit("the tests fail even where nothing is changed")
    survived: list[Mutant] = []
    for done, (mutant, killed) in enumerate(_run(tested, covering, arguments.jobs), 1):
        if not killed:
            survived.append(mutant)
            where = f"{mutant.path}:{mutant.line} {mutant.operator} ({mutant.occurrence})"
            print(f"{done} of {len(tested)}: {where} survives", file=sys.stderr, flush=True)
    killed_share = 1.0 - len(survived) / len(mutants)
    return conclude(
        arguments,
        "benchmarks/mutants.py",
        f"{len(mutants)} of {len(everyone)} mutants, drawn by the seed\n"
        + _table(mutants, survived),
        [at_least("share of mutants killed", killed_share, LEAST_KILLED)],
        [asdict(mutant) for mutant in survived],
    )


def _survivors(mutants: Sequence[Mutant], file: Path) -> list[Mutant]:
    """Those of `mutants` that an earlier run left."""
    left = [Mutant(**row) for row in json.loads(file.read_text(encoding="utf-8"))["rows"]]
    if not set(left) <= set(mutants):
        raise SystemExit(f"{file} is of other code: measure it from the beginning")
    return left


def _all_mutants() -> Iterator[Mutant]:
    for room in ROOMS:
        for path in sorted(Path(room).rglob("*.py")):
            tree = parso.parse(path.read_text(encoding="utf-8"))  # type: ignore[no-untyped-call]
            for name in OPERATORS:
                operator = get_operator(f"core/{name}")()
                places = [
                    (line, _is_in_signature(node))
                    for node in ast_nodes(tree)
                    for (line, _), _ in operator.mutation_positions(node)
                ]
                for occurrence, (line, is_in_signature) in enumerate(places):
                    if not is_in_signature:
                        yield Mutant(path.as_posix(), name, occurrence, line)


def _is_in_signature(node: Any) -> bool:
    """Whether it is the `*` before parameters that are passed by name: cosmic-ray takes it for a product."""
    return node.type == "operator" and node.parent.type in {"param", "parameters"}


def _table(mutants: Sequence[Mutant], survived: Sequence[Mutant]) -> str:
    made, left = Counter(m.path for m in mutants), Counter(m.path for m in survived)
    lines = [f"{'file':<46}{'mutants':>8}{'killed':>8}"]
    lines += [f"{path:<46}{n:>8}{1.0 - left[path] / n:>8.1%}" for path, n in sorted(made.items())]
    lines.append(f"{'all':<46}{len(mutants):>8}{1.0 - len(survived) / len(mutants):>8.1%}")
    shown = sorted((m.path, m.line, m.operator) for m in survived)
    return "\n".join([*lines, "", *(f"survives: {path}:{n} {what}" for path, n, what in shown)])


class _Recorder:
    """A pytest plugin that notes which test runs which line, and how long each takes."""

    def __init__(self, measured: coverage.Coverage) -> None:
        self._measured = measured
        self._seconds: dict[str, float] = {}

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._measured.switch_context(item.nodeid)
        yield
        self._measured.switch_context("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid] = self.seconds_of(report.nodeid) + report.duration

    @property
    def tests(self) -> Iterable[str]:
        return self._seconds

    def seconds_of(self, test: str) -> float:
        return self._seconds.get(test, 0.0)

    def ordered(self, tests: Iterable[str]) -> tuple[Sequence[str], float]:
        """Quick ones first, and how long they take together (s)."""
        return sorted(tests, key=self.seconds_of), sum(map(self.seconds_of, tests))


Covering = Mapping[tuple[str, int], tuple[Sequence[str], float]]
"""For each file and line the tests that run it, quick ones first, and how long they take together (s).

For line 0 those that run any line of the file, and those that compare declarations.
"""


def _covering(tests: Sequence[str]) -> Covering:
    """Run all tests once, in a process of their own: this one must not have imported what is mutated."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "covering.json"
        child = os.fork()
        if child == 0:
            os._exit(_quietly(partial(_record, result, tests)))
        _, status = os.waitpid(child, 0)
        if status != 0:
            raise SystemExit("the tests fail without any mutant: mend them first")
        told = json.loads(result.read_text())
    return {(path, int(line)): (tests, seconds) for path, line, tests, seconds in told}


def _record(result: Path, tests: Sequence[str]) -> int:
    include = [f"{ROOT / room}/*" for room in ROOMS]
    measured = coverage.Coverage(data_file=None, include=include, config_file=False)
    recorder = _Recorder(measured)
    measured.start()
    code = int(pytest.main([*_PYTEST, *tests, f"--ignore={SLOW}"], plugins=[recorder]))
    measured.stop()
    data = measured.get_data()
    declared = {test for test in recorder.tests if test.startswith(DECLARATIONS)}
    told = []
    for file in data.measured_files():
        path = Path(file).relative_to(ROOT).as_posix()
        whole: set[str] = set()
        for line, contexts in data.contexts_by_lineno(file).items():
            running = {test for test in contexts if test}
            whole |= running
            if "" not in contexts:  # run at import alone: every test of the file may depend on it
                told.append((path, line, *recorder.ordered(running)))
        rest, seconds = recorder.ordered(whole - declared)
        told.append((path, 0, [*sorted(declared), *rest], seconds))
    result.write_text(json.dumps(told))
    return code


_PYTEST = ("-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header")


def _run(mutants: Sequence[Mutant], covering: Covering, jobs: int) -> Iterator[tuple[Mutant, bool]]:
    """Each mutant, and whether a test noticed it."""
    waiting, running = list(reversed(mutants)), dict[int, Mutant]()
    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop()
            child = os.fork()
            if child == 0:
                os._exit(_quietly(partial(_tested, mutant, covering)))
            running[child] = mutant
        child, status = os.wait()
        yield running.pop(child), status != 0


def _tested(mutant: Mutant, covering: Covering) -> int:
    """The exit code of the tests that run the changed line: 0 if they pass."""
    whole = covering.get((mutant.path, 0), ((), 0.0))
    tests, seconds = covering.get((mutant.path, mutant.line), whole)
    if not tests:
        return 0
    sys.meta_path.insert(0, _Mutated(mutant))
    limit_s = LEAST_LIMIT_S + PATIENCE * seconds
    for timer, number, factor in (
        (signal.ITIMER_PROF, signal.SIGPROF, 1.0),
        (signal.ITIMER_REAL, signal.SIGALRM, WAITING),
    ):
        signal.signal(number, signal.SIG_DFL)
        signal.setitimer(timer, factor * limit_s)
    files = sorted({test.partition("::")[0] for test in tests})
    return int(pytest.main([*_PYTEST, "-o", "timeout=0", *files], plugins=[_Selected(tests)]))


class _Selected:
    """A pytest plugin that runs these tests alone, in this order."""

    def __init__(self, tests: Sequence[str]) -> None:
        self._place = {test: n for n, test in enumerate(tests)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self._place),
            key=lambda item: self._place[item.nodeid],
        )


class _Mutated(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from changed source, and leaves all others to the usual importers."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, fullname: str, _path: object = None, _target: object = None
    ) -> ModuleSpec | None:
        if fullname != self._mutant.module:
            return None
        return importlib.util.spec_from_file_location(
            fullname, ROOT / self._mutant.path, loader=self
        )

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        code = compile(self._mutant.source(), str(ROOT / self._mutant.path), "exec")
        exec(code, module.__dict__)  # noqa: S102 - that is what a mutant is


def _quietly(work: Callable[[], int]) -> int:
    """The exit code of `work`, without what it prints; a crash counts as noticed."""
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        with contextlib.suppress(BaseException):
            return work()
    return 70


if __name__ == "__main__":
    sys.exit(main())
