"""Tokens hold what was read, wherever the zero of the WD is and whichever side of focus it was."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.models.defocus.posterior.network import PosteriorNet
from afdaemon.models.defocus.posterior.tokens import (
    AXIS_DOF,
    BINS,
    TOKEN,
    Histories,
    encode,
    mirror,
    shares,
)
from afdaemon.models.defocus.state import SCALES, scale_shares


def history(jobs: int = 3, readings: int = 5, seed: int = 0) -> Histories:
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal((jobs, readings, *shape)).astype(np.float32)

    return Histories(
        wd_dof=rng.normal(0.0, 20.0, (jobs, readings)),
        bands=normal(18) - np.float32(9.0),
        u=normal(),
        log_error=normal(),
        contrast=np.abs(normal()) + 0.01,
        doubted=(normal() > 1.0).astype(np.float32),
        masked=np.zeros((jobs, readings), np.float32),
        ago=np.tile(np.arange(readings, dtype=np.float32), (jobs, 1)),
        count=np.full(jobs, readings),
        calibrated=np.arange(jobs) % 2 == 0,
    )


def network() -> PosteriorNet:
    torch.manual_seed(3)
    return PosteriorNet(width=32, layers=2, heads=2).eval()


def test_distances_count_from_the_newest_reading() -> None:
    seen = history()
    moved = replace(seen, wd_dof=seen.wd_dof + 1234.5)
    assert np.allclose(encode(seen), encode(moved), atol=1e-5)
    assert encode(seen).shape == (3, 5, TOKEN)
    assert (encode(seen)[:, 0, 1] == 0.0).all()


def test_the_mirrored_job_has_its_distances_turned_and_nothing_else() -> None:
    seen = history()
    turned = replace(seen, wd_dof=-seen.wd_dof)
    assert np.allclose(encode(turned), encode(seen) * mirror(), atol=1e-6)


def test_the_answer_to_the_mirrored_job_is_the_mirrored_answer() -> None:
    seen, net = history(), network()
    told, other = net.infer(seen), net.infer(replace(seen, wd_dof=-seen.wd_dof))
    assert np.allclose(told.mass, other.mass[:, ::-1], atol=1e-6)
    assert np.allclose(told.nothing, other.nothing, atol=1e-6)
    assert np.allclose(told.odds, other.odds, atol=1e-6)


def test_the_order_of_earlier_readings_changes_nothing() -> None:
    seen, net = history(), network()
    order = [0, 3, 1, 4, 2]
    parts = ("wd_dof", "bands", "u", "log_error", "contrast", "doubted", "masked", "ago")
    mixed = replace(seen, **{name: getattr(seen, name)[:, order] for name in parts})
    assert np.allclose(net.infer(seen).mass, net.infer(mixed).mass, atol=1e-6)


def test_what_lies_beyond_the_count_is_not_seen() -> None:
    net, seen = network(), replace(history(), count=np.array([2, 3, 5]))
    other = replace(seen, u=np.where(np.arange(5) >= seen.count[:, None], 99.0, seen.u))
    assert np.array_equal(encode(seen), encode(replace(other, u=other.u.astype(np.float32))))
    short = history(readings=5)
    first = replace(
        short,
        **{n: getattr(short, n)[:1, :2] for n in ("wd_dof", "bands", "u", "log_error")},
        **{n: getattr(short, n)[:1, :2] for n in ("contrast", "doubted", "masked", "ago")},
        count=np.array([2]),
        calibrated=short.calibrated[:1],
    )
    assert np.allclose(net.infer(seen).mass[0], net.infer(first).mass[0], atol=1e-6)


def test_probabilities_sum_to_one() -> None:
    told = network().infer(history())
    assert told.mass.sum(axis=1) == pytest.approx(1.0)
    assert told.odds.sum(axis=1) == pytest.approx(1.0)
    assert ((told.nothing > 0.0) & (told.nothing < 1.0)).all()


@given(place=st.floats(-5_000.0, 5_000.0), scale=st.floats(0.5, 2.0))
def test_shares_put_a_place_back_where_it_was(place: float, scale: float) -> None:
    low, upper = shares(np.array([place]))
    top = np.arcsinh(AXIS_DOF)
    mixed = top[low] * (1.0 - upper) + top[low + 1] * upper
    assert np.sinh(mixed)[0] == pytest.approx(place, rel=1e-3, abs=1e-3)
    low, upper = scale_shares(np.array([scale]))
    mixed = np.log(SCALES)[low] * (1.0 - upper) + np.log(SCALES)[low + 1] * upper
    assert np.exp(mixed)[0] == pytest.approx(scale, rel=1e-3)
    assert AXIS_DOF[BINS // 2] == 0.0
