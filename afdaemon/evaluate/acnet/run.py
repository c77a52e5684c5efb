"""The whole evaluation of ACNet, section by section."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from afdaemon.evaluate.acnet import offline, online, policies
from afdaemon.evaluate.acnet.policies import Player
from afdaemon.evaluate.acnet.tables import Played
from afdaemon.evaluate.section import Section
from afdaemon.models.scorers.focus_scorer import FocusScorer
from afdaemon.sim.datasets.dataset1 import PUBLISHED_MAGNIFICATIONS, SPECIMENS
from afdaemon.sim.datasets.frames import held_back


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured of each specimen: sweeps, jobs on each sweep, jobs on instruments."""

    series: int
    starts: int
    runs: int
    unseen_runs: int


FULL = Plan(series=6, starts=20, runs=100, unseen_runs=50)
"""As many runs as in the paper; about 12 minutes on one idle core."""

QUICK = Plan(series=2, starts=5, runs=20, unseen_runs=10)
"""About 3 minutes: too few jobs to judge by."""


@dataclass(kw_only=True)
class Evaluation:
    """What is evaluated and on how much; offline jobs are played once for all sections."""

    scorer: FocusScorer
    players: Sequence[Player]
    micrographs: Sequence[Path]
    plan: Plan
    seed: int
    workers: int

    @cached_property
    def offline_jobs(self) -> list[Played]:
        """Every policy on every sweep."""
        sweeps = offline.sweeps(
            self.scorer, SPECIMENS, self.plan.series, seed=self.seed, workers=self.workers
        )
        return [
            job
            for specimen, series in sweeps
            for player in self.players
            for job in offline.play(player, specimen, series, self.plan.starts, seed=self.seed)
        ]

    def policies(self) -> Section:
        """What is compared."""
        return policies.conclude(self.players)

    def offline(self) -> Section:
        """Table 1."""
        return offline.conclude(self.offline_jobs)

    def ablation(self) -> Section:
        """Supplementary table S1."""
        return offline.ablation(self.offline_jobs)

    def online(self) -> Section:
        """Tables 2 and 3, and held-back micrographs."""
        kept = [path for path in self.micrographs if held_back(path)]
        specimens = [*SPECIMENS, *([online.MICROGRAPHS] if kept else [])]
        return online.conclude(
            [
                job
                for name in specimens
                for settings in online.tasks(name, self._runs(name), kept, seed=self.seed)
                for job in online.play(self.players, name, settings, self.scorer)
            ]
        )

    def _runs(self, specimen: str) -> int:
        is_trained = specimen in PUBLISHED_MAGNIFICATIONS
        return self.plan.runs if is_trained else self.plan.unseen_runs


SECTIONS: Mapping[str, Callable[[Evaluation], Section]] = {
    "policies": Evaluation.policies,
    "offline": Evaluation.offline,
    "ablation": Evaluation.ablation,
    "online": Evaluation.online,
}
"""In the order in which they are measured and printed."""
