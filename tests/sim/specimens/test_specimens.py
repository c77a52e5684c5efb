"""Specimens: places that stay what they are, at their scale, with something to see at every magnification."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from afdaemon.sim.datasets.frames import Recipe
from afdaemon.sim.errors import SpecimenError
from afdaemon.sim.optics import pixel_um
from afdaemon.sim.specimens.catalogue import (
    LAYERS,
    NOTHING,
    SPECIMENS,
    STRANGE,
    STRANGE_TRAINED,
    STRANGE_UNSEEN,
    TRAINABLE,
    TRAINED,
    TRAINING_SPECIMENS,
    UNSEEN,
    open_specimen,
)
from afdaemon.sim.surface import FloatImage, Patch, Surface

SHOWN = (*TRAINED, *UNSEEN)
MAGNIFICATIONS = (20.0, 200.0, 1_000.0, 5_000.0, 20_000.0, 50_000.0)


def patch_at(
    magnification: float, centre_um: tuple[float, float] = (0.0, 0.0), width_px: int = 320
) -> Patch:
    """The field of a frame `width_px` wide, drawn at twice its sampling."""
    step = pixel_um(magnification, width_px) / 2.0
    width, height = 2 * width_px, 3 * width_px // 2
    return Patch(
        left_um=centre_um[0] - 0.5 * width * step,
        top_um=centre_um[1] - 0.5 * height * step,
        step_um=step,
        width=width,
        height=height,
    )


def reduced(image: FloatImage, factor: int) -> FloatImage:
    size = (image.shape[1] // factor, image.shape[0] // factor)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)


def images(surface: Surface) -> dict[str, FloatImage]:
    named = {
        "secondary": surface.secondary,
        "backscatter": surface.backscatter,
        "height_um": surface.height_um,
        "charging": surface.charging,
    }
    return {name: image for name, image in named.items() if image is not None}


@pytest.mark.parametrize("name", [*SHOWN, "tin_balls+dust+scratches+charging"])
@pytest.mark.parametrize("magnification", MAGNIFICATIONS)
def test_every_image_is_finite_of_its_shape_and_single_precision(
    name: str, magnification: float
) -> None:
    patch = patch_at(magnification, (310.0, -40.0), 120)
    for image in images(open_specimen(name, seed=3).draw(patch)).values():
        assert image.shape == (patch.height, patch.width)
        assert image.dtype == np.float32
        assert np.isfinite(image).all()


@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.parametrize("magnification", MAGNIFICATIONS)
def test_brightness_and_contrast_hold_from_20_to_50000(name: str, magnification: float) -> None:
    specimen = open_specimen(name, seed=8)
    places = [(0.0, 0.0), (731.0, 212.0), (-1_530.0, 77.0), (94.0, -940.0)]
    fields = [reduced(specimen.draw(patch_at(magnification, at)).secondary, 2) for at in places]
    assert 0.25 < np.mean([field.mean() for field in fields]) < 0.62
    assert min(field.std() for field in fields) > 0.05
    assert all(0.1 < field.mean() < 0.75 for field in fields)


@pytest.mark.parametrize("name", [*TRAINED, *UNSEEN])
@pytest.mark.parametrize("magnification", [200.0, 1_000.0, 5_000.0, 20_000.0])
def test_a_place_is_the_same_at_twice_the_magnification(name: str, magnification: float) -> None:
    specimen = open_specimen(name, seed=5)
    wide = specimen.draw(patch_at(magnification, (61.0, 17.0))).secondary[120:360, 160:480]
    narrow = reduced(specimen.draw(patch_at(2 * magnification, (61.0, 17.0))).secondary, 2)
    smooth_wide, smooth_narrow = (cv2.GaussianBlur(image, (0, 0), 3.0) for image in (wide, narrow))
    assert np.corrcoef(smooth_wide.ravel(), smooth_narrow.ravel())[0, 1] > 0.7


@pytest.mark.parametrize("name", [*SHOWN, "empty"])
def test_seeds_and_places_differ_and_the_same_are_the_same(name: str) -> None:
    here = patch_at(3_000.0, width_px=80)
    drawn = open_specimen(name, seed=1).draw(here).secondary
    assert np.array_equal(drawn, open_specimen(name, seed=1).draw(here).secondary)
    assert not np.array_equal(drawn, open_specimen(name, seed=2).draw(here).secondary)
    away = patch_at(3_000.0, (4_000.0, 0.0), 80)
    assert not np.array_equal(drawn, open_specimen(name, seed=1).draw(away).secondary)


@pytest.mark.parametrize("name", [*SHOWN, "tem_grid+dust+scratches+charging"])
@pytest.mark.parametrize("magnification", [100.0, 2_000.0, 30_000.0])
def test_neighbouring_patches_fit_without_a_seam(name: str, magnification: float) -> None:
    specimen = open_specimen(name, seed=4)
    whole = patch_at(magnification, (25.0, -33.0), 160)
    cut = 131
    parts = [
        specimen.draw(
            Patch(
                left_um=whole.left_um + start * whole.step_um,
                top_um=whole.top_um,
                step_um=whole.step_um,
                width=width,
                height=whole.height,
            )
        )
        for start, width in ((0, cut), (cut, whole.width - cut))
    ]
    for key, image in images(specimen.draw(whole)).items():
        joined = np.hstack([images(part)[key] for part in parts])
        scale = max(1.0, float(np.abs(image).max()))
        assert np.mean(np.abs(joined - image) > 2e-3 * scale) < 1e-3, key
        at_cut = np.abs(joined - image)[:, cut - 30 : cut + 30]
        assert np.mean(at_cut > 2e-3 * scale) < 2e-3, key


def period_um(profile: NDArray[np.floating], step_um: float, longest_um: float) -> float:
    """Period of a profile: the strongest line of its spectrum below `longest_um`, refined by its neighbours."""
    windowed = (profile - profile.mean()) * np.hanning(profile.size)
    power = np.abs(np.fft.rfft(windowed, 8 * profile.size)) ** 2
    frequency = np.fft.rfftfreq(8 * profile.size, step_um)
    power[frequency < 1.0 / longest_um] = 0.0
    return float(1.0 / frequency[int(np.argmax(power))])


@pytest.mark.parametrize("magnification", [100.0, 200.0, 400.0])
def test_grid_bars_have_the_pitch_of_400_mesh(magnification: float) -> None:
    patch = patch_at(magnification)
    field = open_specimen("tem_grid", seed=2).draw(patch).secondary
    for axis in (0, 1):
        assert period_um(field.mean(axis=axis), patch.step_um, 100.0) == pytest.approx(
            62.5, rel=0.02
        )


@pytest.mark.parametrize("magnification", [3_000.0, 5_000.0, 8_000.0])
def test_ridges_of_a_scale_lie_two_um_apart(magnification: float) -> None:
    patch = patch_at(magnification, (12.0, 20.0))
    field = open_specimen("butterfly_wing", seed=6).draw(patch).secondary
    size = 4096
    power = np.abs(np.fft.fft2(field - field.mean(), (size, size))) ** 2
    frequency = np.hypot(*np.meshgrid(*2 * (np.fft.fftfreq(size, patch.step_um),)))
    power[(frequency < 0.25) | (frequency > 1.0)] = 0.0
    assert 1.0 / frequency.ravel()[int(np.argmax(power))] == pytest.approx(2.0, rel=0.12)


def test_yarns_repeat_after_two_pitches() -> None:
    patch = patch_at(30.0)
    field = open_specimen("woven_fabric", seed=1).draw(patch)
    assert field.height_um is not None
    line = field.height_um[:, :].mean(axis=0)
    assert period_um(line, patch.step_um, 450.0) == pytest.approx(300.0, rel=0.03)


def test_balls_stand_up_by_their_radius() -> None:
    surface = open_specimen("tin_balls", seed=1).draw(patch_at(1_000.0))
    assert surface.height_um is not None
    assert surface.height_um.min() == 0.0
    assert 5.0 < surface.height_um.max() < 40.0
    assert surface.height_um[surface.height_um > 0.0].size > 0.05 * surface.height_um.size


def test_grid_bars_stand_above_the_film() -> None:
    surface = open_specimen("tem_grid", seed=1).draw(patch_at(400.0))
    assert surface.height_um is not None
    assert surface.backscatter is not None
    bars, film = surface.height_um > 18.0, surface.height_um < 1.0
    assert 0.3 < bars.mean() < 0.75
    assert 0.15 < film.mean() < 0.6
    assert surface.backscatter[bars].mean() > 2.0 * surface.backscatter[film].mean()


@pytest.mark.parametrize("name", ["tin_balls", "gold_nanoparticles"])
def test_heavy_metal_is_bright_in_backscatter(name: str) -> None:
    magnification = 20_000.0 if name.startswith("gold") else 2_000.0
    surface = open_specimen(name, seed=7).draw(patch_at(magnification))
    assert surface.backscatter is not None
    assert surface.height_um is not None
    assert surface.backscatter.min() < 0.25
    assert np.percentile(surface.backscatter, 99) > 0.6
    raised = surface.height_um > 0.3 * surface.height_um.max()
    assert surface.backscatter[raised].mean() > 1.2 * surface.backscatter.mean()


def test_relief_of_scales_and_cloth_is_that_of_scales_and_cloth() -> None:
    wing = open_specimen("butterfly_wing", seed=1).draw(patch_at(300.0)).height_um
    cloth = open_specimen("woven_fabric", seed=1).draw(patch_at(100.0)).height_um
    assert wing is not None
    assert cloth is not None
    assert 6.0 < np.ptp(wing) < 60.0
    assert 80.0 < np.ptp(cloth) < 300.0


def test_an_empty_field_shows_next_to_nothing() -> None:
    for magnification in MAGNIFICATIONS:
        field = open_specimen("empty", seed=2).draw(patch_at(magnification)).secondary
        assert 0.0 < field.std() < 0.015
        assert 0.2 < field.mean() < 0.5


@pytest.mark.parametrize("layer", LAYERS)
def test_each_layer_changes_what_lies_below_it(layer: str) -> None:
    patch = patch_at(1_000.0)
    clean = open_specimen("tem_grid", seed=3).draw(patch)
    soiled = open_specimen(f"tem_grid+{layer}", seed=3).draw(patch)
    changed = np.abs(soiled.secondary - clean.secondary) > 0.05
    assert 0.002 < changed.mean() < 0.7
    assert soiled.charging is not None
    assert (soiled.charging.max() > 0.1) == (layer in {"dust", "charging"})
    assert soiled.charging.min() >= 0.0
    assert soiled.charging.max() <= 1.0


def test_dust_stands_above_what_it_lies_on_and_scratches_lie_below() -> None:
    patch = patch_at(1_000.0)
    clean = open_specimen("gold_nanoparticles", seed=3).draw(patch).height_um
    dusty = open_specimen("gold_nanoparticles+dust", seed=3).draw(patch).height_um
    scratched = open_specimen("gold_nanoparticles+scratches", seed=3).draw(patch).height_um
    assert clean is not None
    assert dusty is not None
    assert scratched is not None
    assert (dusty - clean).min() >= 0.0
    assert (dusty - clean).max() > 1.0
    assert (scratched - clean).min() < -0.05


def test_nothing_unseen_is_trained_on() -> None:
    assert set(UNSEEN) == {"butterfly_wing", "woven_fabric"}
    assert not set(UNSEEN) & set(TRAINED)
    assert set(TRAINING_SPECIMENS) == set(TRAINED)
    assert set(Recipe().weights) <= {*TRAINABLE, "micrograph"}
    assert set(TRAINABLE) == {*TRAINED, *STRANGE_TRAINED, NOTHING}
    assert {*STRANGE_TRAINED, *STRANGE_UNSEEN} == set(STRANGE)
    assert not set(TRAINABLE) & {*UNSEEN, *STRANGE_UNSEEN}
    assert {*TRAINABLE, *UNSEEN, *STRANGE} == set(SPECIMENS)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("tin_bals", "'tin_bals'"),
        ("", "''"),
        ("tin_balls+rust", "'rust'"),
        ("tin_balls+rust+dust", "'rust'"),
        ("+dust", "''"),
    ],
)
def test_a_bad_name_is_told_with_the_good_ones(name: str, told: str) -> None:
    with pytest.raises(SpecimenError, match=told) as refused:
        open_specimen(name, seed=0)
    assert all(good in refused.value.remedy for good in (*SPECIMENS, *LAYERS, "image:"))


def test_a_file_may_have_plus_signs_in_its_name() -> None:
    with pytest.raises(SpecimenError, match=r"a\+b\.png cannot be read"):
        open_specimen("image:/nowhere/a+b.png+dust", seed=0)


@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.parametrize("magnification", MAGNIFICATIONS)
def test_a_strange_specimen_has_something_to_see_everywhere(
    name: str, magnification: float
) -> None:
    for seed in range(4):
        patch = patch_at(magnification, (310.0, -40.0), 120)
        image = open_specimen(name, seed=seed).draw(patch).secondary
        assert image.shape == (patch.height, patch.width)
        assert image.dtype == np.float32
        assert np.isfinite(image).all()
        assert 0.0 <= image.min() < image.max() <= 1.2
        assert image.std() > 0.02


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_specimen_is_the_same_from_one_patch_to_the_next(name: str) -> None:
    specimen, whole = open_specimen(name, seed=5), patch_at(2_000.0)
    part = replace(whole, left_um=whole.left_um + 100 * whole.step_um, width=200, height=150)
    image = specimen.draw(whole).secondary[:150, 100:300]
    assert np.abs(image - specimen.draw(part).secondary).mean() < 0.01


@pytest.mark.parametrize("name", ["facets", "section", "lattice"])
@pytest.mark.parametrize("magnification", MAGNIFICATIONS)
def test_new_edges_are_sharp_to_the_pixel_at_every_magnification(
    name: str, magnification: float
) -> None:
    """Along the lines or across them, some neighbouring pixels of a frame differ by as much as the field does."""
    for seed in range(3):
        field = reduced(open_specimen(name, seed=seed).draw(patch_at(magnification)).secondary, 2)
        steps = [np.percentile(np.abs(np.diff(field, axis=axis)), 99) for axis in (0, 1)]
        assert max(steps) > 0.7 * field.std()


def test_faces_are_smooth_and_their_edges_of_different_heights() -> None:
    for seed in range(4):
        field = reduced(open_specimen("facets", seed=seed).draw(patch_at(2_000.0)).secondary, 2)
        steps = np.abs(np.diff(field, axis=1)).ravel()
        assert np.median(steps) < 0.008, "hardly any texture"
        edges = steps[steps > 0.02]
        assert 0.005 < edges.size / steps.size < 0.3
        assert np.percentile(edges, 90) > 2.0 * np.percentile(edges, 10)


def test_a_section_has_little_contrast_at_several_scales() -> None:
    for seed in range(4):
        field = reduced(open_specimen("section", seed=seed).draw(patch_at(2_000.0)).secondary, 2)
        assert 0.02 < field.std() < 0.14
        assert 0.2 < field.mean() < 0.65
        coarse = [cv2.GaussianBlur(field, (0, 0), sigma) for sigma in (1.0, 3.0, 9.0)]
        bands = [np.std(a - b) for a, b in zip([field, *coarse], coarse, strict=False)]
        assert min(bands) > 0.15 * field.std()


def test_lattices_have_periods_from_3_pixels_and_lines_among_them() -> None:
    periods_px, shares = [], []
    for seed in range(60):
        field = reduced(open_specimen("lattice", seed=seed).draw(patch_at(2_000.0)).secondary, 2)
        power = np.abs(np.fft.rfft2(field - field.mean()))
        frequency = np.hypot(*np.meshgrid(np.fft.rfftfreq(320), np.fft.fftfreq(240)))
        periods_px.append(1.0 / frequency.ravel()[int(np.argmax(power))])
        angles = np.arctan2(*np.meshgrid(np.fft.fftfreq(240), np.fft.rfftfreq(320), indexing="ij"))
        own = angles.ravel()[int(np.argmax(power))]
        across = np.abs(np.cos(angles - own)) < 0.5
        shares.append(power[across].max() / power.max())
    assert min(periods_px) < 4.5
    assert max(periods_px) > 50.0
    assert 0.2 < np.mean(np.array(shares) < 0.25) < 0.6, "lines have one direction"
