"""What every section of an evaluation gives: a table, bars, numbers, figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class Bar:
    """Something promised, and whether it holds."""

    name: str
    holds: bool
    seen: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """What was measured. `numbers` go into the JSON as they are, `figures` by name into PNG files."""

    key: str
    title: str
    lines: Sequence[str]
    bars: Sequence[Bar] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)
    figures: "Mapping[str, Figure]" = field(default_factory=dict)


def at_least(name: str, value: float, least: float) -> Bar:
    """The bar that `value` is at least `least`."""
    return Bar(f"{name} >= {least:g}", value >= least, f"{value:.4g}")


def at_most(name: str, value: float, most: float) -> Bar:
    """The bar that `value` is at most `most`."""
    return Bar(f"{name} <= {most:g}", value <= most, f"{value:.4g}")


def new_figure(width_in: float, height_in: float) -> "Figure":
    """A figure that no window shows."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), layout="constrained", dpi=90)
