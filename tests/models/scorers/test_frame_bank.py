"""A bank hands out every frame once a round, with the label that belongs to it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.models.errors import TrainingError
from afdaemon.models.frames.shot import Shot
from afdaemon.models.scorers.frame_bank import (
    Bank,
    BankStream,
    bank_of_scenes,
    bank_of_shots,
    check_fits,
    expert_scores,
    middles,
)
from afdaemon.models.scorers.networks.base import Tensors
from afdaemon.models.training.augment import Augmentation

WINDOWS = Augmentation(height_px=8, width_px=8)


def numbered(count: int) -> Bank:
    """Frames whose grey value is their number, and so is their label."""
    frames = [np.full((9, 12), number, np.uint8) for number in range(count)]
    return Bank([Shot(pixels=f, magnification=1e3) for f in frames], np.arange(count, dtype=float))


def first_pixels(shots: Sequence[Shot]) -> Tensors:
    return (torch.tensor([float(shot.pixels[0, 0]) for shot in shots]),)


@dataclass(frozen=True)
class Labelled:
    shot: Shot
    score: float


def test_every_round_takes_every_frame_once_with_its_label() -> None:
    stream = BankStream(numbered(6), first_pixels, WINDOWS, batch=4, seed=1)
    drawn = list(islice(stream, 6))
    labels = torch.cat([batch.score for batch in drawn])
    assert torch.equal(labels, torch.cat([batch.inputs[0] for batch in drawn]))
    rounds = labels.reshape(4, 6)
    assert all(sorted(one.tolist()) == [0, 1, 2, 3, 4, 5] for one in rounds)
    assert not torch.equal(rounds[0], rounds[1])


def test_the_seed_decides_the_order() -> None:
    def order(seed: int) -> list[float]:
        stream = BankStream(numbered(50), first_pixels, WINDOWS, batch=50, seed=seed)
        return next(iter(stream)).score.tolist()

    assert order(1) == order(1) != order(2)


def test_middles_come_once_and_in_order() -> None:
    cut = list(middles(numbered(5), first_pixels, WINDOWS, batch=2))
    assert torch.cat([batch.score for batch in cut]).tolist() == [0, 1, 2, 3, 4]
    assert [len(batch.score) for batch in cut] == [2, 2, 1]


def test_scenes_keep_their_settings_and_get_scores_by_the_label_curve() -> None:
    @dataclass(frozen=True)
    class Scene:
        scene = "grid-1"
        pixels = np.zeros((2, 9, 12), np.uint8)
        magnification = np.array([1e3, 2e3], np.float32)
        brightness = np.array([0.4, 0.6], np.float32)
        contrast = np.array([0.8, 1.2], np.float32)
        wd_um = np.array([9e3, 1e4], np.float32)
        blur_px = np.array([0.0, 4.0], np.float32)

    bank = bank_of_scenes([Scene()])
    assert bank.scores.tolist() == [9.0, 4.5]
    second = bank.shots[1]
    assert (second.magnification, second.wd_um) == (2e3, 1e4)
    assert (second.brightness, second.contrast) == pytest.approx((0.6, 1.2))


def test_wide_frames_are_reduced_to_the_judged_sampling() -> None:
    wide = Shot(pixels=np.zeros((480, 640), np.uint8), magnification=1e3)
    bank = bank_of_shots([Labelled(wide, 7.0)])
    assert bank.shots[0].pixels.shape == (240, 320)
    assert bank.scores.tolist() == [7.0]


def test_frames_smaller_than_the_windows_are_refused() -> None:
    check_fits(numbered(1), WINDOWS)
    with pytest.raises(TrainingError, match="12 x 9 pixels"):
        check_fits(numbered(1), Augmentation(height_px=10, width_px=10))
    with pytest.raises(TrainingError, match="no frames"):
        check_fits(numbered(0), WINDOWS)


@given(seed=st.integers(0, 99))
def test_experts_give_whole_marks_near_the_truth(seed: int) -> None:
    truth = np.linspace(0.0, 9.0, 200)
    marks = expert_scores(truth, 0.5, np.random.default_rng(seed))
    assert set(marks) <= set(range(10))
    assert 0.3 < np.std(marks - truth) < 0.8


def test_without_a_spread_labels_stay_exact() -> None:
    truth = np.array([0.12, 8.9])
    assert expert_scores(truth, 0.0, np.random.default_rng(1)).tolist() == [0.12, 8.9]
