"""The training loops learn, repeat themselves from a seed, and write what the loaders read."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from afdaemon.models.acnet import train as train_acnet
from afdaemon.models.acnet.focus_series import (
    FocusSeries,
    SeriesBank,
    load_series,
    save_series,
    splined,
)
from afdaemon.models.acnet.network import ACNet
from afdaemon.models.acnet.policy import load_policy
from afdaemon.models.acnet.presets import PRESETS
from afdaemon.models.acnet.state import a_max_um
from afdaemon.models.aenet import train as train_aenet
from afdaemon.models.aenet.network import LOG_ERROR_RANGE, AENetCompact, Estimate
from afdaemon.models.errors import ModelError, TrainingError
from afdaemon.models.optics import score_of_blur
from afdaemon.models.scorers.focus_scorer import load_scorer
from afdaemon.models.training.batches import (
    Batch,
    batch_of,
    batches,
    paired_batch_of,
    target_of,
)
from afdaemon.models.training.trainer import Settings, begin, train

CPU = torch.device("cpu")
SMALL = Settings(steps=30, warmup_steps=5, ema_decay=0.9)


@dataclass(frozen=True, slots=True)
class Stripes:
    """Frames (n, 96, 96) whose stripes are as wide as their label says."""

    pixels: NDArray[np.uint8]
    magnification: NDArray[np.float32]
    blur_px: NDArray[np.float32]


def striped(seed: int) -> Iterator[Stripes]:
    """Sets of four without end: learned in a few steps."""
    rng = np.random.default_rng(seed)
    while True:
        blur_px = rng.choice([1.0, 16.0], 4).astype(np.float32)
        x = np.arange(96)
        rows = [127 + 100 * np.sin(2 * np.pi * x / (4 * b + 2)) for b in blur_px]
        frames = np.stack([np.tile(row, (96, 1)) for row in rows])
        noisy = frames + rng.normal(0, 5, frames.shape)
        yield Stripes(noisy.clip(0, 255).astype(np.uint8), np.full(4, 1e3, np.float32), blur_px)


def train_small() -> tuple[AENetCompact, list[float]]:
    losses: list[float] = []
    torch.manual_seed(1)
    model = train(
        begin(AENetCompact((8, 8, 8, 8, 8)), SMALL, CPU),
        SMALL,
        train_aenet.loss_on(CPU, bf16=False),
        batches(striped, seed=1, sets_per_batch=2, workers=0, paired=True),
        on_progress=lambda p: losses.append(p.loss),
    )
    return model, losses


def test_aenet_learns_and_repeats_itself(tmp_path: Path) -> None:
    model, losses = train_small()
    again, _ = train_small()
    assert losses[-1] < 0.8 * losses[0]
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    path = tmp_path / "aenet.safetensors"
    train_aenet.save(model, path, settings=SMALL, data={}, metrics={}, seconds=1.0)
    frame = next(striped(3)).pixels[0]
    assert 0.0 <= load_scorer("cpu", weights=path).score(frame, 1e3).score <= 9.0


def test_a_paired_batch_shows_every_frame_again_with_more_noise() -> None:
    stripes = next(striped(1))
    batch = paired_batch_of([stripes], np.random.default_rng(1))
    assert batch.paired
    assert torch.equal(batch.x[:4], batch_of([stripes]).x)
    assert torch.equal(batch.target[:4], batch.target[4:])
    taken_away = batch.x[:, 1].abs().mean(dim=(1, 2))
    assert (taken_away[4:] > taken_away[:4]).all()


def test_noise_that_lifts_a_score_costs_most_and_a_little_nothing() -> None:
    cost = [
        float(train_aenet.loss_of_noise(torch.tensor([4.0, 4.0 + change])))
        for change in (-1.0, -0.1, 0.0, 0.1, 1.0)
    ]
    assert cost[1:4] == [0.0, 0.0, 0.0]
    assert 0.0 < cost[0] < cost[4]


def test_targets_follow_the_label_curve() -> None:
    blur_px = np.array([1.0, 4.0, 12.0], np.float32)
    score = 9.0 * torch.sigmoid(torch.from_numpy(target_of(blur_px)))
    assert score.tolist() == pytest.approx([9 / (1 + (b / 4) ** 2) for b in blur_px], rel=1e-5)
    assert score_of_blur(blur_px).tolist() == pytest.approx(score.tolist(), rel=1e-5)


def test_a_perfect_network_is_measured_as_perfect() -> None:
    class Oracle(AENetCompact):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            u = batch.target[:, None, None].expand(-1, 3, 3)
            return torch.stack([u, torch.zeros_like(u), torch.full_like(u, -4.0)], dim=1)

    batch = batch_of([next(striped(1))])

    def forever() -> Iterator[Batch]:
        while True:
            yield batch

    metrics = train_aenet.evaluate(Oracle(), forever(), 2)
    assert (metrics["mse"], metrics["accuracy_within_1"], metrics["precision"]) == (0.0, 1.0, 1.0)
    assert metrics["error"] == 0.0
    assert metrics["promised_error"] == pytest.approx(np.exp(LOG_ERROR_RANGE[0]), abs=1e-3)


@pytest.mark.parametrize("error", [0.1, 0.5, 2.0])
def test_the_loss_is_least_where_the_promised_error_is_the_error(error: float) -> None:
    """A network is rewarded for saying how wrong it is, neither more nor less."""
    target = torch.zeros(1)
    u = torch.logit((9.0 * torch.sigmoid(target) - error) / 9.0)

    def loss(promised: float) -> float:
        estimated = Estimate(u=u, log_error=torch.tensor([float(np.log(promised))]))
        return float(train_aenet.loss_of_estimate(estimated, target))

    assert loss(error) < min(loss(0.7 * error), loss(1.4 * error))


def analytic_series(magnification: float, dof_um: float) -> FocusSeries:
    offset = np.linspace(-45.0, 45.0, 181)
    sharp = 1.0 / (1.0 + (2.0 * offset / 4.0) ** 2)
    return FocusSeries(
        magnification=magnification,
        dof_um=dof_um,
        offset_um=offset * dof_um,
        score=9.0 * sharp,
        variance=0.1 + 0.3 * sharp,
        entropy=5.0 + 2.0 * sharp,
    )


def test_acnet_learns_to_go_to_the_focus(tmp_path: Path) -> None:
    series = [analytic_series(m, 31.75 * 5_000.0 / m) for m in (500.0, 2_000.0, 10_000.0, 20_000.0)]
    config = train_acnet.TrainConfig(
        episodes=40, parallel=128, steps=12, updates=12, batch=256, exploration_decay=0.9
    )
    losses: list[float] = []
    network = train_acnet.train(config, series, lambda done, total, loss: losses.append(loss))
    assert losses[-1] < 0.5 * losses[0]
    metrics = train_acnet.evaluate(network, series, config)
    assert metrics["median_error_dof_after_15"] < 1.0
    path = tmp_path / "acnet.safetensors"
    notes = {"preset": "ours"}
    train_acnet.save(network, path, config=config, notes=notes, metrics=metrics, seconds=1.0)
    policy = load_policy(path)
    assert policy.card.training["preset"] == "ours"
    step = policy.propose(
        wd_um=[11_900.0, 11_500.0],
        score=[4.0, 1.0],
        variance=[0.25, 0.12],
        entropy=[6.0, 5.2],
        magnification=2_000.0,
    )
    assert 0.0 < step <= a_max_um(2_000.0), "rising towards longer WD, so the focus lies there"


def test_reading_a_bank_interpolates_and_holds_beyond_its_ends() -> None:
    bank = SeriesBank([analytic_series(1_000.0, 100.0)])
    at = np.array([0.0, 200.0, -200.0, 1e9])
    score = bank.read(np.zeros(4, np.intp), at)[0]
    assert score[0] == pytest.approx(9.0, abs=0.01)
    assert score[1] == pytest.approx(score[2]) == pytest.approx(4.5, abs=0.05)
    assert score[3] == pytest.approx(9.0 / (1.0 + 22.5**2), rel=1e-3)


def test_acnet_learns_as_published_and_its_card_says_what_it_is_without(tmp_path: Path) -> None:
    series = [splined(analytic_series(m, 31.75 * 5_000.0 / m)) for m in (2_000.0, 20_000.0)]
    config = replace(
        PRESETS["published"].config, episodes=60, steps=20, updates=4, without=("entropy",)
    )
    losses: list[float] = []
    network = train_acnet.train(config, series, lambda done, total, loss: losses.append(loss))
    assert losses[-1] < 0.3 * losses[0]
    path = tmp_path / "acnet.safetensors"
    train_acnet.save(network, path, config=config, notes={}, metrics={}, seconds=1.0)
    policy = load_policy(path)
    assert policy.card.arguments["without"] == ["entropy"]

    def step_um(entropy: float) -> float:
        history = [[11_900.0, 11_500.0], [4.0, 1.0], [0.25, 0.12], [entropy, 5.2]]
        names = ("wd_um", "score", "variance", "entropy")
        return policy.propose(**dict(zip(names, history, strict=True)), magnification=2_000.0)

    assert step_um(5.0) == step_um(7.0)


def test_acnet_is_not_trained_without_what_there_is_not() -> None:
    with pytest.raises(ModelError, match="colour"):
        train_acnet.TrainConfig(without=("colour",))


def test_a_run_ends_some_steps_after_it_came_to_the_best_wd() -> None:
    """A network that stands still: only those who start at the focus arrive."""

    class Still(ACNet):
        def forward(self, state: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(state))

    config = train_acnet.TrainConfig(parallel=200)
    bank = SeriesBank([analytic_series(500.0, 300.0)])

    def remembered(beyond: int | None) -> tuple[int, int]:
        """How many arrived at once, and how many states are remembered."""
        rng, replay = np.random.default_rng(1), train_acnet.Replay(10_000)
        players = train_acnet.Players(bank, config, rng)
        arrived = int(players.at_best().sum())
        train_acnet.play(Still(hidden=4), players, 10, 0.0, rng, replay, beyond=beyond)
        return arrived, len(replay)

    arrived, all_of_them = remembered(None)
    assert 0 < arrived < 200
    assert all_of_them == 2_000
    assert remembered(3) == (arrived, 10 * (200 - arrived) + 3 * arrived)


def test_splines_fill_a_sweep_and_count_from_its_highest_score() -> None:
    sparse = replace(
        analytic_series(1_000.0, 100.0), offset_um=np.linspace(-4_500.0, 4_500.0, 181) + 130.0
    )
    filled = splined(sparse)
    assert np.diff(filled.offset_um) == pytest.approx(1.0)
    assert len(filled.offset_um) == 9_001
    assert filled.score.max() == pytest.approx(9.0)
    assert filled.offset_um[filled.score.argmax()] == 0.0
    assert filled.offset_um[0] == pytest.approx(-4_500.0)


def test_scored_series_are_kept_with_how_they_were_made(tmp_path: Path) -> None:
    series = [analytic_series(m, 10.0) for m in (1_000.0, 2_000.0)]
    path = tmp_path / "kept" / "series.npz"
    save_series(path, series, {"seed": 1})
    first, second = load_series(path, {"seed": 1})
    assert (first.magnification, second.magnification) == (1_000.0, 2_000.0)
    assert second.score.tolist() == series[1].score.tolist()
    with pytest.raises(TrainingError, match="made with other settings"):
        load_series(path, {"seed": 2})
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(TrainingError, match="holds no focus series"):
        load_series(path, {"seed": 1})
