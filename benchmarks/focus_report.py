"""What focus.py reports on its runs: a table, the same by noise, the promises, and pictures."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, quantiles

from focus_runs import Run, Start

from afdaemon.evaluate.section import Bar

NOISE_LEVELS = ("little noise", "some", "much")

HEAD = (
    f"{'procedure, start':<34}{'runs':>6}{'mean':>7}{'med.':>5}{'looks':>7}"
    f"{'in 1 DoF':>9}{'converged':>11}{'worse':>7}{'wrong':>8}"
)
LEGEND = (
    "mean, med.: readings, looks: those of them that searched for a first trace of focus;\n"
    "worse: ends further from focus; wrong: converged over 3 DoF off"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Conditions that many runs share, and what must hold for them; the other bars are those of every row."""

    procedure: str
    start: Start
    runs: int = 1_000
    most_mean: float | None = None
    most_median: float | None = None
    most_beside_looks: float | None = None
    within_1: float | None = None

    @property
    def name(self) -> str:
        """Procedure and conditions."""
        return f"{self.procedure}, {self.start.named}"


Played = Mapping[Row, Sequence[Run]]


def line(name: str, runs: Sequence[Run]) -> str:
    """A row of the table."""
    used = [run.readings for run in runs]
    return (
        f"{name:<34}{len(runs):>6}{mean(used):>7.2f}{median(used):>5.0f}{mean(run.looks for run in runs):>7.2f}"
        f"{_near(runs):>9.3f}{mean(run.converged for run in runs):>11.3f}"
        f"{sum(run.is_worse for run in runs):>7}{mean(run.is_wrong for run in runs):>8.3f}"
    )


def summary(runs: Sequence[Run]) -> dict[str, object]:
    """A row in numbers; of single runs only those that missed are published."""
    return {
        "runs": len(runs),
        "readings": sorted(Counter(run.readings for run in runs).items()),
        "within_1_dof": _near(runs),
        "converged": mean(run.converged for run in runs),
        "worse": sum(run.is_worse for run in runs),
        "wrong": sum(run.is_wrong for run in runs),
    }


def bars(row: Row, runs: Sequence[Run], *, ours: bool) -> list[Bar]:
    """What must hold for one of our own rows."""
    if not ours:
        return []
    used, near = [run.readings for run in runs], _near(runs)
    count, share = sum(run.is_worse for run in runs), mean(run.is_wrong for run in runs)
    held = [Bar(f"{row.name}: none ends worse", count == 0, f"{count}")]
    if row.most_mean is not None:
        name = f"{row.name}: mean readings <= {row.most_mean:g}"
        held.append(Bar(name, mean(used) <= row.most_mean, f"{mean(used):.2f}"))
    if row.most_median is not None:
        name = f"{row.name}: median of readings <= {row.most_median:g}"
        held.append(Bar(name, median(used) <= row.most_median, f"{median(used):g}"))
    if row.most_beside_looks is not None:
        beside = mean(run.readings - run.looks for run in runs)
        name = f"{row.name}: mean readings besides looks <= {row.most_beside_looks:g}, as published"
        held.append(Bar(name, beside <= row.most_beside_looks, f"{beside:.2f}"))
    if row.within_1 is not None:
        name = f"{row.name}: within 1 DoF >= {row.within_1:g}"
        held.append(Bar(name, near >= row.within_1, f"{near:.3f}"))
    if row.procedure.startswith("fast"):
        name = f"{row.name}: wrong success <= 0.2 %"
        held.append(Bar(name, share <= 0.002, f"{100 * share:.2f} %"))
    return held


def by_noise(runs: Sequence[Run]) -> list[list[Run]]:
    """The third of the runs with the least noise, the middle one, and the one with the most."""
    low, high = quantiles([run.noise for run in runs], n=3)
    return [
        [run for run in runs if run.noise <= low],
        [run for run in runs if low < run.noise <= high],
        [run for run in runs if run.noise > high],
    ]


def contests(played: Played) -> tuple[list[str], list[Bar]]:
    """Fast against each other procedure from the same distance, at each level of noise: lines, and bars."""
    lines, held = [f"{'by noise (readings, in 1 DoF)':<34}" + _columns(NOISE_LEVELS)], []
    for start in dict.fromkeys(row.start for row in played):
        rivals = [row for row in played if row.start == start]
        fast = next((row for row in rivals if row.procedure == "fast"), None)
        if fast is None or len(rivals) == 1 or start.reach_dof is None:
            continue
        for row in rivals:
            thirds = by_noise(played[row])
            lines.append(f"{row.name:<34}" + _columns([_figures(third) for third in thirds]))
            if row is not fast:
                same_tasks = played[fast][: len(played[row])]  # rows begin alike
                held += _contest(row, by_noise(same_tasks), thirds)
    return lines, held


def _contest(row: Row, ours: list[list[Run]], theirs: list[list[Run]]) -> list[Bar]:
    """Fewer readings, and more often in focus; where both always are, the readings decide."""
    return [
        Bar(
            f"fast beats {row.name}, {level}, on readings and success",
            mean(r.readings for r in mine) < mean(r.readings for r in other)
            and (_near(mine) > _near(other) or _near(mine) == _near(other) == 1.0),
            f"{_figures(mine)} to {_figures(other)}",
        )
        for level, mine, other in zip(NOISE_LEVELS, ours, theirs, strict=True)
    ]


def _figures(runs: Sequence[Run]) -> str:
    return f"{mean(run.readings for run in runs):.1f} ({_near(runs):.3f})"


def _columns(texts: Sequence[str]) -> str:
    return "".join(f"{text:>16}" for text in texts)


def _near(runs: Sequence[Run]) -> float:
    return mean(run.within_1 for run in runs)


def draw_boxes(played: Played, file: Path) -> None:
    """Readings and remaining distances of every row, as boxes from the 5th to the 95th percentile, PNG."""
    from matplotlib.figure import Figure

    rows = list(played)[::-1]
    figure = Figure(figsize=(11.0, 1.5 + 0.32 * len(rows)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    names = [row.name for row in rows]
    style = {"orientation": "horizontal", "whis": (5, 95), "tick_labels": names}
    left.boxplot([[run.readings for run in played[row]] for row in rows], sym=".", **style)
    right.boxplot(
        [[max(run.end_dof, 0.01) for run in played[row]] for row in rows], sym=".", **style
    )
    for axes, label in ((left, "readings"), (right, "distance from focus at the end (DoF)")):
        axes.set_xscale("log")
        axes.set_xlabel(label)
        axes.grid(visible=True, axis="x", alpha=0.3)
    right.axvline(1.0, color="tab:green", linewidth=0.8)
    figure.savefig(file, dpi=110)
