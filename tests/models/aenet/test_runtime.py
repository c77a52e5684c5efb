"""AENet made quick judges as AENet does, alone or in a batch, in 16 bits or in 32."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from afdaemon.models.aenet.network import AENetCompact, estimate
from afdaemon.models.aenet.out_of_distribution import Familiarity, features_of, load_aenet
from afdaemon.models.aenet.runtime import Runtime, fused
from afdaemon.models.devices import native_precision
from afdaemon.models.errors import ImageError
from afdaemon.models.frames.preprocess import network_input, to_unit
from afdaemon.models.scorers.focus_scorer import DEFAULT_WEIGHTS, FocusScorer
from afdaemon.sim.datasets.dataset1 import Dataset1, Part

CPU = torch.device("cpu")
MAGNIFICATION = 4_000.0


@pytest.fixture(scope="module")
def network() -> AENetCompact:
    return load_aenet(DEFAULT_WEIGHTS)[0].eval()


@pytest.fixture(scope="module")
def frames() -> NDArray[np.uint8]:
    """Frames of random scenes, three specimens."""
    dataset = Dataset1(seed=5, frames_per_scene=4, width_px=320, height_px=240)
    drawn = [
        dataset.frames(specimen, dataset.scenes(Part.TEST, specimen)[0])
        for specimen in ("tin_balls", "tem_grid", "gold_nanoparticles")
    ]
    return np.concatenate([of_scene.pixels for of_scene in drawn])


@pytest.fixture(scope="module")
def inputs(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.stack([network_input(to_unit(frame), MAGNIFICATION) for frame in frames])


def test_folding_changes_no_judgement(network: AENetCompact, inputs: NDArray[np.float32]) -> None:
    with torch.inference_mode():
        plain = estimate(network(torch.from_numpy(inputs)))
    quick = Runtime(network, CPU, precision=torch.float32).judge(inputs)
    assert np.allclose(quick.score, plain.score.numpy(), atol=1e-3)
    assert np.allclose(quick.expected_error, plain.log_error.exp().numpy(), rtol=1e-3)
    assert quick.distance.tolist() == [0.0] * len(inputs)


def test_no_batch_norm_is_left_and_the_original_keeps_its_own(network: AENetCompact) -> None:
    def norms(module: nn.Module) -> int:
        return sum(isinstance(m, nn.BatchNorm2d) for m in module.modules())

    before = norms(network)
    assert norms(fused(network)) == 0
    assert norms(network) == before > 0


def test_sixteen_bits_change_no_score_by_more_than_a_twentieth(
    network: AENetCompact, inputs: NDArray[np.float32]
) -> None:
    full = Runtime(network, CPU, precision=torch.float32).judge(inputs)
    half = Runtime(network, CPU, precision=torch.bfloat16).judge(inputs)
    assert np.abs(half.score - full.score).max() <= 0.05
    assert np.allclose(half.expected_error, full.expected_error, rtol=0.05)


def familiar_with(
    inputs: NDArray[np.float32], network: AENetCompact, *, scale: float
) -> Familiarity:
    """As if training frames had had features like those of `inputs`, each as far as 1 / `scale` from their mean."""
    with torch.inference_mode():
        features = network.features(torch.from_numpy(inputs))
        pooled = features_of(features, network.head(features))
    away = pooled - pooled.mean(0)
    return Familiarity(pooled.mean(0), torch.eye(pooled.shape[1]) * scale / away.norm(dim=1).max())


def test_how_strange_a_frame_is_reaches_the_judgement(
    network: AENetCompact, inputs: NDArray[np.float32]
) -> None:
    familiarity = familiar_with(inputs, network, scale=0.9)
    runtime = Runtime(network, CPU, precision=torch.float32, familiarity=familiarity)
    assert runtime.judge(inputs).distance.max() == pytest.approx(0.9, abs=0.01)
    ramp = np.linspace(-50.0, 50.0, inputs[0].size, dtype=np.float32).reshape(1, *inputs[0].shape)
    assert runtime.judge(ramp).distance[0] > 1.0


def test_a_cpu_without_bf16_computes_in_32_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    for capabilities, wanted in (
        ({"avx512_f": True}, torch.float32),
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({"bf16": True}, torch.bfloat16),
        ({"avx512_bf16": False}, torch.float32),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda told=capabilities: told)
        assert native_precision(CPU) == wanted


def test_a_torch_that_cannot_tell_computes_in_32_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert native_precision(CPU) == torch.float32


# The scorer on top of it


@pytest.fixture(scope="module")
def scorer() -> FocusScorer:
    network, _, card = load_aenet(DEFAULT_WEIGHTS)
    scorer = FocusScorer(network, card, CPU)
    scorer.warm_up()
    return scorer


def test_many_frames_are_judged_as_each_alone(
    scorer: FocusScorer, frames: NDArray[np.uint8]
) -> None:
    """Of three sizes, mixed, each at a magnification of its own."""
    several = [frames[0], frames[1].repeat(2, 0).repeat(2, 1), frames[2][:, :200], *frames[3:9]]
    magnifications = [1_000.0 * (k + 1) for k in range(len(several))]
    together = scorer.score_many(several, magnifications)
    for frame, magnification, judged in zip(several, magnifications, together, strict=True):
        alone = scorer.score(frame, magnification)
        assert judged.score == pytest.approx(alone.score, abs=0.02)
        assert judged.expected_error == pytest.approx(alone.expected_error, rel=0.02)
        assert (judged.contrast, judged.entropy, judged.saturated, judged.bands) == (
            alone.contrast,
            alone.entropy,
            alone.saturated,
            alone.bands,
        )


def test_more_frames_than_a_batch_holds_keep_their_order(
    scorer: FocusScorer, frames: NDArray[np.uint8]
) -> None:
    small = [frame[:64, :64] for frame in (*frames, *frames)][:20]
    contrasts = [judged.contrast for judged in scorer.score_many(small, [2e3] * 20)]
    assert contrasts == [scorer.score(frame, 2e3).contrast for frame in small]


def test_nothing_to_judge(scorer: FocusScorer) -> None:
    assert scorer.score_many([], []) == []


def test_one_bad_frame_among_many_is_named(scorer: FocusScorer, frames: NDArray[np.uint8]) -> None:
    with pytest.raises(ImageError, match="200 x 20 pixels is too small"):
        scorer.score_many([frames[0], frames[0][:20, :200]], [1e3, 1e3])


def test_a_frame_without_a_picture_is_doubted(scorer: FocusScorer) -> None:
    blank = np.full((240, 320), 128, np.uint8)
    white = np.full((240, 320), 255, np.uint8)
    white[:, ::5] = np.random.default_rng(1).integers(0, 256, (240, 64))
    for frame, reason in ((blank, "blank"), (white, "saturated")):
        judged = scorer.score(frame, 1e3)
        assert judged.doubt.startswith(reason)
        assert judged.confidence <= 0.2


def test_a_frame_unlike_all_others_is_doubted(
    frames: NDArray[np.uint8], inputs: NDArray[np.float32]
) -> None:
    network, _, card = load_aenet(DEFAULT_WEIGHTS)
    nothing_like_it = familiar_with(inputs, network.eval(), scale=1e3)
    judged = FocusScorer(network, card, CPU, familiarity=nothing_like_it).score(frames[0], 1e3)
    assert judged.doubt == "unlike every frame of the training"
    assert judged.confidence <= 0.2


def test_a_plain_frame_is_not_doubted(scorer: FocusScorer, frames: NDArray[np.uint8]) -> None:
    judged = scorer.score(frames[0], MAGNIFICATION)
    assert judged.doubt == ""
    assert judged.confidence == pytest.approx(-np.expm1(-1.0 / judged.expected_error))


def test_what_judges_is_told(scorer: FocusScorer) -> None:
    described = scorer.describe()
    assert described["sha256"] == scorer.card.sha256
    assert described["precision"] in ("bfloat16", "float32")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_a_recorded_pass_judges_as_a_plain_one(
    network: AENetCompact, inputs: NDArray[np.float32]
) -> None:
    plain = Runtime(network, CPU, precision=torch.float32).judge(inputs)
    runtime = Runtime(network, torch.device("cuda"))
    runtime.warm_up()
    alone = [float(runtime.judge(frame[None]).score[0]) for frame in inputs]
    together = runtime.judge(inputs).score
    assert np.abs(np.array(alone) - plain.score).max() <= 0.05
    assert np.abs(np.array(alone) - together).max() <= 0.02
