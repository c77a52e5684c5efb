"""AENet: how good is the focus of this frame, 0 to 9?

`AENetCompact` keeps the idea of Lee et al. 2021 (image and magnification plane in, residual blocks, four halvings,
fully convolutional, median over the map) at about a sixtieth of the work. It estimates the logarithm of the blur: with
u = -2 ln(b / b0) the published label curve 9 / (1 + (b / b0)^2) is 9 * sigmoid(u), which never saturates exactly, so
that two blurred frames still compare.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from afdaemon.models import checkpoint
from afdaemon.models.preprocess import SAMPLING_WIDTH_PX
from afdaemon.models.state import MAGNIFICATION_SCALE

ARCHITECTURE = "AENetCompact"
PREPROCESSING: dict[str, Any] = {
    "median": 3,
    "standardised": True,
    "magnification_scale": MAGNIFICATION_SCALE,
    "sampling_width_px": SAMPLING_WIDTH_PX,
}

TOP_SCORE = 9.0
_SLOPE = 0.2


def _conv(inside: int, outside: int, size: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, size, stride, size // 2, bias=False), nn.BatchNorm2d(outside)
    )


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut; (N, inside, H, W) -> (N, outside, H, W)."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.first = _conv(inside, outside)
        self.second = _conv(outside, outside)
        self.shortcut = nn.Identity() if inside == outside else _conv(inside, outside, 1)
        self.activation = nn.LeakyReLU(_SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        y: Tensor = self.second(self.activation(self.first(x)))
        out: Tensor = self.activation(y + self.shortcut(x))
        return out


class AENetCompact(nn.Module):
    """(N, 2, H, W) -> blur map (N, H / 16, W / 16) of u = -2 ln(b / b0)."""

    def __init__(self, widths: tuple[int, ...] = (24, 32, 56, 96, 128)) -> None:
        super().__init__()
        self.widths = tuple(widths)
        stem, *rest = self.widths
        layers: list[nn.Module] = [_conv(2, stem, 5, stride=2), nn.LeakyReLU(_SLOPE)]
        inside = stem
        for index, width in enumerate(rest):
            layers.append(ResidualBlock(inside, width))
            if index < 3:
                layers.append(nn.MaxPool2d(2))
            inside = width
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Conv2d(inside, 64, 1), nn.LeakyReLU(_SLOPE), nn.Conv2d(64, 1, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Blur map of a batch."""
        out: Tensor = self.head(self.features(x))
        return out.squeeze(1)


def map_score(blur_map: Tensor) -> Tensor:
    """Score of each frame, (N,): the median of its map, on the label curve."""
    # contiguous: torch 2.13 returns garbage for the median of an expanded (stride 0) tensor.
    flat = blur_map.float().flatten(1).contiguous()
    return TOP_SCORE * torch.sigmoid(flat.median(dim=1).values)


def load_aenet(weights: Path) -> tuple[AENetCompact, checkpoint.Card]:
    """A trained network with its card. Raises `WeightsError`."""
    card = checkpoint.read_card(weights)
    model = AENetCompact(**card.arguments)
    checkpoint.load_into(model, weights, architecture=ARCHITECTURE, preprocessing=PREPROCESSING)
    return model, card
