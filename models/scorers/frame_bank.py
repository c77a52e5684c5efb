"""A bank of labelled frames kept in memory, and endless batches of windows from it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from afdaemon.models.errors import TrainingError
from afdaemon.models.frames.shot import Shot
from afdaemon.models.optics import TOP_SCORE, score_of_blur
from afdaemon.models.scorers.networks.base import Tensors
from afdaemon.models.training.augment import Augmentation
from afdaemon.models.training.batches import SceneFrames
from afdaemon.models.training.labelled_folder import reduced

Prepare = Callable[[Sequence[Shot]], Tensors]


class ScoredShot(Protocol):
    """A shot with its label."""

    @property
    def shot(self) -> Shot:
        """The frame, uint8 (H, W), and its control parameters."""

    @property
    def score(self) -> float:
        """0..9."""


@dataclass(frozen=True, slots=True)
class Bank:
    """Shots at the sampling that networks judge, and their labels 0..9, (n,)."""

    shots: Sequence[Shot]
    scores: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """What a network is called with, and the scores it should find, float32 (N,)."""

    inputs: Tensors
    score: Tensor


def bank_of_scenes(several: Iterable[SceneFrames]) -> Bank:
    """All frames of scenes that were imaged at the judged sampling."""
    shots: list[Shot] = []
    scores: list[NDArray[np.float64]] = []
    for frames in several:
        scores.append(score_of_blur(frames.blur_px).astype(np.float64))
        shots += [
            Shot(
                pixels=frames.pixels[at],
                magnification=float(frames.magnification[at]),
                brightness=float(frames.brightness[at]),
                contrast=float(frames.contrast[at]),
                wd_um=float(frames.wd_um[at]),
            )
            for at in range(len(frames.pixels))
        ]
    return Bank(shots, np.concatenate(scores) if scores else np.empty(0))


def bank_of_shots(labelled: Iterable[ScoredShot]) -> Bank:
    """Labelled frames of any size, reduced to the judged sampling."""
    shots, scores = [], []
    for one in labelled:
        pixels = reduced(np.asarray(one.shot.pixels, np.uint8))
        shots.append(replace(one.shot, pixels=pixels))
        scores.append(one.score)
    return Bank(shots, np.array(scores, np.float64))


def check_fits(bank: Bank, augmentation: Augmentation) -> None:
    """Check that there are frames, and that each is large enough for the windows.

    Raises:
        TrainingError: there are none, or one is too small.
    """
    if not bank.shots:
        raise TrainingError("there are no frames to learn from", remedy="give more scenes")
    for shot in bank.shots:
        if not augmentation.fits(shot.pixels):
            height, width = shot.pixels.shape
            raise TrainingError(
                f"a frame is {width} x {height} pixels at the judged sampling,"
                f" smaller than the windows of {augmentation.width_px} x {augmentation.height_px}",
                remedy="give frames of 4:3 as the EM-30 writes them, or take another preset",
            )


def expert_scores(
    scores: NDArray[np.float64], spread: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Labels as an expert gives them: off by a normal error of this `spread`, rounded to 0, 1 .. 9.

    A spread of 0 leaves them as they are.
    """
    if spread == 0.0:
        return scores
    guessed = np.rint(scores + rng.normal(0.0, spread, scores.shape))
    return np.asarray(np.clip(guessed, 0.0, TOP_SCORE), np.float64)


class BankStream(IterableDataset[ScoredBatch]):
    """Endless batches of windows; each round takes every frame once, in random order."""

    def __init__(
        self, bank: Bank, prepare: Prepare, augmentation: Augmentation, *, batch: int, seed: int
    ) -> None:
        self._bank, self._prepare, self._augmentation = bank, prepare, augmentation
        self._batch, self._seed = batch, seed

    def __iter__(self) -> Iterator[ScoredBatch]:
        """Batches without end."""
        info = get_worker_info()
        if info is not None:
            torch.set_num_threads(1)
        rng = np.random.default_rng((self._seed, info.id if info else 0))
        places: list[int] = []
        while True:
            while len(places) < self._batch:
                places += rng.permutation(len(self._bank.shots)).tolist()
            yield self._cut(places[: self._batch], rng)
            del places[: self._batch]

    def _cut(self, places: Sequence[int], rng: np.random.Generator) -> ScoredBatch:
        shots = [self._bank.shots[place] for place in places]
        windows = [replace(s, pixels=self._augmentation.window(s.pixels, rng)) for s in shots]
        return ScoredBatch(self._prepare(windows), _labels(self._bank.scores[list(places)]))


def middles(
    bank: Bank, prepare: Prepare, augmentation: Augmentation, *, batch: int
) -> Iterator[ScoredBatch]:
    """The middle of every frame, once."""
    for start in range(0, len(bank.shots), batch):
        shots = bank.shots[start : start + batch]
        cut = [replace(s, pixels=augmentation.middle(s.pixels)) for s in shots]
        yield ScoredBatch(prepare(cut), _labels(bank.scores[start : start + batch]))


def _labels(scores: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(scores.astype(np.float32))
