"""Promises: what the service promises, the tests that keep it, and what was measured; writes docs/reliability.md.

The figures are those of the results pages as they lie in docs/results; this runs none of the benchmarks.

    python benchmarks/promises.py [--json FILE] [--markdown FILE]
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reporting import parser_of

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
PAGE = ROOT / "docs" / "reliability.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What is promised, the tests that keep it, and the names of the results that measure it."""

    says: str
    tests: tuple[str, ...]
    results: tuple[str, ...] = ()


PROMISES = (
    Promise(
        says="No command outside the limits reaches the instrument, whatever networks, frames, read-backs or"
        " clients say.",
        tests=("tests/control/test_limits.py", "tests/job/test_lens.py"),
        results=("limits_kept",),
    ),
    Promise(
        says="An abort is acknowledged and carried out at once. Acknowledged, it is how the job ends; else the"
        " answer says"
        " that it came too late.",
        tests=("tests/job/test_loop.py", "tests/api/test_server.py"),
        results=("aborts",),
    ),
    Promise(
        says="Restored means read back: what is said of the lens is so, also of one that ignores, overshoots or lags.",
        tests=("tests/job/test_lens.py", "tests/service/test_compose.py"),
        results=("restored",),
    ),
    Promise(
        says="After a crash nothing moves by itself, nothing recorded is lost, a repeated id moves nothing"
        " twice, and the"
        " status says what was interrupted and how to undo it.",
        tests=("tests/job/test_journal.py", "tests/service/test_compose.py"),
        results=("kills",),
    ),
    Promise(
        says="A disk that fails costs no truth: the lens comes home, the result is so, what waits is written later.",
        tests=("tests/job/test_store.py", "tests/job/test_loop.py"),
    ),
    Promise(
        says="Floods, garbage and greed of one peer do not hold up the others, end nothing, and cost no memory"
        " afterwards.",
        tests=("tests/api/test_floods.py", "tests/api/test_connections.py"),
        results=("storm",),
    ),
    Promise(
        says="A fault of the link is recovered from or told within 5 s; no restore is forgotten.",
        tests=("tests/drivers/contract", "tests/drivers/em30"),
        results=("link_faults",),
    ),
    Promise(
        says="No success on a picture that misleads, no move of another instrument, and a yes only for a whole yes.",
        tests=("tests/drivers/em30/test_identity.py", "tests/drivers/em30/test_exchange.py"),
        results=("misled", "damaged_jpeg"),
    ),
    Promise(
        says="Somebody else who turns the WD or the magnification keeps it: the job ends as `taken_over`.",
        tests=("tests/job/test_lens.py", "tests/job/test_loop.py"),
    ),
    Promise(
        says="An instrument that does not do what it is told is not moved until somebody has looked after it.",
        tests=("tests/service/test_compose.py",),
    ),
    Promise(
        says="It runs for days: memory, handles and threads stay as they are, and what was asked is what happened.",
        tests=("tests/conftest.py",),
        results=("soak",),
    ),
    Promise(
        says="A stuck part is noticed within its deadline, and the service restarts. The unit runs hardened.",
        tests=("tests/service/test_watch.py", "tests/packaging/test_units.py"),
        results=("stuck",),
    ),
    Promise(
        says="Numbers are read as vendors write them, or refused with the text shown; every parser fails by name.",
        tests=("tests/drivers/wire/test_quantity.py", "tests/fuzz"),
    ),
    Promise(
        says="An old client works or is told why not; wrong address, other version and not running are told apart.",
        tests=("tests/api/test_client.py", "tests/api/test_openrpc.py"),
    ),
)

_HEAD = """# What it promises

Written by `python benchmarks/promises.py` from the results of the other benchmarks; don't edit. Everything was measured
against the simulator: no real instrument was involved. A line that says *not measured yet* has its tests all the same.

How it is meant to hold: every move passes one guard; the start is written down durably before the first move; a move
counts when it is read back; nothing moves unasked. See also
[where a job leaves the lens](using.md#where-a-job-leaves-the-lens).

| promise | tests that keep it | measured |
|---|---|---|
"""


def main() -> int:
    """Write the page."""
    arguments = parser_of(__doc__ or "", quick="the same").parse_args()
    page = arguments.markdown or PAGE
    page.write_text(text(), encoding="utf-8")
    missing = sorted({name for one in PROMISES for name in one.results if not _file(name).exists()})
    if arguments.json:
        arguments.json.write_text(json.dumps({"missing": missing}) + "\n")
    print("\n".join(f"MISS {name}: not measured yet" for name in missing))
    measured = sum(bool(one.results) for one in PROMISES)
    whole = sum(bool(one.results) and not set(one.results) & set(missing) for one in PROMISES)
    print(f"bars met: {whole} of {measured}")
    return 0 if whole == measured else 1


def text() -> str:
    """The page."""
    return _HEAD + "\n".join(_row(promise) for promise in PROMISES) + "\n"


def _row(promise: Promise) -> str:
    tests = ", ".join(f"`{name}`" for name in promise.tests)
    figures = "<br>".join(_figures(name) for name in promise.results)
    return f"| {promise.says} | {tests} | {figures} |"


def _figures(name: str) -> str:
    file = _file(name)
    if not file.exists():
        return f"`benchmarks/{name}.py`: *not measured yet*"
    report: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    bars = "; ".join(
        f"{'' if bar['holds'] else '**missed** '}{bar['name']}: {bar['seen']}"
        for bar in report["bars"]
    )
    return f"[`{report['command'].strip()}`](results/{name}.md): {bars}"


def _file(name: str) -> Path:
    return RESULTS / f"{name}.json"


if __name__ == "__main__":
    sys.exit(main())
