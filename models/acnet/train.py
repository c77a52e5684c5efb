"""Training ACNet on focus series: score, variance and entropy over WD at many places and magnifications.

As in Lee et al. 2021: supervised targets (the step to the best WD, cut to +-A_max), a replay memory, exploration noise
that fades, and steps beyond the optimum so that it learns to stay. Here many series are played at once, and the error
is measured on a scale that is linear within a depth of focus and logarithmic beyond: with plain squares an error of a
depth of focus at 5000x is too small a share of A_max to be learned. `TrainConfig` can change each of these: see
`afdaemon.models.acnet.presets`.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from afdaemon.models import checkpoint
from afdaemon.models.acnet.focus_series import READ, Array, FocusSeries, SeriesBank
from afdaemon.models.acnet.network import ACNet
from afdaemon.models.acnet.policy import ARCHITECTURE, PREPROCESSING
from afdaemon.models.acnet.state import MEMORY, STATE_SIZE, a_max_um, encode_state, places_of
from afdaemon.models.optics import TOP_SCORE
from afdaemon.models.training.descent import step_down

_FIELDS = ("wd_um", *READ)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """How ACNet is trained.

    `squares` measures errors as plain squares; `final_rate` is the share of the learning rate that is left at the end;
    without `standardised` states stay as they are encoded; with `steps_beyond` a run ends that many steps after it
    first reached the best WD, at the latest after `steps`; if `bounded` no run leaves its series; `without` names the
    inputs that are hidden from the network.
    """

    episodes: int = 500
    parallel: int = 512
    steps: int = 16
    updates: int = 16
    batch: int = 1024
    replay: int = 200_000
    learning_rate: float = 1e-3
    exploration: float = 0.5
    exploration_decay: float = 0.98
    score_noise: float = 0.1
    search_score: float = 2.0
    squares: bool = False
    final_rate: float = 0.02
    standardised: bool = True
    steps_beyond: int | None = None
    bounded: bool = False
    without: tuple[str, ...] = ()
    seed: int = 1

    def __post_init__(self) -> None:
        places_of(self.without)


class Players:
    """Many autofocus runs side by side, each on its own series: memories, offsets, and the moves between."""

    def __init__(self, bank: SeriesBank, config: TrainConfig, rng: np.random.Generator) -> None:
        self._bank, self._config, self._rng = bank, config, rng
        self._index = rng.integers(len(bank), size=config.parallel)
        self.magnification = bank.magnification[self._index]
        self.dof_um = bank.dof_um[self._index]
        self.a_max_um = np.asarray(a_max_um(self.magnification))
        ends_um = bank.reach_um[self._index]
        self._bound_um = ends_um if config.bounded else np.full(config.parallel, np.inf)
        reach = np.minimum(ends_um, 3.0 * self.a_max_um)
        self._memory = self._searched(rng.uniform(-1.0, 1.0, config.parallel) * reach, reach)

    def _read(self, offset_um: Array) -> Array:
        values = self._bank.read(self._index, offset_um)
        noise = self._rng.standard_normal(values.shape)
        values[0] = np.clip(values[0] + self._config.score_noise * noise[0], 0.0, TOP_SCORE)
        values[1:] *= 1.0 + 0.01 * noise[1:]
        return np.concatenate([offset_um[None], values])

    def _searched(self, offset_um: Array, reach: Array) -> Array:
        """Memories (4, parallel, 20) as the stride search leaves them: its last two readings, the older repeated."""
        direction = self._rng.choice([-1.0, 1.0], self._config.parallel)
        halvings = self._rng.integers(0, 2, self._config.parallel)
        stride = direction * self.a_max_um / 3.0 / 2.0**halvings
        before = after = self._read(offset_um)
        for _ in range(40):
            lost = (after[1] <= self._config.search_score) & (np.abs(after[0]) < 1.2 * reach)
            if not lost.any():
                break
            step = self._read(after[0] + np.where(lost, stride, 0.0))
            before = np.where(lost, after, before)
            after = np.where(lost, step, after)
        memory = np.repeat(before[:, :, None], MEMORY, axis=2)
        memory[:, :, 0] = after
        return memory

    def states(self) -> NDArray[np.float32]:
        """What ACNet sees now, (parallel, 80)."""
        fields = dict(zip(_FIELDS, self._memory, strict=True))
        return encode_state(**fields, magnification=self.magnification)

    def targets(self) -> NDArray[np.float32]:
        """The right step as a share of A_max, (parallel,)."""
        return np.clip(-self._memory[0, :, 0] / self.a_max_um, -1.0, 1.0).astype(np.float32)

    def tolerances(self) -> NDArray[np.float32]:
        """Half a depth of focus as a share of A_max, (parallel,)."""
        return (0.5 * self.dof_um / self.a_max_um).astype(np.float32)

    def at_best(self) -> NDArray[np.bool_]:
        """Which runs are within half a depth of focus of the best WD, (parallel,)."""
        return np.abs(self._memory[0, :, 0]) <= 0.5 * self.dof_um

    def move(self, share: Array) -> None:
        """Move every run by `share` (parallel,) of A_max, and take a reading."""
        offset_um = self._memory[0, :, 0] + np.clip(share, -1.0, 1.0) * self.a_max_um
        reading = self._read(np.clip(offset_um, -self._bound_um, self._bound_um))
        self._memory = np.concatenate([reading[:, :, None], self._memory[:, :, :-1]], axis=2)

    def error_dof(self) -> Array:
        """Distance of the best-scored reading of each memory from the best WD, in depths of focus."""
        best = self._memory[1].argmax(axis=1)
        return np.asarray(
            np.abs(self._memory[0, np.arange(len(best)), best]) / self.dof_um, dtype=np.float64
        )


class Replay:
    """The last states with their targets and tolerances."""

    def __init__(self, size: int) -> None:
        self._rows = np.zeros((size, STATE_SIZE + 2), np.float32)
        self._next = self._filled = 0

    def __len__(self) -> int:
        """How many states are stored."""
        return self._filled

    def add(
        self,
        states: NDArray[np.float32],
        targets: NDArray[np.float32],
        tolerances: NDArray[np.float32],
    ) -> None:
        """Store some; the oldest are overwritten."""
        at = (self._next + np.arange(len(states))) % len(self._rows)
        self._rows[at] = np.column_stack([states, targets, tolerances])
        self._next = int(at[-1] + 1) % len(self._rows)
        self._filled = min(len(self._rows), self._filled + len(states))

    def sample(self, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """States (count, 80), targets and tolerances (count,)."""
        rows = torch.from_numpy(self._rows[rng.integers(self._filled, size=count)])
        return rows[:, :STATE_SIZE], rows[:, -2], rows[:, -1]


def loss_of(
    proposed: Tensor, target: Tensor, tolerance: Tensor, *, squares: bool = False
) -> Tensor:
    """Mean square of the difference on the scale asinh(step / tolerance), or of the difference itself."""
    if squares:
        return nn.functional.mse_loss(proposed, target)
    difference = torch.asinh(proposed / tolerance) - torch.asinh(target / tolerance)
    return (difference**2).mean()


def train(
    config: TrainConfig,
    series: Sequence[FocusSeries],
    on_progress: Callable[[int, int, float], None],
) -> ACNet:
    """Train on focus series and return the network in evaluation mode."""
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    bank, replay = SeriesBank(series), Replay(config.replay)
    network = ACNet(without=config.without)
    if config.standardised:
        network.standardise_with(torch.from_numpy(_typical_states(bank, config, rng)))
    optimiser = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimiser, config.episodes, config.final_rate * config.learning_rate
    )
    loss = 0.0
    for episode in range(config.episodes):
        spread = config.exploration * config.exploration_decay**episode
        players = Players(bank, config, rng)
        play(network, players, config.steps, spread, rng, replay, beyond=config.steps_beyond)
        loss = _learn(network, optimiser, replay, config, rng)
        schedule.step()
        on_progress(episode + 1, config.episodes, loss)
    return network.eval()


def _typical_states(
    bank: SeriesBank, config: TrainConfig, rng: np.random.Generator
) -> NDArray[np.float32]:
    """States of runs that move at random near the best WD."""
    players, seen = Players(bank, config, rng), []
    for _ in range(config.steps):
        seen.append(players.states())
        away = rng.normal(0.0, 3.0, config.parallel) * players.tolerances()
        players.move(players.targets() + away)
    return np.concatenate(seen)


def play(
    network: ACNet,
    players: Players,
    steps: int,
    spread: float,
    rng: np.random.Generator,
    replay: Replay | None = None,
    *,
    beyond: int | None = None,
) -> None:
    """Let the network move every run `steps` times, with exploration noise of `spread` (share of A_max).

    With `beyond`, the states of a run later than that many steps after it first reached the best WD are not stored.
    """
    network.eval()
    left = np.full(len(players.a_max_um), steps)
    for _ in range(steps):
        if beyond is not None:
            left = np.where(players.at_best(), np.minimum(left, beyond), left)
        going = left > 0
        if not going.any():
            break
        states = players.states()
        if replay is not None:
            replay.add(states[going], players.targets()[going], players.tolerances()[going])
        left -= 1
        with torch.inference_mode():
            share = network(torch.from_numpy(states)).numpy().astype(np.float64)
        players.move(share + spread * rng.standard_normal(len(share)))


def _learn(
    network: ACNet,
    optimiser: torch.optim.Optimizer,
    replay: Replay,
    config: TrainConfig,
    rng: np.random.Generator,
) -> float:
    network.train()
    total = 0.0
    for _ in range(config.updates):
        states, targets, tolerances = replay.sample(config.batch, rng)
        loss = loss_of(network(states), targets, tolerances, squares=config.squares)
        total += step_down(loss, optimiser)
    return total / config.updates


def evaluate(network: ACNet, series: Sequence[FocusSeries], config: TrainConfig) -> dict[str, Any]:
    """Errors of the best reading after 5, 10 and 15 servo readings; `series` should be held out from training."""
    rng = np.random.default_rng(config.seed + 1)
    players = Players(SeriesBank(series), config, rng)
    report: dict[str, Any] = {"runs": config.parallel}
    for count in (5, 10, 15):
        play(network, players, 5, 0.0, rng)
        error = players.error_dof()
        report[f"median_error_dof_after_{count}"] = round(float(np.median(error)), 3)
        report[f"within_1_dof_after_{count}"] = round(float(np.mean(error <= 1.0)), 4)
    return report


def save(
    network: ACNet,
    weights: Path,
    *,
    config: TrainConfig,
    notes: dict[str, Any],
    metrics: dict[str, Any],
    seconds: float,
) -> None:
    """Write the weights (16 bits a number: half the size, and far finer than the noise) and their card.

    `notes` record there where the training came from and what it learned from.
    """
    checkpoint.save(
        weights,
        network.state_dict(),
        {
            "architecture": ARCHITECTURE,
            "arguments": {"hidden": network.hidden, "without": list(network.without)},
            "preprocessing": PREPROCESSING,
            "training": {**asdict(config), **notes, "seconds": round(seconds)},
            "metrics": metrics,
        },
        half=True,
    )
