"""Many frames at once: the same physics as one, with numpy and with torch."""

import numpy as np
import pytest
import torch

from afdaemon.sim.imaging.batch import Exposure, make_frames, simulate_batch
from afdaemon.sim.imaging.detector import Detector, detector_terms, evaluate_detector
from afdaemon.sim.imaging.frame import blur_field
from afdaemon.sim.imaging.transfer import rest_of, rest_terms, transfer_terms
from afdaemon.sim.ops import NUMPY
from afdaemon.sim.ops_torch import TorchOps
from afdaemon.sim.optics import Blur, Wave

SIZE = (54, 72)
WINDOW = (slice(3, 51), slice(4, 68))
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
RNG = np.random.default_rng(5)
FIELDS = RNG.random((3, *SIZE), dtype=np.float32)
WAVE = Wave(spherical_px=0.8, chromatic_px=1.2, diffraction_px=0.3, signs=(1.0, -1.0))
EXPOSURES = [
    Exposure(
        field=i % 3,
        blur=Blur(
            radius_px=1.3 * i,
            minor_px=0.4 * i,
            angle_rad=0.7 * i,
            gaussian_px=0.2,
            wave=WAVE if i % 2 else None,
        ),
        detector=Detector(
            electrons=20.0 * (i + 1),
            contrast=0.4 + 0.2 * i,
            gamma=(1.0, 0.7, 1.5)[i % 3],
            tau_px=(0.0, 0.3, 1.5)[i // 3],
            se_yield=(0.0, 0.4, 1.2)[(i + i // 3) % 3],
        ),
    )
    for i in range(9)
]


@pytest.mark.parametrize("device", DEVICES)
def test_numpy_and_torch_make_the_same_frame_of_the_same_normals(device: str) -> None:
    normals = RNG.standard_normal((2, len(EXPOSURES), 48, 64), dtype=np.float32)
    blurs = [transfer_terms(e.blur) for e in EXPOSURES]
    detectors = [detector_terms(e.detector) for e in EXPOSURES]
    rest = rest_terms([e.blur for e in EXPOSURES])
    assert rest is not None
    ops = TorchOps(device)
    together = make_frames(
        ops,
        ops.rfft2(ops.array(FIELDS[[e.field for e in EXPOSURES]])),
        SIZE,
        WINDOW,
        (
            list(ops.array(np.stack(blurs, axis=1))[:, :, None, None]),
            list(ops.array(np.stack(detectors, axis=1))[:, :, None, None]),
        ),
        (ops.array(normals[0]), ops.array(normals[1])),
        (list(ops.array(rest[0][:, :, None, None])), ops.array(rest[1])),
    )
    for i, exposure in enumerate(EXPOSURES):
        alone = make_frames(
            NUMPY,
            NUMPY.rfft2(FIELDS[exposure.field]),
            SIZE,
            WINDOW,
            (blurs[i].tolist(), detectors[i].tolist()),
            (normals[0, i].copy(), normals[1, i].copy()),
            rest_of(exposure.blur),
        )
        assert np.abs(alone.astype(int) - together[i]).max() <= 1


def test_a_frame_of_a_batch_is_a_field_blurred_and_detected() -> None:
    clear = [Exposure(field=e.field, blur=e.blur, detector=Detector()) for e in EXPOSURES]
    frames = simulate_batch(FIELDS, clear, seed=1, margin_px=(4, 3))
    zeros = np.zeros((48, 64), np.float32)
    for frame, exposure in zip(frames, clear, strict=True):
        signal = blur_field(FIELDS[exposure.field], exposure.blur)[WINDOW].copy()
        terms = detector_terms(Detector()).tolist()
        level = evaluate_detector(NUMPY, signal, terms, zeros.copy(), zeros.copy())
        assert (frame - level).mean() == pytest.approx(0.0, abs=1.5)
        assert np.corrcoef((frame - level).ravel(), level.ravel())[0, 1] < 0.15


@pytest.mark.parametrize("device", ["numpy", "auto", *DEVICES])
def test_the_same_seed_gives_the_same_frames(device: str) -> None:
    first, again, other = (
        simulate_batch(FIELDS, EXPOSURES, seed=seed, device=device) for seed in (3, 3, 4)
    )
    assert first.shape == (len(EXPOSURES), *SIZE)
    assert (first == again).all()
    assert (first != other).any()


def test_the_number_of_threads_does_not_matter() -> None:
    one, three = (simulate_batch(FIELDS, EXPOSURES, seed=3, workers=n) for n in (1, 3))
    assert (one == three).all()


@pytest.mark.parametrize("device", DEVICES)
def test_torch_and_numpy_make_frames_alike_in_mean_and_spread(device: str) -> None:
    by_numpy, by_torch = (
        simulate_batch(FIELDS, EXPOSURES, seed=3, device=which).astype(float)
        for which in ("numpy", device)
    )
    assert by_torch.mean(axis=(1, 2)) == pytest.approx(by_numpy.mean(axis=(1, 2)), abs=3.0)
    assert by_torch.std(axis=(1, 2)) == pytest.approx(by_numpy.std(axis=(1, 2)), rel=0.1, abs=1.0)
