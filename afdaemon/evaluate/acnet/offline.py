"""ACNet on focus series that were recorded beforehand: table 1 and supplementary table S1 of Lee et al. 2021."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

import numpy as np

from afdaemon.control.published.servo import StepLaw
from afdaemon.control.values import Reading, Started
from afdaemon.evaluate.acnet.policies import NAMES, OURS, Player, away_um, job, law_of
from afdaemon.evaluate.acnet.tables import (
    Played,
    Row,
    boxes,
    line,
    numbers_of,
    row_of,
    rows_of,
    table,
)
from afdaemon.evaluate.conversation import converse
from afdaemon.evaluate.judged import drawn
from afdaemon.evaluate.section import Bar, Section, at_least, at_most
from afdaemon.evaluate.series import scored
from afdaemon.models.acnet.focus_series import READ, FocusSeries, splined
from afdaemon.models.acnet.state import a_max_um
from afdaemon.models.frames.measures import Measures
from afdaemon.models.optics import TOP_SCORE
from afdaemon.models.scorers.focus_scorer import FocusScorer
from afdaemon.sim.datasets.series import ImagedSeries, dataset2_series

_BEST_UM = 20_000.0
"""Where the series have their best WD."""
_SCORE_NOISE, _NOISE = 0.1, 0.01
"""Noise of each reading, as in training: in score units, and relative for variance and entropy."""
_FIRST_SEED = 1_000
"""Test series have seeds of their own."""

PUBLISHED = {
    "tin_balls": {"score": 8.468, "short": 0.158, "steps": 9.100, "mse": 0.020},
    "tem_grid": {"score": 8.605, "short": 0.152, "steps": 9.100, "mse": 0.021},
    "gold_nanoparticles": {"score": 7.788, "short": 0.068, "steps": 9.947, "mse": 0.001},
}
"""Table 1, by measure as in `MEASURES`."""

MEASURES = {
    "score": "final score",
    "short": "short of best",
    "steps": "ACNet's frames",
    "searched": "search's frames",
    "mse": "MSE of actions",
}
NOTES = (
    "Sweeps as in Dataset 2: 250 frames, every 50 um below 10 000x and every 5 um above, of a well-kept instrument,",
    "filled up to every um by splines; noise of .1 on each score, 1 % on variance and entropy. Jobs start within",
    "3 A_max of the focus. Final score, and what it is short of the series' best: without noise. ACNet's frames are",
    "those after the search, which the paper doesn't count. MSE of actions: on the scale of A_max, in the states met.",
)
_S1 = (
    "The offline jobs on the three trained specimens together. S1's figures were not at hand; the paper says that the",
    "whole network is better in all measures, and takes noticeably fewer frames.",
    "Only ACNet goes without: search, stop and the choice of the best WD need the score in any case.",
)
LEAST_SCORE = {"tin_balls": 8.4, "tem_grid": 8.4, "gold_nanoparticles": 7.5}
_MOST_SHORT = 0.16


class Recorded:
    """A series as an instrument."""

    def __init__(self, series: FocusSeries, start_um: float, rng: np.random.Generator) -> None:
        self._series, self._rng = series, rng
        self.wd_um = start_um

    def send(self, wd_um: float, magnification: float | None = None) -> None:
        """Move to that working distance; a series has one magnification."""
        if magnification not in (None, self._series.magnification):
            raise ValueError(
                f"a series of {self._series.magnification:g}x has no {magnification:g}x"
            )
        self.wd_um = wd_um

    async def read(self) -> Reading:
        """The series there, with noise; beyond its ends it stays as it is at them."""
        score, variance, entropy = (self.held(name) for name in READ)
        z = self._rng.standard_normal(len(READ))
        return Reading(
            wd_um=self.wd_um,
            magnification=self._series.magnification,
            frame=Measures(
                score=float(np.clip(score + _SCORE_NOISE * z[0], 0.0, TOP_SCORE)),
                contrast=variance * (1.0 + _NOISE * float(z[1])),
                entropy=entropy * (1.0 + _NOISE * float(z[2])),
            ),
        )

    def held(self, name: str) -> float:
        """One of the series' measures here."""
        values = getattr(self._series, name)
        return float(np.interp(self.wd_um - _BEST_UM, self._series.offset_um, values))


def sweeps(
    scorer: FocusScorer, specimens: Sequence[str], each: int, *, seed: int, workers: int
) -> Iterator[tuple[str, FocusSeries]]:
    """`each` sweeps of every specimen, from which no network learned."""

    def image(task: tuple[str, int]) -> ImagedSeries:
        name, number = task
        rng = np.random.default_rng([_FIRST_SEED + seed, number, *name.encode()])
        return dataset2_series(name, rng)

    tasks = [(name, number) for name in specimens for number in range(each)]
    for (name, _), imaged in zip(tasks, drawn(image, tasks, workers=workers), strict=True):
        yield name, splined(scored(scorer, imaged))


def play(
    player: Player, specimen: str, series: FocusSeries, starts: int, *, seed: int
) -> list[Played]:
    """Jobs on one series, from the same starts for every policy; none if the policy isn't trained."""
    if player.policy is None:
        return []
    rng = np.random.default_rng([seed, round(series.magnification)])
    law = law_of(player.policy)
    return [
        _play(player.name, specimen, series, law, np.random.default_rng(int(one)))
        for one in rng.integers(2**31, size=starts)
    ]


def _play(
    policy: str, specimen: str, series: FocusSeries, law: StepLaw, rng: np.random.Generator
) -> Played:
    start_um = _BEST_UM + away_um(series.magnification, rng)
    instrument = Recorded(series, start_um, rng)
    most_um = a_max_um(series.magnification)
    errors: list[float] = []

    def noted(newest_first: Sequence[Reading]) -> float:
        step_um = law(newest_first)
        wanted = np.clip((_BEST_UM - newest_first[0].wd_um) / most_um, -1.0, 1.0)
        errors.append(float(step_um / most_um - wanted) ** 2)
        return step_um

    start = Started(wd_um=start_um, magnification=series.magnification)
    _, outcome = asyncio.run(converse(instrument, job(noted), start))
    final = instrument.held("score")
    measures = {
        "score": final,
        "short": float(series.score.max()) - final,
        "steps": float(outcome.readings.servo),
        "searched": float(outcome.readings.search),
        "mse": float(np.mean(errors)) if errors else 1.0,
    }
    return Played(policy, specimen, measures)


def conclude(found: Sequence[Played]) -> Section:
    """The lower half of table 1, with all policies."""
    rows = rows_of(found)
    return Section(
        key="offline",
        title="Offline: sweeps that no policy learned from (table 1 of the paper)",
        lines=[*table(rows, PUBLISHED, MEASURES, list(NAMES)), "", *NOTES, _ceiling(rows[OURS])],
        bars=_bars(rows[OURS]),
        numbers=numbers_of(rows, PUBLISHED),
        figures={"offline": boxes(found, "score", "final score")},
    )


def _ceiling(ours: Mapping[str, Row]) -> str:
    """A peak narrower than the sweep's step is missed by the sweep, which lowers the best possible score."""
    shown = (f"{s} {row['score'].mean + row['short'].mean:.2f}" for s, row in ours.items())
    return f"Best possible on these sweeps: {', '.join(shown)}."


def _bars(ours: Mapping[str, Row]) -> list[Bar]:
    return [
        bar
        for name, least in LEAST_SCORE.items()
        for bar in (
            at_least(f"offline, {name}: mean final score", ours[name]["score"].mean, least),
            at_most(f"offline, {name}: short of the best", ours[name]["short"].mean, _MOST_SHORT),
        )
    ]


def ablation(found: Sequence[Played]) -> Section:
    """Supplementary table S1: what the policy is worth without some of what it sees."""
    trained_on = [one for one in found if one.specimen in PUBLISHED]
    pooled = {name: [one for one in trained_on if one.policy == name] for name in NAMES}
    rows = {name: row_of(several) for name, several in pooled.items() if several}
    header = f"{'':<28}{'jobs':>6}" + "".join(f"{title:>17}" for title in MEASURES.values())
    return Section(
        key="ablation",
        title="Without the score, without variance and entropy (supplementary table S1)",
        lines=[header, *(line(name, rows.get(name), MEASURES) for name in NAMES), "", *_S1],
        numbers={
            name: {measure: asdict(spread) for measure, spread in row.items()}
            for name, row in rows.items()
        },
    )
