"""The policies that the tables of ACNet compare, and how each is played: by the published procedure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from afdaemon.control.limits import Limits, Range
from afdaemon.control.procedures import Laws, procedure_of
from afdaemon.control.published.profile import PUBLISHED as PROCEDURE
from afdaemon.control.published.servo import StepLaw, acnet_law
from afdaemon.control.state import AnyState, new_job
from afdaemon.evaluate.section import Section
from afdaemon.models.acnet.policy import StepPolicy, load_policy
from afdaemon.models.acnet.state import a_max_um
from afdaemon.sim.instrument.settings import WD_UM

OURS, PUBLISHED = "ours", "published"
_WITHOUT_SCORE, _WITHOUT_MEASURES = "without-score", "without-variance-entropy"
NAMES = {
    PUBLISHED: "trained as published",
    OURS: "the shipped one",
    _WITHOUT_SCORE: "as published, but ACNet doesn't see the score",
    _WITHOUT_MEASURES: "as published, but ACNet sees neither variance nor entropy",
}
"""Rows of the tables."""

_START_A_MAX = 3.0
"""ASSUMED: jobs start within this many A_max of the focus; the paper only says "randomly selected"."""


@dataclass(frozen=True, slots=True)
class Player:
    """A row: its policy is None if it is not trained."""

    name: str
    policy: StepPolicy | None


def players(weights: Mapping[str, Path]) -> list[Player]:
    """All rows: ours with the shipped weights unless others are given. Raises `WeightsError`."""

    def policy_of(name: str) -> StepPolicy | None:
        if name in weights or name == OURS:
            return load_policy(weights.get(name))
        return None

    return [Player(name, policy_of(name)) for name in NAMES]


def law_of(policy: StepPolicy) -> StepLaw:
    """The policy's step law."""
    return acnet_law(policy.propose)


def job(law: StepLaw) -> AnyState:
    """A job by the published procedure."""
    limits = Limits(hard=Range(lo_um=WD_UM.low, hi_um=WD_UM.high))
    return new_job(procedure_of(PROCEDURE, Laws(step=law)), limits)


def away_um(magnification: float, rng: np.random.Generator) -> float:
    """How far from the focus a job starts, to either side."""
    return float(rng.uniform(-_START_A_MAX, _START_A_MAX)) * a_max_um(magnification)


def conclude(found: Sequence[Player]) -> Section:
    """What is compared, and what each card says about its training."""
    cards = {one.name: one.policy.card for one in found if one.policy is not None}
    lines = []
    for name, what in NAMES.items():
        lines.append(f"{name:<26}{what}")
        told = trained(cards[name].training) if name in cards else "not trained"
        lines.append(f"{'':<26}{told}" + (f", {cards[name].sha256[:12]}" if name in cards else ""))
    return Section(
        key="policies",
        title="Policies",
        lines=lines,
        numbers={
            name: {"sha256": card.sha256, "training": card.training} for name, card in cards.items()
        },
    )


def trained(training: Mapping[str, Any]) -> str:
    """The training of a card in words."""
    data = training.get("data", {})
    return (
        f"preset {training.get('preset', OURS)}, {data.get('series', '?')} series,"
        f" {training.get('episodes', '?')} episodes"
    )
