"""Jobs that were played by several policies on several specimens, and the table and figure that they make."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any

from afdaemon.evaluate.acnet.policies import NAMES
from afdaemon.evaluate.section import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Published = Mapping[str, Mapping[str, float]]
"""The paper's means by specimen and measure."""


@dataclass(frozen=True, slots=True)
class Played:
    """A job, and its measures by their names."""

    policy: str
    specimen: str
    measures: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Mean and standard deviation of a measure, and over how many jobs."""

    mean: float
    spread: float
    jobs: int


Row = Mapping[str, Spread]
"""By measure."""
Rows = Mapping[str, Mapping[str, Row]]
"""By policy and specimen; a policy that isn't trained has none."""


def rows_of(found: Sequence[Played]) -> Rows:
    """Each policy's measures, specimen by specimen."""
    kept: dict[str, dict[str, list[Played]]] = {}
    for one in found:
        kept.setdefault(one.policy, {}).setdefault(one.specimen, []).append(one)
    return {
        policy: {name: row_of(jobs) for name, jobs in several.items()}
        for policy, several in kept.items()
    }


def row_of(jobs: Sequence[Played]) -> Row:
    """The measures of at least one job."""
    told = {name: [job.measures[name] for job in jobs] for name in jobs[0].measures}
    return {
        name: Spread(mean=fmean(values), spread=pstdev(values), jobs=len(values))
        for name, values in told.items()
    }


def table(
    rows: Rows, published: Published, measures: Mapping[str, str], policies: Sequence[str]
) -> list[str]:
    """A line for each of the policies on each specimen, below what the paper says; `measures` have their titles."""
    specimens = list(dict.fromkeys(name for several in rows.values() for name in several))
    lines = [f"{'':<28}{'jobs':>6}" + "".join(f"{title:>17}" for title in measures.values())]
    for specimen in specimens:
        lines += ["", specimen]
        if specimen in published:
            there = published[specimen]
            figures = "".join(f"{_paper(there.get(m)):>17}" for m in measures)
            lines.append(f"{'  the paper':<28}{'':>6}{figures}")
        lines += [line(f"  {p}", rows.get(p, {}).get(specimen), measures) for p in policies]
    return lines


def line(name: str, row: Row | None, measures: Mapping[str, str]) -> str:
    """A row of a table."""
    if row is None:
        return f"{name:<28}  not trained"
    shown = [f"{row[m].mean:.3f}+-{row[m].spread:.3f}" for m in measures]
    return f"{name:<28}{next(iter(row.values())).jobs:>6}" + "".join(f"{s:>17}" for s in shown)


def _paper(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}        "


def numbers_of(rows: Rows, published: Published) -> dict[str, Any]:
    """The same for a JSON file."""
    ours = {
        policy: {
            name: {measure: asdict(spread) for measure, spread in row.items()}
            for name, row in several.items()
        }
        for policy, several in rows.items()
    }
    return {"policies": ours, "paper": published}


def boxes(found: Sequence[Played], measure: str, title: str) -> "Figure":
    """Medians, quartiles and outliers of a measure: a panel for each specimen, a box for each policy."""
    specimens = list(dict.fromkeys(one.specimen for one in found))
    shown = [name for name in NAMES if any(one.policy == name for one in found)]
    figure = new_figure(2.4 * len(specimens), 3.4)
    panels = figure.subplots(1, len(specimens), squeeze=False, sharey=True)[0]
    for axes, specimen in zip(panels, specimens, strict=True):
        held = [
            [o.measures[measure] for o in found if (o.policy, o.specimen) == (name, specimen)]
            for name in shown
        ]
        axes.boxplot(held, tick_labels=shown, flierprops={"markersize": 2})
        axes.set_title(specimen, fontsize="small")
        axes.tick_params(axis="x", labelrotation=60, labelsize="x-small")
    panels[0].set_ylabel(title)
    return figure
