"""Training the posterior's network: many jobs side by side, played on scenes that were measured beforehand.

The network itself plays them on a `Bank`, by the rule that the service moves by and with some moves at random; from
every history on the way it learns where the focus was, whether there was any, and how far off the assumed convergence
angle was. The logarithm of the probability is a proper score: nothing is gained by claiming more than is known.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from afdaemon.models import checkpoint
from afdaemon.models.defocus.posterior.bank import Bank
from afdaemon.models.defocus.posterior.network import ARCHITECTURE, PREPROCESSING, PosteriorNet
from afdaemon.models.defocus.posterior.tokens import (
    BINS,
    MOST_READINGS,
    OUTCOMES,
    REACH_DOF,
    TOKEN,
    Histories,
    Posterior,
    absent,
    encode,
    mirror,
    shares,
)
from afdaemon.models.defocus.state import ANGLE_FACTOR, scale_shares
from afdaemon.models.defocus.train import cross_entropy
from afdaemon.models.devices import native_precision
from afdaemon.models.frames.spectrum import BANDS
from afdaemon.models.training.descent import step_down

Array = NDArray[np.float64]


class Moves(Protocol):
    """What each of n jobs is to do after a reading, (n,). Distances in assumed DoF from where it stands."""

    @property
    def best_dof(self) -> Array:
        """Where the focus most likely is."""

    @property
    def miss(self) -> Array:
        """Probability that it is not within 1 DoF of there."""

    @property
    def stop(self) -> NDArray[np.bool_]:
        """Whether to end there."""

    @property
    def read_dof(self) -> Array:
        """Where to read otherwise."""


Decide = Callable[[Posterior, Array], Moves]
"""From the posterior and the places read so far, (n, K), NaN where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """How the network is trained. Starts are drawn from +- one of `starts_dof`.

    A focus drifts in `drifting_share` of the jobs, by up to `drift_dof` from one reading to the next. In
    `lagging_share` of the jobs the lens stays up to `lag_dof` behind where it is sent, on the side that it comes from;
    in `masked_share` part of the frames is masked.
    """

    rounds: int = 300
    jobs: int = 768
    readings: int = MOST_READINGS
    updates: int = 24
    batch: int = 512
    replay: int = 60_000
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    largest_gradient: float = 1.0
    explored_share: float = 0.3
    starts_dof: tuple[float, ...] = (3.0, 20.0, 20.0, 20.0, 75.0, 75.0, 250.0, 0.5 * REACH_DOF)
    calibrated_share: float = 0.5
    angle_factor: float = ANGLE_FACTOR
    angle_weight: float = 0.3
    drifting_share: float = 0.1
    drift_dof: float = 0.3
    lagging_share: float = 0.5
    lag_dof: float = 0.2
    masked_share: float = 0.2
    seed: int = 1


class Jobs:
    """Many jobs side by side, each on a scene of its own."""

    def __init__(self, bank: Bank, config: TrainConfig, rng: np.random.Generator) -> None:
        n, spread = config.jobs, math.log(config.angle_factor)
        self._bank, self._rng = bank, rng
        self._scene = rng.integers(len(bank), size=n)
        self.calibrated = rng.random(n) < config.calibrated_share
        off = np.exp(rng.uniform(-spread, spread, n))
        self.scale = np.where(self.calibrated, 1.0, off)
        self._nominal = rng.uniform(-1.0, 1.0, n) * rng.choice(config.starts_dof, n)
        drifts, lags, hides = (
            rng.random(n) < share
            for share in (config.drifting_share, config.lagging_share, config.masked_share)
        )
        self._drift = drifts * rng.uniform(-1.0, 1.0, n) * config.drift_dof
        self._lag, self._behind = lags * rng.uniform(0.0, 1.0, n) * config.lag_dof, np.zeros(n)
        self._masked = hides * rng.uniform(0.0, _MOST_MASKED, n)
        self._most, self._wd = config.readings, np.full((n, 0), np.nan)
        self._at = np.zeros(n)
        self._parts: dict[str, NDArray[np.float32]] = {
            "bands": np.zeros((n, 0, BANDS), np.float32),
            **{name: np.zeros((n, 0), np.float32) for name in _NUMBERS},
        }
        self.read()

    @property
    def shows(self) -> NDArray[np.bool_]:
        """Whether there is something to focus, (n,)."""
        return np.asarray(self._bank.shows[self._scene] > 0.0)

    @property
    def true_dof(self) -> Array:
        """Where each really stands, in true DoF from its focus, (n,)."""
        return np.asarray(self._nominal + self._behind)

    @property
    def defocus_dof(self) -> Array:
        """Defocus of each job in assumed DoF, (n,)."""
        return np.asarray(self.true_dof * self.scale, np.float64)

    @property
    def read_dof(self) -> Array:
        """Where each was read, (n, K), from where it stands."""
        return np.asarray(self._wd - self._at[:, None])

    def read(self) -> None:
        """Take a reading of every job, where it stands."""
        told = self._bank.read(self._scene, self.true_dof, self._rng)
        self._wd = np.concatenate([self._at[:, None], self._wd], axis=1)[:, : self._most]
        for name, kept in self._parts.items():
            new = getattr(told, name)[:, None]
            self._parts[name] = np.concatenate([new, kept], axis=1)[:, : self._most]

    def move(self, step_dof: Array) -> None:
        """Move every job (assumed DoF), while the focus drifts; none goes further than the axis reaches.

        The lens' readback knows nothing of its lag.
        """
        there = np.clip(self._nominal + step_dof / self.scale, -REACH_DOF / 2.0, REACH_DOF / 2.0)
        self._at = self._at + (there - self._nominal) * self.scale
        self._behind = np.where(step_dof == 0.0, self._behind, -np.sign(step_dof) * self._lag)
        self._nominal = there + self._drift

    def seen(self) -> Histories:
        """What the network sees."""
        n, readings = self._wd.shape
        return Histories(
            wd_dof=self._wd,
            **self._parts,
            masked=np.repeat(self._masked[:, None], readings, axis=1).astype(np.float32),
            ago=np.tile(np.arange(readings, dtype=np.float32), (n, 1)),
            count=np.full(n, readings),
            calibrated=self.calibrated,
        )


_MOST_MASKED = 0.4
_NUMBERS = ("u", "log_error", "contrast", "doubted")


class Replay:
    """The last histories, with the defocus (NaN where there is nothing to focus) and the scale at each of them."""

    def __init__(self, size: int, readings: int) -> None:
        self._tokens = np.zeros((size, readings, TOKEN), np.float32)
        self._count = np.zeros(size, np.int64)
        self._truth = np.zeros((2, size))
        self._next = self._filled = 0

    def add(self, tokens: NDArray[np.float32], defocus_dof: Array, scale: Array) -> None:
        """Store some, (n, K, 48); the oldest are overwritten."""
        at = (self._next + np.arange(len(tokens))) % len(self._tokens)
        self._tokens[at, : tokens.shape[1]] = tokens
        self._count[at], self._truth[:, at] = tokens.shape[1], (defocus_dof, scale)
        self._next = int(at[-1] + 1) % len(self._tokens)
        self._filled = min(len(self._tokens), self._filled + len(tokens))

    def sample(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Array, Array]:
        """Tokens (count, K, 48), which of them are none, distances and scales (count,); half of them mirrored."""
        chosen = rng.integers(self._filled, size=count)
        tokens, (defocus, scale) = self._tokens[chosen], self._truth[:, chosen]
        missing = absent(self._count[chosen], tokens.shape[1])
        most = int(self._count[chosen].max())
        turned = rng.random(count) < 0.5
        tokens = np.where(turned[:, None, None], tokens * mirror(), tokens)[:, :most]
        return (
            torch.from_numpy(np.ascontiguousarray(tokens)),
            torch.from_numpy(np.ascontiguousarray(missing[:, :most])),
            np.where(turned, -defocus, defocus),
            scale,
        )


def loss_of(logits: Tensor, defocus_dof: Array, scale: Array, angle_weight: float) -> Tensor:
    """Cross entropy with the two bins around the distance, or with nothing to see (NaN); and of the scale."""
    shows = np.isfinite(defocus_dof)
    low, upper = shares(np.where(shows, defocus_dof, 0.0))
    place = cross_entropy(
        logits[:, :OUTCOMES],
        np.where(shows, low, BINS - 1),
        np.where(shows, upper, np.float32(1.0)),
    )
    angle = cross_entropy(logits[:, OUTCOMES:], *scale_shares(scale))
    return place.mean() + angle_weight * (angle * torch.from_numpy(shows)).mean()


def train(
    config: TrainConfig,
    bank: Bank,
    decide: Decide,
    on_progress: Callable[[int, int, float], None],
) -> PosteriorNet:
    """Train on the scenes of a bank, and return the network in evaluation mode."""
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    network, replay = PosteriorNet(), Replay(config.replay, config.readings)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimiser, config.rounds, 0.01 * config.learning_rate
    )
    for done in range(1, config.rounds + 1):
        _play(network.eval(), Jobs(bank, config, rng), config, decide, replay, rng)
        loss = _learn(network.train(), optimiser, replay, config, rng)
        schedule.step()
        on_progress(done, config.rounds, loss)
    return network.eval()


def _play(
    network: PosteriorNet,
    jobs: Jobs,
    config: TrainConfig,
    decide: Decide,
    replay: Replay,
    rng: np.random.Generator,
) -> None:
    """Take some readings of every job; in focus or not, all go on, so that the network learns to stay."""
    for _ in range(config.readings):
        seen = jobs.seen()
        truth = np.where(jobs.shows, jobs.defocus_dof, np.nan)
        replay.add(encode(seen), truth, jobs.scale)
        step = decide(network.infer(seen), jobs.read_dof).read_dof
        strayed = rng.standard_normal(len(step)) * np.maximum(4.0, np.abs(step))
        jobs.move(np.where(rng.random(len(step)) < config.explored_share, strayed, step))
        jobs.read()


def _learn(
    network: PosteriorNet,
    optimiser: torch.optim.Optimizer,
    replay: Replay,
    config: TrainConfig,
    rng: np.random.Generator,
) -> float:
    total = 0.0
    fast = native_precision(torch.device("cpu")) is torch.bfloat16
    for _ in range(config.updates):
        tokens, missing, defocus, scale = replay.sample(config.batch, rng)
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            logits = network(tokens, missing)
        loss = loss_of(logits.float(), defocus, scale, config.angle_weight)
        total += step_down(loss, optimiser, largest_gradient=config.largest_gradient)
    return total / config.updates


def evaluate(
    network: PosteriorNet,
    bank: Bank,
    config: TrainConfig,
    decide: Decide,
    *,
    most_readings: int = 12,
) -> dict[str, float]:
    """Jobs that stop by the rule alone: readings used, and how far from focus they end in true DoF.

    `brier` is the mean square of the difference between what they promised when they stopped, and what was true.
    """
    rng = np.random.default_rng(config.seed + 1)
    jobs = Jobs(bank, config, rng)
    used, stopped = np.full(config.jobs, most_readings), np.zeros(config.jobs, np.bool_)
    promised, away = np.zeros(config.jobs), np.zeros(config.jobs)
    for count in range(1, most_readings + 1):
        moves = decide(network.infer(jobs.seen()), jobs.read_dof)
        ends = moves.stop & ~stopped
        used[ends], promised[ends] = count, 1.0 - moves.miss[ends]
        step = np.where(moves.stop, moves.best_dof, moves.read_dof)
        jobs.move(np.where(stopped, 0.0, step))  # includes the last step of a job
        away = np.where(stopped, away, np.abs(jobs.true_dof))
        stopped |= moves.stop
        if stopped.all():
            break
        jobs.read()
    shows = jobs.shows
    there = shows & stopped
    kept, claimed = (away <= 1.0)[there], promised[there]
    return {
        "jobs": float(config.jobs),
        "mean_readings": round(float(used[shows].mean()), 3),
        "stopped": round(float(stopped[shows].mean()), 4),
        "within_1_dof": round(float((away <= 1.0)[shows].mean()), 4),
        "stopped_over_3_dof_off": round(float((stopped & (away > 3.0))[shows].mean()), 4),
        "stopped_on_nothing": round(float(stopped[~shows].mean()), 4) if (~shows).any() else 0.0,
        "promised": round(_mean(claimed), 4),
        "kept": round(_mean(kept), 4),
        "brier": round(_mean(np.square(claimed - kept)), 4),
    }


def _mean(values: NDArray[Any]) -> float:
    """0 of none."""
    return float(values.mean()) if values.size else 0.0


def save(
    network: PosteriorNet,
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
            "arguments": network.arguments,
            "preprocessing": PREPROCESSING,
            "training": {**asdict(config), "seconds": round(seconds), "data": data},
            "metrics": metrics,
        },
        half=True,
    )
