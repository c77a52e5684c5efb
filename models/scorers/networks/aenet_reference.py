"""AENet as Lee et al. 2021 published it, layer by layer.

Input (N, 2, H, W): the median filtered and standardised frame, and the magnification plane. No convolution after the
first is padded, so that 240 x 320 becomes one number and 480 x 640 a map of 16 x 21; the score is the map's median.
Where two convolutions have a shortcut, its kernel is as large as both together, so the sizes fit without cropping.
Convolutions have no bias; batch norm follows each but the last. 51.6 M parameters, 76 GFLOP for a frame of 320 x 240.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from afdaemon.models.frames.preprocess import network_input
from afdaemon.models.frames.shot import Shot, judged_image
from afdaemon.models.optics import MAGNIFICATION_SCALE, SAMPLING_WIDTH_PX, TOP_SCORE
from afdaemon.models.scorers.networks.base import ScoringNetwork, Tensors, padded

NAME = "AENet.reference"
SMALLEST_PX = (240, 320)
"""Height and width that its layers reduce to a single number; smaller frames are mirrored to this size."""
WIDTH = 32
"""Channels after the third convolution; later layers have 2 to 16 times as many."""

PREPROCESSING = {
    "channels": ["median 3 x 3, standardised", "magnification"],
    "magnification_scale": MAGNIFICATION_SCALE,
    "sampling_width_px": SAMPLING_WIDTH_PX,
    "smallest_px": list(SMALLEST_PX),
}

_SLOPE = 0.2
"""Slope of leaky ReLU below 0."""
_WIDE, _WIDER = (3, 4), (4, 5)
_START_SCORE = 4.5
_MEAN_ACTIVATION = (1.0 - _SLOPE) / (2.0 * torch.pi) ** 0.5
"""Mean of leaky ReLU over a standard normal variable, which is what batch norm makes."""

Kernel = tuple[int, int]


def _conv(inside: int, outside: int, kernel: Kernel, padding: int = 0) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, kernel, padding=padding, bias=False), nn.BatchNorm2d(outside)
    )


def _activated(inside: int, outside: int, kernel: Kernel) -> nn.Sequential:
    return _conv(inside, outside, kernel).append(nn.LeakyReLU(_SLOPE))


class ResidualPair(nn.Module):
    """Two convolutions beside one as large as both; (N, inside, H, W) -> (N, outside, H - 2h + 2, W - 2w + 2)."""

    def __init__(self, inside: int, outside: int, kernel: Kernel) -> None:
        super().__init__()
        both = (2 * kernel[0] - 1, 2 * kernel[1] - 1)
        self.main = nn.Sequential(
            _activated(inside, outside, kernel), _conv(outside, outside, kernel)
        )
        self.shortcut = _conv(inside, outside, both)
        self.activation = nn.LeakyReLU(_SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the pair."""
        out: Tensor = self.activation(self.main(x) + self.shortcut(x))
        return out


class AENetReference(nn.Module):
    """(N, 2, H, W) -> scores 0..9, (N,). `width` is the published 32 except in tests."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        w = width
        self.layers = nn.Sequential(
            _conv(2, 2, (5, 5), padding=2),
            _conv(2, 3, _WIDE),
            _activated(3, w, _WIDE),
            *(ResidualPair(w, 2 * w, _WIDE), nn.MaxPool2d(2)),
            *(ResidualPair(2 * w, 4 * w, _WIDE), nn.MaxPool2d(2)),
            *(ResidualPair(4 * w, 8 * w, _WIDE), nn.MaxPool2d(2)),
            *(ResidualPair(8 * w, 16 * w, _WIDER), nn.MaxPool2d(2)),
            ResidualPair(16 * w, 16 * w, _WIDER),
            _activated(16 * w, 16 * w, _WIDER),
            _activated(16 * w, 8 * w, (1, 1)),
            _activated(8 * w, 4 * w, (1, 1)),
        )
        self.last = nn.Conv2d(4 * w, 1, 1, bias=False)
        _start_inside_the_range(self.last)

    def maps(self, x: Tensor) -> Tensor:
        """Scores of each place: (N, 2, H, W) -> (N, h, w), cut to 0..9."""
        raw: Tensor = self.last(self.layers(x)).squeeze(1)
        return TOP_SCORE / 6.0 * nn.functional.relu6(raw)

    def forward(self, x: Tensor) -> Tensor:
        """The median of each frame's map."""
        return self.maps(x).float().flatten(1).quantile(0.5, dim=1)


def _start_inside_the_range(last: nn.Conv2d) -> None:
    """Begin at middling scores: where the last activation saturates, nothing could be learned."""
    inside = last.in_channels
    middle = _START_SCORE * 6.0 / TOP_SCORE
    nn.init.normal_(last.weight, middle / (inside * _MEAN_ACTIVATION), 0.5 * inside**-0.5)


def prepare(shots: Sequence[Shot]) -> Tensors:
    """Frames of one size as (n, 2, H, W)."""
    inputs = [
        network_input(padded(judged_image(shot), *SMALLEST_PX), shot.magnification)[[0, 2]]
        for shot in shots
    ]
    return (torch.from_numpy(np.stack(inputs)),)


def build() -> ScoringNetwork:
    """The network with fresh weights."""
    return ScoringNetwork(
        name=NAME, module=AENetReference(), preprocessing=PREPROCESSING, prepare=prepare
    )
