"""The training loop of all networks: steps, an averaged copy, a rate that rises and falls, a state to go on from.

What is learned is handed in as a loss of a network and a batch; where batches come from is handed in too.
"""

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from afdaemon.models.errors import TrainingError

N = TypeVar("N", bound=nn.Module)
B = TypeVar("B")

STATE_NAME, RUN_NAME = "state.safetensors", "run.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a network is trained: AdamW, a rate that rises over `warmup_steps` and falls along a cosine to nothing.

    `ema_decay` is that of the averaged copy, which is what training returns; it grows towards it from nothing. Every
    `keep_every` steps the state is written, to go on from.
    """

    steps: int
    learning_rate: float = 3e-3
    warmup_steps: int = 200
    weight_decay: float = 1e-2
    ema_decay: float = 0.999
    largest_gradient: float = 5.0
    keep_every: int = 500
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where training stands; `loss` is a running mean."""

    step: int
    steps: int
    loss: float


@dataclass(slots=True)
class Run(Generic[N]):
    """A network in training, and all that a later run needs to go on as if it had never stopped."""

    model: N
    averaged: N
    optimiser: torch.optim.AdamW
    step: int = 0
    loss: float = 0.0


def begin(model: N, settings: Settings, device: torch.device) -> Run[N]:
    """A run at its first step; `model` is taken over."""
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks this pair
    model.train().requires_grad_()
    optimiser = torch.optim.AdamW(
        _decayed(model, settings.weight_decay), lr=settings.learning_rate, foreach=True
    )
    return Run(model, copy.deepcopy(model).requires_grad_(False), optimiser)


def train(
    run: Run[N],
    settings: Settings,
    loss_of: Callable[[N, B], Tensor],
    batches: Iterator[B],
    *,
    on_progress: Callable[[Progress], None],
    keep: Path | None = None,
) -> N:
    """Take the steps that are left, and return the averaged network, on the CPU and in evaluation mode.

    `keep` is a folder for the state that `resume` reads.
    """
    while run.step < settings.steps:
        value = _step(run, settings, loss_of, next(batches))
        run.loss = value if run.step == 1 else 0.98 * run.loss + 0.02 * value
        on_progress(Progress(step=run.step, steps=settings.steps, loss=run.loss))
        if keep is not None and (run.step % settings.keep_every == 0):
            write_state(run, settings, keep)
    return run.averaged.cpu().eval()


def _step(run: Run[N], settings: Settings, loss_of: Callable[[N, B], Tensor], batch: B) -> float:
    """One step; the loss before it."""
    for group in run.optimiser.param_groups:
        group["lr"] = rate_at(run.step, settings)
    run.optimiser.zero_grad(set_to_none=True)
    loss = loss_of(run.model, batch)
    loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
    nn.utils.clip_grad_norm_(run.model.parameters(), settings.largest_gradient)
    run.optimiser.step()
    run.step += 1
    _follow(run.averaged, run.model, min(settings.ema_decay, run.step / (run.step + 10.0)))
    return float(loss.detach())


def rate_at(step: int, settings: Settings) -> float:
    """Learning rate of a step: linear up, then half a cosine down."""
    warm = max(1, min(settings.warmup_steps, settings.steps // 3))
    if step < warm:
        return settings.learning_rate * (step + 1) / warm
    done = (step - warm) / max(1, settings.steps - warm)
    return settings.learning_rate * 0.5 * (1.0 + float(torch.cos(torch.tensor(torch.pi * done))))


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


def write_state(run: Run[Any], settings: Settings, folder: Path) -> None:
    """Write all of a run into `folder`, whole or not at all."""
    tensors = {f"model.{k}": v for k, v in run.model.state_dict().items()}
    tensors |= {f"averaged.{k}": v for k, v in run.averaged.state_dict().items()}
    for number, state in cast("dict[int, Any]", run.optimiser.state_dict()["state"]).items():
        tensors |= {f"optimiser.{number}.{k}": v for k, v in state.items()}
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / (STATE_NAME + ".part")
    save_file(
        {k: v.detach().cpu().contiguous() for k, v in tensors.items()}, part, _note(run, settings)
    )
    part.replace(folder / STATE_NAME)


def _note(run: Run[Any], settings: Settings) -> dict[str, str]:
    note = {"step": run.step, "loss": run.loss, "settings": asdict(settings)}
    return {RUN_NAME: json.dumps(note)}


def resume(run: Run[N], settings: Settings, folder: Path) -> None:
    """Put `run` where the one kept in `folder` stood.

    Raises:
        TrainingError: nothing is kept there, or it is of another network or other settings.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / STATE_NAME
    try:
        with safe_open(path, "pt") as kept:
            note = json.loads(kept.metadata()[RUN_NAME])
        tensors = load_file(path)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(
            f"{path} holds no training to go on with: {error}", remedy="begin without --resume"
        ) from error
    for name, value in asdict(settings).items():
        if note["settings"].get(name) != value:
            raise TrainingError(
                f"the training in {folder} has {name} = {note['settings'].get(name)!r}, not {value!r}",
                remedy="resume with the settings it began with, or begin in another folder",
            )
    _restore(run, tensors, path)
    run.step, run.loss = int(note["step"]), float(note["loss"])


def _restore(run: Run[Any], tensors: dict[str, Tensor], path: Path) -> None:
    def part(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    try:
        run.model.load_state_dict(part("model."))
        run.averaged.load_state_dict(part("averaged."))
    except RuntimeError as error:
        raise TrainingError(
            f"{path} is of another network: {error}", remedy="begin in another folder"
        ) from error
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in part("optimiser.").items():
        number, key = name.split(".", 1)
        state.setdefault(int(number), {})[key] = value
    run.optimiser.load_state_dict(
        {"state": state, "param_groups": run.optimiser.state_dict()["param_groups"]}
    )
