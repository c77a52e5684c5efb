"""`afdaemon score`: judge the focus of image files."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from afdaemon.cli.extras import needs
from afdaemon.cli.output import check_place, check_suffix, write_all
from afdaemon.cli.runner import complain
from afdaemon.cli.score.failures import Failure, summary
from afdaemon.errors import UsageError

if TYPE_CHECKING:
    from afdaemon.cli.score.files import Picture, Wanted
    from afdaemon.cli.score.rows import Row
    from afdaemon.cli.score.scorers import RowScorer
    from afdaemon.cli.score.sheet import Sheet

_FEW = 4
"""Up to this many files are scored before anybody could read a progress bar."""
_STDOUT = Path("-")
_CSV, _SHEET = "--csv", "--contact-sheet"


class Order(StrEnum):
    """How pictures are listed."""

    GIVEN = "given"
    SCORE = "score"


@dataclass(slots=True)
class Scored:
    """What became of the files."""

    rows: "list[Row]" = field(default_factory=list)
    failures: "list[Failure]" = field(default_factory=list)
    scorer: "RowScorer | None" = None


@needs("daemon")
def score(
    files: Annotated[
        list[str],
        typer.Argument(help="PNG, JPEG, TIFF or BMP images, folders, patterns like '*.tif'"),
    ],
    *,
    magnification: Annotated[
        float | None,
        typer.Option(
            help="127 mm / field width, for all of them; default: from each file's metadata, else 2000"
        ),
    ] = None,
    recursive: Annotated[bool, typer.Option("--recursive", help="folders in folders too")] = False,
    roi: Annotated[
        str | None, typer.Option(help="X,Y,W,H in pixels: judge this region only")
    ] = None,
    network: Annotated[str, typer.Option(help="the scorer that judges")] = "AENet.compact",
    sort: Annotated[Order, typer.Option(help="score: best first")] = Order.GIVEN,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
    csv: Annotated[
        Path | None, typer.Option(_CSV, help="write a CSV file, or - to print it")
    ] = None,
    contact_sheet: Annotated[
        Path | None, typer.Option(_SHEET, help="write a PNG of thumbnails, best first")
    ] = None,
) -> None:
    """Score image files: 0 is out of focus, 9 as sharp as their sampling can show.

    Files that cannot be scored are reported, and the others are scored all the same; the exit code is then 1.
    """
    _check_outputs(as_json, csv, contact_sheet)
    from afdaemon.cli.score import files as score_files
    from afdaemon.cli.score.sheet import Sheet

    if magnification is not None:
        score_files.check_magnification(magnification, "magnification")
    wanted = score_files.Wanted(
        magnification=magnification, roi=None if roi is None else score_files.parse_roi(roi)
    )
    paths = score_files.find(files, recursive=recursive)
    sheet = None if contact_sheet is None else Sheet()
    scored = _score_all(paths, wanted, network, sheet)
    if sort is Order.SCORE:
        scored.rows.sort(key=lambda row: row.measures.score, reverse=True)
    _print(scored, as_json=as_json, csv=csv)
    if sheet is not None and contact_sheet is not None and sheet.shown:
        write_all({contact_sheet: sheet.png()}, option=_SHEET)
        _say(f"{contact_sheet}: {sheet.shown} of {sheet.seen} images, best first")
    for failure in summary(scored.failures):
        complain("afdaemon", failure)
    if scored.failures:
        raise typer.Exit(1)


def _check_outputs(as_json: bool, csv: Path | None, contact_sheet: Path | None) -> None:
    if as_json and csv == _STDOUT:
        raise UsageError(
            "--json and --csv - cannot both be printed", remedy="name a file: --csv FILE"
        )
    if csv is not None and csv != _STDOUT:
        check_place(csv, option=_CSV)
    if contact_sheet is not None:
        check_suffix(contact_sheet, (".png",))
        check_place(contact_sheet, option=_SHEET)


def _score_all(
    paths: Sequence[Path], wanted: "Wanted", network: str, sheet: "Sheet | None"
) -> Scored:
    """Score file after file, page after page; one that fails is noted and left out."""
    from afdaemon.cli.score.files import readers

    scored = Scored()
    with _progress_bar(len(paths)) as advance:
        for path in paths:
            with _noted(scored, path):
                for read in readers(path, wanted):
                    with _noted(scored, path):
                        _score(read(), network, scored, sheet)
            advance()
    return scored


@contextmanager
def _noted(scored: Scored, path: Path) -> Iterator[None]:
    """What cannot be scored is noted, and left out."""
    try:
        yield
    except UsageError as error:
        scored.failures.append(Failure(path, error))


def _score(picture: "Picture", network: str, scored: Scored, sheet: "Sheet | None") -> None:
    scorer = scored.scorer = scored.scorer or _open_scorer(network)
    row = scorer.row(picture)
    scored.rows.append(row)
    if sheet is not None:
        name, is_doubted = Path(row.name).name, bool(row.measures.doubt)
        sheet.add(name, row.measures.score, picture.pixels, doubtful=is_doubted)


def _open_scorer(network: str) -> "RowScorer":
    """Not before there is a picture: loading takes seconds, and a misspelt file name should be reported at once."""
    from afdaemon.cli.score.scorers import row_scorer

    return row_scorer(network)


@contextmanager
def _progress_bar(files: int) -> Iterator[Callable[[], None]]:
    """A progress bar on the terminal if there are many; call it after each file."""
    console = Console(stderr=True)
    columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    hidden = files <= _FEW or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task("scoring", total=files)
        yield lambda: bar.advance(task)


def _print(scored: Scored, *, as_json: bool, csv: Path | None) -> None:
    from afdaemon.cli.score import rows as score_rows

    if csv == _STDOUT:
        typer.echo(score_rows.as_csv(scored.rows), nl=False)
    elif csv is not None:
        write_all({csv: score_rows.as_csv(scored.rows).encode()}, option=_CSV)
    if as_json:
        told = {
            "images": [score_rows.as_json(row) for row in scored.rows],
            "errors": [str(failure.error) for failure in scored.failures],
            "model": None if scored.scorer is None else scored.scorer.described,
        }
        typer.echo(json.dumps(told, indent=2))
    elif csv != _STDOUT and scored.rows:
        score_rows.print_table(scored.rows)


def _say(line: str) -> None:
    """Print for people, apart from what is printed for programs."""
    sys.stderr.write(f"{line}\n")
