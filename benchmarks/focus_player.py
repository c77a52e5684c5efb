"""The networks that play the runs of a benchmark, once in each process."""

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import torch
from focus_runs import Run, Start, Task, play_traced, play_way
from peers.mapfost_way import is_installed, mapfost
from peers.ways import WAYS as IN_WORDS

from afdaemon.control.fast.law import defocus_law
from afdaemon.control.fast.profile import FAST
from afdaemon.control.procedures import Laws, procedure_of
from afdaemon.control.published.profile import PUBLISHED
from afdaemon.control.published.servo import acnet_law
from afdaemon.control.values import TracePoint
from afdaemon.models.acnet.policy import StepPolicy, load_policy
from afdaemon.models.defocus.network import DefocusEstimator, load_estimator
from afdaemon.models.scorers.focus_scorer import FocusScorer, load_scorer
from afdaemon.sim.instrument.world import World

if TYPE_CHECKING:
    from afdaemon.control.profile import Profile


WAYS = {**IN_WORDS, **({"MAPFoSt": mapfost} if is_installed() else {})}
"""Searches in the way of others, those that are installed."""


@dataclass(frozen=True, slots=True)
class Player:
    """What both procedures need."""

    scorer: FocusScorer
    policy: StepPolicy
    estimator: DefocusEstimator

    def play(
        self, task: Task, procedure: str, *, calibrated: bool, world: World | None = None
    ) -> Run:
        """One job by the procedure "fast", "fast with ladder" or "paper"; see `focus_runs.play_traced`."""
        return self.play_traced(task, procedure, calibrated=calibrated, world=world)[0]

    def play_traced(
        self, task: Task, procedure: str, *, calibrated: bool, world: World | None = None
    ) -> tuple[Run, tuple[TracePoint, ...]]:
        """The same, and the job's readings."""
        fast = replace(
            FAST,
            alpha_mrad=task.assumed_alpha_mrad,
            calibrated=calibrated,
            ladder=procedure == "fast with ladder",
        )
        rules: Profile = PUBLISHED if procedure == PUBLISHED.name else fast
        laws = Laws(
            step=acnet_law(self.policy.propose), focus=defocus_law(self.estimator.infer, fast)
        )
        return play_traced(task, self.scorer, procedure_of(rules, laws), world)


@cache
def player() -> Player:
    """The player of this process: one thread each, since there are as many processes as cores."""
    torch.set_num_threads(1)
    return Player(load_scorer(), load_policy(), load_estimator())


def play(task: Task, procedure: str, start: Start, world: World | None = None) -> Run:
    """One job by a procedure of ours, or in the way of others (`WAYS`)."""
    if procedure in WAYS and start.reach_dof is not None:
        return play_way(task, WAYS[procedure], start.reach_dof, world)
    return player().play(task, procedure, calibrated=start.is_calibrated, world=world)
