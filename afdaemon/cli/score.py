"""`afdaemon score`: judge the focus of image files."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from afdaemon.errors import UsageError

if TYPE_CHECKING:
    from afdaemon.models.scorer import FocusScorer

MAGNIFICATION_RANGE = (1.0, 1_000_000.0)


def score(
    files: Annotated[list[Path], typer.Argument(help="PNG, JPEG or TIFF images")],
    magnification: Annotated[float, typer.Option(help="magnification the images were taken at")],
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object")] = False,
) -> None:
    """Score image files: 0 is out of focus, 9 as sharp as their sampling can show."""
    low, high = MAGNIFICATION_RANGE
    if not (math.isfinite(magnification) and low <= magnification <= high):
        raise UsageError(
            f"magnification must be a number from {low:g} to {high:g}, got {magnification}",
            remedy="give the one the images were taken at, e.g. --magnification 2000",
        )
    pixels = [(path, _read(path)) for path in files]
    from afdaemon.models.scorer import load_scorer

    scorer = load_scorer()
    rows = [_row(scorer, path, image, magnification) for path, image in pixels]
    if as_json:
        typer.echo(json.dumps({"images": rows, "model": scorer.describe()}, indent=2))
    else:
        _print_table(rows)


def _read(path: Path) -> Any:
    """Grey pixels of a file, its data bar cut off."""
    from afdaemon.drivers.errors import FrameInvalid
    from afdaemon.drivers.wire.image import crop_data_bar, decode_grey

    remedy = "give PNG, JPEG or TIFF files of 8 or 16 bit"
    try:
        return crop_data_bar(decode_grey(path.read_bytes()))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", remedy=remedy) from error
    except FrameInvalid as error:
        raise UsageError(f"{path} cannot be scored: {error}", remedy=remedy) from error


def _row(scorer: "FocusScorer", path: Path, pixels: Any, magnification: float) -> dict[str, Any]:
    from afdaemon.models.errors import ImageError

    try:
        judged = scorer.score(pixels, magnification)
    except ImageError as error:
        raise UsageError(f"{path} cannot be scored: {error}", remedy=error.remedy) from error
    return {
        "file": str(path),
        "score": round(judged.score, 4),
        "magnification": magnification,
        "width": int(pixels.shape[1]),
        "height": int(pixels.shape[0]),
        "reduction": judged.reduction,
        "variance": round(judged.variance, 5),
        "entropy": round(judged.entropy, 4),
        "saturated": round(judged.saturated, 5),
    }


def _print_table(rows: list[dict[str, Any]]) -> None:
    table = Table("file", "score", "size", "reduced by")
    for row in rows:
        size = f"{row['width']} x {row['height']}"
        table.add_row(row["file"], f"{row['score']:.2f}", size, str(row["reduction"]))
    Console().print(table)
