"""AENet made fast for service: batch norm folded into the convolutions, channels last, 16 bits where they are native.

On a CPU with bf16 instructions the convolutions run in it, elsewhere in fp32; on a GPU in bf16, or in TF32, which is
torch's own choice for convolutions there. The head and the weighted means stay in fp32: a score near 4.5 moves by 2.25
for 1 of u, and bf16 keeps a u of 4 to no better than .02. A GPU gets its frames through pinned memory, and replays a
CUDA graph for the size that was warmed up.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from afdaemon.models.aenet.network import AENetCompact, estimate
from afdaemon.models.aenet.out_of_distribution import Familiarity, features_of
from afdaemon.models.devices import native_precision
from afdaemon.models.frames.preprocess import CHANNELS, FloatImage
from afdaemon.models.optics import SAMPLING_WIDTH_PX

_WARM_UP_SHAPE = (1, CHANNELS, SAMPLING_WIDTH_PX * 3 // 4, SAMPLING_WIDTH_PX)
_WARM_UP_RUNS = 3


@dataclass(frozen=True, slots=True)
class Judgements:
    """What is found for each frame of a batch, all float64 (N,).

    Score 0..9; its expected mean error; distance from the training frames (`models.aenet.out_of_distribution`: above 1
    the frame is out of distribution), 0 where that is not known.
    """

    score: NDArray[np.float64]
    expected_error: NDArray[np.float64]
    distance: NDArray[np.float64]


class Runtime:
    """AENet on one device. Not thread-safe. The network passed in is left unchanged."""

    def __init__(
        self,
        network: AENetCompact,
        device: torch.device,
        *,
        precision: torch.dtype | None = None,
        familiarity: Familiarity | None = None,
    ) -> None:
        self.device = device
        self.precision = precision or native_precision(device)
        quick = fused(network).to(device)
        self._features = quick.features.to(self.precision, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks this pair
        self._head = quick.head
        self._familiarity = familiarity.to(device) if familiarity else None
        self._graph: _Graph | None = None

    def judge(self, x: FloatImage) -> Judgements:
        """Judge a batch prepared by `network_input`, float32 (N, channels, H, W)."""
        frames = torch.from_numpy(x)
        with torch.inference_mode():
            if self._graph is not None and self._graph.shape == frames.shape:
                told = self._graph.run(frames)
            else:
                told = self._pass(_sent(frames, self.device))
            score, log_error, distance = told.double().cpu().numpy()
        return Judgements(score, np.exp(log_error), distance)

    def warm_up(self) -> None:
        """Judge a few empty frames, so that the first real one is not slow; record the CUDA graph on a GPU."""
        empty = np.zeros(_WARM_UP_SHAPE, np.float32)
        for _ in range(_WARM_UP_RUNS):
            self.judge(empty)
        if self.device.type == "cuda":
            with torch.inference_mode():
                self._graph = _Graph(self._pass, torch.Size(_WARM_UP_SHAPE), self.device)

    def _pass(self, x: Tensor) -> Tensor:
        """From (N, channels, H, W) to score, logarithm of the error and distance, float32 (3, N)."""
        features = self._features(x.to(self.precision, memory_format=torch.channels_last)).float()
        maps = self._head(features)
        estimated = estimate(maps)
        score = estimated.score
        distance = torch.zeros_like(score)
        if self._familiarity is not None:
            distance = self._familiarity.distance(features_of(features, maps))
        return torch.stack([score, estimated.log_error, distance])


class _Graph:
    """One pass over frames of one shape, recorded: a replay launches no kernels from Python."""

    def __init__(
        self, work: Callable[[Tensor], Tensor], shape: torch.Size, device: torch.device
    ) -> None:
        self.shape = shape
        self._host = torch.zeros(shape).pin_memory()
        self._input = torch.zeros(shape, device=device)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._output = work(self._input)

    def run(self, frames: Tensor) -> Tensor:
        """What `work` makes of `frames`; to be read before the next run."""
        self._host.copy_(frames)
        self._input.copy_(self._host, non_blocking=True)
        self._graph.replay()
        return self._output


def _sent(frames: Tensor, device: torch.device) -> Tensor:
    if device.type == "cpu":
        return frames
    return frames.pin_memory().to(device, non_blocking=True)


def fused(network: AENetCompact) -> AENetCompact:
    """A copy for evaluation with every batch norm folded into the convolution before it."""
    quick = copy.deepcopy(network).eval().requires_grad_(False)
    _fuse(quick)
    return quick


def _fuse(module: nn.Module) -> None:
    for name, child in module.named_children():
        match list(child.children()):
            case [nn.Conv2d() as conv, nn.BatchNorm2d() as norm]:
                setattr(module, name, fuse_conv_bn_eval(conv, norm))
            case _:
                _fuse(child)
