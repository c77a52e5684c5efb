"""Many frames at once, for training: the same arithmetic as a single exposure's, with numpy on threads or with torch.

On the CPU numpy is the faster of the two, because it works on one frame at a time in the cache.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from afdaemon.sim.imaging.detector import (
    NORMALS_PER_PIXEL,
    Detector,
    detector_terms,
    evaluate_detector,
)
from afdaemon.sim.imaging.transfer import (
    Rest,
    evaluate_transfer,
    jinc_table,
    rest_of,
    rest_terms,
    transfer_terms,
)
from afdaemon.sim.ops import NUMPY, Array, Ops
from afdaemon.sim.optics import Blur

if TYPE_CHECKING:
    from afdaemon.sim.ops_torch import TorchOps

_NUMPY_DEVICE = "numpy"
_TOGETHER = 32
"""Frames that torch computes at once: enough to fill a GPU, 50 MB of each array at 320 x 240."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """One frame to make: its field, its blur, its detector."""

    field: int
    blur: Blur
    detector: Detector


def simulate_batch(
    fields: NDArray[np.float32],
    exposures: Sequence[Exposure],
    *,
    seed: int,
    margin_px: tuple[int, int] = (0, 0),
    device: str = _NUMPY_DEVICE,
    workers: int = 2,
) -> NDArray[np.uint8]:
    """Frames, uint8 (n, H - 2 margin_y, W - 2 margin_x), of sharp fields, float32 (fields, H, W).

    Args:
        fields: noise-free yields; `Exposure.field` picks one of them.
        exposures: the frames to make.
        seed: of the noise; the same seed gives the same frames on the same device, however many workers.
        margin_px: (x, y) that is cut off at each border after blurring.
        device: `numpy`, or a device of torch (`cpu`, `cuda`, `cuda:1`), or `auto`: CUDA if there is one, else numpy.
        workers: threads, for numpy.
    """
    height, width = fields.shape[1:]
    frame = (
        slice(margin_px[1], height - margin_px[1]),
        slice(margin_px[0], width - margin_px[0]),
    )
    frames = np.empty(
        (len(exposures), height - 2 * margin_px[1], width - 2 * margin_px[0]), np.uint8
    )
    torch_ops = _torch_ops(device)
    if torch_ops is None:
        _with_numpy(frames, fields, exposures, seed, frame, workers)
    else:
        _with_torch(torch_ops, frames, fields, exposures, seed, frame)
    return frames


def make_frames(
    ops: Ops,
    spectrum: Array,
    size: tuple[int, int],
    window: tuple[slice, slice],
    terms: tuple[Sequence[Array], Sequence[Array]],
    normals: tuple[Array, Array],
    rest: Rest | None = None,
) -> NDArray[np.uint8]:
    """One frame or many, uint8 (..., h, w), from half-plane spectra (..., H, W // 2 + 1) of their fields.

    `terms` are those of blur and detector, numbers or (n, 1, 1); `normals`, (..., h, w) each, are overwritten. `rest`
    is what waves add to the blurs.
    """
    blur, detector = terms
    response = evaluate_transfer(ops, size, blur, ops.array(jinc_table()), rest)
    signal = ops.irfft2(spectrum * response, size)[..., window[0], window[1]]
    return ops.grey(evaluate_detector(ops, signal, detector, *normals))


def _torch_ops(device: str) -> "TorchOps | None":
    if device == _NUMPY_DEVICE:
        return None
    from afdaemon.sim.ops_torch import TorchOps, cuda_available

    if device == "auto":
        return TorchOps("cuda") if cuda_available() else None
    return TorchOps(device)


def _with_numpy(
    frames: NDArray[np.uint8],
    fields: NDArray[np.float32],
    exposures: Sequence[Exposure],
    seed: int,
    window: tuple[slice, slice],
    workers: int,
) -> None:
    """Fill `frames`, each from a random stream of its own, on threads: numpy releases the GIL."""
    used = sorted({exposure.field for exposure in exposures})
    size = (fields.shape[1], fields.shape[2])

    def make(number: int) -> None:
        exposure = exposures[number]
        stream = np.random.SFC64(np.random.SeedSequence(seed, spawn_key=(number,)))
        rng = np.random.Generator(stream)
        shape = (NORMALS_PER_PIXEL, *frames.shape[1:])
        normals = rng.standard_normal(shape, dtype=np.float32)
        frames[number] = make_frames(
            NUMPY,
            spectra[exposure.field],
            size,
            window,
            (
                transfer_terms(exposure.blur).tolist(),
                detector_terms(exposure.detector).tolist(),
            ),
            (normals[0], normals[1]),
            rest_of(exposure.blur),
        )

    with ThreadPoolExecutor(workers) as pool:
        spectra = dict(zip(used, pool.map(lambda i: NUMPY.rfft2(fields[i]), used), strict=True))
        list(pool.map(make, range(len(exposures))))


def _with_torch(
    ops: "TorchOps",
    frames: NDArray[np.uint8],
    fields: NDArray[np.float32],
    exposures: Sequence[Exposure],
    seed: int,
    window: tuple[slice, slice],
) -> None:
    """Fill `frames`, several at once."""
    generator = ops.generator(seed)
    spectra = ops.rfft2(ops.array(fields))
    size = (fields.shape[1], fields.shape[2])
    for start in range(0, len(exposures), _TOGETHER):
        some = exposures[start : start + _TOGETHER]
        blur = ops.array(np.stack([transfer_terms(e.blur) for e in some], axis=1))
        detector = ops.array(np.stack([detector_terms(e.detector) for e in some], axis=1))
        normals = ops.normals((NORMALS_PER_PIXEL, len(some), *frames.shape[1:]), generator)
        frames[start : start + len(some)] = make_frames(
            ops,
            spectra[[e.field for e in some]],
            size,
            window,
            (list(blur[:, :, None, None]), list(detector[:, :, None, None])),
            (normals[0], normals[1]),
            _rest_on(ops, [e.blur for e in some]),
        )


def _rest_on(ops: Ops, blurs: Sequence[Blur]) -> Rest | None:
    """What waves add to each of several blurs, as arrays of `ops`."""
    rest = rest_terms(blurs)
    return (
        None if rest is None else (list(ops.array(rest[0][:, :, None, None])), ops.array(rest[1]))
    )
