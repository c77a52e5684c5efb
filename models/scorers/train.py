"""Training any network of the zoo: mean squared error of its score, on frames from a bank, in the loop of `trainer`."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from afdaemon.models.scorers.frame_bank import Bank, ScoredBatch, middles
from afdaemon.models.scorers.metrics import accuracy, mse
from afdaemon.models.scorers.networks.base import ScoringNetwork
from afdaemon.models.training.presets import Preset
from afdaemon.models.training.trainer import Validation


def loss_on(device: torch.device, *, bf16: bool) -> Callable[[nn.Module, ScoredBatch], Tensor]:
    """Mean squared error of the scores; with `bf16` the network is computed in it where that is safe."""

    def loss(module: nn.Module, batch: ScoredBatch) -> Tensor:
        scores = _scores(module, batch, device, bf16=bf16)
        return nn.functional.mse_loss(scores, batch.score.to(device))

    return loss


def _scores(module: nn.Module, batch: ScoredBatch, device: torch.device, *, bf16: bool) -> Tensor:
    """Scores of a batch, float32 (N,)."""
    inputs = [tensor.to(device, non_blocking=True) for tensor in batch.inputs]
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        scores: Tensor = module(*inputs)
    return scores.float()


def validator(
    network: ScoringNetwork, bank: Bank, preset: Preset, device: torch.device
) -> Callable[[nn.Module], Validation]:
    """Judges a copy of the network on the middles of a bank's frames."""

    def judge(module: nn.Module) -> Validation:
        found = judge_bank(replace(network, module=module), bank, preset, device)
        return Validation(mse(found, bank.scores), accuracy(found, bank.scores))

    return judge


def judge_bank(
    network: ScoringNetwork, bank: Bank, preset: Preset, device: torch.device
) -> NDArray[np.float64]:
    """What a network on `device` makes of the middle of each frame: scores, (n,)."""
    cut = middles(bank, network.prepare, preset.augmentation, batch=preset.settings.batch)
    bf16 = preset.settings.bf16
    with torch.inference_mode():
        found = [_scores(network.module, batch, device, bf16=bf16).double().cpu() for batch in cut]
    return torch.cat(found).numpy()
