"""Frames in, scores out: AENet on the device there is, with the classical measures beside it."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from afdaemon.models import classical
from afdaemon.models.aenet import AENetCompact, estimate, load_aenet
from afdaemon.models.checkpoint import WEIGHTS_FOLDER, Card
from afdaemon.models.errors import ImageError, ModelError
from afdaemon.models.preprocess import (
    CHANNELS,
    MIN_SIDE_PX,
    Pixels,
    network_input,
    reduce,
    reduction_factor,
    to_unit,
)

DEFAULT_WEIGHTS = WEIGHTS_FOLDER / "aenet_compact.safetensors"
_WARM_UP_FRAMES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a frame told: AENet's score 0..9, std / mean, entropy in bits, share of saturated pixels.

    `reduction` is by how much the frame was reduced before it was judged.
    """

    score: float
    variance: float
    entropy: float
    saturated: float
    reduction: int


class FocusScorer:
    """AENet on one device. Not for several threads at once."""

    def __init__(self, network: AENetCompact, card: Card, device: torch.device) -> None:
        self._network = network.eval().to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks this pair
        self.card = card
        self.device = device

    def score(self, pixels: Pixels, magnification: float) -> Score:
        """Judge a frame, uint8 or uint16 (H, W), taken at `magnification`.

        Raises:
            ImageError: the frame is too small, or the magnification is not a positive number.
        """
        if not (math.isfinite(magnification) and magnification > 0.0):
            raise ImageError(
                f"magnification must be a positive number, got {magnification}",
                remedy="give the magnification the image was taken at, e.g. 2000",
            )
        factor = reduction_factor(pixels.shape[1])
        whole = to_unit(pixels)
        image = reduce(whole, factor)
        if min(image.shape) < MIN_SIDE_PX:
            raise ImageError(
                f"a frame of {pixels.shape[1]} x {pixels.shape[0]} pixels is too small to judge"
            )
        x = torch.from_numpy(network_input(image, magnification)).unsqueeze(0)
        with torch.inference_mode():
            estimated = estimate(self._network(x.to(self.device)))
        return Score(
            score=float(estimated.score.item()),
            variance=classical.variance(image),
            entropy=classical.entropy(image),
            saturated=classical.saturated_share(whole),
            reduction=factor,
        )

    def warm_up(self) -> None:
        """Judge a few empty frames, so that the first real one is not slow."""
        x = torch.zeros(1, CHANNELS, 240, 320, device=self.device)
        with torch.inference_mode():
            for _ in range(_WARM_UP_FRAMES):
                self._network(x)

    def describe(self) -> dict[str, Any]:
        """What judges: network, SHA-256 of its weights, device."""
        return {
            "network": self.card.architecture,
            "sha256": self.card.sha256,
            "device": str(self.device),
        }


def choose_device(name: str = "auto") -> torch.device:
    """The device called `auto` (GPU if there is one), `cpu` or `cuda`.

    Raises:
        ModelError: no such device here.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ModelError(f"no device is called {name!r}", remedy="use auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ModelError("there is no CUDA device here", remedy="use device auto or cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def load_scorer(
    device: str = "auto", threads: int | None = None, weights: Path | None = None
) -> FocusScorer:
    """AENet with its weights (the shipped ones by default) on a device; `threads` bounds torch's CPU threads.

    Raises:
        WeightsError: the weights are missing, damaged, or not AENet's.
        ModelError: no such device here.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    network, card = load_aenet(weights or DEFAULT_WEIGHTS)
    return FocusScorer(network, card, choose_device(device))
