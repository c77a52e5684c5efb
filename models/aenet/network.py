"""AENet: how good is the focus of this frame, 0 to 9, and how sure is that?

`AENetCompact` keeps the idea of Lee et al. 2021 (image and magnification plane in, residual blocks, four halvings,
fully convolutional, one number from a map) at about a fortieth of the work. It estimates the logarithm of the blur:
with u = -2 ln(b / b0) the published label curve 9 / (1 + (b / b0)^2) is 9 * sigmoid(u), which never saturates exactly,
so that two blurred frames can still be compared. A second map says how informative each spot is: flat ground between
two particles says nothing about the focus, so the frame's u is the mean weighted by it, in place of the published
median. A third map is the logarithm of the expected error.

Some things no spot shows alone. An edge in a line focus is as sharp as one in focus, and only edges of other directions
tell; how much noise to expect, the quiet ground tells. So every spot is judged with a view of a half of the sampling
(`Wider`), and knowing what the frame shows on the whole (`Whole`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from afdaemon.models.frames.preprocess import CHANNELS, RESIDUE_LIMIT
from afdaemon.models.optics import MAGNIFICATION_SCALE, SAMPLING_WIDTH_PX, TOP_SCORE

ARCHITECTURE = "AENetCompact"

WIDTHS = (16, 32, 64, 128, 160)
"""Channels of stem and blocks: 2.1 GFLOP in all for 320 x 240."""
LOG_ERROR_RANGE = (-4.0, 2.0)
"""Bounds of the logarithm of the expected error: .02 to 7.4 on the scale of scores."""
_SLOPE = 0.2
_MAPS = 3
_HEAD_WIDTH = 64
_SPREAD_FLOOR = 1e-4
"""Added to the variance of a feature over the frame: the root of nothing has no slope."""
PREPROCESSING: dict[str, Any] = {
    "channels": ["median 3 x 3, standardised", "what the median took away", "magnification"],
    "magnification_scale": MAGNIFICATION_SCALE,
    "residue_limit": RESIDUE_LIMIT,
    "sampling_width_px": SAMPLING_WIDTH_PX,
}
"""What the network must be given, as its card says it."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """For each frame, all float32 (N,): u = -2 ln(b / b0), and the logarithm of the mean error of its score."""

    u: Tensor
    log_error: Tensor

    @property
    def score(self) -> Tensor:
        """0..9, (N,)."""
        return TOP_SCORE * torch.sigmoid(self.u)


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


class Wider(nn.Module):
    """Adds to every spot what a block sees at half of the sampling; (N, width, h, w) -> the same.

    It begins as nothing: a network that has learned without it goes on from there.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.coarser = nn.MaxPool2d(2, ceil_mode=True)
        self.block = ResidualBlock(width, width)
        self.back = nn.Conv2d(width, width, 1)
        _begin_as_nothing(self.back)

    def forward(self, x: Tensor) -> Tensor:
        """Look wider."""
        seen: Tensor = self.back(self.block(self.coarser(x)))
        return x + nn.functional.interpolate(seen, x.shape[-2:])


class Whole(nn.Module):
    """Adds to every spot what mean and spread of all features say of the frame; (N, width, h, w) -> the same.

    It begins as nothing.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(2 * width, width)
        self.activation = nn.LeakyReLU(_SLOPE)
        self.second = nn.Linear(width, width)
        _begin_as_nothing(self.second)

    def forward(self, x: Tensor) -> Tensor:
        """Look at the whole."""
        variance, mean = torch.var_mean(x.float(), dim=(2, 3), correction=0)
        facts = torch.cat([mean, (variance + _SPREAD_FLOOR).sqrt()], dim=1)
        said: Tensor = self.second(self.activation(self.first(facts)))
        return x + said[:, :, None, None]


def _begin_as_nothing(layer: nn.Conv2d | nn.Linear) -> None:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class AENetCompact(nn.Module):
    """(N, 3, H, W) -> maps (N, 3, H / 16, W / 16): u, the logarithm of its weight, the logarithm of its error."""

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.widths = tuple(widths)
        stem, *rest = self.widths
        layers: list[nn.Module] = [_conv(CHANNELS, stem, 5, stride=2), nn.LeakyReLU(_SLOPE)]
        inside = stem
        for index, width in enumerate(rest):
            layers.append(ResidualBlock(inside, width))
            if index < 3:
                layers.append(nn.MaxPool2d(2))
            inside = width
        self.features = nn.Sequential(*layers, Wider(inside))
        self.head = nn.Sequential(
            Whole(inside),
            nn.Conv2d(inside, _HEAD_WIDTH, 1),
            nn.LeakyReLU(_SLOPE),
            nn.Conv2d(_HEAD_WIDTH, _MAPS, 1),
        )

    @property
    def arguments(self) -> dict[str, Any]:
        """What it was made with."""
        return {"widths": list(self.widths)}

    def forward(self, x: Tensor) -> Tensor:
        """The three maps of a batch."""
        out: Tensor = self.head(self.features(x))
        return out


def estimate(maps: Tensor) -> Estimate:
    """What the maps (N, 3, h, w) say about each frame: means weighted by how informative each spot is."""
    u, weight, log_error = maps.float().flatten(2).unbind(1)
    share = torch.softmax(weight, dim=1)
    return Estimate(
        u=(share * u).sum(1), log_error=(share * log_error).sum(1).clamp(*LOG_ERROR_RANGE)
    )
