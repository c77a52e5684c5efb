"""The networks that play the runs of a benchmark, once in each process."""

from dataclasses import dataclass, replace
from functools import cache

import torch
from focus_runs import Run, Start, Task, play_traced, play_way
from peers.mapfost_way import is_installed, mapfost
from peers.ways import WAYS as IN_WORDS

from afdaemon.control.fast.aim.law import aim_law
from afdaemon.control.fast.aim.profile import AimProfile
from afdaemon.control.fast.law import defocus_law
from afdaemon.control.fast.profile import FAST, FastProfile
from afdaemon.control.procedures import Laws, procedure_of
from afdaemon.control.profile import Profile
from afdaemon.control.published.profile import PUBLISHED
from afdaemon.control.published.servo import acnet_law
from afdaemon.control.values import TracePoint
from afdaemon.models.acnet.policy import StepPolicy, load_policy
from afdaemon.models.defocus.network import DefocusEstimator, load_estimator
from afdaemon.models.defocus.posterior.network import DEFAULT_WEIGHTS, PosteriorNet, load_posterior
from afdaemon.models.scorers.focus_scorer import FocusScorer, load_scorer
from afdaemon.sim.instrument.world import World

WAYS = {**IN_WORDS, **({"MAPFoSt": mapfost} if is_installed() else {})}
"""Searches in the way of others, those that are installed."""


@dataclass(frozen=True, slots=True)
class Player:
    """What all procedures need; `posterior` once there are weights for it."""

    scorer: FocusScorer
    policy: StepPolicy
    estimator: DefocusEstimator
    posterior: PosteriorNet | None

    def play(
        self, task: Task, procedure: str, *, calibrated: bool, world: World | None = None
    ) -> Run:
        """One job by a procedure, "fast" or "aim" also " with ladder"; see `focus_runs.play_traced`."""
        return self.play_traced(task, procedure, calibrated=calibrated, world=world)[0]

    def play_traced(
        self, task: Task, procedure: str, *, calibrated: bool, world: World | None = None
    ) -> tuple[Run, tuple[TracePoint, ...]]:
        """The same, and the job's readings."""
        name, _, ladder = procedure.partition(" with ")
        ours: dict[str, Profile] = {"fast": FAST, "aim": AimProfile()}
        rules: Profile = PUBLISHED
        if name in ours:
            known = replace(ours[name], alpha_mrad=task.assumed_alpha_mrad, calibrated=calibrated)
            rules = known.with_ladder(bool(ladder))
        return play_traced(task, self.scorer, procedure_of(rules, self._laws(rules)), world)

    def _laws(self, rules: Profile) -> Laws:
        match rules:
            case FastProfile():
                return Laws(focus=defocus_law(self.estimator.infer, rules))
            case AimProfile() if self.posterior is not None:
                return Laws(aim=aim_law(self.posterior.infer, rules))
            case _:
                return Laws(step=acnet_law(self.policy.propose))


@cache
def player() -> Player:
    """The player of this process: one thread each, since there are as many processes as cores."""
    torch.set_num_threads(1)
    posterior = load_posterior()[0] if DEFAULT_WEIGHTS.exists() else None
    return Player(load_scorer(), load_policy(), load_estimator(), posterior)


def play(task: Task, procedure: str, start: Start, world: World | None = None) -> Run:
    """One job by a procedure of ours, or in the way of others (`WAYS`)."""
    if procedure in WAYS and start.reach_dof is not None:
        return play_way(task, WAYS[procedure], start.reach_dof, world)
    return player().play(task, procedure, calibrated=start.is_calibrated, world=world)
