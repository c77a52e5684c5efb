"""Scenes to learn from: labels follow the optics and nothing else, and there is something to focus on."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from afdaemon.sim.datasets.scenes import (
    LabelledFrames,
    Scene,
    Uneven,
    Varied,
    Variety,
    open_scene,
    tells_focus,
)
from afdaemon.sim.imaging.frame import View, crop
from afdaemon.sim.optics import FAST_WIDTH_PX, pixel_um
from afdaemon.sim.specimens.catalogue import TRAINED, UNSEEN, open_specimen
from afdaemon.sim.surface import Patch

VIEW = View(x_um=0.0, y_um=0.0, magnification=2_000.0, width_px=160, height_px=120)
KVS = ((1.0, 30.0), (2.0, 3.0))
PLAIN = Variety(astigmatic_share=0.0, soiled_share=0.0, backscatter_share=0.0)


def scene_of(name: str, variety: Variety = PLAIN, *, seed: int = 1, view: View = VIEW) -> Scene:
    rng = np.random.default_rng(seed)
    return open_scene(name, open_specimen(name, seed=seed), view, variety, rng)


def frames_of(scene: Scene, count: int = 12, seed: int = 5) -> LabelledFrames:
    return scene.frames(count, np.random.default_rng(seed))


def test_the_same_seed_gives_the_same_frames() -> None:
    first, again = (frames_of(scene_of("tin_balls", Variety()), 3) for _ in range(2))
    for name in ("pixels", "blur_px", "wd_um", "brightness", "contrast", "magnification"):
        assert np.array_equal(getattr(first, name), getattr(again, name)), name
    other = frames_of(scene_of("tin_balls", Variety()), 3, seed=6)
    assert not np.array_equal(first.pixels, other.pixels)


def test_labels_follow_the_optics() -> None:
    """b = alpha |WD - WD_best| / pixel, in pixels of a fast-mode frame, whatever the frame's own size."""
    scene = scene_of("tem_grid")
    frames = frames_of(scene)
    away_um = np.abs(frames.wd_um - scene.best_wd_um)
    alpha = scene.imager.optics.alpha_rad
    wanted = alpha * away_um / pixel_um(VIEW.magnification, FAST_WIDTH_PX)
    assert frames.blur_px == pytest.approx(wanted, abs=0.02)
    assert frames.blur_px.max() <= PLAIN.largest_blur_px


def test_astigmatism_counts_as_blur() -> None:
    """In the middle between the line foci there is still the circle of least confusion."""
    stigmatic = replace(PLAIN, astigmatic_share=1.0)
    scene = scene_of("tem_grid", stigmatic)
    frames = frames_of(scene, 24)
    alone = (
        scene.imager.optics.alpha_rad
        * np.abs(frames.wd_um - scene.best_wd_um)
        / pixel_um(VIEW.magnification, FAST_WIDTH_PX)
    )
    assert (frames.blur_px >= alone - 0.02).all()
    assert (frames.blur_px > alone + 0.05).mean() > 0.5


def test_the_detector_does_not_change_the_label() -> None:
    dim = replace(PLAIN, electrons=(20.0, 21.0), contrast=(0.2, 0.21), read_noise=(8.0, 8.1))
    bright = replace(PLAIN, electrons=(3000.0, 3001.0), contrast=(1.8, 1.81))
    faint, strong = (frames_of(scene_of("tin_balls", v), 6) for v in (dim, bright))
    assert np.array_equal(faint.blur_px, strong.blur_px)
    assert not np.array_equal(faint.pixels, strong.pixels)
    assert np.allclose(faint.contrast, 0.2, rtol=0.06)


def test_labels_do_not_depend_on_the_kind_of_probe() -> None:
    """Waves blur what the label takes for sharp, on purpose: a small probe is no defocus."""
    waves = scene_of("tem_grid", replace(PLAIN, wave_share=1.0, kv=(1.0, 1.5)))
    beam = waves.imager.optics.beam
    assert beam is not None
    assert 1.0 <= beam.kv <= 1.5
    frames = frames_of(waves)
    alpha = waves.imager.optics.alpha_rad
    away_um = np.abs(frames.wd_um - waves.best_wd_um)
    wanted = alpha * away_um / pixel_um(VIEW.magnification, FAST_WIDTH_PX)
    assert frames.blur_px == pytest.approx(wanted, abs=0.02)


def test_without_waves_nothing_is_drawn_for_them() -> None:
    """The same seed goes on giving the same scenes."""
    plain, other = (frames_of(scene_of("tin_balls", replace(PLAIN, kv=kv))) for kv in KVS)
    assert np.array_equal(plain.pixels, other.pixels)
    share = np.mean(
        [
            scene_of("ruled", replace(PLAIN, wave_share=0.5), seed=seed).imager.optics.beam is None
            for seed in range(24)
        ]
    )
    assert 0.2 < share < 0.8


def sharpness(frame: NDArray[np.uint8]) -> float:
    """Share of the spread that neighbouring pixels do not have in common."""
    grey = frame.astype(np.float64)
    return float(np.abs(np.diff(grey, axis=1)).mean() / grey.std())


def test_the_sharpest_frames_have_the_smallest_labels() -> None:
    quiet = replace(PLAIN, electrons=(1e4, 1.1e4), read_noise=(0.1, 0.2))
    frames = frames_of(scene_of("tin_balls", quiet), 16)
    order = np.argsort(frames.blur_px)
    values = [sharpness(frames.pixels[at]) for at in order]
    assert min(values[:4]) > max(values[-4:])


def test_frames_carry_the_settings_they_were_taken_with() -> None:
    frames = frames_of(scene_of("gold_nanoparticles", Variety()), 8)
    assert frames.scene == "gold_nanoparticles"
    assert frames.pixels.shape == (8, 120, 160)
    assert (frames.magnification == 2_000.0).all()
    low, high = Variety().brightness
    assert ((frames.brightness >= low) & (frames.brightness <= high)).all()
    assert len(set(frames.brightness.tolist())) > 1


@pytest.mark.parametrize("name", [*TRAINED, *UNSEEN])
def test_a_scene_tells_focus(name: str) -> None:
    scene = scene_of(name, replace(Variety(), soiled_share=1.0), seed=3)
    assert tells_focus(np.ascontiguousarray(crop(scene.imager.sharp(scene.view), scene.view)))


def test_fields_that_tell_nothing() -> None:
    rng = np.random.default_rng(1)
    edges = np.where(np.arange(96) % 24 < 12, 0.3, 0.7) * np.ones((72, 1))
    soft = 0.5 + 0.2 * np.sin(np.arange(96) / 12.0) * np.ones((72, 1))
    flat = 0.5 + 0.005 * rng.standard_normal((72, 96))
    told = [tells_focus(field.astype(np.float32)) for field in (edges, soft, flat)]
    assert told == [True, False, False]


def test_varied_specimens_have_the_contrast_that_they_were_given() -> None:
    patch = Patch(left_um=0.0, top_um=0.0, step_um=0.1, width=160, height=120)
    plain = open_specimen("tem_grid", seed=2)
    drawn = Varied(plain, spread=0.05, grain=0.0, seed=1).draw(patch).secondary
    assert drawn.std() == pytest.approx(0.05, rel=0.05)
    grainy = Varied(plain, spread=0.05, grain=0.1, seed=1).draw(patch).secondary
    assert grainy.std() > 2.0 * drawn.std()
    assert grainy.min() >= 0.0


def test_uneven_ground_lifts_a_specimen_and_changes_nothing_else() -> None:
    patch = Patch(left_um=0.0, top_um=0.0, step_um=0.5, width=320, height=240)
    for name in ("mixture", "tin_balls"):
        level = open_specimen(name, seed=2).draw(patch)
        own = 0.0 if level.height_um is None else level.height_um
        hills, terraces = (
            Uneven(
                open_specimen(name, seed=2), height_um=30.0, cell_um=40.0, steps=steps, seed=1
            ).draw(patch)
            for steps in (0, 3)
        )
        assert (hills.secondary == level.secondary).all()
        assert hills.height_um is not None
        assert terraces.height_um is not None
        assert 10.0 < np.abs(hills.height_um - own).max() <= 30.0 + 1e-3
        assert len(np.unique(np.round(terraces.height_um - own, 2))) == 4


def test_what_has_no_share_takes_nothing_from_the_stream() -> None:
    """Data sets stay what they were, whatever else a frame may have by now."""
    others = replace(
        Variety(),
        quiet_electrons=(1.0, 2.0),
        se_yield=(3.0, 4.0),
        hunting=(0.4, 0.5),
        hunting_frames=(0.1, 0.2),
        drift_px=50.0,
    )
    one, other = (frames_of(scene_of("mixture", variety), 3) for variety in (Variety(), others))
    assert one.pixels.tobytes() == other.pixels.tobytes()


def test_what_has_a_share_is_drawn_from_its_range() -> None:
    always = replace(
        PLAIN,
        quiet_share=1.0,
        bunched_share=1.0,
        hunting_share=1.0,
        interlaced_share=1.0,
        line_averaged_share=1.0,
    )
    scene, rng = scene_of("mixture", always), np.random.default_rng(4)
    pixel_nm = 1000.0 * VIEW.pixel_um
    for _ in range(20):
        raster = scene._raster(rng)
        detector, scan = scene._detector(rng, raster), scene._scanning(rng, raster)
        frame_s = 120 * scan.line_s
        assert 3_000.0 <= detector.electrons <= 30_000.0
        assert 0.1 <= detector.se_yield <= 2.0
        assert 0.01 <= detector.hunting <= 0.1
        assert 0.5 * frame_s <= detector.hunting_s <= 8.0 * frame_s
        assert scan.interlace in {2, 4}
        assert scan.line_average in {2, 4, 8, 16}
        assert scan.line_s == pytest.approx(scan.line_average * 178e-6)
        drift_px = np.array(scan.flaws.drift_nm_per_s) * frame_s / pixel_nm
        assert 0.0 < np.abs(drift_px).max() <= 1.0


def test_a_share_is_that_of_the_frames() -> None:
    some = replace(PLAIN, interlaced_share=0.3, hunting_share=0.2)
    scene, rng = scene_of("mixture", some), np.random.default_rng(4)
    rasters = [scene._raster(rng) for _ in range(400)]
    hunting = [scene._detector(rng, raster).hunting > 0.0 for raster in rasters]
    assert np.mean([raster.interlace > 1 for raster in rasters]) == pytest.approx(0.3, abs=0.06)
    assert np.mean(hunting) == pytest.approx(0.2, abs=0.06)
    assert all(raster.line_average == 1 for raster in rasters)


@pytest.mark.parametrize("name", TRAINED)
def test_over_wd_only_the_focus_changes(name: str) -> None:
    scene = scene_of(
        name, replace(PLAIN, electrons=(3e4, 3e4), read_noise=(0.5, 0.5), jitter_px=0.0)
    )
    away_dof = np.array([-12.0, -3.0, -1.0, 0.0, 1.0, 3.0, 12.0])
    frames = scene.over_wd(away_dof, np.random.default_rng(2))
    detail = [np.diff(frame.astype(np.float64), axis=1).std() for frame in frames]
    assert int(np.argmax(detail)) == 3
    assert detail[0] < detail[1] < detail[2]
    assert detail[6] < detail[5] < detail[4]
    means = [frame.mean() for frame in frames]
    assert np.ptp(means) < 10.0, "one detector setting for all"
