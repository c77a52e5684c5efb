"""What the service assumes of the optics, held against the simulator's truth and against what files and wires say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.control.fast.profile import FAST
from afdaemon.drivers.bridge import em30_bridge
from afdaemon.drivers.wire import labelled_files
from afdaemon.models import optics
from afdaemon.sim import optics as sim_optics
from afdaemon.sim import truth
from afdaemon.sim.instrument.settings import SCANS, FrameMode, InstrumentSettings

magnifications = st.floats(20.0, 150_000.0)


def test_assumption_and_truth_have_the_same_numbers() -> None:
    assert optics.PICTURE_WIDTH_UM == sim_optics.REFERENCE_WIDTH_UM
    assert optics.PICTURE_WIDTH_UM * 1e3 == em30_bridge.REFERENCE_WIDTH_NM
    assert optics.SAMPLING_WIDTH_PX == sim_optics.FAST_WIDTH_PX == SCANS[FrameMode.FAST].width_px
    assert optics.TOP_SCORE == truth.TOP_SCORE
    assert labelled_files.SCORE_RANGE == (0.0, optics.TOP_SCORE)
    assert optics.HALF_SCORE_RADIUS_PX == truth.HALF_SCORE_RADIUS_PX
    assert InstrumentSettings().alpha_mrad == FAST.alpha_mrad


@given(magnification=magnifications, alpha_mrad=st.floats(0.1, 50.0))
def test_depth_of_focus_is_that_of_the_simulator(magnification: float, alpha_mrad: float) -> None:
    assumed_um = optics.dof_um(magnification, 1e-3 * alpha_mrad)
    true_um = sim_optics.depth_of_focus_um(magnification, 1e-3 * alpha_mrad)
    assert assumed_um == pytest.approx(true_um, rel=1e-12)


@given(magnification=magnifications, width_px=st.integers(64, 8192))
def test_pixels_are_as_large_as_the_simulator_s(magnification: float, width_px: int) -> None:
    true_nm = 1e3 * sim_optics.pixel_um(magnification, width_px)
    assert optics.pixel_nm(magnification, width_px) == pytest.approx(true_nm, rel=1e-12)


@given(magnification=magnifications)
def test_a_field_s_width_gives_its_magnification_back(magnification: float) -> None:
    width_um = optics.pixel_nm(magnification, 640) * 640 / 1e3
    assert optics.magnification_of(width_um) == pytest.approx(magnification, rel=1e-12)


@given(blur_px=st.floats(0.0, 80.0))
def test_labels_are_the_simulator_s_scores(blur_px: float) -> None:
    score = optics.score_of_blur(blur_px)
    assert score == truth.focus_score(blur_px)
    assert optics.blur_of_score(score) == pytest.approx(blur_px, rel=1e-6, abs=1e-6)


def test_the_score_is_half_at_the_radius_and_at_the_depths_of_focus_that_say_so() -> None:
    half = optics.score_of_blur(optics.HALF_SCORE_RADIUS_PX)
    assert half == optics.TOP_SCORE / 2.0
    magnification, alpha_rad = 2_000.0, 5e-3
    away_um = optics.HALF_SCORE_DOF * optics.dof_um(magnification, alpha_rad)
    blur_px = sim_optics.blur_radius_px(away_um, magnification, alpha_rad)
    assert blur_px == pytest.approx(optics.HALF_SCORE_RADIUS_PX)
    assert optics.u_of_score(half) == 0.0


@given(blur_px=st.floats(0.2, 80.0))
def test_u_is_the_logarithm_of_the_blur(blur_px: float) -> None:
    u = optics.u_of_score(optics.score_of_blur(blur_px))
    assert u == pytest.approx(-2.0 * np.log(blur_px / optics.HALF_SCORE_RADIUS_PX), abs=1e-6)


@pytest.mark.parametrize("score", [-1.0, 0.0, 9.0, 10.0])
def test_scores_at_either_end_of_the_scale_have_a_finite_u(score: float) -> None:
    assert abs(optics.u_of_score(score)) == pytest.approx(np.log(8.99 / 0.01))
