"""Batches for training AENet. Where the frames come from is handed in; nothing here knows a simulator."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from afdaemon.models.preprocess import network_input, to_unit

HALF_SCORE_RADIUS_PX = 4.0
"""Blur radius b0 at which the label has fallen to half (see docs: the truth that labels come from)."""

_CLIP_PX = (0.4, 80.0)

Scene = tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.float32]]
"""Frames of one scene: pixels (n, H, W), magnification (n,), blur radius in px (n,)."""

SceneSource = Callable[[int], Iterator[Scene]]
"""Opens an endless stream of scenes for a seed."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Network input (N, 2, H, W), float32; target u = -2 ln(b / b0), (N,), float32."""

    x: Tensor
    target: Tensor


def target_of(blur_px: NDArray[np.float32]) -> NDArray[np.float32]:
    """Targets u = -2 ln(b / b0), with b kept between .4 and 80 px: nearer and further look the same."""
    kept = np.clip(blur_px, *_CLIP_PX)
    return np.asarray(-2.0 * np.log(kept / HALF_SCORE_RADIUS_PX), dtype=np.float32)


def batch_of(scenes: list[Scene]) -> Batch:
    """All frames of some scenes as one batch."""
    inputs = [
        network_input(to_unit(frame), float(magnification))
        for pixels, magnifications, _ in scenes
        for frame, magnification in zip(pixels, magnifications, strict=True)
    ]
    targets = np.concatenate([target_of(blur) for _, _, blur in scenes])
    return Batch(torch.from_numpy(np.stack(inputs)), torch.from_numpy(targets))


class SceneStream(IterableDataset[Batch]):
    """Endless batches of `scenes_per_batch` scenes; every worker process draws scenes of its own."""

    def __init__(self, source: SceneSource, seed: int, scenes_per_batch: int) -> None:
        self._source, self._seed, self._per_batch = source, seed, scenes_per_batch

    def __iter__(self) -> Iterator[Batch]:
        """Batches without end."""
        info = get_worker_info()
        torch.set_num_threads(1)
        stream = self._source(self._seed * 1000 + (info.id if info else 0))
        while True:
            yield batch_of([next(stream) for _ in range(self._per_batch)])


def batches(
    source: SceneSource, *, seed: int, scenes_per_batch: int, workers: int
) -> Iterator[Batch]:
    """Endless batches, drawn by `workers` processes beside the training (0: in it)."""
    stream = SceneStream(source, seed, scenes_per_batch)
    return iter(
        DataLoader(
            stream, batch_size=None, num_workers=workers, prefetch_factor=4 if workers else None
        )
    )
