"""Where does the focus lie? One distribution over the whole range, from all readings of a job as a set.

Attention over the readings (Vaswani et al. 2017), so that any number of them, in any order, anywhere, is evidence; what
is asked is read off the newest. The answer is averaged with that of the mirrored job: blur is nearly the same on both
sides.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from afdaemon.models import checkpoint
from afdaemon.models.checkpoint import WEIGHTS_FOLDER, Card
from afdaemon.models.defocus.posterior.tokens import (
    BINS,
    OUTCOMES,
    REACH_DOF,
    TOKEN,
    Histories,
    Posterior,
    absent,
    encode,
    mirror,
)
from afdaemon.models.defocus.state import SCALES
from afdaemon.models.frames.spectrum import BANDS, HIGHEST, LOWEST

ARCHITECTURE = "PosteriorNet"
PREPROCESSING = {
    "token": TOKEN,
    "bands": [BANDS, LOWEST, HIGHEST],
    "bins": [BINS, REACH_DOF],
    "scales": len(SCALES),
}
DEFAULT_WEIGHTS = WEIGHTS_FOLDER / "posterior.safetensors"


class PosteriorNet(nn.Module):
    """(N, K, 48) tokens -> (N, 211) logits: of the defocus on `tokens.AXIS_DOF`, of nothing to see, of `SCALES`."""

    mirror: Tensor

    def __init__(self, width: int = 128, layers: int = 3, heads: int = 4) -> None:
        super().__init__()
        self.arguments = {"width": width, "layers": layers, "heads": heads}
        self.first = nn.Sequential(nn.Linear(TOKEN, width), nn.GELU(), nn.Linear(width, width))
        layer = nn.TransformerEncoderLayer(
            width,
            heads,
            2 * width,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.attention = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.last = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, OUTCOMES + len(SCALES)),
        )
        self.register_buffer("mirror", torch.from_numpy(mirror()), persistent=False)

    def forward(self, tokens: Tensor, missing: Tensor) -> Tensor:
        """Logits of a batch, seen from one side; `missing` (N, K) says which tokens are no readings."""
        seen = self.attention(self.first(tokens), src_key_padding_mask=missing)
        out: Tensor = self.last(seen[:, 0])
        return out

    def infer(self, seen: Histories) -> Posterior:
        """Probability of each outcome and of each scale, seen from both sides."""
        tokens = torch.from_numpy(encode(seen))
        missing = torch.from_numpy(absent(seen.count, tokens.shape[1]))
        with torch.inference_mode():
            both = self(torch.cat([tokens, tokens * self.mirror]), torch.cat([missing, missing]))
        one, other = both.double().chunk(2)
        place = 0.5 * (one[:, :BINS] + other[:, :BINS].flip(1))
        rest = 0.5 * (one[:, BINS:] + other[:, BINS:])
        told = torch.softmax(torch.cat([place, rest[:, :1]], dim=1), dim=1).numpy()
        odds = torch.softmax(rest[:, 1:], dim=1).numpy()
        return Posterior(_normalised(told[:, :BINS]), told[:, BINS], odds)


def _normalised(mass: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(mass / np.maximum(mass.sum(axis=1, keepdims=True), 1e-300))


def load_posterior(weights: Path | None = None) -> tuple[PosteriorNet, Card]:
    """The network with its weights (the shipped ones by default), in evaluation mode, and its card.

    Raises:
        WeightsError: the weights are missing, damaged, or not this network's.
    """
    path = weights or DEFAULT_WEIGHTS
    card = checkpoint.read_card(path)
    network = PosteriorNet(**card.arguments)
    checkpoint.load_into(network, path, architecture=ARCHITECTURE, preprocessing=PREPROCESSING)
    return network.eval(), card
