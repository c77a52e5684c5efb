"""The tests of ACNet are met by a policy that knows the way and missed by one that stands still."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from afdaemon.control.values import Started
from afdaemon.evaluate.acnet import offline, online, policies
from afdaemon.evaluate.acnet import run as acnet
from afdaemon.evaluate.acnet.offline import Recorded
from afdaemon.evaluate.acnet.policies import NAMES, OURS, PUBLISHED, Player, job, law_of
from afdaemon.evaluate.acnet.tables import Played, rows_of, table
from afdaemon.evaluate.conversation import converse
from afdaemon.models.acnet.focus_series import FocusSeries
from afdaemon.models.acnet.policy import DEFAULT_WEIGHTS, StepPolicy
from afdaemon.models.acnet.state import a_max_um
from afdaemon.models.checkpoint import Card
from afdaemon.models.scorers.focus_scorer import load_scorer

TRAINED = tuple(offline.PUBLISHED)
CARD = Card(
    architecture="ACNet", arguments={}, preprocessing={}, training={}, metrics={}, sha256="ab"
)


class Knowing(StepPolicy):
    """Steps to a WD that it was told of, or nowhere."""

    def __init__(self, best_um: float | None) -> None:
        self._best_um = best_um
        self.card = CARD

    def propose(
        self,
        *,
        wd_um: Sequence[float],
        score: Sequence[float],
        variance: Sequence[float],
        entropy: Sequence[float],
        magnification: float,
    ) -> float:
        return 0.0 if self._best_um is None else self._best_um - wd_um[0]


def series(magnification: float = 2_000.0, dof_um: float = 80.0) -> FocusSeries:
    offset_um = np.arange(-5_600.0, 5_600.0)
    sharp = 1.0 / (1.0 + (offset_um / dof_um / 2.0) ** 2)
    return FocusSeries(
        magnification=magnification,
        dof_um=dof_um,
        offset_um=offset_um,
        score=8.8 * sharp,
        variance=0.1 + 0.3 * sharp,
        entropy=5.0 + 2.0 * sharp,
    )


def jobs(best_um: float | None) -> list[Played]:
    return [
        one
        for specimen in TRAINED
        for one in offline.play(Player(OURS, Knowing(best_um)), specimen, series(), 5, seed=1)
    ]


def test_a_recorded_series_reads_as_it_was_and_holds_beyond_its_ends() -> None:
    instrument = Recorded(series(), 20_000.0, np.random.default_rng(1))
    assert asyncio.run(instrument.read()).frame.score == pytest.approx(8.8, abs=0.5)
    instrument.send(20_160.0)
    assert instrument.held("score") == pytest.approx(4.4, abs=0.01)
    instrument.send(30_000.0)
    assert instrument.held("score") == pytest.approx(8.8 / (1.0 + 35.0**2), rel=0.01)


def test_a_conversation_leaves_the_instrument_where_the_job_ended() -> None:
    instrument = Recorded(series(), 20_500.0, np.random.default_rng(1))
    start = Started(wd_um=20_500.0, magnification=2_000.0)
    _, outcome = asyncio.run(converse(instrument, job(law_of(Knowing(20_000.0))), start))
    assert outcome.converged
    assert instrument.wd_um == outcome.wd_um == pytest.approx(20_000.0, abs=1.0)


def test_offline_bars_are_met_by_who_knows_and_missed_by_who_stands_still() -> None:
    knowing, still = jobs(20_000.0), jobs(None)
    assert all(bar.holds for bar in offline.conclude(knowing).bars)
    assert all(one.measures["mse"] == pytest.approx(0.0) for one in knowing)
    missed = [bar.name for bar in offline.conclude(still).bars if not bar.holds]
    assert any("short of the best" in name for name in missed)


def test_every_policy_starts_at_the_same_places() -> None:
    first, second = (
        offline.play(Player(name, Knowing(None)), "tin_balls", series(), 6, seed=3)
        for name in (OURS, PUBLISHED)
    )
    assert [one.measures for one in first] == [one.measures for one in second]
    other = offline.play(Player(OURS, Knowing(None)), "tin_balls", series(), 6, seed=4)
    assert [one.measures for one in first] != [one.measures for one in other]


def test_a_policy_that_is_not_trained_stands_in_the_table_as_such() -> None:
    found = jobs(20_000.0)
    assert offline.play(Player(PUBLISHED, None), "tin_balls", series(), 5, seed=1) == []
    lines = table(rows_of(found), offline.PUBLISHED, offline.MEASURES, list(NAMES))
    assert sum("not trained" in line for line in lines) == len(TRAINED) * (len(NAMES) - 1)
    assert sum("the paper" in line for line in lines) == len(TRAINED)
    shown = offline.ablation(found).lines
    assert sum("not trained" in line for line in shown) == len(NAMES) - 1
    policy_lines = policies.conclude([Player(n, None) for n in NAMES]).lines
    assert sum("not trained" in line for line in policy_lines) == len(NAMES)


def test_jobs_on_instruments_start_within_the_reach_of_the_search() -> None:
    for specimen in ("gold_nanoparticles", "butterfly_wing"):
        for one in online.tasks(specimen, 20, [], seed=2):
            low, high = (8_000, 30_000) if specimen == "gold_nanoparticles" else (500, 10_000)
            assert low <= one.magnification <= high
            assert one.start_wd_um is not None
            assert one.focus_wd_um is not None
            reach_um = 3.0 * a_max_um(float(one.magnification))
            assert abs(one.start_wd_um - one.focus_wd_um) <= reach_um


def test_online_jobs_end_at_the_focus_or_where_they_began() -> None:
    scorer = load_scorer()
    (settings,) = online.tasks("tin_balls", 1, [], seed=5)
    ours = policies.players({})[1]
    assert ours.name == OURS
    (played,) = online.play([ours, Player(PUBLISHED, None)], "tin_balls", settings, scorer)
    assert played.measures["converged"] == played.measures["within_1"] == 1.0
    assert played.measures["score"] > 7.0
    assert played.measures["steps"] >= 3.0


def test_online_bars_hold_the_unseen_against_the_trained() -> None:
    def told(score: float) -> dict[str, float]:
        return dict.fromkeys(online.MEASURES, 1.0) | {"score": score}

    scores = {"tin_balls": 8.5, "tem_grid": 8.3, "gold_nanoparticles": 7.8}
    unseen = {"butterfly_wing": 7.3, "woven_fabric": 7.1}
    found = [Played(OURS, name, told(score)) for name, score in (scores | unseen).items()]
    missed = [bar.name for bar in online.conclude(found).bars if not bar.holds]
    assert len(missed) == 2
    assert "tem_grid" in missed[0]
    assert "woven_fabric" in missed[1]


def test_given_weights_take_their_rows(tmp_path: Path) -> None:
    found = policies.players({PUBLISHED: DEFAULT_WEIGHTS})
    assert [one.policy is not None for one in found] == [True, True, False, False]


def test_offline_jobs_are_played_once(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def sweeps(*_given: object, **_named: object) -> list[tuple[str, FocusSeries]]:
        drawn.append(1)
        return [(name, series()) for name in TRAINED]

    monkeypatch.setattr(offline, "sweeps", sweeps)
    evaluation = acnet.Evaluation(
        scorer=load_scorer(),
        players=[Player(OURS, Knowing(20_000.0))],
        micrographs=[],
        plan=acnet.Plan(series=1, starts=2, runs=1, unseen_runs=1),
        seed=1,
        workers=1,
    )
    assert evaluation.offline().numbers["policies"][OURS]["tin_balls"]["score"]["jobs"] == 2
    assert evaluation.ablation().numbers[OURS]["score"]["jobs"] == 2 * len(TRAINED)
    assert len(drawn) == 1
