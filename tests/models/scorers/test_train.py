"""Networks of the zoo, and AENet.compact with a teacher: what they learn from, and how they are judged."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from afdaemon.models.aenet import train as train_aenet
from afdaemon.models.aenet.network import AENetCompact
from afdaemon.models.frames.preprocess import CHANNELS
from afdaemon.models.frames.shot import Shot
from afdaemon.models.scorers.frame_bank import Bank, BankStream
from afdaemon.models.scorers.networks.base import ScoringNetwork, Tensors
from afdaemon.models.scorers.train import judge_bank, loss_on, validator
from afdaemon.models.training.batches import Batch
from afdaemon.models.training.presets import KIM_CPU
from afdaemon.models.training.trainer import begin, train

CPU = torch.device("cpu")
PRESET = replace(
    KIM_CPU,
    settings=replace(KIM_CPU.settings, steps=40, learning_rate=0.5, warmup_steps=2, bf16=False),
    augmentation=replace(KIM_CPU.augmentation, height_px=24, width_px=24),
)


def grey(shots: Sequence[Shot]) -> Tensors:
    return (torch.tensor([[shot.pixels.mean() / 255.0] for shot in shots], dtype=torch.float32),)


def network(module: nn.Module) -> ScoringNetwork:
    return ScoringNetwork(name="grey", module=module, preprocessing={}, prepare=grey)


def bank(count: int = 32) -> Bank:
    """Frames that are the sharper, the brighter they are."""
    values = np.linspace(0, 255, count).astype(np.uint8)
    shots = [Shot(pixels=np.full((30, 40), v, np.uint8), magnification=1e3) for v in values]
    return Bank(shots, values.astype(np.float64) * (9.0 / 255.0))


class Times9(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 9.0 * x.squeeze(1)


class Flat(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.full((len(x),), 4.5)


def test_a_network_learns_the_labels_of_a_bank() -> None:
    torch.manual_seed(1)
    learner = network(nn.Sequential(nn.Linear(1, 1), nn.Flatten(0)))
    before = validator(learner, bank(), PRESET, CPU)(learner.module)
    run = begin(learner.module, PRESET.settings, CPU)
    stream = BankStream(bank(), grey, PRESET.augmentation, batch=16, seed=1)
    loss = loss_on(CPU, bf16=False)
    best = train(run, PRESET.settings, loss, iter(stream), on_progress=lambda _: None)
    after = validator(learner, bank(), PRESET, CPU)(best)
    assert after.loss < 0.3 * before.loss


def test_a_perfect_network_is_judged_perfect_and_a_flat_one_is_not() -> None:
    judge = validator(network(Flat()), bank(), PRESET, CPU)
    assert judge(Times9()).loss == pytest.approx(0.0, abs=1e-9)
    assert judge(Times9()).accuracy == 1.0
    flat = judge(Flat())
    assert flat.loss == pytest.approx(float(np.mean((bank().scores - 4.5) ** 2)))
    assert flat.accuracy == pytest.approx(float(np.mean(np.abs(bank().scores - 4.5) <= 1.0)))


def test_the_judged_scores_are_in_the_banks_order() -> None:
    assert judge_bank(network(Times9()), bank(), PRESET, CPU) == pytest.approx(bank().scores)


def test_the_loss_is_the_mean_squared_error() -> None:
    stream = BankStream(bank(), grey, PRESET.augmentation, batch=32, seed=1)
    batch = next(islice(stream, 1))
    expected = ((4.5 - batch.score) ** 2).mean()
    assert loss_on(CPU, bf16=False)(Flat(), batch) == pytest.approx(float(expected))


class Teacher(nn.Module):
    """Says `score` of every frame; sees the frame and its magnification alone."""

    def __init__(self, score: float) -> None:
        super().__init__()
        self.score = score

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1] == 2
        assert torch.all(x[:, 1] == 0.02)
        return torch.full((len(x),), self.score)


def test_the_teachers_distance_counts_half() -> None:
    torch.manual_seed(1)
    model = AENetCompact(widths=(8, 8, 8, 8, 8)).eval()
    x = torch.randn(2, CHANNELS, 64, 64)
    x[:, 2] = 0.02
    batch = Batch(x, torch.zeros(2))
    with torch.no_grad():
        alone = float(train_aenet.loss_on(CPU, bf16=False)(model, batch))
        near, far = (
            float(train_aenet.loss_on(CPU, bf16=False, teacher=Teacher(score))(model, batch))
            for score in (8.0, 9.0)
        )
    assert far - near == pytest.approx(0.5, abs=1e-5), "beyond .5 the distance counts as it is"
    assert near > 0.5 * alone


def test_a_blind_aenet_is_judged_by_the_frames_it_gets() -> None:
    class Blind(AENetCompact):
        def forward(self, x: Tensor) -> Tensor:
            return torch.zeros(len(x), 3, 2, 2)

    class Frames:
        pixels = np.zeros((4, 64, 64), np.uint8)
        magnification = np.full(4, 1e3, np.float32)
        blur_px = np.array([4.0, 4.0, 4.0, 40.0], np.float32)

    verdict = train_aenet.validator([Frames()], CPU, bf16=False)(Blind())
    assert verdict.accuracy == 0.75
    assert verdict.loss > 0.0
