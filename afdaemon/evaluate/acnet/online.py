"""ACNet with AENet on simulated instruments: tables 2 and 3 of Lee et al. 2021."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from afdaemon.clock import ManualClock
from afdaemon.control.values import Outcome, Reading, Started
from afdaemon.evaluate.acnet import policies
from afdaemon.evaluate.acnet.offline import LEAST_SCORE
from afdaemon.evaluate.acnet.policies import OURS, Player, away_um, job, law_of
from afdaemon.evaluate.acnet.tables import Played, Row, boxes, numbers_of, rows_of, table
from afdaemon.evaluate.conversation import Live, converse
from afdaemon.evaluate.section import Bar, Section, at_least
from afdaemon.models.acnet.policy import StepPolicy
from afdaemon.models.scorers.focus_scorer import FocusScorer
from afdaemon.sim.datasets.dataset1 import PUBLISHED_MAGNIFICATIONS, UNSEEN_MAGNIFICATIONS
from afdaemon.sim.instrument.conditions import Condition, instrument
from afdaemon.sim.instrument.settings import InstrumentSettings
from afdaemon.sim.instrument.world import RecordedFrame, World
from afdaemon.sim.optics import is_in_focus
from afdaemon.sim.specimens.catalogue import UNSEEN

if TYPE_CHECKING:
    from afdaemon.models.frames.measures import Measures

PUBLISHED = {
    "tin_balls": {"score": 8.534, "steps": 10.743},
    "tem_grid": {"score": 8.568, "steps": 13.300},
    "gold_nanoparticles": {"score": 7.458, "steps": 10.574},
    "butterfly_wing": {"score": 6.528},
    "woven_fabric": {"score": 6.406},
}
"""Table 2, and for the unseen specimens table 3."""

_POLICIES = (policies.PUBLISHED, OURS)
"""Those that are tried on instruments; the ablated policies are only compared offline."""

MEASURES = {
    "score": "final score",
    "steps": "ACNet's frames",
    "searched": "search's frames",
    "within_1": "within 1 DoF",
    "converged": "converged",
}
_UNSEEN_BELOW = 1.0
MICROGRAPHS = "micrographs"
_MICROGRAPHS_AT = 1_000
_FOCUS_UM = (9_000.0, 15_000.0)
NOTES = (
    "Simulated instruments in good condition: a convergence angle of 5 mrad, hardly any astigmatism, 100 pA; each with",
    "a place and a magnification of its own, within 500 to 10 000 (gold: 8000 to 30 000). Jobs start within 3 A_max of",
    "the focus. The final score is AENet's of one more frame where the job ended, be it back at its start. ACNet's",
    "frames are those after the search, which the paper doesn't count. within 1 DoF: of the true focus, or 2 um.",
)


class Remembering:
    """AENet on the frames of one task, each of which is judged once: policies see the same until the search ends."""

    def __init__(self, scorer: FocusScorer) -> None:
        self._scorer = scorer
        self._said: dict[bytes, Measures] = {}

    def read(self, shot: RecordedFrame) -> Reading:
        """What is measured in a frame."""
        key, magnification = shot.pixels.tobytes(), float(shot.magnification)
        if key not in self._said:
            self._said[key] = self._scorer.score(shot.pixels, magnification)
        return Reading(wd_um=shot.wd_um, magnification=magnification, frame=self._said[key])


def tasks(
    specimen: str, runs: int, micrographs: Sequence[Path], *, seed: int
) -> Iterator[InstrumentSettings]:
    """Instruments with the specimen, or with one of the micrographs, somewhere near the focus."""
    rng = np.random.default_rng([seed, *specimen.encode()])
    low, high = PUBLISHED_MAGNIFICATIONS.get(specimen, UNSEEN_MAGNIFICATIONS)
    for number in range(runs):
        name, magnification = specimen, round(float(rng.uniform(low, high)))
        if specimen == MICROGRAPHS:
            name, magnification = f"image:{micrographs[number % len(micrographs)]}", _MICROGRAPHS_AT
        focus_um = float(rng.uniform(*_FOCUS_UM))
        yield instrument(
            Condition.GOOD,
            specimen=name,
            magnification=magnification,
            seed=int(rng.integers(2**31)),
            focus_wd_um=focus_um,
            start_wd_um=focus_um + away_um(magnification, rng),
        )


def play(
    players: Sequence[Player], specimen: str, settings: InstrumentSettings, scorer: FocusScorer
) -> Iterator[Played]:
    """The same job by each of `_POLICIES` that is trained."""
    judge = Remembering(scorer)
    for player in players:
        if player.name in _POLICIES and player.policy is not None:
            measures = asyncio.run(_play(player.policy, settings, judge))
            yield Played(player.name, specimen, measures)


async def _play(
    policy: StepPolicy, settings: InstrumentSettings, judge: Remembering
) -> dict[str, float]:
    world = World(settings, clock=ManualClock())
    live = Live(world, judge.read)
    start = Started(wd_um=world.truth().start_wd_um, magnification=float(settings.magnification))
    _, outcome = await converse(live, job(law_of(policy)), start)
    final = await live.read()
    return _measures(world, outcome, final)


def _measures(world: World, outcome: Outcome, final: Reading) -> dict[str, float]:
    truth = world.truth()
    return {
        "score": final.frame.score,
        "steps": float(outcome.readings.servo),
        "searched": float(outcome.readings.search),
        "within_1": float(is_in_focus(truth.wd_um - truth.focus_wd_um, truth.dof_um)),
        "converged": float(outcome.converged),
    }


def conclude(found: Sequence[Played]) -> Section:
    """Tables 2 and 3, with all policies."""
    rows = rows_of(found)
    return Section(
        key="online",
        title="Online: simulated instruments (tables 2 and 3 of the paper)",
        lines=[*table(rows, PUBLISHED, MEASURES, _POLICIES), "", *NOTES],
        bars=_bars(rows[OURS]),
        numbers=numbers_of(rows, PUBLISHED),
        figures={"online": boxes(found, "score", "final score")},
    )


def _bars(ours: Mapping[str, Row]) -> list[Bar]:
    trained = fmean(ours[name]["score"].mean for name in LEAST_SCORE)
    least = LEAST_SCORE | dict.fromkeys(UNSEEN, round(trained - _UNSEEN_BELOW, 3))
    kind = dict.fromkeys(UNSEEN, f", the trained mean less {_UNSEEN_BELOW:g},")
    return [
        at_least(
            f"online, {name}: mean final score{kind.get(name, '')}", ours[name]["score"].mean, score
        )
        for name, score in least.items()
    ]
