"""The whole evaluation of AENet, section by section."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from afdaemon.evaluate.aenet import (
    calibration,
    curves,
    held_back_micrographs,
    invariance,
    kim,
    noises,
    order,
    out_of_distribution,
    over_wd,
    table1,
    test_part,
)
from afdaemon.evaluate.aenet.test_part import Truth
from afdaemon.evaluate.judged import Judge, Judged
from afdaemon.evaluate.section import Section
from afdaemon.models.scorers.base import FrameScorer
from afdaemon.models.scorers.classical import CLASSICAL
from afdaemon.models.scorers.zoo import scorer_names
from afdaemon.sim.datasets.dataset1 import PUBLISHED_MAGNIFICATIONS, Dataset1
from afdaemon.sim.specimens.catalogue import STRANGE, UNSEEN

TRAINED = tuple(PUBLISHED_MAGNIFICATIONS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much: scenes per specimen, series per micrograph, places per specimen, out-of-distribution frames per kind.

    Only one in `every_micrograph` of the micrographs is shown. The last four say which specimens are
    imaged over the WD, and how often those of the strange families are.
    """

    scenes: int
    unseen_scenes: int
    kim_scenes: int
    series: int
    magnifications: Mapping[str, Sequence[float]]
    changed: Sequence[str]
    places: int
    every_micrograph: int
    repeats: int
    strangers: int
    astigmatic: Sequence[str]
    strange: Sequence[str]
    families: int
    peaked: Sequence[str]


FULL = Plan(
    scenes=1_000,  # all there are: about 190 per specimen
    unseen_scenes=100,
    kim_scenes=25,
    series=3,
    magnifications=curves.MAGNIFICATIONS,
    changed=(*TRAINED, *UNSEEN),
    places=4,
    every_micrograph=1,
    repeats=2,
    strangers=40,
    astigmatic=(*TRAINED, *UNSEEN),
    strange=STRANGE,
    families=4,
    peaked=(*TRAINED, *UNSEEN, *STRANGE),
)
"""About 25 minutes on two cores."""

QUICK = Plan(
    scenes=3,
    unseen_scenes=2,
    kim_scenes=1,
    series=1,
    magnifications={name: several[:1] for name, several in curves.MAGNIFICATIONS.items()},
    changed=("tem_grid", "woven_fabric"),
    places=1,
    every_micrograph=3,
    repeats=1,
    strangers=5,
    astigmatic=("tin_balls",),
    strange=("lattice", "foam"),
    families=1,
    peaked=("tin_balls",),
)
"""Under 50 seconds: too few frames to judge a network by, enough to see that all of it works."""


@dataclass(kw_only=True)
class Evaluation:
    """What is evaluated and on how much; frames of the test part are judged once for all sections."""

    judge: Judge
    open_scorer: Callable[[str], FrameScorer]
    micrographs: Sequence[Path]
    plan: Plan
    seed: int
    workers: int

    @property
    def dataset(self) -> Dataset1:
        """The frames of the seed, full-size."""
        return Dataset1(seed=self.seed)

    @property
    def shown_micrographs(self) -> Sequence[Path]:
        """Those that the plan has room for."""
        return self.micrographs[:: self.plan.every_micrograph]

    @cached_property
    def test_part(self) -> list[Judged[Truth]]:
        """The test part of the trained specimens, judged."""
        return self._judged(TRAINED, self.plan.scenes)

    def table1(self) -> Section:
        """Trained and unseen specimens."""
        return table1.conclude([*self.test_part, *self._judged(UNSEEN, self.plan.unseen_scenes)])

    def held_back(self) -> Section:
        """WD series of micrographs kept for testing."""
        return held_back_micrographs.measure(
            self.judge,
            self.shown_micrographs,
            series=self.plan.series,
            seed=self.seed,
            workers=self.workers,
        )

    def kim(self) -> Section:
        """Every scorer on the same crops."""
        scenes = self.plan.kim_scenes
        cases = list(kim.crops(self.dataset, TRAINED, scenes=scenes, workers=self.workers))
        rows = kim.compare(scorer_names(), self.open_scorer, cases, classical=CLASSICAL)
        return kim.conclude(list(rows), len(cases))

    def curves(self) -> Section:
        """Score, variance and entropy against WD."""
        return curves.measure(
            self.judge, self.plan.magnifications, seed=self.seed, workers=self.workers
        )

    def invariance(self) -> Section:
        """Changes of the score at fixed focus."""
        return invariance.measure(
            self.judge,
            self.plan.changed,
            places=self.plan.places,
            seed=self.seed,
            workers=self.workers,
        )

    def order(self) -> Section:
        """Real micrographs under blur and noise."""
        return order.measure(
            self.judge, self.shown_micrographs, repeats=self.plan.repeats, seed=self.seed
        )

    def calibration(self) -> Section:
        """Promised against real error."""
        return calibration.conclude(self.test_part)

    def strangers(self) -> Section:
        """Out-of-distribution frames."""
        return out_of_distribution.measure(
            self.judge, self.test_part, each=self.plan.strangers, seed=self.seed
        )

    def astigmatism(self) -> Section:
        """Scores of frames with two line foci."""
        return over_wd.astigmatic(
            self.judge, self.plan.astigmatic, seed=self.seed, workers=self.workers
        )

    def families(self) -> Section:
        """Kinds of specimen that mislead focus measures."""
        return over_wd.families(
            self.judge,
            self.plan.strange,
            each=self.plan.families,
            seed=self.seed,
            workers=self.workers,
        )

    def peaks(self) -> Section:
        """Where the score peaks over the WD."""
        return over_wd.peaks(self.judge, self.plan.peaked, seed=self.seed, workers=self.workers)

    def noises(self) -> Section:
        """Coloured noise and few electrons."""
        return noises.measure(
            self.judge,
            self.plan.changed,
            places=self.plan.places,
            seed=self.seed,
            workers=self.workers,
        )

    def _judged(self, specimens: Sequence[str], scenes: int) -> list[Judged[Truth]]:
        return test_part.judge_test_part(
            self.judge, self.dataset, specimens, scenes=scenes, workers=self.workers
        )


SECTIONS: Mapping[str, Callable[[Evaluation], Section]] = {
    "table1": Evaluation.table1,
    "held_back": Evaluation.held_back,
    "kim": Evaluation.kim,
    "curves": Evaluation.curves,
    "invariance": Evaluation.invariance,
    "order": Evaluation.order,
    "calibration": Evaluation.calibration,
    "strangers": Evaluation.strangers,
    "astigmatism": Evaluation.astigmatism,
    "families": Evaluation.families,
    "noises": Evaluation.noises,
    "peaks": Evaluation.peaks,
}
"""In the order in which they are measured and printed."""
