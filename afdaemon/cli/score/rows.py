"""What `afdaemon score` reports about each picture, as table, JSON and CSV."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from afdaemon.models.frames.measures import Measures

_WIDTH_WHERE_NO_TERMINAL = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One picture: what was measured, and what it was judged as.

    `width` and `height` are those of what was judged, in pixels, before it was reduced by `reduction`. Few scorers know
    their own error.
    """

    file: str
    page: int
    measures: Measures
    knows_its_error: bool
    width: int
    height: int
    reduction: float
    magnification: float
    magnification_from: str

    @property
    def name(self) -> str:
        """What people call the picture."""
        return name_of(self.file, self.page)

    def if_known(self, value: float) -> float | None:
        """`value`, which follows from the score's error, if that is known."""
        return value if self.knows_its_error else None


def name_of(file: str, page: int) -> str:
    """The file, and the page where it is not the first: `stack.tif#2`."""
    return file if page == 1 else f"{file}#{page}"


_COLUMNS: Mapping[str, Callable[[Row], Any]] = {
    "file": lambda row: row.file,
    "page": lambda row: row.page,
    "score": lambda row: round(row.measures.score, 4),
    "expected_error": lambda row: row.if_known(round(row.measures.expected_error, 4)),
    "confidence": lambda row: row.if_known(round(row.measures.confidence, 4)),
    "doubt": lambda row: row.measures.doubt,
    "width": lambda row: row.width,
    "height": lambda row: row.height,
    "reduction": lambda row: round(row.reduction, 3),
    "magnification": lambda row: round(row.magnification, 1),
    "magnification_from": lambda row: row.magnification_from,
    "contrast": lambda row: round(row.measures.contrast, 5),
    "variance": lambda row: round(row.measures.contrast, 5),
    "entropy": lambda row: round(row.measures.entropy, 4),
    "saturated": lambda row: round(row.measures.saturated, 5),
    "streaked": lambda row: row.measures.streaked,
    "masked": lambda row: round(row.measures.masked, 4),
    "mask": lambda row: row.measures.mask,
}
"""What JSON and CSV say about a picture; `variance` is the old name of `contrast`."""


def as_json(row: Row) -> dict[str, Any]:
    """The row as a flat table, numbers rounded; what the scorer does not know is None."""
    return {name: value_of(row) for name, value_of in _COLUMNS.items()}


def as_csv(rows: Sequence[Row]) -> str:
    """One line per picture, under a line with the column names; what is not known is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(_COLUMNS), lineterminator="\n")
    writer.writeheader()
    writer.writerows(as_json(row) for row in rows)
    return text.getvalue()


def print_table(rows: Sequence[Row]) -> None:
    """Print a table as wide as the terminal, or wide enough for most where there is none."""
    table = Table()
    table.add_column("file", overflow="fold")
    for name in (
        "score",
        "error",
        "confidence",
        "size",
        "reduced by",
        "magnification",
        "saturated",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("doubt")
    for row in rows:
        frame = row.measures
        table.add_row(
            Text(row.name),
            f"{frame.score:.2f}",
            f"{frame.expected_error:.2f}" if row.knows_its_error else "",
            f"{frame.confidence:.0%}" if row.knows_its_error else "",
            f"{row.width} x {row.height}",
            f"{row.reduction:.3g}",
            f"{row.magnification:.0f} ({row.magnification_from})",
            f"{frame.saturated:.1%}",
            Text("; ".join(frame.remarks)),
        )
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, _WIDTH_WHERE_NO_TERMINAL))
    console.print(table)
