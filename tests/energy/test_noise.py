"""Noise has the size that it says, and is 1 where it has been stabilised."""

from typing import Literal

import numpy as np
import pytest

from afdaemon.energy.physics.noise import Column, Noise, taken

Kind = Literal["poisson", "gaussian", "relative"]
FLAT = np.full((4, 100, 100), 1.0)
kinds = pytest.mark.parametrize("kind", ["poisson", "gaussian", "relative"])


@kinds
@pytest.mark.parametrize("share", [0.005, 0.02])
def test_it_is_the_share_of_the_bare_substrate(kind: Kind, share: float) -> None:
    drawn = taken(FLAT, Noise(kind=kind, share=share), np.random.default_rng(0))
    assert drawn.std() == pytest.approx(share, rel=0.03)
    assert drawn.mean() == pytest.approx(1.0, abs=1e-3)


@kinds
@pytest.mark.parametrize("brightness", [0.9, 1.0, 2.2])
def test_stabilised_noise_is_1(kind: Kind, brightness: float) -> None:
    noise = Noise(kind=kind)
    drawn = noise.drawn(brightness * FLAT, np.random.default_rng(0))
    assert noise.stabilised(drawn).std() == pytest.approx(1.0, rel=0.03)


def test_two_percent_are_2500_electrons() -> None:
    drawn = Noise().drawn(FLAT, np.random.default_rng(0)) * 2_500.0
    assert drawn == pytest.approx(np.round(drawn), abs=1e-6)


def test_without_noise_nothing_changes() -> None:
    assert (taken(FLAT, Noise(share=0.0), np.random.default_rng(0)) == FLAT).all()


def test_gains_differ_by_energy() -> None:
    drawn = taken(FLAT, Noise(share=0.0), np.random.default_rng(0), Column(gain_error=0.01))
    assert len({round(float(image.mean()), 9) for image in drawn}) == 4
    assert np.ptp(drawn, axis=(1, 2)) == pytest.approx(0.0)


def test_blur_grows_towards_the_ends() -> None:
    edge = np.ones((5, 20, 20))
    edge[:, :, 10:] = 2.0
    drawn = taken(edge, Noise(share=0.0), np.random.default_rng(0), Column(blur_px=2.0))
    steps = np.diff(drawn, axis=2).max(axis=(1, 2))
    assert steps[2] == pytest.approx(1.0)
    assert steps[0] < steps[1] < steps[2]
    assert steps[0] == pytest.approx(steps[4])


def test_jitter_moves_images_and_keeps_their_brightness() -> None:
    drawn = taken(FLAT, Noise(share=0.0), np.random.default_rng(0), Column(jitter_px=2.0))
    assert drawn == pytest.approx(FLAT)


def test_the_dead_edge_of_the_report() -> None:
    drawn = taken(FLAT, Noise(), np.random.default_rng(0), Column(has_dead_edge=True))
    assert not drawn[:, -1].any()
    assert not drawn[:, :, -1].any()
    assert drawn[:, :-1, :-1].all()
