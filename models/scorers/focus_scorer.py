"""Frames in, scores out: AENet on the device there is, with the classical measures beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from afdaemon.models.aenet.network import AENetCompact
from afdaemon.models.aenet.out_of_distribution import Familiarity, load_aenet
from afdaemon.models.aenet.runtime import Runtime
from afdaemon.models.checkpoint import WEIGHTS_FOLDER, Card
from afdaemon.models.devices import choose_device
from afdaemon.models.frames.doubt import confidence_of, doubt_of
from afdaemon.models.frames.preprocess import (
    FloatImage,
    Pixels,
    network_input,
    reduction_factor,
    to_unit,
)
from afdaemon.models.frames.shot import Shot, batches_of_one_size, judged_image
from afdaemon.models.frames.streaks import without_streaks
from afdaemon.models.scorers import classical

DEFAULT_WEIGHTS = WEIGHTS_FOLDER / "aenet_compact.safetensors"
_AT_ONCE = {"cpu": 16, "cuda": 256}
"""Frames in a batch: a CPU gains nothing by more, and their maps take memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a frame told: AENet's score 0..9, std / mean, entropy in bits, share of saturated pixels.

    `reduction` is by how much the frame was reduced before it was judged. `expected_error` is the mean error of such a
    score in score units; `confidence` the probability, 0..1, that it lies within 1 of the truth; `doubt` says why it
    should not be trusted, "" if nothing speaks against it. `streaked`: the specimen charges, and it was judged without
    the streaks.
    """

    score: float
    variance: float
    entropy: float
    saturated: float
    reduction: int
    expected_error: float
    confidence: float
    doubt: str
    streaked: bool = False


class FocusScorer:
    """AENet on one device. Not for several threads at once."""

    def __init__(
        self,
        network: AENetCompact,
        card: Card,
        device: torch.device,
        *,
        precision: torch.dtype | None = None,
        familiarity: Familiarity | None = None,
    ) -> None:
        self._runtime = Runtime(network, device, precision=precision, familiarity=familiarity)
        self.card = card
        self.device = device

    def score(self, pixels: Pixels, magnification: float) -> Score:
        """Judge a frame, uint8 or uint16 (H, W), taken at `magnification`.

        Raises:
            ImageError: the frame is too small, or the magnification is not a positive number.
        """
        return self.score_many([pixels], [magnification])[0]

    def score_many(self, frames: Sequence[Pixels], magnifications: Sequence[float]) -> list[Score]:
        """Judge frames of any sizes, each taken at its magnification; those of one size go through together.

        Raises:
            ImageError: a frame is too small, or a magnification is not a positive number.
        """
        shots = [
            Shot(pixels=pixels, magnification=magnification)
            for pixels, magnification in zip(frames, magnifications, strict=True)
        ]
        seen = [judged_image(shot) for shot in shots]
        images = [without_streaks(image) for image in seen]
        sizes = [image.shape for image in images]
        scores: dict[int, Score] = {}
        for places in batches_of_one_size(sizes, _AT_ONCE[self.device.type]):
            x = np.stack([network_input(images[k], shots[k].magnification) for k in places])
            judged = self._runtime.judge(x)
            told = zip(judged.score, judged.expected_error, judged.distance, strict=True)
            for k, numbers in zip(places, told, strict=True):
                streaked = images[k] is not seen[k]
                scores[k] = _score(
                    shots[k].pixels, images[k], *map(float, numbers), streaked=streaked
                )
        return [scores[k] for k in range(len(shots))]

    def warm_up(self) -> None:
        """Judge a few empty frames, so that the first real one is not slow."""
        self._runtime.warm_up()

    def describe(self) -> dict[str, Any]:
        """What judges: network, SHA-256 of its weights, device, and the precision it computes in."""
        return {
            "network": self.card.architecture,
            "sha256": self.card.sha256,
            "device": str(self.device),
            "precision": str(self._runtime.precision).removeprefix("torch."),
        }


def _score(
    pixels: Pixels,
    image: FloatImage,
    score: float,
    expected_error: float,
    distance: float,
    *,
    streaked: bool,
) -> Score:
    """All that is told of a frame; `image` is the one that was judged."""
    saturated = classical.saturated_share(to_unit(pixels))
    doubt = doubt_of(pixels, saturated, distance)
    return Score(
        score=score,
        variance=classical.variance(image),
        entropy=classical.entropy(image),
        saturated=saturated,
        reduction=reduction_factor(pixels.shape[1]),
        expected_error=expected_error,
        confidence=confidence_of(expected_error, doubt),
        doubt=doubt,
        streaked=streaked,
    )


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
    network, familiarity, card = load_aenet(weights or DEFAULT_WEIGHTS)
    return FocusScorer(network, card, choose_device(device), familiarity=familiarity)
