"""The seam: cropping, padding, and a network behind the scorers' interface."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from afdaemon.models.errors import ImageError
from afdaemon.models.frames.shot import Shot, judged_image
from afdaemon.models.scorers.base import FrameScorer
from afdaemon.models.scorers.networks.base import (
    NetworkScorer,
    ScoringNetwork,
    Tensors,
    centre_crop,
    padded,
    standardised,
)

sides = st.integers(64, 300)


def grey(height: int, width: int, seed: int = 3) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)


class Brightness(nn.Module):
    """Nine times the mean grey value; remembers how many frames came at once."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.batches.append(len(images))
        return 9.0 * images.mean(dim=(1, 2))


def prepare(shots: Sequence[Shot]) -> Tensors:
    return (torch.from_numpy(np.stack([judged_image(shot) for shot in shots])),)


def brightness_scorer(module: Brightness) -> FrameScorer:
    network = ScoringNetwork(name="mean", module=module, preprocessing={}, prepare=prepare)
    return NetworkScorer(network, torch.device("cpu"))


def test_frames_of_several_sizes_keep_their_order() -> None:
    shapes = [(64, 80), (100, 90), (64, 80), (480, 640), (100, 90)]
    shots = [Shot(pixels=grey(*s, seed=i), magnification=900.0) for i, s in enumerate(shapes)]
    found = brightness_scorer(Brightness()).scores(shots)
    assert found.dtype == np.float64
    assert np.allclose(found, [9.0 * s.pixels.mean() / 255.0 for s in shots], atol=1e-4)


def test_many_frames_are_judged_in_batches() -> None:
    module = Brightness()
    shots = [Shot(pixels=grey(64, 64, seed=i), magnification=900.0) for i in range(40)]
    found = brightness_scorer(module).scores(shots)
    assert np.allclose(found, [9.0 * s.pixels.mean() / 255.0 for s in shots], atol=1e-4)
    assert len(module.batches) < 10
    assert max(module.batches) < 40


def test_no_frames_no_scores() -> None:
    assert brightness_scorer(Brightness()).scores([]).shape == (0,)


@pytest.mark.parametrize("magnification", [0.0, -2.0, float("nan"), float("inf")])
def test_an_impossible_magnification_is_refused(magnification: float) -> None:
    with pytest.raises(ImageError, match="magnification must be a positive number"):
        judged_image(Shot(pixels=grey(100, 100), magnification=magnification))


def test_a_frame_too_small_at_the_judged_sampling_is_refused() -> None:
    assert judged_image(Shot(pixels=grey(64, 64), magnification=1.0)).shape == (64, 64)
    assert judged_image(Shot(pixels=grey(480, 640), magnification=1.0)).shape == (240, 320)
    with pytest.raises(ImageError, match="640 x 120 pixels is too small"):
        judged_image(Shot(pixels=grey(120, 640), magnification=1.0))


@given(height=sides, width=sides)
def test_a_crop_has_its_size_and_the_frames_middle(height: int, width: int) -> None:
    image = np.random.default_rng(5).random((height, width)).astype(np.float32)
    crop = centre_crop(image, 224, 224)
    assert crop.shape == (224, 224)
    assert np.isin(crop, image).all()
    assert abs(float(image[height // 2, width // 2]) - crop[111:114, 111:114]).min() == 0.0


@given(height=sides, width=sides)
def test_padding_mirrors_and_never_cuts(height: int, width: int) -> None:
    image = np.random.default_rng(5).random((height, width)).astype(np.float32)
    more = padded(image, 240, 320)
    assert more.shape == (max(height, 240), max(width, 320))
    top, left = (more.shape[0] - height) // 2, (more.shape[1] - width) // 2
    assert np.array_equal(more[top : top + height, left : left + width], image)
    if top:
        assert np.array_equal(more[top - 1, left : left + width], image[1])


@given(gain=st.floats(0.1, 3.0), offset=st.floats(-1.0, 1.0))
def test_standardised_frames_know_no_contrast(gain: float, offset: float) -> None:
    image = np.random.default_rng(5).random((64, 64)).astype(np.float32)
    plain = standardised(image)
    assert plain.dtype == np.float32
    assert float(plain.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(plain.std()) == pytest.approx(1.0, abs=1e-5)
    assert np.allclose(standardised((gain * image + offset).astype(np.float32)), plain, atol=1e-3)


def test_a_flat_frame_becomes_zeros() -> None:
    assert not standardised(np.full((64, 64), 0.5, np.float32)).any()
