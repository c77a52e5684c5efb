"""Agreement with the truth, specimen by specimen: table 1 and figure 4a of Lee et al. 2021."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from afdaemon.evaluate.aenet.test_part import Truth, scores_of
from afdaemon.evaluate.judged import Judged
from afdaemon.evaluate.section import Bar, Section, at_least, new_figure
from afdaemon.models.scorers.metrics import Agreement, agreement
from afdaemon.sim.specimens.catalogue import UNSEEN

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PUBLISHED = {
    "tin_balls": {"correlation": 0.974, "accuracy": 0.920, "precision": 0.943, "mse": 0.047},
    "tem_grid": {"correlation": 0.978, "accuracy": 0.880, "precision": 0.944, "mse": 0.045},
    "gold_nanoparticles": {
        "correlation": 0.975,
        "accuracy": 0.731,
        "precision": 0.931,
        "mse": 0.071,
    },
}
"""Agreement with experts, on micrographs that are not public. The scale of the published MSE is not stated."""

_TRAINED_BARS = {"correlation": 0.985, "accuracy": 0.95, "precision": 0.965}
_UNSEEN_BARS = {"correlation": 0.95, "accuracy": 0.85}


def conclude(found: Sequence[Judged[Truth]]) -> Section:
    """The table of all specimens that were judged."""
    groups = {
        name: [one for one in found if one.facts.specimen == name]
        for name in dict.fromkeys(one.facts.specimen for one in found)
    }
    rows = {name: agreement(*scores_of(group)) for name, group in groups.items()}
    return Section(
        key="table1",
        title="Agreement with the truth on the test part of Dataset 1",
        lines=_table(rows),
        bars=[bar for name, row in rows.items() for bar in _bars(name, row)],
        numbers={
            name: asdict(row) | {"published": PUBLISHED.get(name), "unseen": name in UNSEEN}
            for name, row in rows.items()
        },
        figures={"table1": _correspondence(groups)},
    )


def _bars(name: str, row: Agreement) -> list[Bar]:
    wanted = _UNSEEN_BARS if name in UNSEEN else _TRAINED_BARS
    kind = "unseen " if name in UNSEEN else ""
    return [
        at_least(f"{kind}{name}: {measure}", getattr(row, measure), least)
        for measure, least in wanted.items()
    ]


def _table(rows: Mapping[str, Agreement]) -> list[str]:
    lines = [
        f"{'specimen':<28}{'frames':>7}{'corr.':>8}{'rank':>8}{'acc. 1':>8}{'prec.':>8}{'MSE':>8}{'RMSE':>8}"
    ]
    for name, row in rows.items():
        shown = f"{name} (unseen)" if name in UNSEEN else name
        lines.append(
            f"{shown:<28}{row.frames:>7}{row.correlation:>8.4f}{row.rank_correlation:>8.4f}"
            f"{row.accuracy:>8.3f}{row.precision:>8.4f}{row.mse:>8.3f}{row.rmse:>8.3f}"
        )
        if name in PUBLISHED:
            there = PUBLISHED[name]
            lines.append(
                f"{'  published, experts':<28}{'':>7}{there['correlation']:>8.3f}{'':>8}"
                f"{there['accuracy']:>8.3f}{there['precision']:>8.3f}{there['mse']:>8.3f}*"
            )
    return [
        *lines,
        "corr.: correlation; rank: of the ranks; acc. 1: share within 1 of the truth; prec.: mean of 1 - |error| / 10",
        "* on a scale that the paper doesn't state; all others are on 0..9",
    ]


def _correspondence(groups: Mapping[str, Sequence[Judged[Truth]]]) -> "Figure":
    figure = new_figure(3.0 * len(groups), 3.2)
    for column, (name, group) in enumerate(groups.items()):
        said, true = scores_of(group)
        axes = figure.add_subplot(1, len(groups), column + 1)
        axes.plot((0, 9), (0, 9), color="#b33", lw=0.8)
        axes.plot(true, said, ".", ms=2, alpha=0.4)
        axes.set(title=name, xlabel="truth", ylabel="score", xlim=(-0.3, 9.3), ylim=(-0.3, 9.3))
    return figure
