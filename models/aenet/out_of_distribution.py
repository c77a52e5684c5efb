"""Is this frame out of distribution? Distance of its features from those of the training frames.

Features are the last block's, averaged over the frame with the weights of its score. Over the training frames they are
assumed to be Gaussian; the distance is the Mahalanobis distance (Lee K. et al. 2018, "A simple unified framework for
detecting out-of-distribution samples"), divided by the one that a share `RARE` of the training frames exceeds: above 1
a frame is out of distribution.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from afdaemon.models import checkpoint
from afdaemon.models.aenet.network import ARCHITECTURE, PREPROCESSING, AENetCompact
from afdaemon.models.training.batches import Batch

RARE = 5e-4
"""Share of the training frames beyond a distance of 1. Sparse particles lie farthest out, and are no strangers."""
_RIDGE = 1e-3
"""Added to the covariance, as a share of its mean diagonal: directions in which nothing varied count little."""
_PREFIX = "familiar."


@dataclass(frozen=True, slots=True)
class Familiarity:
    """Mean (d,) and whitening (d, d) of the training frames' features, float32; `whitening` includes the scale."""

    mean: Tensor
    whitening: Tensor

    def distance(self, features: Tensor) -> Tensor:
        """Distance of each frame's features (N, d): (N,), above 1 if it is out of distribution."""
        away = (features.float() - self.mean) @ self.whitening
        norm: Tensor = away.norm(dim=1)
        return norm

    def tensors(self) -> dict[str, Tensor]:
        """As they are stored beside the network's weights."""
        return {f"{_PREFIX}mean": self.mean, f"{_PREFIX}whitening": self.whitening}

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> Self:
        """From what was stored. Raises KeyError when it is not there."""
        return cls(tensors[f"{_PREFIX}mean"].float(), tensors[f"{_PREFIX}whitening"].float())

    def to(self, device: torch.device) -> "Familiarity":
        """On a device."""
        return Familiarity(self.mean.to(device), self.whitening.to(device))


def load_aenet(weights: Path) -> tuple[AENetCompact, Familiarity | None, checkpoint.Card]:
    """A trained network, the statistics of its features (None if not stored), and its card. Raises `WeightsError`."""
    card = checkpoint.read_card(weights)
    model = AENetCompact(**card.arguments)
    beside = checkpoint.load_into(
        model,
        weights,
        architecture=ARCHITECTURE,
        preprocessing=PREPROCESSING,
        beside=_PREFIX,
    )
    return model, Familiarity.of(beside) if beside else None, card


def features_of(features: Tensor, maps: Tensor) -> Tensor:
    """The last block's (N, d, h, w), averaged with the weights that `maps` (N, 3, h, w) give each spot: (N, d)."""
    share = torch.softmax(maps[:, 1].float().flatten(1), dim=1)
    return torch.einsum("ndp,np->nd", features.float().flatten(2), share)


def fit(features: Tensor) -> Familiarity:
    """The statistics of frames with `features` (n, d); n well above d."""
    x = features.double()
    mean = x.mean(0)
    away = x - mean
    covariance = away.T @ away / (len(x) - 1)
    ridge = _RIDGE * float(covariance.diagonal().mean())
    covariance += ridge * torch.eye(len(mean), dtype=torch.float64)
    whitening = torch.linalg.inv(torch.linalg.cholesky(covariance)).T
    farthest = float(torch.quantile((away @ whitening).norm(dim=1), 1.0 - RARE))
    return Familiarity(mean.float(), (whitening / farthest).float())


def fit_network(model: AENetCompact, batches: Iterator[Batch], count: int) -> Familiarity:
    """The statistics of the features that `model` finds in `count` batches."""
    seen = []
    with torch.inference_mode():
        for _ in range(count):
            features = model.features(next(batches).x)
            seen.append(features_of(features, model.head(features)))
    return fit(torch.cat(seen))
