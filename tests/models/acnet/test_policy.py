"""ACNet behind the words of control."""

import numpy as np
import pytest
import torch

from afdaemon.models.acnet import state
from afdaemon.models.acnet.network import ACNet
from afdaemon.models.acnet.policy import StepPolicy
from afdaemon.models.acnet.state import a_max_um
from afdaemon.models.checkpoint import Card

CARD = Card(
    architecture="ACNet", arguments={}, preprocessing={}, training={}, metrics={}, sha256=""
)


class Fixed(ACNet):
    """Always the same action; remembers what it saw."""

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        self.seen = state
        return torch.full((len(state),), -0.5)


def test_a_step_is_the_action_times_the_action_limit() -> None:
    network = Fixed(hidden=8)
    step_um = StepPolicy(network, CARD).propose(
        wd_um=[10_100.0, 10_000.0],
        score=[4.0, 3.0],
        variance=[0.3, 0.2],
        entropy=[7.0, 6.0],
        magnification=500.0,
    )
    assert step_um == pytest.approx(-0.5 * a_max_um(500.0))
    seen = network.seen.numpy()[0]
    assert seen[state.SCORE] == pytest.approx(0.4)
    assert seen[state.WD_DIFFERENCES] == pytest.approx(np.full(19, 100.0 / a_max_um(500.0)))


def test_the_published_topology() -> None:
    """Five fully connected layers, 80 -> 512 x 4 -> 1, tanh at the end."""
    layers = [m for m in ACNet().modules() if isinstance(m, torch.nn.Linear)]
    assert [(m.in_features, m.out_features) for m in layers] == [
        (80, 512),
        (512, 512),
        (512, 512),
        (512, 512),
        (512, 1),
    ]
    out = ACNet().eval()(1e3 * torch.randn(64, 80))
    assert out.abs().max() <= 1.0


def test_what_the_network_is_without_does_not_change_its_step() -> None:
    torch.manual_seed(0)
    states = torch.randn(2, 80)
    blind = ACNet(hidden=16, without=("score",)).eval()
    changed = states.clone()
    changed[:, state.places_of(["score"])] += 1.0
    with torch.no_grad():
        assert blind(states).tolist() == blind(changed).tolist()
        changed[:, state.places_of(["entropy"])] += 1.0
        assert blind(states).tolist() != blind(changed).tolist()


def test_what_was_read_before_a_search_turned_round_is_left_out() -> None:
    """A sweep's far end lies 4 A_max and more from where the sweep to the other side begins."""
    network = Fixed(hidden=8)
    policy = StepPolicy(network, CARD)

    def seen(wd_um: list[float]) -> list[float]:
        more = dict(zip(("score", "variance", "entropy"), ([5.0, 3.0, 0.1],) * 3, strict=True))
        policy.propose(wd_um=wd_um, **more, magnification=500.0)
        held: list[float] = network.seen[0].tolist()
        return held

    near, turned = [10_000.0, 9_600.0, 9_200.0], [10_000.0, 9_600.0, 14_800.0]
    assert seen(near)[1] == pytest.approx(800.0 / 1200.0, rel=1e-3)
    assert seen(turned)[:19] == pytest.approx([400.0 / 1200.0] * 19, rel=1e-3)
    assert seen(turned)[state.SCORE_DIFFERENCES] == pytest.approx([0.2] * 19)
