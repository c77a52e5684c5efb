"""From pixels to a score: preparation, measures, weights and their cards."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.models import checkpoint
from afdaemon.models.aenet.network import (
    ARCHITECTURE,
    LOG_ERROR_RANGE,
    PREPROCESSING,
    AENetCompact,
    estimate,
)
from afdaemon.models.devices import choose_device
from afdaemon.models.errors import ImageError, ModelError, WeightsError
from afdaemon.models.frames.preprocess import (
    CHANNELS,
    RESIDUE_LIMIT,
    network_input,
    reduce,
    reduction_factor,
    resampled,
    to_unit,
)
from afdaemon.models.scorers import classical
from afdaemon.models.scorers.focus_scorer import FocusScorer, load_scorer

RNG = np.random.default_rng(11)


@pytest.fixture(scope="module")
def scorer() -> FocusScorer:
    return load_scorer("cpu", threads=1)


@given(gain=st.floats(0.2, 1.0), offset=st.floats(0.0, 0.2))
def test_contrast_and_brightness_do_not_reach_the_network(gain: float, offset: float) -> None:
    image = np.random.default_rng(2).random((80, 96)).astype(np.float32)
    changed = (gain * image + offset).astype(np.float32)
    assert np.allclose(network_input(image, 2_000.0), network_input(changed, 2_000.0), atol=2e-3)


def test_the_channels_are_frame_what_the_median_took_away_magnification_and_noise() -> None:
    image = np.full((64, 64), 0.25, np.float32)
    image[:, 32:] = 0.75
    image[10, 10] = 0.45  # a speck that the median takes away
    x = network_input(image, 5_000.0)
    assert x.shape == (3, 64, 64)
    assert x[0].mean() == pytest.approx(0.0, abs=1e-5)
    assert x[0].std() == pytest.approx(1.0, abs=1e-4)
    assert x[0][10, 10] == x[0][0, 0] == pytest.approx(-1.0)
    assert x[1][10, 10] == pytest.approx(0.2 / 0.25, abs=1e-4)
    assert np.count_nonzero(x[1]) == 1
    assert np.allclose(x[2], 0.05)


@pytest.mark.parametrize("side", [(64, 64), (240, 320), (90, 130)])
def test_the_network_takes_frames_of_any_size(side: tuple[int, int]) -> None:
    model = AENetCompact((8, 8, 8, 8, 8)).eval()
    maps = model(torch.zeros(2, CHANNELS, *side))
    assert maps.shape == (2, 3, side[0] // 16, side[1] // 16)


def test_what_the_rest_of_the_frame_shows_counts_at_every_spot() -> None:
    """The view of each spot alone ends long before the other side of the frame."""
    torch.manual_seed(3)
    model = AENetCompact((8, 8, 8, 8, 8)).eval()
    torch.nn.init.normal_(dict(model.named_parameters())["head.0.second.weight"])
    calm = torch.zeros(1, CHANNELS, 240, 640)
    busy = calm.clone()
    busy[..., 400:] = torch.randn(busy[..., 400:].shape)
    assert not torch.allclose(model(calm)[..., 0], model(busy)[..., 0], atol=1e-4)


def test_noise_of_a_nearly_flat_frame_is_bounded_and_a_flat_one_is_zero() -> None:
    speck = np.full((64, 64), 0.5, np.float32)
    speck[30:, :] += 1e-4
    speck[10, 10] = 1.0
    assert network_input(speck, 1_000.0)[1].max() == RESIDUE_LIMIT
    flat = network_input(np.full((64, 64), 0.5, np.float32), 1_000.0)
    assert not flat[:2].any()


@pytest.mark.parametrize(
    ("width", "factor"), [(320, 1.0), (200, 1.0), (640, 2.0), (1024, 3.2), (1536, 4.8)]
)
def test_wide_frames_are_reduced_to_the_sampling_of_the_training(width: int, factor: float) -> None:
    assert reduction_factor(width) == factor


@pytest.mark.parametrize("width", [321, 400, 479, 481, 560, 641, 900, 1000, 1023])
def test_noise_stays_noise_at_every_width(width: int) -> None:
    """As strong everywhere, and nearly white: else the same picture would score otherwise one pixel wider."""
    noise = RNG.standard_normal((1920, width)).astype(np.float32)
    small = resampled(noise, width / 320)
    columns = small.std(axis=0)
    assert small.shape == (round(1920 * 320 / width), 320)
    assert columns.min() / columns.mean() > 0.85
    assert columns.max() / columns.mean() < 1.15
    assert abs((small[:, 1:] * small[:, :-1]).mean() / small.var()) < 0.22


def test_reduction_averages_blocks() -> None:
    image = np.arange(24, dtype=np.float32).reshape(4, 6)
    assert reduce(image, 2).tolist() == [[3.5, 5.5, 7.5], [15.5, 17.5, 19.5]]


def test_sixteen_bit_and_eight_bit_agree() -> None:
    eight = RNG.integers(0, 256, (70, 70), dtype=np.uint8)
    assert np.allclose(to_unit(eight), to_unit(eight.astype(np.uint16) * 257))


def test_measures_of_known_images() -> None:
    half = np.zeros((16, 16), np.float32)
    half[:, 8:] = 1.0
    assert classical.contrast(half) == pytest.approx(1.0)
    assert classical.entropy(half) == pytest.approx(1.0)
    assert classical.saturated_share(half) == 1.0
    flat = np.full((16, 16), 0.4, np.float32)
    assert classical.contrast(flat) == pytest.approx(0.0, abs=1e-5)
    assert classical.entropy(flat) == 0.0
    ramp = np.linspace(0.0, 1.0, 256 * 64, dtype=np.float32).reshape(128, 128)
    assert classical.entropy(ramp) == pytest.approx(8.0, abs=0.01)


@pytest.mark.parametrize("magnification", [0.0, -1.0, float("nan"), float("inf")])
def test_an_impossible_magnification_is_refused(scorer: FocusScorer, magnification: float) -> None:
    with pytest.raises(ImageError, match="magnification must be a positive number"):
        scorer.score(np.zeros((240, 320), np.uint8), magnification)


def test_a_tiny_frame_is_refused(scorer: FocusScorer) -> None:
    with pytest.raises(ImageError, match="too small"):
        scorer.score(np.zeros((20, 320), np.uint8), 1_000.0)


@given(kind=st.sampled_from(["black", "white", "noise"]), wide=st.booleans())
def test_any_frame_gets_a_score_from_0_to_9(scorer: FocusScorer, kind: str, wide: bool) -> None:
    shape = (480, 640) if wide else (240, 320)
    frame = {
        "black": np.zeros(shape, np.uint8),
        "white": np.full(shape, 255, np.uint8),
        "noise": np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8),
    }[kind]
    assert 0.0 <= scorer.score(frame, 2_000.0).score <= 9.0


def test_the_score_is_the_mean_of_the_map_weighted_by_what_each_spot_tells() -> None:
    u = torch.tensor([[0.0, 2.0], [-2.0, 0.0]])
    error = torch.tensor([[0.0, -1.0], [-3.0, 0.0]])
    silent = torch.full((2, 2), -50.0)
    alike = estimate(torch.stack([u, torch.zeros(2, 2), error])[None])
    assert alike.score.item() == pytest.approx(4.5)
    assert alike.log_error.item() == pytest.approx(-1.0)
    silent[0, 1] = 0.0
    one = estimate(torch.stack([u, silent, error])[None])
    assert one.u.item() == pytest.approx(2.0)
    assert one.log_error.item() == pytest.approx(-1.0)
    bounded = estimate(torch.stack([u, silent, 100.0 * error])[None])
    assert bounded.log_error.item() == LOG_ERROR_RANGE[0]


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(ModelError, match="no device is called 'tpu'"):
        choose_device("tpu")
    assert choose_device("cpu").type == "cpu"


# Weights and cards


def saved(tmp_path: Path) -> Path:
    model = AENetCompact((8, 8, 8, 8, 8))
    path = tmp_path / "small.safetensors"
    checkpoint.save(
        path,
        model.state_dict(),
        {
            "architecture": ARCHITECTURE,
            "arguments": model.arguments,
            "preprocessing": PREPROCESSING,
            "training": {},
            "metrics": {},
        },
    )
    return path


def test_weights_come_back_as_they_were(tmp_path: Path) -> None:
    path = saved(tmp_path)
    frame = RNG.integers(0, 256, (240, 320), dtype=np.uint8)
    first = load_scorer("cpu", weights=path).score(frame, 1_000.0)
    assert load_scorer("cpu", weights=path).score(frame, 1_000.0) == first


def edit_card(path: Path, **changes: object) -> None:
    card = checkpoint.card_path(path)
    card.write_text(json.dumps({**json.loads(card.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": "AENetReference"}, "holds AENetReference, not AENetCompact"),
        ({"preprocessing": {**PREPROCESSING, "median": 5}}, "median = 5"),
        ({"card_version": 99}, "version 99"),
        ({"sha256": "0" * 64}, "SHA-256 differs"),
        ({"surprise": 1}, "not a card of this version"),
    ],
)
def test_a_card_that_cannot_be_honoured_is_refused(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    path = saved(tmp_path)
    edit_card(path, **changes)
    with pytest.raises(WeightsError, match=words):
        load_scorer("cpu", weights=path)


def test_damaged_and_missing_weights(tmp_path: Path) -> None:
    path = saved(tmp_path)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsError, match="SHA-256"):
        load_scorer("cpu", weights=path)
    path.unlink()
    with pytest.raises(WeightsError, match="cannot be read"):
        load_scorer("cpu", weights=path)
    with pytest.raises(WeightsError, match="card cannot be read"):
        load_scorer("cpu", weights=tmp_path / "nowhere.safetensors")


@pytest.mark.parametrize(
    ("name", "most_mb"), [("aenet_compact", 8.0), ("acnet", 2.0), ("pacf", 2.0)]
)
def test_the_shipped_weights_stay_small(name: str, most_mb: float) -> None:
    assert (checkpoint.WEIGHTS_FOLDER / f"{name}.safetensors").stat().st_size <= 1e6 * most_mb
