"""PACF, the parallel convolutional and fully connected network of Kim et al. 2019.

The paper shows the two branches and how they join, but gives no sizes: those here are ours.
"""

from torch import nn

from afdaemon.models.scorers.networks.base import ScoringNetwork
from afdaemon.models.scorers.networks.joined import joined

NAME = "PACF"
WIDTHS = (16, 32, 64, 128, 256)
"""Channels of its five convolutions, each followed by a halving: .5 GFLOP for a crop."""


def trunk(widths: tuple[int, ...] = WIDTHS, channels: int = 1) -> nn.Sequential:
    """(N, channels, H, W) -> (N, widths[-1])."""
    layers: list[nn.Module] = []
    inside = channels
    for width in widths:
        layers += [nn.Conv2d(inside, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)]
        layers += [nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        inside = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def build() -> ScoringNetwork:
    """The network with fresh weights."""
    return joined(NAME, trunk(), WIDTHS[-1])
