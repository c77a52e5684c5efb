"""The published AENet: its numbers, and what it does with frames of any size."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from afdaemon.models.frames.preprocess import network_input, to_unit
from afdaemon.models.frames.shot import Shot
from afdaemon.models.scorers.networks.aenet_reference import (
    NAME,
    PREPROCESSING,
    AENetReference,
    prepare,
)
from afdaemon.models.scorers.networks.base import NetworkScorer, ScoringNetwork

NARROW = 2


@pytest.fixture(scope="module")
def published() -> AENetReference:
    with torch.device("meta"):
        return AENetReference().eval()


@pytest.fixture(scope="module")
def narrow() -> AENetReference:
    torch.manual_seed(4)
    return seasoned(AENetReference(NARROW))


def seasoned(module: AENetReference) -> AENetReference:
    """With batch norms that have seen something, so that scores differ, and ready to judge."""
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = None
    with torch.no_grad():
        module.train()(torch.randn(2, 2, 272, 368))
        module.last.weight *= 0.3
    return module.eval().requires_grad_(False)


def shot(
    seed: int = 1, height: int = 240, width: int = 320, magnification: float = 2_000.0, **of: Any
) -> Shot:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    return replace(Shot(pixels=pixels, magnification=magnification), **of)


def test_it_has_the_published_parameters(published: AENetReference) -> None:
    assert sum(p.numel() for p in published.parameters()) == 51_595_126


def test_it_has_the_published_convolutions(published: AENetReference) -> None:
    layers = [m for m in published.modules() if isinstance(m, torch.nn.Conv2d)]
    shortcuts = [m.kernel_size for m in layers if m.kernel_size in ((5, 7), (7, 9))]
    assert shortcuts == [(5, 7)] * 3 + [(7, 9)] * 2
    assert len(layers) - len(shortcuts) == 17
    assert sum(isinstance(m, torch.nn.MaxPool2d) for m in published.modules()) == 4
    assert sum(isinstance(m, torch.nn.BatchNorm2d) for m in published.modules()) == 21
    assert all(m.bias is None for m in layers)


@pytest.mark.parametrize(
    ("size", "map_size", "gflop"), [((240, 320), (1, 1), 76), ((480, 640), (16, 21), 388)]
)
def test_map_and_work_are_as_published(
    published: AENetReference, size: tuple[int, int], map_size: tuple[int, int], gflop: int
) -> None:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        maps = published.maps(torch.empty(1, 2, *size, device="meta"))
    assert maps.shape == (1, *map_size)
    assert round(counter.get_total_flops() / 1e9) == gflop


def test_every_place_of_the_map_judges_its_window() -> None:
    """With a first layer that sees single pixels, padding changes nothing: a crop is judged as in the frame."""
    torch.manual_seed(4)
    module = AENetReference(NARROW)
    first = next(m for m in module.modules() if isinstance(m, torch.nn.Conv2d))
    with torch.no_grad():
        kept = first.weight[:, :, 2, 2].clone()
        first.weight.zero_()[:, :, 2, 2] = kept
    seasoned(module)
    frame = torch.randn(1, 2, 256, 352, generator=torch.Generator().manual_seed(1))
    whole = module.maps(frame)[0]
    assert whole.shape == (2, 3)
    assert whole.std() > 1e-3
    for row in range(2):
        for column in range(3):
            top, left = 16 * row, 16 * column
            alone = module.maps(frame[:, :, top : top + 240, left : left + 320])[0]
            assert float(alone) == pytest.approx(float(whole[row, column]), abs=1e-3)


def test_the_score_is_the_median_of_the_map(narrow: AENetReference) -> None:
    frames = torch.randn(2, 2, 272, 368, generator=torch.Generator().manual_seed(2))
    maps = narrow.maps(frames).numpy().reshape(2, -1)
    assert narrow(frames).numpy() == pytest.approx(np.median(maps, axis=1), abs=1e-5)


@pytest.mark.parametrize("factor", [-1e4, 1.0, 1e4])
def test_scores_stay_between_0_and_9(narrow: AENetReference, factor: float) -> None:
    module = AENetReference(NARROW)
    module.load_state_dict(narrow.state_dict())
    with torch.no_grad():
        module.last.weight *= factor
        found = module.eval()(torch.randn(2, 2, 240, 320))
    assert found.shape == (2,)
    assert ((found >= 0.0) & (found <= 9.0)).all()


def test_training_begins_where_there_is_a_slope() -> None:
    torch.manual_seed(9)
    module = AENetReference(NARROW).train()
    found = module(torch.randn(2, 2, 240, 320))
    found.mean().backward()
    assert ((found > 0.5) & (found < 8.5)).any()
    assert module.last.weight.grad is not None
    assert module.last.weight.grad.abs().sum() > 0.0


def test_it_sees_the_median_filtered_frame_and_the_magnification() -> None:
    (x,) = prepare([shot(1), shot(2, magnification=5_000.0)])
    assert x.shape == (2, 2, 240, 320)
    assert x.dtype == torch.float32
    expected = network_input(to_unit(shot(2).pixels), 5_000.0)
    assert np.array_equal(x[1, 0].numpy(), expected[0])
    assert np.allclose(x[1, 1].numpy(), 0.05)


def test_wide_frames_are_reduced_and_small_ones_mirrored() -> None:
    assert prepare([shot(1, 480, 640)])[0].shape == (1, 2, 240, 320)
    assert prepare([shot(1, 224, 224)])[0].shape == (1, 2, 240, 320)
    assert prepare([shot(1, 320, 240)])[0].shape == (1, 2, 320, 320)


def test_control_parameters_do_not_matter(narrow: AENetReference) -> None:
    network = ScoringNetwork(name=NAME, module=narrow, preprocessing=PREPROCESSING, prepare=prepare)
    scorer = NetworkScorer(network, torch.device("cpu"))
    plain, other, elsewhere = scorer.scores(
        [shot(1), shot(1, brightness=0.1, contrast=3.0, wd_um=900.0), shot(2)]
    )
    assert plain == other
    assert plain != elsewhere
