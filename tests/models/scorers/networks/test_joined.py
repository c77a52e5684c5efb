"""PACF, VGG and ResNet: the published sizes, and how control parameters join in."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from afdaemon.models.errors import ImageError
from afdaemon.models.frames.shot import Shot
from afdaemon.models.scorers.networks import pacf, resnet, vgg
from afdaemon.models.scorers.networks.base import NetworkScorer
from afdaemon.models.scorers.networks.joined import Joined, prepare

CLASSES = 1000


def shot(
    seed: int = 1, height: int = 240, width: int = 320, magnification: float = 2_000.0, **of: Any
) -> Shot:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    return replace(Shot(pixels=pixels, magnification=magnification), **of)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def gflop(module: nn.Module, *inputs: Tensor) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(*inputs)
    return float(counter.get_total_flops()) / 1e9


@pytest.mark.parametrize(
    ("depth", "batch_norm", "parameters", "gmac"),
    [
        (11, False, 132_863_336, 7.61),
        (13, False, 133_047_848, 11.31),
        (19, False, 143_667_240, 19.63),
        (11, True, 132_868_840, 7.61),
        (13, True, 133_053_736, 11.31),
        (19, True, 143_678_248, 19.63),
    ],
)
def test_vgg_has_the_published_size(
    depth: int, batch_norm: bool, parameters: int, gmac: float
) -> None:
    with torch.device("meta"):
        trunk = vgg.trunk(depth, channels=3, batch_norm=batch_norm)
        whole = nn.Sequential(trunk, nn.Linear(vgg.FEATURES, CLASSES)).eval()
        work = gflop(whole, torch.empty(1, 3, 224, 224)) / 2.0
    assert count(whole) == parameters
    assert work == pytest.approx(gmac, abs=0.006)


@pytest.mark.parametrize(
    ("depth", "parameters", "gmac"), [(50, 25_557_032, 4.09), (101, 44_549_160, 7.80)]
)
def test_resnet_has_the_published_size(depth: int, parameters: int, gmac: float) -> None:
    with torch.device("meta"):
        trunk = resnet.trunk(depth, channels=3)
        whole = nn.Sequential(trunk, nn.Linear(resnet.FEATURES, CLASSES)).eval()
        work = gflop(whole, torch.empty(1, 3, 224, 224)) / 2.0
    assert count(whole) == parameters
    assert work == pytest.approx(gmac, abs=0.006)


def test_pacf_is_small() -> None:
    with torch.device("meta"):
        module = pacf.build().module.eval()
        assert gflop(module, torch.empty(1, 1, 224, 224), torch.empty(1, 4)) < 0.6
    assert count(module) < 500_000


@pytest.mark.parametrize("size", [(240, 320), (480, 640), (224, 224), (80, 100)])
def test_crops_come_from_the_middle_at_the_judged_sampling(size: tuple[int, int]) -> None:
    crops, controls = prepare([shot(1, *size), shot(2, *size)])
    assert crops.shape == (2, 1, 224, 224)
    assert controls.shape == (2, 4)
    assert crops.dtype == controls.dtype == torch.float32


def test_the_crop_of_a_fast_frame_is_its_middle() -> None:
    frame = shot()
    crop = prepare([frame])[0][0, 0].numpy()
    middle = frame.pixels[8:232, 48:272].astype(np.float64)
    assert np.allclose(crop, (middle - middle.mean()) / middle.std(), atol=1e-4)


def test_usual_settings_are_near_zero_and_others_about_one_away() -> None:
    usual = Shot(pixels=shot().pixels, magnification=3_000.0)
    other = shot(magnification=30_000.0, brightness=0.75, contrast=2.0, wd_um=10_000.0)
    _, controls = prepare([usual, other])
    assert controls.numpy() == pytest.approx(
        np.array([[0.0, 0.0, 0.0, 0.0], [1.0, 1.0, -1.0, 1.0]]), abs=1e-6
    )


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("brightness", shot(brightness=float("nan"))),
        ("contrast", shot(contrast=float("inf"))),
        ("wd_um", shot(wd_um=float("-inf"))),
    ],
)
def test_a_setting_that_is_no_number_is_refused(field: str, wrong: Shot) -> None:
    with pytest.raises(ImageError, match=f"{field} must be a finite number, got"):
        prepare([wrong])


@pytest.mark.parametrize(
    "other",
    [shot(brightness=0.9), shot(contrast=2.5), shot(wd_um=9e3), shot(magnification=2e4)],
)
def test_every_control_parameter_matters(other: Shot) -> None:
    torch.manual_seed(1)
    scorer = NetworkScorer(pacf.build(), torch.device("cpu"))
    plain, again, changed = scorer.scores([shot(), shot(), other])
    assert plain == again
    assert abs(plain - changed) > 1e-4


def test_the_image_matters_too() -> None:
    torch.manual_seed(1)
    scorer = NetworkScorer(pacf.build(), torch.device("cpu"))
    noise, flat = scorer.scores(
        [shot(), Shot(pixels=np.full((240, 320), 90, np.uint8), magnification=2e3)]
    )
    assert noise != flat


@pytest.mark.parametrize("offset", [-1e4, 0.0, 1e4])
def test_scores_stay_between_0_and_9(offset: float) -> None:
    module = Joined(nn.Flatten(), 16)
    last = module.joint[-1]
    assert isinstance(last, nn.Linear)
    with torch.no_grad():
        last.bias.fill_(offset)
        found = module(torch.randn(5, 1, 4, 4), torch.randn(5, 4))
    assert ((found >= 0.0) & (found <= 9.0)).all()


def test_pacf_learns_a_handful_of_frames() -> None:
    torch.manual_seed(2)
    network = pacf.build()
    crops, controls = prepare([shot(seed) for seed in range(4)])
    tensors = crops[:, :, ::4, ::4], controls
    wanted = torch.tensor([1.0, 3.0, 6.0, 8.0])
    optimiser = torch.optim.Adam(network.module.parameters(), 3e-3)
    losses = []
    for _ in range(20):
        optimiser.zero_grad()
        loss = nn.functional.mse_loss(network.module(*tensors), wanted)
        loss.backward()  # type: ignore[no-untyped-call]  # torch has no types here
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.2 * losses[0]
