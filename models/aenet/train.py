"""Training AENet.compact: its loss, its metrics, its card. The loop is that of `afdaemon.models.training.trainer`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from afdaemon.models import checkpoint
from afdaemon.models.aenet.network import (
    ARCHITECTURE,
    PREPROCESSING,
    AENetCompact,
    Estimate,
    estimate,
)
from afdaemon.models.aenet.out_of_distribution import Familiarity
from afdaemon.models.optics import TOP_SCORE
from afdaemon.models.training.batches import Batch, Frames, paired_batch_of
from afdaemon.models.training.trainer import Settings, Validation

_TEACHER_CHANNELS = [0, 2]
"""Those of AENet's input that the published network sees: frame and magnification."""

_CLOSE_SCORE = 0.5
"""Smaller errors count as squares, larger ones linearly: a frame that cannot be judged must not outweigh the rest."""
_UNCLEAR_SCORE = 0.25
"""A frame counts the less the larger an error is to be expected: half as much where it is this, than where it is none.

Of a frame that cannot be judged there is nothing to learn (Seitzer et al. 2022, "On the pitfalls of heteroscedastic
uncertainty estimation")."""
_LOG_SHARE, _ERROR_SHARE, _NOISE_SHARE = 0.3, 0.1, 0.5
"""Weights of the loss's other terms: logarithm of the blur, expected error, and noise."""
_NOISE_MAY_CHANGE, _NOISE_MAY_WIN = 0.25, 0.1
"""How much noise may move a score before that is penalised, either way and upwards."""


def loss_of_estimate(estimated: Estimate, target: Tensor) -> Tensor:
    """Error of the score, of the logarithm of the blur (so that frames far from focus are ordered too), and surety.

    The last is the negative log-likelihood of the score's error under a Laplace law with the mean error that was
    predicted.
    """
    huber = nn.functional.smooth_l1_loss
    score, wanted = estimated.score, TOP_SCORE * torch.sigmoid(target)
    surety = (score - wanted).abs().detach() * torch.exp(-estimated.log_error) + estimated.log_error
    clear = 1.0 / (_UNCLEAR_SCORE + torch.exp(estimated.log_error.detach()))
    return (
        (clear / clear.mean() * huber(score, wanted, beta=_CLOSE_SCORE, reduction="none")).mean()
        + _LOG_SHARE * huber(estimated.u, target)
        + _ERROR_SHARE * surety.mean()
    )


def loss_of_noise(score: Tensor) -> Tensor:
    """The penalty for noise that moves the scores (2 N,) of a paired batch; twice as high where it raises them.

    If noise raised scores, an autofocus would prefer the worse frame.
    """
    calm, noisy = score.chunk(2)
    change = noisy - calm
    moved = torch.relu(change.abs() - _NOISE_MAY_CHANGE)
    return (moved + torch.relu(change - _NOISE_MAY_WIN)).mean()


def loss_on(
    device: torch.device, *, bf16: bool = True, teacher: nn.Module | None = None
) -> Callable[[AENetCompact, Batch], Tensor]:
    """The loss of a network on a batch; with `bf16` the network is computed in it where that is safe.

    With a `teacher`, which makes scores (N,) from AENet's two published channels, it is the mean of the loss on the
    labels and of the distance to the teacher's scores.
    """

    def loss(model: AENetCompact, batch: Batch) -> Tensor:
        x = batch.x.to(device, memory_format=torch.channels_last)
        estimated = _estimate_on(device, model, x, bf16=bf16)
        own = _loss_of(estimated, batch, batch.target.to(device))
        if teacher is None:
            return own
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            taught = teacher(x[:, _TEACHER_CHANNELS])
        apart = nn.functional.smooth_l1_loss(estimated.score, taught.float(), beta=_CLOSE_SCORE)
        return 0.5 * (own + apart)

    return loss


def _loss_of(estimated: Estimate, batch: Batch, target: Tensor) -> Tensor:
    """The loss on the labels, in a paired batch also that of the noise."""
    own = loss_of_estimate(estimated, target)
    return own + _NOISE_SHARE * loss_of_noise(estimated.score) if batch.paired else own


def _estimate_on(device: torch.device, model: AENetCompact, x: Tensor, *, bf16: bool) -> Estimate:
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        maps = model(x)
    return estimate(maps)


def validator(
    several: Sequence[Frames], device: torch.device, *, bf16: bool = True
) -> Callable[[AENetCompact], Validation]:
    """Judges a copy of the network on frames that it does not learn from, each also with more noise.

    By the loss, and by the share of scores within 1.
    """

    def judge(model: AENetCompact) -> Validation:
        losses, errors = [], []
        for frames in several:
            batch = paired_batch_of([frames], np.random.default_rng(0))
            x, target = batch.x.to(device), batch.target.to(device)
            estimated = _estimate_on(device, model, x, bf16=bf16)
            losses.append(float(_loss_of(estimated, batch, target)))
            errors.append(estimated.score - TOP_SCORE * torch.sigmoid(target))
        close = torch.cat(errors).abs() <= 1.0
        return Validation(sum(losses) / len(losses), float(close.float().mean()))

    return judge


def evaluate(model: AENetCompact, batches: Iterator[Batch], count: int) -> dict[str, float]:
    """Correlation, accuracy within 1, precision (Lee 2021, eq. 1) and MSE on the 0..9 scale, over `count` batches.

    `promised_error` is the mean of the errors that the network expected; it should equal `error`.
    """
    predicted, true, promised = [], [], []
    with torch.inference_mode():
        for _ in range(count):
            batch = next(batches)
            estimated = estimate(model(batch.x))
            predicted.append(estimated.score)
            promised.append(estimated.log_error.exp())
            true.append(TOP_SCORE * torch.sigmoid(batch.target))
    p, t = torch.cat(predicted), torch.cat(true)
    error = (p - t).abs()
    return {
        "frames": float(len(p)),
        "correlation": round(float(torch.corrcoef(torch.stack([p, t]))[0, 1]), 4),
        "accuracy_within_1": round(float((error <= 1.0).float().mean()), 4),
        "precision": round(float(1.0 - error.mean() / 10.0), 4),
        "mse": round(float((error**2).mean()), 4),
        "promised_error": round(float(torch.cat(promised).mean()), 4),
        "error": round(float(error.mean()), 4),
    }


def blend(model: AENetCompact, other: AENetCompact, share: float) -> None:
    """Move `model`'s weights to `share` of the way from `other`'s (Wortsman et al. 2022, "Robust fine-tuning").

    A fine-tuned network thus keeps more of what the original one did well.
    """
    theirs = other.state_dict()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.lerp(theirs[name], value, share))


def save(
    model: AENetCompact,
    weights: Path,
    *,
    settings: Settings,
    data: dict[str, Any],
    metrics: dict[str, Any],
    seconds: float,
    notes: dict[str, Any] | None = None,
    familiarity: Familiarity | None = None,
) -> None:
    """Write the weights and their card; `notes` say what else it takes to repeat the training."""
    checkpoint.save(
        weights,
        model.state_dict() | (familiarity.tensors() if familiarity else {}),
        {
            "architecture": ARCHITECTURE,
            "arguments": model.arguments,
            "preprocessing": PREPROCESSING,
            "training": {
                **asdict(settings),
                **(notes or {}),
                "seconds": round(seconds),
                "data": data,
            },
            "metrics": metrics,
        },
    )
