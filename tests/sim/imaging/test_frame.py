"""Specimens and frames: seeded, at their scale, noisy as counted electrons are."""

import numpy as np
import pytest

from afdaemon.sim.imaging.detector import Detector, detect
from afdaemon.sim.imaging.frame import Imager, View, crop, sharp_field
from afdaemon.sim.optics import Optics, depth_of_focus_um
from afdaemon.sim.specimens.catalogue import TRAINED, UNSEEN, open_specimen


def view_at(magnification: float, x_um: float = 10.0) -> View:
    return View(x_um=x_um, y_um=-3.0, magnification=magnification, width_px=320, height_px=240)


@pytest.mark.parametrize("name", TRAINED + UNSEEN)
@pytest.mark.parametrize("magnification", [500.0, 5_000.0, 20_000.0])
def test_every_specimen_has_detail_at_every_magnification(name: str, magnification: float) -> None:
    field = crop(sharp_field(open_specimen(name, seed=5), view_at(magnification)), view_at(1.0))
    assert np.isfinite(field).all()
    neighbours = np.abs(np.diff(field, axis=1))
    assert field.std() > 0.04
    assert np.percentile(neighbours, 95) > 0.05, "nothing is sharp to the pixel"


@pytest.mark.parametrize("name", TRAINED + UNSEEN)
def test_the_same_seed_gives_the_same_bytes_and_another_place_others(name: str) -> None:
    def frame(seed: int, x_um: float) -> bytes:
        imager = Imager(open_specimen(name, seed=seed), Optics(), Detector())
        rng = np.random.default_rng(9)
        return imager.expose(view_at(3_000.0, x_um), defocus_um=20.0, rng=rng).tobytes()

    assert frame(1, 0.0) == frame(1, 0.0)
    assert frame(1, 0.0) != frame(2, 0.0)
    assert frame(1, 0.0) != frame(1, 900.0)


@pytest.mark.parametrize("name", TRAINED + UNSEEN)
def test_a_place_is_the_same_at_twice_the_magnification(name: str) -> None:
    """The middle of the wide field, enlarged, is the narrow field; lines that come in have the contrast of the rest."""
    least = 0.4 if name == "ruled" else 0.6
    specimen = open_specimen(name, seed=2)
    wide = crop(sharp_field(specimen, view_at(4_000.0)), view_at(1.0))[60:180, 80:240]
    narrow = crop(sharp_field(specimen, view_at(8_000.0)), view_at(1.0))
    reduced = narrow.reshape(120, 2, 160, 2).mean(axis=(1, 3))
    assert np.corrcoef(wide.ravel(), reduced.ravel())[0, 1] > least


def test_defocus_blurs_either_way() -> None:
    imager = Imager(open_specimen("tin_balls", seed=1), Optics(), Detector(electrons=1e5))
    dof_um = depth_of_focus_um(2_000.0, 5e-3)
    rng = np.random.default_rng(0)
    spreads = [
        float(imager.expose(view_at(2_000.0), defocus_um=at * dof_um, rng=rng).std())
        for at in (-10.0, -3.0, 0.0, 3.0, 10.0)
    ]
    assert spreads[0] < spreads[1] < spreads[2] > spreads[3] > spreads[4]


@pytest.mark.parametrize("electrons", [40.0, 200.0, 1_000.0])
def test_noise_is_that_of_counted_electrons(electrons: float) -> None:
    """Variance over mean of the counts is one (Poisson), whatever the gain."""
    detector = Detector(electrons=electrons, contrast=0.5, read_noise=0.0)
    signal = np.full((400, 400), 0.5, np.float32)
    grey = detect(signal, detector, np.random.default_rng(3)).astype(np.float64)
    counts = ((grey / 255.0 - 0.5) / 0.5 + 0.5) * electrons
    assert counts.mean() == pytest.approx(0.5 * electrons, rel=0.01)
    assert counts.var() == pytest.approx(0.5 * electrons, rel=0.05)
