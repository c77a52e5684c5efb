"""AENet: how good is the focus of this frame, 0 to 9, and how sure is that?

`AENetCompact` keeps the idea of Lee et al. 2021 (image and magnification plane in, residual blocks, four halvings,
fully convolutional, one number from a map) at about a fortieth of the work. It estimates the logarithm of the blur:
with u = -2 ln(b / b0) the published label curve 9 / (1 + (b / b0)^2) is 9 * sigmoid(u), which never saturates exactly,
so that two blurred frames can still be compared. A second map says how informative each spot is: flat ground between
two particles says nothing about the focus, so the frame's u is the mean weighted by it, in place of the published
median. A third map is the logarithm of the expected error.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from afdaemon.models.frames.preprocess import CHANNELS, RESIDUE_LIMIT
from afdaemon.models.optics import MAGNIFICATION_SCALE, SAMPLING_WIDTH_PX, TOP_SCORE

ARCHITECTURE = "AENetCompact"
_CHANNELS = (
    "median 3 x 3, standardised",
    "what the median took away",
    "magnification",
    "noise floor",
)

WIDTHS = (16, 24, 48, 96, 160)
"""Channels of stem and blocks."""
SCALES = 3
"""Every frame is seen at its own sampling, at a half and at a quarter of it: 1.7 GFLOP in all for 320 x 240."""
LOG_ERROR_RANGE = (-4.0, 2.0)
"""Bounds of the logarithm of the expected error: .02 to 7.4 on the scale of scores."""
_SLOPE = 0.2
_MAPS = 3
_HEAD_WIDTH = 96


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


class Pyramid(nn.ModuleList):
    """The same layers at several samplings, each a half of the one before; their features side by side.

    Defocus of 2 b at one sampling looks like b at the next coarser one, where noise is weaker and the view wider: what
    is learned of one serves the others.
    """

    def __init__(self, layers: Sequence[nn.Module], scales: int, channels: int) -> None:
        super().__init__(layers)
        self.scales, self.channels = scales, channels

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels or more, H, W) -> (N, scales * width, H / 16, W / 16)."""
        x = x[:, : self.channels]
        finest = self._once(x)
        several = [finest]
        for _ in range(1, self.scales):
            x = nn.functional.avg_pool2d(x, 2)
            several.append(nn.functional.interpolate(self._once(x), finest.shape[-2:]))
        return torch.cat(several, dim=1)

    def _once(self, x: Tensor) -> Tensor:
        for layer in self:
            x = layer(x)
        return x


class AENetCompact(nn.Module):
    """(N, 4, H, W) -> maps (N, 3, H / 16, W / 16): u, the logarithm of its weight, the logarithm of its error."""

    def __init__(
        self, widths: Sequence[int] = WIDTHS, scales: int = SCALES, channels: int = CHANNELS
    ) -> None:
        super().__init__()
        self.widths, self.scales, self.channels = tuple(widths), scales, channels
        stem, *rest = self.widths
        layers: list[nn.Module] = [_conv(channels, stem, 5, stride=2), nn.LeakyReLU(_SLOPE)]
        inside = stem
        for index, width in enumerate(rest):
            layers.append(ResidualBlock(inside, width))
            if index < 3:
                layers.append(nn.MaxPool2d(2))
            inside = width
        self.features = Pyramid(layers, scales, channels)
        self.head = nn.Sequential(*_head(scales * inside, is_wide=scales > 1))

    @property
    def arguments(self) -> dict[str, Any]:
        """What it was made with."""
        return {"widths": list(self.widths), "scales": self.scales, "channels": self.channels}

    def forward(self, x: Tensor) -> Tensor:
        """The three maps of a batch."""
        out: Tensor = self.head(self.features(x))
        return out


def _head(inside: int, *, is_wide: bool) -> Iterator[nn.Module]:
    """From features to maps; a wide one also looks at the spots around each."""
    middle = _HEAD_WIDTH if is_wide else 64
    yield nn.Conv2d(inside, middle, 1)
    yield nn.LeakyReLU(_SLOPE)
    if is_wide:
        yield nn.Conv2d(middle, middle, 3, padding=1)
        yield nn.LeakyReLU(_SLOPE)
    yield nn.Conv2d(middle, _MAPS, 1)


def preprocessing(channels: int) -> dict[str, Any]:
    """What a network with so many channels must be given, as its card says it."""
    return {
        "channels": list(_CHANNELS[:channels]),
        "magnification_scale": MAGNIFICATION_SCALE,
        "residue_limit": RESIDUE_LIMIT,
        "sampling_width_px": SAMPLING_WIDTH_PX,
    }


def estimate(maps: Tensor) -> Estimate:
    """What the maps (N, 3, h, w) say about each frame: means weighted by how informative each spot is."""
    u, weight, log_error = maps.float().flatten(2).unbind(1)
    share = torch.softmax(weight, dim=1)
    return Estimate(
        u=(share * u).sum(1), log_error=(share * log_error).sum(1).clamp(*LOG_ERROR_RANGE)
    )
