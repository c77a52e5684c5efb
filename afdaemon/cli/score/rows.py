"""What `afdaemon score` tells of each picture, as table, JSON and CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from rich.console import Console
from rich.table import Table

_WIDTH_WHERE_NO_TERMINAL = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One picture: its score, how sure it is, and what it was judged as.

    `expected_error` is in units of the score, `confidence` 0..1; both are None for scorers that know neither. `doubt`
    says why the score may mean nothing, or is empty. `width` and `height` are those of what was judged, in pixels,
    before it was reduced by `reduction`. `saturated` is a share, 0..1. `streaked`: charging
    left streaks (AENet.compact judges without them).
    """

    file: str
    page: int
    score: float
    expected_error: float | None
    confidence: float | None
    doubt: str
    width: int
    height: int
    reduction: int
    magnification: float
    magnification_from: str
    variance: float
    entropy: float
    saturated: float
    streaked: bool

    @property
    def name(self) -> str:
        """What people call the picture."""
        return name_of(self.file, self.page)


def remarks(doubt: str, *, streaked: bool) -> list[str]:
    """What to say of a frame besides its score."""
    return [said for said in (doubt, "streaks: charging" if streaked else "") if said]


def name_of(file: str, page: int) -> str:
    """The file, and the page where it is not the first: `stack.tif#2`."""
    return file if page == 1 else f"{file}#{page}"


_DIGITS = {
    "score": 4,
    "expected_error": 4,
    "confidence": 4,
    "magnification": 1,
    "variance": 5,
    "entropy": 4,
    "saturated": 5,
}


def as_json(row: Row) -> dict[str, Any]:
    """The row under its fields' names, numbers rounded."""
    return {
        key: value if value is None or key not in _DIGITS else round(value, _DIGITS[key])
        for key, value in asdict(row).items()
    }


def as_csv(rows: Sequence[Row]) -> str:
    """A line a picture, under a line with the names of the columns; what is not known is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(as_json(row) for row in rows)
    return text.getvalue()


def print_table(rows: Sequence[Row]) -> None:
    """Print a table as wide as the terminal, or wide enough for most where there is none."""
    table = Table()
    table.add_column("file", overflow="fold")
    for name in ("score", "error", "sure", "size", "reduced by", "magnification", "saturated"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("doubt")
    for row in rows:
        table.add_row(
            row.name,
            f"{row.score:.2f}",
            "" if row.expected_error is None else f"{row.expected_error:.2f}",
            "" if row.confidence is None else f"{row.confidence:.0%}",
            f"{row.width} x {row.height}",
            str(row.reduction),
            f"{row.magnification:.0f} ({row.magnification_from})",
            f"{row.saturated:.1%}",
            "; ".join(remarks(row.doubt, streaked=row.streaked)),
        )
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, _WIDTH_WHERE_NO_TERMINAL))
    console.print(table)
