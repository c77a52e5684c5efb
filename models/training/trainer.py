"""The training loop of all networks: steps, an averaged copy, a rate that rises and falls, a state to resume from.

The loss of a network on a batch is passed in, and so are the source of the batches and what judges the network between
steps. The best of the judged copies is kept.
"""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import torch
from torch import Tensor, nn

from afdaemon.models.errors import TrainingError
from afdaemon.models.training.descent import step_down
from afdaemon.models.training.parallel import ALONE, Team

N = TypeVar("N", bound=nn.Module)
B = TypeVar("B")

_CUT = 0.1
"""Factor by which the learning rate is cut at a plateau."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a network is trained: `steps` with batches of `batch` frames in each process.

    The rate rises over `warmup_steps`; then it falls along a cosine to zero, or (`plateau`) to a tenth after each
    `patience` validations in a row without a smaller loss. `adamw` decays matrices only, `adam` adds the decay of all
    parameters to the gradient. A `largest_gradient` of 0 means no clipping. `ema_decay` is that of the averaged copy,
    which is the one that is judged and returned; the decay grows towards it from the first step. `bf16` computes the
    network in 16 bits where that is safe. The copy is judged every `validate_every` steps, the state written every
    `keep_every`.
    """

    steps: int
    batch: int = 32
    learning_rate: float = 3e-3
    warmup_steps: int = 200
    weight_decay: float = 1e-2
    ema_decay: float = 0.999
    largest_gradient: float = 5.0
    keep_every: int = 500
    seed: int = 1
    optimiser: Literal["adamw", "adam"] = "adamw"
    eps: float = 1e-8
    schedule: Literal["cosine", "plateau"] = "cosine"
    patience: int = 10
    validate_every: int = 500
    bf16: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingProgress:
    """Where training stands; `loss` is a running mean."""

    step: int
    steps: int
    loss: float


@dataclass(frozen=True, slots=True)
class Validation:
    """What a validation found: the loss, and the share of frames whose score is within 1 of the truth."""

    loss: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Record:
    """A line of a training's history."""

    step: int
    loss: float
    learning_rate: float
    validation_loss: float | None = None
    accuracy: float | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """The smallest validation loss so far, how many validations ago that was, how often the rate was cut."""

    best_loss: float | None = None
    waited: int = 0
    cuts: int = 0


@dataclass(slots=True)
class Run(Generic[N]):
    """A network in training, and all that a later run needs to continue as if it had never stopped."""

    model: N
    averaged: N
    optimiser: torch.optim.Optimizer
    step: int = 0
    loss: float = 0.0
    standing: Standing = Standing()
    best: dict[str, Tensor] = field(default_factory=dict)
    history: list[Record] = field(default_factory=list)


def begin(model: N, settings: Settings, device: torch.device) -> Run[N]:
    """A run at its first step; `model` is taken over."""
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks this pair
    model.train().requires_grad_()
    averaged = copy.deepcopy(model).requires_grad_(False)
    return Run(model, averaged, _optimiser(model, settings))


def train(
    run: Run[N],
    settings: Settings,
    loss_of: Callable[[N, B], Tensor],
    batches: Iterator[B],
    *,
    on_progress: Callable[[TrainingProgress], None],
    team: Team = ALONE,
    validate: Callable[[N], Validation] | None = None,
    keep: Callable[[Run[N]], None] = lambda _: None,
) -> N:
    """Take the steps that are left, and return the averaged network, on the CPU and in evaluation mode.

    With `validate`, that is the averaged network of the smallest validation loss. `keep` is called when the state is
    due to be written (`run_state.write_state`). Every process of a team calls this with its own batches.

    Raises:
        TrainingError: the loss is no longer a number.
    """
    network = team.share(run.model)
    while run.step < settings.steps:
        value = _step(run, network, settings, loss_of, next(batches))
        run.loss = value if run.step == 1 else 0.98 * run.loss + 0.02 * value
        if run.step % settings.validate_every == 0 or run.step == settings.steps:
            _record(run, settings, validate, team)
        on_progress(TrainingProgress(step=run.step, steps=settings.steps, loss=run.loss))
        if run.step % settings.keep_every == 0:
            keep(run)
    team.agree(run.averaged)
    run.averaged.load_state_dict(run.best or run.averaged.state_dict())
    return run.averaged.cpu().eval()


def _step(
    run: Run[N], network: N, settings: Settings, loss_of: Callable[[N, B], Tensor], batch: B
) -> float:
    """Take one step; returns the loss before it. `network` is the run's own or, in a team, what wraps it."""
    for group in run.optimiser.param_groups:
        group["lr"] = rate_at(run.step, settings, run.standing.cuts)
    loss = loss_of(network, batch)
    value = float(loss.detach())
    if not math.isfinite(value):
        raise TrainingError(
            f"the loss of step {run.step + 1} is {value}, not a number to learn from",
            remedy="begin again with a smaller --learning-rate",
        )
    step_down(loss, run.optimiser, largest_gradient=settings.largest_gradient)
    run.step += 1
    _follow(run.averaged, run.model, min(settings.ema_decay, run.step / (run.step + 10.0)))
    return value


def _record(
    run: Run[N], settings: Settings, validate: Callable[[N], Validation] | None, team: Team
) -> None:
    """Add a line to the history; judge the averaged network, and remember it if it is the best so far."""
    (loss,) = team.mean(run.loss)
    rate = rate_at(run.step - 1, settings, run.standing.cuts)
    if validate is None:
        run.history.append(Record(run.step, loss, rate))
        return
    team.agree(run.averaged)
    with torch.inference_mode():
        verdict = validate(run.averaged.eval())
    verdict = Validation(*team.mean(verdict.loss, verdict.accuracy))
    run.history.append(Record(run.step, loss, rate, verdict.loss, verdict.accuracy))
    run.standing = judged(run.standing, verdict.loss, settings)
    if run.standing.waited == 0 and run.standing.best_loss == verdict.loss:
        run.best = {name: value.clone() for name, value in run.averaged.state_dict().items()}


def judged(standing: Standing, loss: float, settings: Settings) -> Standing:
    """The standing after a validation of this loss."""
    if standing.best_loss is None or loss < standing.best_loss:
        return Standing(loss, 0, standing.cuts)
    waited = standing.waited + 1
    if settings.schedule == "plateau" and waited >= settings.patience:
        return Standing(standing.best_loss, 0, standing.cuts + 1)
    return Standing(standing.best_loss, waited, standing.cuts)


def rate_at(step: int, settings: Settings, cuts: int = 0) -> float:
    """Learning rate of a step: linear up, then half a cosine down, or steps down where the loss stood still."""
    warm = max(1, min(settings.warmup_steps, settings.steps // 3))
    if settings.schedule == "plateau":
        return float(settings.learning_rate * min(1.0, (step + 1) / warm) * _CUT**cuts)
    if step < warm:
        return settings.learning_rate * (step + 1) / warm
    done = (step - warm) / max(1, settings.steps - warm)
    return settings.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))


def _optimiser(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    rate, eps = settings.learning_rate, settings.eps
    if settings.optimiser == "adam":
        decay = settings.weight_decay
        return torch.optim.Adam(
            model.parameters(), lr=rate, eps=eps, weight_decay=decay, foreach=True
        )
    return torch.optim.AdamW(_decayed(model, settings.weight_decay), lr=rate, eps=eps, foreach=True)


def _decayed(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups: what has more than one dimension decays, scales and offsets do not."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    return [
        {"params": matrices, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def _follow(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the averaged copy towards the network; counters are copied."""
    target, source = averaged.state_dict(), model.state_dict()
    floating = [name for name, value in target.items() if value.is_floating_point()]
    torch._foreach_lerp_(
        [target[name] for name in floating], [source[name] for name in floating], 1.0 - decay
    )
    for name in target.keys() - set(floating):
        target[name].copy_(source[name])
