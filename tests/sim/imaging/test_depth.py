"""Tilt and relief: parts of a field focus where their height says."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from afdaemon.sim.imaging.depth import LAYER_STEP_PX, LEVEL, MOST_LAYERS, Tilt, layer_step_um, split
from afdaemon.sim.imaging.detector import Detector
from afdaemon.sim.imaging.frame import Imager, View, blur_field
from afdaemon.sim.ops import NUMPY
from afdaemon.sim.optics import Optics, depth_of_focus_um, pixel_um
from afdaemon.sim.surface import Patch, Surface

SIZE = (72, 96)
FIELD = np.random.default_rng(0).random(SIZE, dtype=np.float32)
CLEAN = Detector(electrons=1e7, read_noise=0.0)
VIEW = View(x_um=0.0, y_um=0.0, magnification=5_000.0, width_px=320, height_px=240)
DOF_UM = depth_of_focus_um(5_000.0, 5e-3)


@dataclass(frozen=True)
class Grainy:
    """White grain, none on a `bare_step`; height, backscatter yield and charging as asked."""

    height_um: float | None = None
    step_um: float | None = None
    backscatter: float | None = None
    charging: float | None = None
    grain: float = 0.6
    bare_step: bool = False

    def draw(self, patch: Patch) -> Surface:
        shape = (patch.height, patch.width)

        def full(value: float | None) -> NDArray[np.float32] | None:
            return None if value is None else np.full(shape, value, np.float32)

        height = full(self.height_um)
        if height is not None and self.step_um is not None:
            height[:, patch.width // 2 :] += np.float32(self.step_um)
        grain = np.random.default_rng(7).random(shape, dtype=np.float32)
        if self.bare_step:
            grain[:, patch.width // 2 :] = 0.5
        return Surface(
            secondary=np.float32(0.2) + np.float32(self.grain) * grain,
            backscatter=full(self.backscatter),
            height_um=height,
            charging=full(self.charging),
        )


def sharpness(frame: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Energy of the detail in each column."""
    return np.asarray((np.diff(frame.astype(np.float64), axis=0) ** 2).mean(axis=0))


def exposed(
    specimen: Grainy, *, defocus_um: float, tilt: Tilt = LEVEL, view: View = VIEW
) -> NDArray[np.uint8]:
    imager = Imager(specimen, Optics(), CLEAN, tilt=tilt)
    return imager.expose(view, defocus_um=defocus_um, rng=np.random.default_rng(1))


@given(
    defocus_um=st.floats(-300.0, 300.0),
    height_um=st.floats(-50.0, 50.0),
    radius_um=st.floats(-20.0, 20.0),
)
def test_many_layers_of_one_height_are_one_layer(
    defocus_um: float, height_um: float, radius_um: float
) -> None:
    optics = Optics(astigmatism_um=(radius_um, 3.0))
    ripple = np.linspace(0.0, 1e-3, FIELD.size, dtype=np.float32).reshape(SIZE)
    layers = split(FIELD, np.float32(height_um) + ripple, 2e-4)
    assert len(layers.height_um) > 3
    signal, weight = layers.blurred(optics, defocus_um, 2_000.0, 320)
    frame = NUMPY.irfft2(signal, SIZE) / NUMPY.irfft2(weight, SIZE)
    flat = blur_field(FIELD, optics.blur(defocus_um + height_um, 2_000.0))
    assert np.abs(frame - flat).max() < 1e-3


@given(relief_um=st.floats(0.1, 1e4), step_um=st.floats(0.1, 50.0))
def test_layers_are_close_enough_and_not_too_many(relief_um: float, step_um: float) -> None:
    height = np.linspace(0.0, relief_um, FIELD.size, dtype=np.float32).reshape(SIZE)
    layers = split(FIELD, height, step_um)
    heights = layers.height_um
    assert len(heights) <= MOST_LAYERS
    assert len(heights) in (1, MOST_LAYERS) or np.diff(heights).max() <= step_um * 1.001
    assert layers.spectra.sum(axis=0)[0, 0].real == pytest.approx(FIELD.sum(), rel=1e-4)


@given(alpha_mrad=st.floats(0.1, 50.0))
def test_the_step_keeps_neighbours_within_its_blur(alpha_mrad: float) -> None:
    blur_px = layer_step_um(0.1, 1e-3 * alpha_mrad) * 1e-3 * alpha_mrad / 0.1
    assert LAYER_STEP_PX / 1.5 < blur_px <= LAYER_STEP_PX * 1.001


@pytest.mark.parametrize("height_um", [-30.0, 12.0, 80.0])
def test_what_stands_higher_focuses_at_a_shorter_wd(height_um: float) -> None:
    raised = exposed(Grainy(height_um=height_um), defocus_um=-height_um)
    assert np.abs(raised.astype(int) - exposed(Grainy(), defocus_um=0.0)).max() <= 1
    imager = Imager(Grainy(height_um=height_um), Optics(), CLEAN)
    assert imager.focus_height_um(VIEW) == pytest.approx(height_um)


def test_the_focus_lies_where_the_detail_lies() -> None:
    """Two grounds of equal detail count as they cover; one without detail counts for nothing."""
    even = Imager(Grainy(height_um=0.0, step_um=40.0), Optics(), CLEAN)
    assert even.focus_height_um(VIEW) == pytest.approx(20.0, rel=0.05)
    bare = Imager(Grainy(height_um=0.0, step_um=40.0, bare_step=True), Optics(), CLEAN)
    assert bare.focus_height_um(VIEW) == pytest.approx(0.0, abs=1.0)
    assert Imager(Grainy(), Optics(), CLEAN).focus_height_um(VIEW) == 0.0


def test_a_field_without_any_detail_has_its_mean_height() -> None:
    flat = Imager(Grainy(height_um=0.0, step_um=40.0, grain=0.0), Optics(), CLEAN)
    assert flat.focus_height_um(VIEW) == pytest.approx(20.0, rel=0.05)


def test_each_side_of_a_step_has_its_own_focus() -> None:
    step = Grainy(height_um=0.0, step_um=6.0 * DOF_UM)
    ground, top = (exposed(step, defocus_um=at) for at in (0.0, -6.0 * DOF_UM))
    left, right = slice(0, 140), slice(180, 320)
    assert sharpness(ground)[left].mean() > 20.0 * sharpness(ground)[right].mean()
    assert sharpness(top)[right].mean() > 20.0 * sharpness(top)[left].mean()


def test_no_halo_where_two_heights_meet() -> None:
    """A field of one grey stays of one grey, whatever its relief and focus."""
    height = np.zeros(SIZE, np.float32)
    height[:, 40:] = 300.0
    layers = split(np.full(SIZE, 0.6, np.float32), height, 10.0)
    signal, weight = layers.blurred(Optics(), 40.0, 2_000.0, 320)
    frame = NUMPY.irfft2(signal, SIZE) / NUMPY.irfft2(weight, SIZE)
    assert np.abs(frame - 0.6).max() < 1e-3


@pytest.mark.parametrize("defocus_dof", [-1.0, -0.3, 0.0, 0.8])
@pytest.mark.parametrize("rotation", [0.0, 0.5])
def test_a_tilted_plane_is_sharp_in_a_band_where_theory_says(
    defocus_dof: float, rotation: float
) -> None:
    """Where defocus + tan(angle) x = 0; the scan is turned with the tilt, so x is the frame's own."""
    slope = 2.0 * DOF_UM / (160 * pixel_um(5_000.0))
    tilt = Tilt(angle_rad=math.atan(slope), azimuth_rad=rotation)
    view = View(
        x_um=0.0,
        y_um=0.0,
        magnification=5_000.0,
        width_px=320,
        height_px=240,
        rotation_rad=rotation,
    )
    columns = sharpness(exposed(Grainy(), defocus_um=defocus_dof * DOF_UM, tilt=tilt, view=view))
    sharp = np.where(columns > 0.3 * columns.max(), columns, 0.0)
    middle = float((sharp * np.arange(320)).sum() / sharp.sum())
    assert middle == pytest.approx(159.5 - 160 * defocus_dof / 2.0, abs=8.0)


def test_both_kinds_of_electrons_mix_as_set() -> None:
    specimen, rng = Grainy(backscatter=0.75), np.random.default_rng(0)
    means = []
    for share in (0.0, 0.5, 1.0):
        detector = Detector(electrons=1e7, read_noise=0.0, backscatter=share)
        frame = Imager(specimen, Optics(), detector).expose(VIEW, defocus_um=0.0, rng=rng)
        means.append(frame.mean() / 255.0)
    assert means == pytest.approx([0.5, 0.625, 0.75], abs=0.01)
