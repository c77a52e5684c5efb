"""Batches for training AENet. The source of the frames is passed in; nothing here depends on a simulator."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from afdaemon.models.frames.preprocess import network_input, to_unit
from afdaemon.models.optics import HALF_SCORE_RADIUS_PX

D = TypeVar("D")

_CLIP_PX = (0.4, 80.0)
_MORE_NOISE = (5.0, 40.0)
"""Standard deviation, in grey levels, of the noise that is added when a frame is shown for the second time."""
_SLOW_SHARE, _TAU_PX = 0.5, (0.2, 1.5)
"""Share of the sets whose added noise runs on along the lines, as behind a slow detector, and its time constant."""
_REACH_PX = 8


class Frames(Protocol):
    """Frames and their labels, from whatever made them: pixels uint8 (n, H, W), the rest float32 (n,)."""

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """Grey values."""

    @property
    def magnification(self) -> NDArray[np.float32]:
        """Of each frame."""

    @property
    def blur_px(self) -> NDArray[np.float32]:
        """Blur radius b in pixels of a frame `SAMPLING_WIDTH_PX` wide."""


class SceneFrames(Frames, Protocol):
    """Frames of one scene with the control parameters they were taken with, each float32 (n,)."""

    @property
    def scene(self) -> str:
        """Name of the scene: no scene is in two parts."""

    @property
    def brightness(self) -> NDArray[np.float32]:
        """Of the detector, 0..1."""

    @property
    def contrast(self) -> NDArray[np.float32]:
        """Of the detector, a gain around 1."""

    @property
    def wd_um(self) -> NDArray[np.float32]:
        """Commanded working distance."""


FrameSource = Callable[[int], Iterator[Frames]]
"""Opens an endless stream of frames for a seed."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Network input (N, channels, H, W), float32; target u = -2 ln(b / b0), (N,), float32.

    If `paired`, the second half shows the frames of the first once more, in their order, with more noise.
    """

    x: Tensor
    target: Tensor
    paired: bool = False


def target_of(blur_px: NDArray[np.float32]) -> NDArray[np.float32]:
    """Targets u = -2 ln(b / b0), with b kept between .4 and 80 px: beyond these, frames look the same."""
    kept = np.clip(blur_px, *_CLIP_PX)
    return np.asarray(-2.0 * np.log(kept / HALF_SCORE_RADIUS_PX), dtype=np.float32)


def batch_of(several: Sequence[Frames]) -> Batch:
    """All frames of several sets, of one size, as one batch."""
    inputs = [
        network_input(to_unit(frame), float(magnification))
        for frames in several
        for frame, magnification in zip(frames.pixels, frames.magnification, strict=True)
    ]
    targets = np.concatenate([target_of(frames.blur_px) for frames in several])
    return Batch(torch.from_numpy(np.stack(inputs)), torch.from_numpy(targets))


def paired_batch_of(several: Sequence[Frames], rng: np.random.Generator) -> Batch:
    """As `batch_of`, and each frame once more with independent noise of 5 to 40 grey levels on top."""
    noisier = [_Noisier(frames, rng) for frames in several]
    return replace(batch_of([*several, *noisier]), paired=True)


class _Noisier:
    """Frames as they would be with a faster scan."""

    def __init__(self, frames: Frames, rng: np.random.Generator) -> None:
        sigma = rng.uniform(*_MORE_NOISE, (len(frames.pixels), 1, 1)).astype(np.float32)
        noise = rng.standard_normal(frames.pixels.shape, np.float32)
        if rng.random() < _SLOW_SHARE:
            noise = _running_on(noise, float(rng.uniform(*_TAU_PX)))
        levels = frames.pixels + sigma * noise
        self.pixels = np.asarray(np.clip(np.rint(levels), 0, 255), np.uint8)
        self.magnification = frames.magnification
        self.blur_px = frames.blur_px


def _running_on(noise: NDArray[np.float32], tau_px: float) -> NDArray[np.float32]:
    """White noise (n, H, W) behind a detector with that time constant along the lines; its spread stays the same."""
    fading = np.exp(-np.arange(_REACH_PX + 1) / tau_px).astype(np.float32)
    kernel = np.concatenate([np.zeros(_REACH_PX, np.float32), fading])[None, ::-1]
    kernel = kernel / np.linalg.norm(kernel)
    return np.stack([np.asarray(cv2.filter2D(one, -1, kernel), np.float32) for one in noise])


class FrameStream(IterableDataset[Batch]):
    """Endless batches of `sets_per_batch` sets of frames; every worker process draws its own."""

    def __init__(
        self, source: FrameSource, seed: int, sets_per_batch: int, *, paired: bool
    ) -> None:
        self._source, self._seed, self._per_batch = source, seed, sets_per_batch
        self._paired = paired

    def __iter__(self) -> Iterator[Batch]:
        """Batches without end."""
        info = get_worker_info()
        torch.set_num_threads(1)
        seed = self._seed * 1000 + (info.id if info else 0)
        stream, rng = self._source(seed), np.random.default_rng(seed)
        while True:
            several = [next(stream) for _ in range(self._per_batch)]
            yield paired_batch_of(several, rng) if self._paired else batch_of(several)


def batches(
    source: FrameSource, *, seed: int, sets_per_batch: int, workers: int, paired: bool = False
) -> Iterator[Batch]:
    """Endless batches, drawn by `workers` processes beside the training (0: in it); see `paired_batch_of`."""
    return beside(FrameStream(source, seed, sets_per_batch, paired=paired), workers)


def beside(stream: IterableDataset[D], workers: int) -> Iterator[D]:
    """The batches of a stream, made by `workers` processes beside the training (0: in it)."""
    ahead = 4 if workers else None
    return iter(DataLoader(stream, batch_size=None, num_workers=workers, prefetch_factor=ahead))


def stream_seed(seed: int, *, step: int, rank: int) -> int:
    """Seed of a stream that begins at `step`: a resumed training sees new frames, and each process sees its own."""
    return seed + 7919 * step + 104_729 * rank
