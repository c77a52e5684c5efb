"""Training AENet.compact, from top to bottom: frames, loss, steps, validation, card."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from afdaemon.models import checkpoint
from afdaemon.models.aenet import (
    ARCHITECTURE,
    PREPROCESSING,
    TOP_SCORE,
    AENetCompact,
    map_score,
)
from afdaemon.models.data import Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """How AENet.compact is trained. The defaults are the CPU recipe: under an hour on two cores."""

    steps: int = 4200
    learning_rate: float = 3e-3
    warmup_steps: int = 100
    weight_decay: float = 1e-4
    ema_decay: float = 0.995
    seed: int = 1
    widths: tuple[int, ...] = (24, 32, 56, 96, 128)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where training stands; `loss` is a running mean."""

    step: int
    steps: int
    loss: float


def loss_of(blur_map: Tensor, target: Tensor) -> Tensor:
    """Squared error of the score, and a gentle pull on the logarithm of the blur that orders far frames too."""
    u = blur_map.float().flatten(1).mean(dim=1)
    score_error = TOP_SCORE * (torch.sigmoid(u) - torch.sigmoid(target))
    log_error = nn.functional.smooth_l1_loss(u, target)
    return (score_error**2).mean() + 0.5 * log_error


def train(
    config: TrainConfig,
    batches: Iterator[Batch],
    *,
    device: torch.device,
    on_progress: Callable[[Progress], None],
    begin: AENetCompact | None = None,
) -> AENetCompact:
    """Train on `config.steps` batches, from scratch or from `begin`, and return the averaged network.

    It comes back on the CPU and in evaluation mode; `begin` is left as it is.
    """
    torch.manual_seed(config.seed)
    model = (AENetCompact(config.widths) if begin is None else copy.deepcopy(begin)).to(
        device, memory_format=torch.channels_last
    )  # type: ignore[call-overload]  # torch's stub lacks this pair
    ema = AveragedModel(
        model,
        multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay),  # type: ignore[no-untyped-call]  # torch has no types here
        use_buffers=True,
    )
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        max_lr=config.learning_rate,
        total_steps=config.steps,
        pct_start=min(0.3, config.warmup_steps / config.steps),
    )
    running = 0.0
    model.train().requires_grad_()
    for step in range(1, config.steps + 1):
        batch = next(batches)
        x = batch.x.to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            blur_map = model(x)
        loss = loss_of(blur_map, batch.target.to(device))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        ema.update_parameters(model)
        value = float(loss.detach())
        running = value if step == 1 else 0.98 * running + 0.02 * value
        on_progress(Progress(step=step, steps=config.steps, loss=running))
    averaged = ema.module
    assert isinstance(averaged, AENetCompact)  # noqa: S101 - narrows the type; AveragedModel copies what it was given
    return averaged.cpu().eval()


def evaluate(model: AENetCompact, batches: Iterator[Batch], count: int) -> dict[str, float]:
    """Correlation, accuracy within 1, precision (Lee 2021, eq. 1) and MSE on the 0..9 scale, over `count` batches."""
    predicted, true = [], []
    with torch.inference_mode():
        for _ in range(count):
            batch = next(batches)
            predicted.append(map_score(model(batch.x)))
            true.append(TOP_SCORE * torch.sigmoid(batch.target))
    p, t = torch.cat(predicted), torch.cat(true)
    error = (p - t).abs()
    return {
        "frames": float(len(p)),
        "correlation": round(float(torch.corrcoef(torch.stack([p, t]))[0, 1]), 4),
        "accuracy_within_1": round(float((error <= 1.0).float().mean()), 4),
        "precision": round(float(1.0 - error.mean() / 10.0), 4),
        "mse": round(float((error**2).mean()), 4),
    }


def save(
    model: AENetCompact,
    weights: Path,
    *,
    config: TrainConfig,
    data: dict[str, Any],
    metrics: dict[str, Any],
    seconds: float,
) -> None:
    """Write the weights and their card."""
    checkpoint.save(
        weights,
        model.state_dict(),
        {
            "architecture": ARCHITECTURE,
            "arguments": {"widths": list(model.widths)},
            "preprocessing": PREPROCESSING,
            "training": {**asdict(config), "seconds": round(seconds), "data": data},
            "metrics": metrics,
        },
    )
