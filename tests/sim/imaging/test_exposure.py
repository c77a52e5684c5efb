"""One exposure, whole: the same bytes from the same arguments, flaws as set, nothing where there are none."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from afdaemon.sim.imaging.detector import Detector
from afdaemon.sim.imaging.frame import Imager, View, crop, sharp_field
from afdaemon.sim.imaging.scan import FLAWLESS, ScanFlaws, Scanning
from afdaemon.sim.optics import Optics
from afdaemon.sim.surface import Patch, Surface

CLEAN = Detector(electrons=1e7, read_noise=0.0)
LINE_S = 178e-6


def view(*, x_um: float = 0.0, rotation: float = 0.0, magnification: float = 20_000.0) -> View:
    return View(
        x_um=x_um,
        y_um=0.0,
        magnification=magnification,
        width_px=320,
        height_px=240,
        rotation_rad=rotation,
    )


@dataclass(frozen=True)
class Stripes:
    """Stripes of a sine, `period_um` wide, upright; a spot at the origin may charge."""

    period_um: float
    charges: bool = False

    def draw(self, patch: Patch) -> Surface:
        x = patch.left_um + (np.arange(patch.width) + 0.5) * patch.step_um
        y = patch.top_um + (np.arange(patch.height) + 0.5) * patch.step_um
        stripes = 0.5 + 0.3 * np.sin(2.0 * np.pi * x / self.period_um)[None, :]
        spot = np.hypot(x[None, :], y[:, None]) < 10 * 2 * patch.step_um
        return Surface(
            secondary=np.repeat(stripes, patch.height, axis=0).astype(np.float32),
            charging=spot.astype(np.float32) if self.charges else None,
        )


def exposed(
    specimen: Stripes,
    at: View,
    *,
    scan: Scanning | None = None,
    seed: int = 1,
    defocus_um: float = 0.0,
) -> NDArray[np.uint8]:
    imager = Imager(specimen, Optics(probe_nm=0.0), CLEAN)
    return imager.expose(at, defocus_um=defocus_um, rng=np.random.default_rng(seed), scan=scan)


def stripe_shift_px(frame: NDArray[np.uint8], period_px: float) -> NDArray[np.float64]:
    """How far left the stripes lie in each line, from their phase."""
    x = np.arange(frame.shape[1]) + 0.5
    wave = np.exp(-2j * np.pi * x / period_px)
    phase = np.unwrap(np.angle(frame.astype(np.float64) @ wave))
    return np.asarray((phase - phase.mean()) * period_px / (2.0 * np.pi))


def test_hum_bends_the_lines_by_its_amplitude_at_its_period() -> None:
    """Measured in the frame: 160 periods of 20 pixels, each line's phase."""
    at = view()
    amplitude_px = 0.8
    flaws = ScanFlaws(
        jitter_nm=0.0,
        hum_nm=1000.0 * amplitude_px * at.pixel_um,
        hum_hz=50.0,
        vibration_nm=0.0,
        drift_nm_per_s=(0.0, 0.0),
    )
    frame = exposed(Stripes(20 * at.pixel_um), at, scan=Scanning(flaws=flaws, line_s=LINE_S))
    shift = stripe_shift_px(frame, 20.0)
    turns = 2.0 * np.pi * 50.0 * (np.arange(240) + 0.5) * LINE_S
    basis = np.stack([np.sin(turns), np.cos(turns), np.ones(240)], axis=1)
    fitted, residual = np.linalg.lstsq(basis, shift)[:2]
    assert math.hypot(*fitted[:2]) == pytest.approx(amplitude_px, rel=0.02)
    assert residual[0] / 240 < 1e-3


def test_drift_leans_upright_stripes() -> None:
    at = view()
    px_per_line = 0.05
    flaws = ScanFlaws(
        jitter_nm=0.0,
        hum_nm=0.0,
        vibration_nm=0.0,
        drift_nm_per_s=(1000.0 * px_per_line * at.pixel_um / LINE_S, 0.0),
    )
    frame = exposed(Stripes(20 * at.pixel_um), at, scan=Scanning(flaws=flaws, line_s=LINE_S))
    slope = np.polyfit(np.arange(240), stripe_shift_px(frame, 20.0), 1)[0]
    assert slope == pytest.approx(px_per_line, rel=0.02)


def test_drift_tears_the_fields_of_an_interlaced_frame_apart() -> None:
    at, px_per_line = view(), 0.01
    flaws = replace(FLAWLESS, drift_nm_per_s=(1000.0 * px_per_line * at.pixel_um / LINE_S, 0.0))
    scan = Scanning(flaws=flaws, line_s=LINE_S, interlace=2)
    shift = stripe_shift_px(exposed(Stripes(20 * at.pixel_um), at, scan=scan), 20.0)
    assert (shift[1::2] - shift[0::2]).mean() == pytest.approx(120 * px_per_line, rel=0.02)
    assert np.polyfit(np.arange(120), shift[0::2], 1)[0] == pytest.approx(px_per_line, rel=0.05)


def test_averaged_lines_have_less_noise_and_a_detector_that_hunts_shows_in_them() -> None:
    at = view()
    imager = Imager(
        Stripes(1e9), Optics(), Detector(electrons=50.0, hunting=0.1, hunting_s=240 * 4 * LINE_S)
    )
    scan = Scanning(flaws=FLAWLESS, line_s=4 * LINE_S, line_average=4)
    frame = imager.expose(at, defocus_um=0.0, rng=np.random.default_rng(1), scan=scan)
    lines = frame.astype(float).mean(axis=1)
    turns = 2.0 * np.pi * (np.arange(240) + 0.5) / 240
    assert lines == pytest.approx(127.5 - 25.5 * np.cos(turns), abs=3.0)
    counted = 255.0 * np.sqrt(0.5 / (4 * 50.0))
    assert (frame - lines[:, None]).std() == pytest.approx(counted, rel=0.05)


def test_a_scan_without_flaws_is_no_scan_at_all() -> None:
    at = view()
    plain = exposed(Stripes(0.7), at)
    scanned = exposed(Stripes(0.7), at, scan=Scanning(flaws=FLAWLESS, start_s=9.0))
    assert np.abs(plain.astype(int) - scanned).max() <= 1


def test_what_charges_is_bright_and_leaves_streaks_to_its_right() -> None:
    at = view(magnification=1_000.0)
    flaws = ScanFlaws(charging=0.3)
    scan = Scanning(flaws=flaws)
    calm, charged = (
        exposed(Stripes(1e9, charges=charges), at, scan=scan).astype(int)
        for charges in (False, True)
    )
    change = charged - calm
    assert change[115:125, 155:165].mean() > 40
    assert np.abs(change[115:125, :140]).max() <= 2
    assert np.abs(change[:100]).max() <= 2
    assert np.abs(change[112:128, 175:200]).mean() > 2.0


def test_what_charges_is_as_blurred_as_the_rest() -> None:
    """A spot with sharp borders on nothing: off focus no step is left, in the spot and in its streaks."""
    at = view(magnification=1_000.0)
    scan = Scanning(flaws=ScanFlaws(charging=0.3))
    spot = Stripes(1e9, charges=True)
    sharp, blurred = (
        np.diff(exposed(spot, at, scan=scan, defocus_um=defocus_um).astype(int), axis=1)
        for defocus_um in (0.0, 2000.0)
    )
    assert np.abs(sharp).max() > 30
    assert np.abs(blurred).max() < 0.2 * np.abs(sharp).max()


@pytest.mark.parametrize("rotation", [0.3, -1.0, math.pi / 2])
def test_a_turned_scan_sees_a_turned_specimen(rotation: float) -> None:
    """Stripes along the stage's x: a pixel (u, v) lies at u cos - v sin."""
    at = view(rotation=rotation)
    frame = exposed(Stripes(40 * at.pixel_um), at).astype(np.float64)
    u = (np.arange(320) - 159.5)[None, :]
    v = (np.arange(240) - 119.5)[:, None]
    place_px = u * math.cos(rotation) - v * math.sin(rotation)
    expected = 127.5 + 0.3 * 255.0 * np.sin(2.0 * np.pi * place_px / 40.0)
    assert np.abs(frame - expected)[20:-20, 20:-20].max() < 6.0


def test_kept_views_give_what_fresh_ones_give() -> None:
    specimen = Stripes(1.3)
    views = [view(x_um=0.1 * k) for k in range(7)]
    keeping = Imager(specimen, Optics(), Detector())
    for at in [*views, *views]:
        frame = keeping.expose(at, defocus_um=3.0, rng=np.random.default_rng(5))
        fresh = Imager(specimen, Optics(), Detector())
        assert (frame == fresh.expose(at, defocus_um=3.0, rng=np.random.default_rng(5))).all()


def test_another_focus_or_detector_leaves_the_next_frames_noise_alone() -> None:
    """What a frame takes from the stream depends on its size alone."""
    imager, after = Imager(Stripes(0.5), Optics(), Detector()), []
    for defocus_um, contrast in ((0.0, 1.0), (55.0, 0.3)):
        rng = np.random.default_rng(2)
        imager.detector = Detector(contrast=contrast)
        imager.expose(view(), defocus_um=defocus_um, rng=rng, scan=Scanning())
        after.append(rng.random())
    assert after[0] == after[1]


def test_the_frame_lies_in_the_middle_of_its_field() -> None:
    at = view()
    field = sharp_field(Stripes(20 * at.pixel_um), at)
    assert crop(field, at).shape == (240, 320)
    assert exposed(Stripes(20 * at.pixel_um), at).mean() == pytest.approx(127.5, abs=1.0)
