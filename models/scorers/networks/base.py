"""The interface between a network and what uses it: training and judging prepare frames in the same way."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from afdaemon.models.frames.preprocess import FloatImage
from afdaemon.models.frames.shot import Shot, batches_of_one_size

_AT_ONCE = 16
"""Frames in a batch."""

Tensors = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoringNetwork:
    """A network and the preparation of its frames: `module(*prepare(shots))` are scores 0..9, float32 (n,).

    `prepare` takes shots of one size. It reduces wide frames to the sampling of the training, so training crops are
    cut from frames that are at that sampling already. It returns float32 tensors whose first dimension is n, and raises
    `ImageError` for a frame that cannot be judged. `preprocessing` describes it in the card.
    """

    name: str
    module: nn.Module
    preprocessing: Mapping[str, Any]
    prepare: Callable[[Sequence[Shot]], Tensors]


class NetworkScorer:
    """A trained network behind `FrameScorer`. Not thread-safe."""

    def __init__(self, network: ScoringNetwork, device: torch.device) -> None:
        self._network, self._device = network, device
        network.module.eval().to(device)

    @property
    def name(self) -> str:
        """The network's."""
        return self._network.name

    def scores(self, shots: Sequence[Shot]) -> NDArray[np.float64]:
        """Scores 0..9, (n,), of frames that may differ in size. Raises `ImageError` for one it cannot judge."""
        found = np.empty(len(shots))
        with torch.inference_mode():
            for places in batches_of_one_size([s.pixels.shape for s in shots], _AT_ONCE):
                tensors = self._network.prepare([shots[place] for place in places])
                batch = self._network.module(*(tensor.to(self._device) for tensor in tensors))
                found[places] = batch.double().cpu().numpy()
        return found


def padded(image: FloatImage, height_px: int, width_px: int) -> FloatImage:
    """`image` (H, W), mirrored at its edges until it has at least this size: that adds neither edges nor blur."""
    down, right = max(0, height_px - image.shape[0]), max(0, width_px - image.shape[1])
    if not (down or right):
        return image
    top, left = down // 2, right // 2
    mirrored = cv2.copyMakeBorder(
        image, top, down - top, left, right - left, cv2.BORDER_REFLECT_101
    )
    return np.asarray(mirrored, np.float32)


def centre_crop(image: FloatImage, height_px: int, width_px: int) -> FloatImage:
    """The middle of `image` (H, W), exactly this size; a smaller one is mirrored first."""
    image = padded(image, height_px, width_px)
    top, left = (image.shape[0] - height_px) // 2, (image.shape[1] - width_px) // 2
    return image[top : top + height_px, left : left + width_px]


def standardised(image: FloatImage) -> FloatImage:
    """`image` with zero mean and unit spread (Lee et al. 2021, equation 2); a flat one becomes zeros."""
    spread = max(float(image.std()), 1e-6)
    return np.asarray((image - image.mean()) / np.float32(spread), np.float32)
