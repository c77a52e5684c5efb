"""Dataset 2: sweeps of the published steps, with their focus inside."""

import numpy as np
import pytest

from afdaemon.sim.datasets.series import dataset2_series


@pytest.mark.parametrize(
    ("specimen", "step_um"),
    [("tem_grid", 50.0), ("woven_fabric", 50.0), ("gold_nanoparticles", 5.0)],
)
def test_a_sweep_has_the_published_steps(specimen: str, step_um: float) -> None:
    made = dataset2_series(specimen, np.random.default_rng(4))
    assert made.specimen == specimen
    assert made.pixels.shape == (250, 240, 320)
    assert np.diff(made.offset_um) == pytest.approx(step_um)
    assert made.offset_um[0] < 0.0 < made.offset_um[-1]
    quiet = made.pixels.reshape(250, 60, 4, 80, 4).mean(axis=(2, 4))
    detail = np.abs(np.diff(quiet, axis=2)).mean(axis=(1, 2))
    far, near = np.abs(made.offset_um).argmax(), np.abs(made.offset_um).argmin()
    assert detail[near] > 1.3 * detail[far]
