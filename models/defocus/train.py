"""Training the defocus network: many autofocus runs side by side, played on spectra that were measured beforehand.

The network itself plays the runs on a `DefocusBank`, with the rules that the service moves by and some moves at random;
from every state on the way it learns where the focus was, and how far off the assumed convergence angle was.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from afdaemon.models import checkpoint
from afdaemon.models.defocus.network import ARCHITECTURE, PREPROCESSING, DefocusNet
from afdaemon.models.defocus.scenes import DefocusBank
from afdaemon.models.defocus.state import (
    ANGLE_FACTOR,
    BINS,
    REACH_DOF,
    READINGS,
    STATE_SIZE,
    Histories,
    Posterior,
    encode,
    mirror,
    scale_shares,
    shares,
)
from afdaemon.models.devices import native_precision
from afdaemon.models.frames.spectrum import BANDS
from afdaemon.models.training.descent import step_down

Array = NDArray[np.float64]
_Float = TypeVar("_Float", np.float32, np.float64)


class Moves(Protocol):
    """What each of n runs is to do after a reading."""

    @property
    def step_dof(self) -> Array:
        """Steps in DoF, (n,)."""

    @property
    def stop(self) -> NDArray[np.bool_]:
        """Whether the posterior allows stopping, (n,)."""


Decide = Callable[[Posterior, NDArray[np.int64]], Moves]
"""From the posterior and the number of readings so far, (n,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """How the network is trained. `angle_factor`: the convergence angle may be off by it, either way.

    `angle_weight`: weight of the loss of that factor; the loss of the defocus has weight 1.
    """

    rounds: int = 700
    runs: int = 2048
    readings: int = 6
    updates: int = 24
    batch: int = 2048
    replay: int = 400_000
    learning_rate: float = 1e-3
    weight_decay: float = 1e-3
    explored_share: float = 0.3
    starts_dof: tuple[float, ...] = (3.0, 20.0, 20.0, 20.0, 75.0, 200.0)
    calibrated_share: float = 0.5
    angle_factor: float = ANGLE_FACTOR
    angle_weight: float = 0.3
    seed: int = 1


class Runs:
    """Many autofocus runs side by side, each on a scene of its own. Distances in the DoF that the service assumes."""

    def __init__(self, bank: DefocusBank, config: TrainConfig, rng: np.random.Generator) -> None:
        n, spread = config.runs, math.log(config.angle_factor)
        self._bank, self._rng = bank, rng
        self._scene = rng.integers(len(bank), size=n)
        self.calibrated = rng.random(n) < config.calibrated_share
        off = np.exp(rng.uniform(-spread, spread, n))
        self.scale = np.where(self.calibrated, 1.0, off)
        self.true_dof = rng.uniform(-1.0, 1.0, n) * rng.choice(config.starts_dof, n)
        self._wd = np.zeros((n, READINGS))
        self._bands = np.zeros((n, READINGS, BANDS), np.float32)
        self._u, self._log_error = (np.zeros((n, READINGS), np.float32) for _ in range(2))
        self._count = np.zeros(n, np.int64)
        self.read()

    @property
    def defocus_dof(self) -> Array:
        """Defocus of each run, (n,)."""
        return np.asarray(self.true_dof * self.scale, np.float64)

    @property
    def count(self) -> NDArray[np.int64]:
        """Number of readings of each run."""
        return self._count

    def read(self) -> None:
        """Take a reading of every run, where it stands."""
        bands, u, log_error = self._bank.read(self._scene, self.true_dof, self._rng)
        self._wd = _newest(self._wd, self.defocus_dof)
        self._bands = _newest(self._bands, bands)
        self._u, self._log_error = _newest(self._u, u), _newest(self._log_error, log_error)
        self._count = self._count + 1

    def move(self, step_dof: Array) -> None:
        """Move every run; none goes beyond what was measured."""
        there = (self.defocus_dof + step_dof) / self.scale
        self.true_dof = np.clip(there, -REACH_DOF, REACH_DOF)

    def seen(self) -> Histories:
        """What the network sees."""
        return Histories(
            wd_dof=self._wd,
            bands=self._bands,
            u=self._u,
            log_error=self._log_error,
            count=self._count,
            calibrated=self.calibrated,
        )


def _newest(kept: NDArray[_Float], new: NDArray[_Float]) -> NDArray[_Float]:
    """The last readings (n, 4, ...) with another (n, ...) in front."""
    return np.concatenate([new[:, None], kept[:, :-1]], axis=1)


class Replay:
    """The last states, with the defocus and the scale at each of them."""

    def __init__(self, size: int) -> None:
        self._states = np.zeros((size, STATE_SIZE), np.float32)
        self._truth = np.zeros((2, size))
        self._next = self._filled = 0

    def add(self, states: NDArray[np.float32], defocus_dof: Array, scale: Array) -> None:
        """Store some; the oldest are overwritten."""
        at = (self._next + np.arange(len(states))) % len(self._states)
        self._states[at], self._truth[:, at] = states, (defocus_dof, scale)
        self._next = int(at[-1] + 1) % len(self._states)
        self._filled = min(len(self._states), self._filled + len(states))

    def sample(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Array, Array]:
        """States (count, 88), distances and scales (count,); half of them mirrored."""
        chosen = rng.integers(self._filled, size=count)
        states, (defocus, scale) = self._states[chosen], self._truth[:, chosen]
        turned = rng.random(count) < 0.5
        states = np.where(turned[:, None], states * mirror(), states)
        return torch.from_numpy(states), np.where(turned, -defocus, defocus), scale


def loss_of(logits: Tensor, defocus_dof: Array, scale: Array, angle_weight: float) -> Tensor:
    """Cross entropy with the two bins that the distance lies between, and with those of the scale."""
    place = cross_entropy(logits[:, :BINS], *shares(defocus_dof)).mean()
    return place + angle_weight * cross_entropy(logits[:, BINS:], *scale_shares(scale)).mean()


def cross_entropy(logits: Tensor, low: NDArray[np.int64], upper: NDArray[np.float32]) -> Tensor:
    """With two neighbouring bins, (n,): the lower of them, and the share of the upper one."""
    at, share = torch.from_numpy(low)[:, None], torch.from_numpy(upper)
    likely = torch.log_softmax(logits, dim=1)
    below, above = likely.gather(1, at)[:, 0], likely.gather(1, at + 1)[:, 0]
    return -(below * (1.0 - share) + above * share)


def train(
    config: TrainConfig,
    bank: DefocusBank,
    decide: Decide,
    on_progress: Callable[[int, int, float], None],
) -> DefocusNet:
    """Train on the scenes of a bank, and return the network in evaluation mode."""
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    network, replay = DefocusNet(), Replay(config.replay)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimiser, config.rounds, 0.01 * config.learning_rate
    )
    for done in range(1, config.rounds + 1):
        _play(network.eval(), Runs(bank, config, rng), config, decide, replay, rng)
        loss = _learn(network.train(), optimiser, replay, config, rng)
        schedule.step()
        on_progress(done, config.rounds, loss)
    return network.eval()


def _play(
    network: DefocusNet,
    runs: Runs,
    config: TrainConfig,
    decide: Decide,
    replay: Replay,
    rng: np.random.Generator,
) -> None:
    """Take some readings of every run; in focus or not, all go on, so that the network learns to stay."""
    for _ in range(config.readings):
        seen = runs.seen()
        replay.add(encode(seen), runs.defocus_dof, runs.scale)
        step = decide(network.infer(seen), runs.count).step_dof
        strayed = rng.standard_normal(len(step)) * np.maximum(4.0, np.abs(step))
        runs.move(np.where(rng.random(len(step)) < config.explored_share, strayed, step))
        runs.read()


def _learn(
    network: DefocusNet,
    optimiser: torch.optim.Optimizer,
    replay: Replay,
    config: TrainConfig,
    rng: np.random.Generator,
) -> float:
    total = 0.0
    fast = native_precision(torch.device("cpu")) is torch.bfloat16
    for _ in range(config.updates):
        states, defocus, scale = replay.sample(config.batch, rng)
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            logits = network(states)
        loss = loss_of(logits.float(), defocus, scale, config.angle_weight)
        total += step_down(loss, optimiser)
    return total / config.updates


def evaluate(
    network: DefocusNet,
    bank: DefocusBank,
    config: TrainConfig,
    decide: Decide,
    *,
    most_readings: int = 12,
) -> dict[str, float]:
    """Runs that stop by the posterior alone: readings used, and how far from focus they end in true DoF.

    The service stops by the same function but also checks contrast and AENet's scores: see `benchmarks/focus.py`.
    """
    rng = np.random.default_rng(config.seed + 1)
    runs = Runs(bank, config, rng)
    used = np.full(config.runs, most_readings)
    stopped = np.zeros(config.runs, np.bool_)
    for count in range(1, most_readings + 1):
        moves = decide(network.infer(runs.seen()), runs.count)
        runs.move(np.where(stopped, 0.0, moves.step_dof))  # includes the last step of a run
        used[moves.stop & ~stopped] = count
        stopped |= moves.stop
        if stopped.all():
            break
        runs.read()
    away = np.abs(runs.true_dof)
    return {
        "runs": float(config.runs),
        "mean_readings": round(float(used.mean()), 3),
        "median_readings": float(np.median(used)),
        "stopped": round(float(stopped.mean()), 4),
        "within_1_dof": round(float((away <= 1.0).mean()), 4),
        "within_2_dof": round(float((away <= 2.0).mean()), 4),
        "stopped_over_3_dof_off": round(float((stopped & (away > 3.0)).mean()), 4),
    }


def save(
    network: DefocusNet,
    weights: Path,
    *,
    config: TrainConfig,
    data: dict[str, Any],
    metrics: dict[str, Any],
    seconds: float,
) -> None:
    """Write the weights, 16 bits a number, and their card."""
    checkpoint.save(
        weights,
        network.state_dict(),
        {
            "architecture": ARCHITECTURE,
            "arguments": {"hidden": network.hidden},
            "preprocessing": PREPROCESSING,
            "training": {**asdict(config), "seconds": round(seconds), "data": data},
            "metrics": metrics,
        },
        half=True,
    )
