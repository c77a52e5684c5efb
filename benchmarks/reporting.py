"""What every benchmark does with its arguments, its table and its bars."""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

from afdaemon.evaluate.report import verdict
from afdaemon.evaluate.section import Bar


def parser_of(description: str, *, quick: str) -> argparse.ArgumentParser:
    """A parser of the arguments that all benchmarks take; `quick` says what --quick leaves out."""
    parser = argparse.ArgumentParser(description=description.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help=f"under 50 s: {quick}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write everything measured here")
    parser.add_argument("--markdown", type=Path, help="write the page that the docs quote here")
    parser.add_argument("--micrographs", type=Path, help="folder of real micrographs")
    return parser


def parse(description: str, *, quick: str) -> argparse.Namespace:
    """The arguments of a benchmark that takes no others."""
    arguments = parser_of(description, quick=quick).parse_args()
    for path in filter(None, (arguments.json, arguments.markdown)):
        path.parent.mkdir(parents=True, exist_ok=True)  # better now than after an hour
    return arguments


def conclude(
    arguments: argparse.Namespace,
    script: str,
    table: str,
    bars: Sequence[Bar],
    rows: Sequence[Mapping[str, object]],
    pictures: Mapping[str, str] = MappingProxyType({}),
) -> int:
    """Print table and bars, write everything to where the arguments say, and return the exit code.

    `pictures` are also shown on the page: names of files beside it, and what they show.
    """
    print(table)
    for bar in bars:
        print(f"{'ok  ' if bar.holds else 'MISS'} {bar.name}: {bar.seen}")
    met = sum(bar.holds for bar in bars)
    print(f"bars met: {met} of {len(bars)}", flush=True)
    _write(arguments, script, table, bars, rows, pictures)
    return 0 if met == len(bars) else 1


_NOT_TOLD = {"json", "markdown", "micrographs", "quick", "seed", "jobs", "again"}
"""Arguments that change nothing that is measured, or are told apart."""


def _command(arguments: argparse.Namespace, script: str) -> str:
    """What measures the same again."""
    told = {key: value for key, value in vars(arguments).items() if key not in _NOT_TOLD and value}
    words = ["python", script, "--seed", arguments.seed]
    words += ["--quick"] if arguments.quick else []
    words += ["--micrographs", "DIR"] if arguments.micrographs else []
    words += [word for key, value in told.items() for word in (f"--{key}", value)]
    return " ".join(map(str, words))


def _write(
    arguments: argparse.Namespace,
    script: str,
    table: str,
    bars: Sequence[Bar],
    rows: Sequence[Mapping[str, object]],
    pictures: Mapping[str, str],
) -> None:
    """The JSON and the page, both with the command that measured it."""
    command = _command(arguments, script)
    if arguments.json:
        report = {"command": command, "bars": [asdict(bar) for bar in bars], "rows": list(rows)}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    if arguments.markdown:
        verdicts = "\n".join(f"- {verdict(bar)}" for bar in bars)
        shown = "".join(f"![{what}]({name})\n\n" for name, what in pictures.items())
        title = Path(script).stem.replace("_", " ").capitalize()
        arguments.markdown.write_text(
            f"# {title}\n\nWritten by `{command}`; don't edit. Every frame comes from the simulator"
            f" or from micrographs blurred on purpose; no real instrument was involved.\n\n"
            f"```text\n{table}\n```\n\n{shown}{verdicts}\n"
        )
