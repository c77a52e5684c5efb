"""Noise at places of their own: the same however far apart these lie, in memory that the places alone decide."""

import tracemalloc

import numpy as np

from afdaemon.sim.imaging.frame import View, sharp_field
from afdaemon.sim.specimens.catalogue import open_specimen
from afdaemon.sim.specimens.texture import noise_at


def test_noise_does_not_depend_on_what_else_is_asked_for() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.uniform(-5.0, 40.0, (2, 50, 60))
    near = noise_at(x, y, seed=3, stream=4)
    far_x, far_y = (np.vstack([a, np.full((1, 60), 9e4)]) for a in (x, y))
    assert np.array_equal(noise_at(far_x, far_y, seed=3, stream=4)[:-1], near)
    assert 0.3 < near.std() < 0.8


def test_places_far_apart_take_little_memory() -> None:
    tracemalloc.start()
    noise_at(np.array([[0.0, 1e6]]), np.array([[0.0, 1e6]]), seed=1, stream=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1e6


def test_fabric_is_drawn_in_little_memory_at_high_magnification() -> None:
    view = View(x_um=-9e3, y_um=8e3, magnification=8_800.0, width_px=640, height_px=480)
    tracemalloc.start()
    for seed in range(3):
        sharp_field(open_specimen("woven_fabric", seed=seed), view)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e8
