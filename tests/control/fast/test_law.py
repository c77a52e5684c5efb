"""The law of the fast procedure: what it asks of the network, and what it makes of the answer."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from afdaemon.control.fast.law import defocus_law
from afdaemon.control.fast.profile import FastProfile
from afdaemon.control.values import Reading
from afdaemon.models.defocus.state import AXIS_DOF, BINS, SCALES, Posterior
from afdaemon.models.frames.measures import Measures
from afdaemon.models.optics import dof_um, u_of_score

RULES = FastProfile(alpha_mrad=5.0)
MAGNIFICATION = 5_000.0
UNIT_UM = dof_um(MAGNIFICATION, 5e-3)
PLACE = 100
"""The bin in which the one focus lies."""


def reading(wd_um: float, score: float, magnification: float = MAGNIFICATION) -> Reading:
    return Reading(
        wd_um=wd_um,
        magnification=magnification,
        frame=Measures(
            score=score, contrast=0.3, entropy=7.0, expected_error=0.5, bands=(score,) * 18
        ),
    )


class Network:
    """Is certain of one place and one scale, and notes what it was asked."""

    def __init__(self, scale: int = 0) -> None:
        self.asked: dict[str, object] = {}
        self.mass = np.zeros((1, BINS), np.float32)
        self.mass[0, PLACE] = 1.0
        self.odds = np.zeros((1, len(SCALES)), np.float32)
        self.odds[0, scale] = 1.0

    def __call__(self, **asked: object) -> Posterior:
        self.asked = asked
        return Posterior(self.mass, self.odds)


def ask(network: Network, newest_first: Sequence[Reading]) -> None:
    defocus_law(network, RULES)(newest_first)


def test_distances_are_asked_in_depths_of_focus_of_the_newest_magnification() -> None:
    network = Network()
    ask(network, [reading(12_000.0, 5.0), reading(13_000.0, 2.0, magnification=500.0)])
    assert network.asked["wd_dof"] == pytest.approx([12_000.0 / UNIT_UM, 13_000.0 / UNIT_UM])
    assert network.asked["u"] == pytest.approx([u_of_score(5.0), u_of_score(2.0)])
    assert network.asked["log_error"] == pytest.approx([math.log(0.5)] * 2)
    assert network.asked["bands"] == [(5.0,) * 18, (2.0,) * 18]
    assert network.asked["calibrated"] is False


def test_the_answer_is_a_step_in_micrometres() -> None:
    network = Network()
    proposal = defocus_law(network, RULES)([reading(12_000.0, 5.0), reading(12_100.0, 4.0)])
    assert abs(AXIS_DOF[PLACE]) < RULES.capture_range_dof
    assert proposal.step_um == pytest.approx(-AXIS_DOF[PLACE] * UNIT_UM, rel=1e-4)
    assert proposal.confidence == pytest.approx(1.0)
    assert proposal.out_of_capture == pytest.approx(0.0)


def test_a_focus_out_of_capture_range_is_told() -> None:
    network = Network()
    network.mass = np.roll(network.mass, BINS - 1 - PLACE, axis=1)
    proposal = defocus_law(network, RULES)([reading(12_000.0, 0.1)])
    assert proposal.out_of_capture == pytest.approx(1.0)


@pytest.mark.parametrize("scale", range(len(SCALES)))
def test_the_scale_of_the_depth_of_focus_is_told(scale: int) -> None:
    proposal = defocus_law(Network(scale), RULES)([reading(12_000.0, 5.0)])
    assert proposal.dof_scale == pytest.approx(SCALES[scale], rel=1e-6)
