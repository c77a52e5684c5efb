"""ACNet: how far is it to the best focus?

Lee et al. 2021, Fig. 2c: five fully connected layers 80 -> 512 -> 512 -> 512 -> 512 -> 1, batch norm and leaky ReLU
after the first four, tanh at the end. Its output times A_max(m) is the proposed WD step.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from afdaemon.models.acnet.state import STATE_SIZE, places_of

_SLOPE = 0.2
"""Slope of leaky ReLU below 0."""


class ACNet(nn.Module):
    """(N, 80) states -> (N,) steps as a share of A_max, in -1..1.

    `shift` and `scale` (80,) standardise the state; set once from the training data, saved with the weights. Inputs
    named in `without` (of `state.KINDS`) are hidden from it: they are zero. Raises `ModelError` for any other name.
    """

    shift: Tensor
    scale: Tensor
    seen: Tensor

    def __init__(self, hidden: int = 512, without: Sequence[str] = ()) -> None:
        super().__init__()
        self.hidden = hidden
        self.without = tuple(without)
        seen = torch.ones(STATE_SIZE)
        seen[places_of(without)] = 0.0
        self.register_buffer("seen", seen, persistent=False)
        self.register_buffer("shift", torch.zeros(STATE_SIZE))
        self.register_buffer("scale", torch.ones(STATE_SIZE))
        layers: list[nn.Module] = []
        inside = STATE_SIZE
        for _ in range(4):
            layers += [nn.Linear(inside, hidden), nn.BatchNorm1d(hidden), nn.LeakyReLU(_SLOPE)]
            inside = hidden
        self.layers = nn.Sequential(*layers, nn.Linear(inside, 1), nn.Tanh())

    def standardise_with(self, states: Tensor) -> None:
        """Set `shift` and `scale` from typical states (N, 80)."""
        self.shift.copy_(states.mean(dim=0))
        self.scale.copy_(states.std(dim=0).clamp_min(1e-4))

    def forward(self, state: Tensor) -> Tensor:
        """Step as a share of A_max."""
        standard = ((state - self.shift) / self.scale).clamp(-8.0, 8.0)
        out: Tensor = self.layers(standard * self.seen)
        return out.squeeze(-1)
