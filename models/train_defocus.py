"""Training the defocus network: many autofocus runs side by side, played on spectra that were measured beforehand.

A scene's spectrum and AENet's answer are measured once at each of `DISTANCES_DOF`; between them they are interpolated,
and noise is added as two frames of one place differ. Runs are played by the network itself with the rules that the
service moves by, some moves at random; it learns from every state it came through where the focus was.
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
from afdaemon.models.defocus_net import ARCHITECTURE, PREPROCESSING, DefocusNet
from afdaemon.models.defocus_state import READINGS, STATE_SIZE, Histories, encode, mirror, shares
from afdaemon.models.runtime import native_precision
from afdaemon.models.spectrum import BANDS

Array = NDArray[np.float64]
_Float = TypeVar("_Float", np.float32, np.float64)

DISTANCES_DOF: Array = np.sinh(np.linspace(0.0, np.arcsinh(200.0), 20))
"""Where scenes are measured, in true depths of focus; one side is enough, for blur is the same on both."""
_FAR_DOF = float(DISTANCES_DOF[-1])
_STEP = math.asinh(_FAR_DOF) / (len(DISTANCES_DOF) - 1)
_U_NOISE, _BAND_NOISE = 0.08, 0.02
_FEWEST_MODES = 5.0
"""Modes in the lowest band of a fast-mode frame; each band holds about 1.57 times as many as the one below."""


class Moves(Protocol):
    """What is to be done after a reading, by each of n runs."""

    @property
    def step_dof(self) -> Array:
        """Steps in DoF, (n,)."""

    @property
    def found(self) -> NDArray[np.bool_]:
        """Whether the focus has been found, (n,)."""


Decide = Callable[[NDArray[np.float32], NDArray[np.int64]], Moves]
"""From the probability of each bin, (n, 161), and the number of readings so far, (n,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """How the network is trained. `angle_factor`: the convergence angle may be off by it, to either side."""

    rounds: int = 400
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
    angle_factor: float = 2.0
    seed: int = 1


@dataclass(frozen=True, slots=True)
class DefocusBank:
    """Scenes at `DISTANCES_DOF`: spectra (s, 20, 18), AENet's u and the logarithm of its error (s, 20), float32."""

    bands: NDArray[np.float32]
    u: NDArray[np.float32]
    log_error: NDArray[np.float32]

    def __len__(self) -> int:
        """Number of scenes."""
        return len(self.bands)

    def read(
        self, scene: NDArray[np.int64], defocus_dof: Array, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Spectra (n, 18), u and logarithm of its error (n,) of scenes (n,) at true distances (n,), with noise."""
        at = np.clip(np.arcsinh(np.abs(defocus_dof)) / _STEP, 0.0, len(DISTANCES_DOF) - 1 - 1e-6)
        low = at.astype(np.int64)
        upper = np.asarray(at - low, np.float32)

        def between(values: NDArray[np.float32]) -> NDArray[np.float32]:
            share = upper.reshape(-1, *[1] * (values.ndim - 2))
            mixed = values[scene, low] * (1.0 - share) + values[scene, low + 1] * share
            return np.asarray(mixed, np.float32)

        bands = between(self.bands) + _band_spread() * _normal(rng, (len(scene), BANDS))
        u = between(self.u) + np.float32(_U_NOISE) * _normal(rng, (len(scene),))
        return bands, u, between(self.log_error)


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return rng.standard_normal(shape, np.float32)


def _band_spread() -> NDArray[np.float32]:
    """By how much a band's logarithm differs between frames of one place that has moved a little."""
    modes = _FEWEST_MODES * 1.57 ** np.arange(BANDS)
    return np.asarray(np.sqrt(_BAND_NOISE**2 + 0.25 / modes), np.float32)


class Runs:
    """Many autofocus runs side by side, each on a scene of its own. Distances in the DoF that the service assumes."""

    def __init__(self, bank: DefocusBank, config: TrainConfig, rng: np.random.Generator) -> None:
        n, spread = config.runs, math.log(config.angle_factor)
        self._bank, self._rng = bank, rng
        self._scene = rng.integers(len(bank), size=n)
        self.calibrated = rng.random(n) < config.calibrated_share
        off = np.exp(rng.uniform(-spread, spread, n))
        self._assumed_per_true = np.where(self.calibrated, 1.0, off)
        self.true_dof = rng.uniform(-1.0, 1.0, n) * rng.choice(config.starts_dof, n)
        self._wd = np.zeros((n, READINGS))
        self._bands = np.zeros((n, READINGS, BANDS), np.float32)
        self._u, self._log_error = (np.zeros((n, READINGS), np.float32) for _ in range(2))
        self._count = np.zeros(n, np.int64)
        self.read()

    @property
    def defocus_dof(self) -> Array:
        """Where each stands, (n,)."""
        return np.asarray(self.true_dof * self._assumed_per_true, np.float64)

    @property
    def count(self) -> NDArray[np.int64]:
        """Readings of each."""
        return self._count

    def read(self) -> None:
        """Everybody reads where it stands."""
        bands, u, log_error = self._bank.read(self._scene, self.true_dof, self._rng)
        self._wd = _newest(self._wd, self.defocus_dof)
        self._bands = _newest(self._bands, bands)
        self._u, self._log_error = _newest(self._u, u), _newest(self._log_error, log_error)
        self._count = self._count + 1

    def move(self, step_dof: Array) -> None:
        """Everybody moves; beyond what was measured nobody goes."""
        there = (self.defocus_dof + step_dof) / self._assumed_per_true
        self.true_dof = np.clip(there, -_FAR_DOF, _FAR_DOF)

    def seen(self) -> Histories:
        """What the network is told."""
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
    """The last states and where the focus was, seen from there."""

    def __init__(self, size: int) -> None:
        self._states = np.zeros((size, STATE_SIZE), np.float32)
        self._defocus = np.zeros(size)
        self._next = self._filled = 0

    def add(self, states: NDArray[np.float32], defocus_dof: Array) -> None:
        """Remember some; the oldest are forgotten."""
        at = (self._next + np.arange(len(states))) % len(self._states)
        self._states[at], self._defocus[at] = states, defocus_dof
        self._next = int(at[-1] + 1) % len(self._states)
        self._filled = min(len(self._states), self._filled + len(states))

    def sample(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Array]:
        """States (count, 88) and distances (count,); half of them mirrored."""
        chosen = rng.integers(self._filled, size=count)
        states, defocus = self._states[chosen], self._defocus[chosen]
        turned = rng.random(count) < 0.5
        states = np.where(turned[:, None], states * mirror(), states)
        return torch.from_numpy(states), np.where(turned, -defocus, defocus)


def loss_of(logits: Tensor, defocus_dof: Array) -> Tensor:
    """Cross entropy with the two bins that the distance lies between."""
    low, upper = shares(defocus_dof)
    at, share = torch.from_numpy(low)[:, None], torch.from_numpy(upper)
    likely = torch.log_softmax(logits, dim=1)
    below, above = likely.gather(1, at)[:, 0], likely.gather(1, at + 1)[:, 0]
    return -(below * (1.0 - share) + above * share).mean()


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
    """Some readings of everybody; found or not, all go on, so that they learn to stay."""
    for _ in range(config.readings):
        seen = runs.seen()
        replay.add(encode(seen), runs.defocus_dof)
        step = decide(network.mass(seen), runs.count).step_dof
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
        states, defocus = replay.sample(config.batch, rng)
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            logits = network(states)
        loss = loss_of(logits.float(), defocus)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        optimiser.step()
        total += float(loss.detach())
    return total / config.updates


def evaluate(
    network: DefocusNet,
    bank: DefocusBank,
    config: TrainConfig,
    decide: Decide,
    *,
    most_readings: int = 12,
) -> dict[str, float]:
    """Runs as the service would do them: readings used, and how far from focus they end in true DoF."""
    rng = np.random.default_rng(config.seed + 1)
    runs = Runs(bank, config, rng)
    used = np.full(config.runs, most_readings)
    found = np.zeros(config.runs, np.bool_)
    for _ in range(most_readings):
        moves = decide(network.mass(runs.seen()), runs.count)
        used[moves.found & ~found] = runs.count[0]
        found |= moves.found
        if runs.count[0] == most_readings or found.all():
            break
        runs.move(np.where(found, 0.0, moves.step_dof))
        runs.read()
    away = np.abs(runs.true_dof)
    return {
        "runs": float(config.runs),
        "mean_readings": round(float(used.mean()), 3),
        "median_readings": float(np.median(used)),
        "found": round(float(found.mean()), 4),
        "within_1_dof": round(float((away <= 1.0).mean()), 4),
        "within_2_dof": round(float((away <= 2.0).mean()), 4),
        "found_over_3_dof_off": round(float((found & (away > 3.0)).mean()), 4),
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
