"""The step that ACNet proposes from the readings so far."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch

from afdaemon.models import checkpoint
from afdaemon.models.acnet.network import ACNet
from afdaemon.models.acnet.state import STATE_SIZE, a_max_um, encode_state, fill_memory
from afdaemon.models.checkpoint import WEIGHTS_FOLDER, Card

ARCHITECTURE = "ACNet"
PREPROCESSING = {"state_size": STATE_SIZE, "memory": 20}
DEFAULT_WEIGHTS = WEIGHTS_FOLDER / "acnet.safetensors"
_FURTHEST_A_MAX = 1.1
"""Successive readings of a servo are no further apart than this: steps are cut to A_max, and read-backs are noisy."""


class StepPolicy:
    """ACNet as control calls it: readings in, a WD step in um out."""

    def __init__(self, network: ACNet, card: Card) -> None:
        self._network = network.eval()
        self.card = card

    def propose(
        self,
        *,
        wd_um: Sequence[float],
        score: Sequence[float],
        variance: Sequence[float],
        entropy: Sequence[float],
        magnification: float,
    ) -> float:
        """Proposed step in um, positive to lengthen the WD; histories are newest first, of any length >= 1.

        Readings before a jump of more than A_max, as when a search turns round, are left out: ACNet has never been
        trained on such jumps, and would step the wrong way.
        """
        kept = _unbroken(wd_um, _FURTHEST_A_MAX * a_max_um(magnification))
        state = encode_state(
            wd_um=fill_memory(wd_um[:kept]),
            score=fill_memory(score[:kept]),
            variance=fill_memory(variance[:kept]),
            entropy=fill_memory(entropy[:kept]),
            magnification=magnification,
        )
        with torch.inference_mode():
            share = self._network(torch.from_numpy(state).unsqueeze(0))
        return float(share.item()) * a_max_um(magnification)


def _unbroken(wd_um: Sequence[float], furthest_um: float) -> int:
    """How many of the newest readings are each at most `furthest_um` from the one before."""
    for count, (newer, older) in enumerate(pairwise(wd_um), start=1):
        if abs(newer - older) > furthest_um:
            return count
    return len(wd_um)


def load_policy(weights: Path | None = None) -> StepPolicy:
    """ACNet with its weights (the shipped ones by default).

    Raises:
        WeightsError: the weights are missing, damaged, or not ACNet's.
    """
    path = weights or DEFAULT_WEIGHTS
    card = checkpoint.read_card(path)
    network = ACNet(**card.arguments)
    checkpoint.load_into(network, path, architecture=ARCHITECTURE, preprocessing=PREPROCESSING)
    return StepPolicy(network, card)
