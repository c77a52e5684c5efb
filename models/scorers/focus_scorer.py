"""Frames in, scores out: AENet on the available device, together with the classical measures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from afdaemon.models.aenet.network import AENetCompact
from afdaemon.models.aenet.out_of_distribution import Familiarity, load_aenet
from afdaemon.models.aenet.runtime import Runtime
from afdaemon.models.checkpoint import WEIGHTS_FOLDER, Card
from afdaemon.models.devices import choose_device
from afdaemon.models.frames.doubt import covered, doubt_of
from afdaemon.models.frames.mask import Seen
from afdaemon.models.frames.mask import seen as seen_of
from afdaemon.models.frames.measures import Measures
from afdaemon.models.frames.preprocess import (
    FloatImage,
    Pixels,
    network_input,
    to_unit,
)
from afdaemon.models.frames.shot import Shot, batches_of_one_size, judged_image
from afdaemon.models.frames.spectrum import band_powers
from afdaemon.models.frames.streaks import without_streaks
from afdaemon.models.scorers import classical

DEFAULT_WEIGHTS = WEIGHTS_FOLDER / "aenet_compact.safetensors"
_AT_ONCE = {"cpu": 16, "cuda": 256}
"""Frames in a batch: a CPU gains nothing from more, and their maps take memory."""


class FocusScorer:
    """AENet on one device. Not thread-safe."""

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

    def score(self, pixels: Pixels, magnification: float) -> Measures:
        """Judge a frame, uint8 or uint16 (H, W), taken at `magnification`.

        Raises:
            ImageError: the frame is too small, or the magnification is not a positive number.
        """
        return self.score_many([pixels], [magnification])[0]

    def score_many(
        self, frames: Sequence[Pixels], magnifications: Sequence[float]
    ) -> list[Measures]:
        """Judge frames of any sizes, each taken at its magnification; those of one size are judged in batches.

        Raises:
            ImageError: a frame is too small, or a magnification is not a positive number.
        """
        looks = [seen_of(pixels) for pixels in frames]
        shots = [
            Shot(pixels=look.pixels, magnification=magnification, scanned_px=whole.shape[1])
            for whole, look, magnification in zip(frames, looks, magnifications, strict=True)
        ]
        seen = [judged_image(shot) for shot in shots]
        images = [without_streaks(image) for image in seen]
        sizes = [image.shape for image in images]
        measures: dict[int, Measures] = {}
        for places in batches_of_one_size(sizes, _AT_ONCE[self.device.type]):
            x = np.stack([network_input(images[k], shots[k].magnification) for k in places])
            judged = self._runtime.judge(x)
            told = zip(judged.score, judged.expected_error, judged.distance, strict=True)
            for k, numbers in zip(places, told, strict=True):
                streaked = images[k] is not seen[k]
                measures[k] = _measures(looks[k], images[k], numbers, streaked=streaked)
        return [measures[k] for k in range(len(shots))]

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


def _measures(look: Seen, image: FloatImage, told: Sequence[float], *, streaked: bool) -> Measures:
    """All measures of what is seen of a frame; `told` are the score of `image`, its expected error and distance."""
    score, expected_error, distance = map(float, told)
    saturated = classical.saturated_share(to_unit(look.pixels))
    return Measures(
        score=score,
        contrast=classical.contrast(image),
        entropy=classical.entropy(image),
        saturated=saturated,
        expected_error=expected_error,
        bands=tuple(map(float, band_powers(image))),
        doubt=doubt_of(look.pixels, saturated, distance) or covered(look.masked),
        streaked=streaked,
        masked=look.masked,
        mask=look.why,
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
