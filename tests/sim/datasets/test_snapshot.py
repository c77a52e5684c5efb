"""Snapshots and the gallery: what the instrument records, and what is told of it."""

import cv2
import numpy as np
import pytest

from afdaemon.sim.datasets.gallery import Gallery, draw, encode, round_length
from afdaemon.sim.datasets.snapshot import take
from afdaemon.sim.errors import OutOfReach, SpecimenError
from afdaemon.sim.instrument.settings import FrameMode, InstrumentSettings
from afdaemon.sim.truth import focus_score


def settings(**changes: object) -> InstrumentSettings:
    values = {"specimen": "tem_grid", "magnification": 2000, "seed": 3, "focus_wd_um": 15_000.0}
    return InstrumentSettings(**(values | changes))  # type: ignore[arg-type]  # a test's shorthand


@pytest.mark.parametrize("specimen", ["tin_balls", "tem_grid", "butterfly_wing"])
def test_a_snapshot_lies_as_far_from_focus_as_was_asked(specimen: str) -> None:
    near, far, short = take(settings(specimen=specimen), [0.0, 8.0, -8.0])
    assert near.defocus_dof == pytest.approx(0.0, abs=0.1)
    assert far.defocus_dof == pytest.approx(8.0, abs=0.1)
    assert short.defocus_dof == pytest.approx(-8.0, abs=0.1)
    assert near.truth.score > 8.9
    # 8 depths of focus = 16 pixels of blur.
    assert far.truth.score == pytest.approx(focus_score(16.0), rel=0.05)
    assert (
        np.abs(np.diff(near.pixels.astype(float))).mean()
        > np.abs(np.diff(far.pixels.astype(float))).mean()
    )


def test_a_snapshot_tells_what_it_shows() -> None:
    (one,) = take(settings(mode=FrameMode.FULL, seed=5), [1.0])
    told = one.as_json()
    assert one.pixels.shape == (480, 640)
    assert (told["width_px"], told["height_px"]) == (640, 480)
    assert told["pixel_nm"] == pytest.approx(127e6 / 2000 / 640)
    assert told["dof_um"] == pytest.approx(2 * 127e3 / 2000 / 320 / 5e-3)
    assert told["specimen"] == "tem_grid"
    assert told["seed"] == 5
    assert one.truth.wd_um - one.truth.focus_wd_um == told["defocus_um"]


def test_the_same_settings_give_the_same_snapshot() -> None:
    one, other = (take(settings(), [2.0])[0] for _ in range(2))
    assert np.array_equal(one.pixels, other.pixels)
    assert one.as_json() == other.as_json()
    (another,) = take(settings(seed=4), [2.0])
    assert not np.array_equal(one.pixels, another.pixels)


def test_a_defocus_beyond_the_lens_is_refused() -> None:
    with pytest.raises(OutOfReach):
        take(settings(magnification=20), [40.0])


SMALL = Gallery(
    specimens=("tin_balls", "empty"), magnifications=(500, 5000), defocus_dof=(0.0, 9.0), seed=2
)


def test_the_sheet_has_a_row_a_specimen_and_a_column_each_view() -> None:
    sheet = draw(SMALL)
    assert sheet.dtype == np.uint8
    rows, columns = 2, 4
    assert sheet.shape[0] == pytest.approx(rows * 205 + 46, abs=2)
    assert sheet.shape[1] == columns * 243
    tiles = [sheet[80:220, 243 * i + 10 : 243 * i + 230] for i in range(columns)]
    sharp = [np.abs(np.diff(tile.astype(float))).mean() for tile in tiles]
    assert sharp[0] > sharp[1]
    assert sharp[2] > sharp[3]
    assert np.array_equal(sheet, draw(SMALL))


def test_what_the_lens_cannot_reach_is_left_black() -> None:
    sheet = draw(Gallery(specimens=("empty",), magnifications=(20,), defocus_dof=(0.0, 60.0)))
    assert sheet[80:220, 10:230].mean() > 40
    assert sheet[80:220, 253:473].mean() < 20


def test_an_unknown_specimen_is_found_out() -> None:
    with pytest.raises(SpecimenError, match="cheese"):
        draw(Gallery(specimens=("cheese",), magnifications=(500,)))


def test_a_sheet_is_made_to_fit() -> None:
    noisy = np.random.default_rng(1).integers(0, 256, (300, 300)).astype(np.uint8)
    whole = encode(noisy, limit_bytes=10**6)
    fitted = encode(noisy, limit_bytes=60_000)
    assert len(fitted) <= 60_000 < len(whole)
    read = cv2.imdecode(np.frombuffer(fitted, np.uint8), cv2.IMREAD_UNCHANGED)
    assert read is not None
    assert read.shape == noisy.shape
    assert np.abs(read.astype(int) - noisy).max() <= 20


@pytest.mark.parametrize(
    ("longest", "length"), [(1.0, 1.0), (1.9, 1.0), (47.0, 20.0), (0.73, 0.5), (5000.0, 5000.0)]
)
def test_scale_bars_have_round_lengths(longest: float, length: float) -> None:
    assert round_length(longest) == pytest.approx(length)
