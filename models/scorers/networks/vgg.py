"""VGG (Simonyan and Zisserman 2015) of 11, 13 and 19 layers, for one grey channel.

Its last layer, which distinguishes 1000 classes, is replaced by the joint with the control parameters. Batch norm
follows each convolution: Kim et al. 2019 do not mention it, but without it the deeper ones hardly start to learn.
"""

from torch import nn

from afdaemon.models.scorers.networks.base import ScoringNetwork
from afdaemon.models.scorers.networks.joined import joined

WIDTHS = (64, 128, 256, 512, 512)
CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 19: (2, 2, 4, 4, 4)}
"""How many each of the five blocks has, by depth."""
FEATURES = 4096
_LAST_SIDE_PX = 7
"""Side of the last maps: 224 px, halved by each of the five blocks."""
_DROPPED_SHARE = 0.5


def trunk(depth: int, *, channels: int = 1, batch_norm: bool = True) -> nn.Sequential:
    """(N, channels, 224, 224) -> (N, 4096)."""
    layers: list[nn.Module] = []
    inside = channels
    for width, count in zip(WIDTHS, CONVOLUTIONS[depth], strict=True):
        for _ in range(count):
            layers.append(_convolution(inside, width))
            if batch_norm:
                layers.append(nn.BatchNorm2d(width))
            layers.append(nn.ReLU(inplace=True))
            inside = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(
        *layers,
        nn.Flatten(),
        *_connected(inside * _LAST_SIDE_PX**2),
        *_connected(FEATURES),
    )


def _convolution(inside: int, outside: int) -> nn.Conv2d:
    layer = nn.Conv2d(inside, outside, 3, padding=1)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def _connected(inside: int) -> tuple[nn.Module, ...]:
    layer = nn.Linear(inside, FEATURES)
    nn.init.normal_(layer.weight, 0.0, 0.01)
    nn.init.zeros_(layer.bias)
    return layer, nn.ReLU(inplace=True), nn.Dropout(_DROPPED_SHARE)


def build(depth: int) -> ScoringNetwork:
    """The network of this depth (11, 13 or 19) with fresh weights."""
    return joined(f"VGG{depth}", trunk(depth), FEATURES)
