"""How far from focus, and on which side? A distribution over the signed defocus, from the last readings.

And how far off the assumed convergence angle is, which shows in how fast the blur grows with the distance. Four fully
connected layers. The answer is averaged with that of the mirrored state, because blur is the same on both sides.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from afdaemon.models import checkpoint
from afdaemon.models.checkpoint import WEIGHTS_FOLDER, Card
from afdaemon.models.defocus.state import (
    BINS,
    REACH_DOF,
    READINGS,
    SCALES,
    STATE_SIZE,
    Histories,
    Posterior,
    encode,
    mirror,
)
from afdaemon.models.frames.spectrum import BANDS, HIGHEST, LOWEST

ARCHITECTURE = "DefocusNet"
PREPROCESSING = {
    "state_size": STATE_SIZE,
    "readings": READINGS,
    "bands": [BANDS, LOWEST, HIGHEST],
    "bins": [BINS, REACH_DOF],
    "scales": len(SCALES),
}
DEFAULT_WEIGHTS = WEIGHTS_FOLDER / "defocus.safetensors"


class DefocusNet(nn.Module):
    """(N, 88) states -> (N, 170) logits: of the defocus, on `state.AXIS_DOF`, and of its `state.SCALES`."""

    mirror: Tensor

    def __init__(self, hidden: int = 512) -> None:
        super().__init__()
        self.hidden = hidden
        layers: list[nn.Module] = []
        inside = STATE_SIZE
        for _ in range(3):
            layers += [nn.Linear(inside, hidden), nn.LayerNorm(hidden), nn.GELU()]
            inside = hidden
        self.layers = nn.Sequential(*layers, nn.Linear(inside, BINS + len(SCALES)))
        self.register_buffer("mirror", torch.from_numpy(mirror()), persistent=False)

    def forward(self, state: Tensor) -> Tensor:
        """Logits of a batch, seen from one side."""
        out: Tensor = self.layers(state)
        return out

    def infer(self, seen: Histories) -> Posterior:
        """Probability of each bin and of each scale, seen from both sides."""
        state = torch.from_numpy(encode(seen)).to(self.mirror.device)
        with torch.inference_mode():
            one, other = self(state).cpu(), self(state * self.mirror).cpu()
            place = one[:, :BINS] + other[:, :BINS].flip(1)
            scale = one[:, BINS:] + other[:, BINS:]
            return Posterior(*(torch.softmax(0.5 * part, dim=1).numpy() for part in (place, scale)))


def load_defocus(weights: Path | None = None) -> tuple[DefocusNet, Card]:
    """The network with its weights (the shipped ones by default), in evaluation mode, and its card.

    Raises:
        WeightsError: the weights are missing, damaged, or not this network's.
    """
    path = weights or DEFAULT_WEIGHTS
    card = checkpoint.read_card(path)
    network = DefocusNet(**card.arguments)
    checkpoint.load_into(network, path, architecture=ARCHITECTURE, preprocessing=PREPROCESSING)
    return network.eval(), card


class DefocusEstimator:
    """The network as control calls it: one job's readings in, a posterior out."""

    def __init__(self, network: DefocusNet, card: Card) -> None:
        self._network = network.eval()
        self.card = card

    def infer(
        self,
        *,
        wd_dof: Sequence[float],
        bands: Sequence[Sequence[float]],
        u: Sequence[float],
        log_error: Sequence[float],
        calibrated: bool,
    ) -> Posterior:
        """The posterior of one job; histories are newest first, of any length >= 1."""
        seen = history_of(
            wd_dof=wd_dof, bands=bands, u=u, log_error=log_error, calibrated=calibrated
        )
        return self._network.infer(seen)


def load_estimator(weights: Path | None = None) -> DefocusEstimator:
    """The network as control calls it. Raises `WeightsError`."""
    return DefocusEstimator(*load_defocus(weights))


def history_of(
    *,
    wd_dof: Sequence[float],
    bands: Sequence[Sequence[float]],
    u: Sequence[float],
    log_error: Sequence[float],
    calibrated: bool,
) -> Histories:
    """One job's readings, newest first, at least one of them."""
    kept = min(len(wd_dof), READINGS)
    filled = [min(k, kept - 1) for k in range(READINGS)]
    return Histories(
        wd_dof=np.array([[wd_dof[k] for k in filled]], np.float64),
        bands=np.array([[bands[k] for k in filled]], np.float32),
        u=np.array([[u[k] for k in filled]], np.float32),
        log_error=np.array([[log_error[k] for k in filled]], np.float32),
        count=np.array([len(wd_dof)]),
        calibrated=np.array([calibrated]),
    )
