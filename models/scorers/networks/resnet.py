"""ResNet (He et al. 2016) of 50 and 101 layers, for one grey channel.

Its last layer, which distinguishes 1000 classes, is replaced by the joint with the control parameters. As in most
implementations the 3 x 3 convolution of a block takes its stride.
"""

from torch import Tensor, nn

from afdaemon.models.scorers.networks.base import ScoringNetwork
from afdaemon.models.scorers.networks.joined import joined

_STEM, WIDTHS = 64, (64, 128, 256, 512)
BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
"""How many bottlenecks each of the four stages has, by depth."""
EXPANSION = 4
FEATURES = EXPANSION * WIDTHS[-1]


def _conv(inside: int, outside: int, size: int, stride: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(inside, outside, size, stride, size // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(layer, nn.BatchNorm2d(outside))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions beside a shortcut; (N, inside, H, W) -> (N, 4 width, H / s, W / s)."""

    def __init__(self, inside: int, width: int, stride: int) -> None:
        super().__init__()
        outside = EXPANSION * width
        self.main = nn.Sequential(
            _conv(inside, width, 1).append(nn.ReLU(inplace=True)),
            _conv(width, width, 3, stride).append(nn.ReLU(inplace=True)),
            _conv(width, outside, 1),
        )
        same = inside == outside and stride == 1
        self.shortcut = nn.Identity() if same else _conv(inside, outside, 1, stride)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        out: Tensor = self.activation(self.main(x) + self.shortcut(x))
        return out


def trunk(depth: int, *, channels: int = 1) -> nn.Sequential:
    """(N, channels, H, W) -> (N, 2048)."""
    layers: list[nn.Module] = [
        _conv(channels, _STEM, 7, stride=2).append(nn.ReLU(inplace=True)),
        nn.MaxPool2d(3, stride=2, padding=1),
    ]
    inside = _STEM
    for stage, (width, count) in enumerate(zip(WIDTHS, BLOCKS[depth], strict=True)):
        for block in range(count):
            layers.append(Bottleneck(inside, width, 2 if stage and not block else 1))
            inside = EXPANSION * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def build(depth: int) -> ScoringNetwork:
    """The network of this depth (50 or 101) with fresh weights."""
    return joined(f"ResNet{depth}", trunk(depth), FEATURES)
