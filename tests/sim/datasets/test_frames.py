"""Frames with their truth, without end: repeatable, labelled by defocus alone, no micrograph in two parts."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from afdaemon.sim.datasets import frames as dataset
from afdaemon.sim.datasets.frames import (
    HARSH,
    Recipe,
    Scenery,
    find_micrographs,
    held_back,
    micrograph_at,
    stream,
)
from afdaemon.sim.datasets.scenes import LabelledFrames, Scene
from afdaemon.sim.datasets.series import focus_series, offsets_dof
from afdaemon.sim.optics import depth_of_focus_um, pixel_um
from afdaemon.sim.specimens.micrograph import load_micrograph

RECIPE = Recipe(weights={"ruled": 1.0}, frames_at_once=3, window_px=96)
PLAIN = replace(
    RECIPE,
    variety=replace(HARSH, wave_share=0.0),
    averaged_share=0.0,
    noisy_share=0.0,
    compressed_share=0.0,
    varied_share=0.0,
)


def drawn(recipe: Recipe, count: int, seed: int, *micrographs: Path) -> list[LabelledFrames]:
    return list(islice(stream(recipe, micrographs, seed=seed), count))


def test_the_same_seed_draws_the_same_frames() -> None:
    first, again = (drawn(RECIPE, 3, seed=7) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        assert (a.pixels == b.pixels).all()
        assert (a.blur_px == b.blur_px).all()
    (other,) = drawn(RECIPE, 1, seed=8)
    assert first[0].pixels.tobytes() != other.pixels.tobytes()


def test_each_frame_gives_two_windows_of_one_label() -> None:
    (frames,) = drawn(RECIPE, 1, seed=7)
    assert frames.pixels.shape == (6, 96, 96)
    for name in ("blur_px", "wd_um", "brightness", "contrast", "magnification"):
        values = getattr(frames, name)
        assert (values[0::2] == values[1::2]).all(), name
    (whole,) = drawn(replace(RECIPE, window_px=None), 1, seed=7)
    assert whole.pixels.shape == (3, 240, 320)


def test_labels_cover_focus_and_far_away() -> None:
    many = replace(PLAIN, frames_at_once=24, window_px=32)
    blur_px = np.concatenate([frames.blur_px for frames in drawn(many, 3, seed=3)])
    assert (blur_px >= 0.0).all()
    assert (blur_px < 3.0).mean() > 0.1
    assert (blur_px > 16.0).mean() > 0.1


def finest(frames: LabelledFrames) -> NDArray[np.float64]:
    """Mean step from one pixel to the next, in grey levels."""
    steps = np.abs(np.diff(frames.pixels.astype(np.float64), axis=2))
    return np.asarray(steps.mean(axis=(1, 2)), np.float64)


def test_averaging_counts_as_blur_and_noise_and_compression_do_not() -> None:
    quiet = replace(
        PLAIN, variety=replace(HARSH, electrons=(2_000.0, 3_000.0), contrast=(0.5, 1.0))
    )
    (clean,) = drawn(quiet, 1, seed=2)
    (noisy,) = drawn(replace(quiet, noisy_share=1.0), 1, seed=2)
    assert (noisy.blur_px == clean.blur_px).all()
    assert (finest(noisy) > finest(clean) + 1.0).all()
    (compressed,) = drawn(replace(quiet, compressed_share=1.0), 1, seed=2)
    (averaged,) = drawn(replace(quiet, averaged_share=1.0), 1, seed=2)
    assert (compressed.blur_px == clean.blur_px).all()
    assert (averaged.blur_px > clean.blur_px).all()
    assert (averaged.blur_px <= np.hypot(clean.blur_px, 3.0)).all()


def test_the_lower_the_quality_the_more_is_lost() -> None:
    lost = []
    (clean,) = drawn(PLAIN, 1, seed=2)
    for quality in (98, 60):
        recipe = replace(PLAIN, compressed_share=1.0, qualities=(quality, quality))
        (compressed,) = drawn(recipe, 1, seed=2)
        lost.append(np.abs(compressed.pixels.astype(int) - clean.pixels).mean())
    assert lost[1] > 2.0 * lost[0] > 0.0


def test_training_meets_every_way_to_scan_and_to_count() -> None:
    assert (HARSH.bunched_share, HARSH.hunting_share) == (0.3, 0.2)
    assert (HARSH.interlaced_share, HARSH.line_averaged_share) == (0.1, 0.1)
    assert HARSH.quiet_electrons[1] == 30_000.0
    assert HARSH.quiet_share > 0.0
    assert Recipe().qualities[0] == 60
    assert Recipe().weights["facets"] == 0.05


def test_uneven_ground_is_drawn_only_where_it_is_asked_for() -> None:
    def heights_dof(share: float) -> list[float]:
        recipe = replace(
            PLAIN, uneven_share=share, variety=replace(PLAIN.variety, soiled_share=0.0)
        )
        scenery = Scenery(recipe, [], np.random.default_rng(1))
        scenes = [scenery.next_scene() for _ in range(6)]
        return [
            abs(scene.imager.focus_height_um(scene.view))
            / depth_of_focus_um(scene.view.magnification, 5e-3)
            for scene in scenes
        ]

    assert max(heights_dof(0.0)) < 0.05
    assert np.mean(heights_dof(1.0)) > 0.1
    assert max(heights_dof(1.0)) < 3.0


def test_scenes_are_kept_and_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """One in `draws_every` is new; the others come from the last `kept_scenes`."""
    made: list[Scene] = []
    used: list[Scene] = []
    real_next, real_frames = Scenery.next_scene, Scene.frames

    def next_scene(scenery: Scenery) -> Scene:
        made.append(real_next(scenery))
        return made[-1]

    def frames(scene: Scene, count: int, rng: np.random.Generator) -> LabelledFrames:
        used.append(scene)
        return real_frames(scene, count, rng)

    monkeypatch.setattr(Scenery, "next_scene", next_scene)
    monkeypatch.setattr(Scene, "frames", frames)
    drawn(replace(RECIPE, frames_at_once=1, draws_every=3, kept_scenes=2), 12, seed=1)
    assert len(made) == 4
    assert used[0::3] == made
    for turn, scene in enumerate(used):
        assert scene in made[max(0, turn // 3 - 1) : turn // 3 + 1]
    assert len({id(scene) for scene in used}) == 4


def micrograph_file(path: Path, period_px: int) -> Path:
    """Stripes, to be told from others by their width."""
    path.parent.mkdir(parents=True, exist_ok=True)
    row = np.where(np.arange(480) % period_px < period_px // 2, 40, 200)
    cv2.imwrite(str(path), np.tile(row, (320, 1)).astype(np.uint8))
    return path


def test_without_micrographs_none_is_drawn_and_with_them_they_are(tmp_path: Path) -> None:
    half = replace(RECIPE, weights={"ruled": 0.5, "micrograph": 0.5}, draws_every=1)
    assert {frames.scene for frames in drawn(half, 4, seed=1)} == {"ruled"}
    picture = micrograph_file(tmp_path / "a" / "one.png", 24)
    assert {frames.scene for frames in drawn(half, 6, 1, picture)} == {"ruled", "micrograph"}


def test_a_micrograph_is_reduced_by_as_much_as_was_asked(tmp_path: Path) -> None:
    loaded = load_micrograph(micrograph_file(tmp_path / "one.png", 24))
    for magnification in (500.0, 20_000.0):
        at = micrograph_at(loaded, magnification, reduction=4.0)
        assert pixel_um(magnification) / at.pixel_um == pytest.approx(4.0)


def test_a_quarter_of_the_micrographs_is_held_back_by_name() -> None:
    names = [Path(f"folder/{i}.png") for i in range(400)]
    share = np.mean([held_back(name) for name in names])
    assert 0.15 < share < 0.35
    assert [held_back(n) for n in names] == [held_back(Path("/elsewhere") / n) for n in names]


def test_held_back_micrographs_are_never_in_the_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What training opens of a folder of micrographs is none of those that are held back."""
    from afdaemon.cli.train.common import split_micrographs

    for number in range(12):
        micrograph_file(tmp_path / "set" / f"{number}.png", 12 + number)
    used, kept = split_micrographs(tmp_path)
    assert sorted(used + kept) == find_micrographs(tmp_path)
    assert kept == [path for path in find_micrographs(tmp_path) if held_back(path)]
    assert len(kept) >= 1
    opened: list[Path] = []

    def load(path: Path) -> object:
        opened.append(path)
        return load_micrograph(path)

    monkeypatch.setattr(dataset, "load_micrograph", load)
    drawn(replace(RECIPE, weights={"micrograph": 1.0}, frames_at_once=1), 1, 1, *used)
    assert opened == used
    assert not set(opened) & set(kept)


def test_training_frames_are_harsher_than_those_of_the_data_set() -> None:
    usual = HARSH.__class__()
    for name in ("electrons", "contrast", "brightness", "gamma", "read_noise"):
        low, high = getattr(usual, name)
        assert getattr(HARSH, name)[0] <= low, name
        assert getattr(HARSH, name)[1] >= high, name


def test_a_focus_series_is_sharpest_in_its_middle() -> None:
    series = next(focus_series([], seed=5))
    spread = series.pixels.astype(np.float64).std(axis=(1, 2))
    middle = len(offsets_dof()) // 2
    assert series.offset_um[middle] == 0.0
    assert spread[middle - 2 : middle + 3].mean() > 1.1 * spread[[0, 1, -2, -1]].mean()
