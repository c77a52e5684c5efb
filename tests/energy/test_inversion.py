"""From series to layers: exact without noise, honest with it, and plain words for what cannot be."""

import numpy as np
import pytest

from afdaemon.energy.inversion.denoise import non_local_means, without
from afdaemon.energy.inversion.dictionary import Dictionary, best_sd_nm, dictionary, stacked
from afdaemon.energy.inversion.local import local_search
from afdaemon.energy.inversion.posterior import posterior
from afdaemon.energy.inversion.scales import Scaled, fit_scales
from afdaemon.energy.inversion.search import global_search
from afdaemon.energy.metrics import agreement
from afdaemon.energy.physics.bulk import AnalyticPhysics
from afdaemon.energy.physics.forward import ENERGIES_KEV, REPORT_ENERGIES_KEV, Forward
from afdaemon.energy.physics.noise import Noise, taken
from afdaemon.energy.physics.report import ReportPhysics
from afdaemon.energy.physics.scattering import Floats
from afdaemon.energy.specimens.errors import SeriesError, StackError
from afdaemon.energy.specimens.materials import ALUMINIUM, COPPER
from afdaemon.energy.specimens.stacks import Layer, Stack
from afdaemon.energy.specimens.structures import Split, random_layers, volume_of
from afdaemon.energy.table import monte_carlo

NOISE = Noise()
PHYSICS: dict[str, tuple[Forward, Floats]] = {
    "report": (ReportPhysics(), REPORT_ENERGIES_KEV),
    "monte carlo": (monte_carlo(), ENERGIES_KEV),
}
both = pytest.mark.parametrize(("forward", "energy_kev"), PHYSICS.values(), ids=PHYSICS)


@pytest.fixture(scope="module")
def known() -> Dictionary:
    return dictionary(monte_carlo(), ENERGIES_KEV, NOISE, (1.0, 5.0))


@pytest.fixture(scope="module")
def layers_nm() -> Floats:
    """Gold everywhere in whole nm, aluminium in steps of 5."""
    rng = np.random.default_rng(7)
    return np.stack([rng.integers(1, 16, (12, 12)), 5 * rng.integers(0, 31, (12, 12))]) * 1.0


@both
def test_without_noise_the_search_finds_the_very_stack(
    forward: Forward, energy_kev: Floats, layers_nm: Floats
) -> None:
    levels = dictionary(forward, energy_kev, NOISE, (1.0, 5.0))
    found = global_search(forward.signal(layers_nm, energy_kev), levels, tikhonov=0.0)
    assert (found == layers_nm).all()


@both
def test_without_noise_the_posterior_does_so_too(
    forward: Forward, energy_kev: Floats, layers_nm: Floats
) -> None:
    levels = dictionary(forward, energy_kev, NOISE, (1.0, 5.0))
    points = levels.within(forward.signal(layers_nm, energy_kev))
    found = posterior(without(points), levels)
    assert (found.volume == volume_of(layers_nm, 16)).mean() > 0.96
    assert found.mean_nm[0] == pytest.approx(layers_nm[0], abs=1.0)
    assert (found.low_nm <= found.high_nm).all()
    assert found.sd_nm.min() > 0.0
    assert found.confidence.min() > 0.3


@both
def test_without_noise_the_slope_leads_there_where_all_layers_are(
    forward: Forward, energy_kev: Floats
) -> None:
    nm = np.array([[[4.0, 8.0, 12.0]], [[50.0, 70.0, 90.0]]])
    found = local_search(forward.signal(nm, energy_kev), forward, energy_kev, NOISE, 1e-6)
    assert found == pytest.approx(nm, abs=0.5)


def test_the_slope_misses_aluminium_on_bare_silicon_in_the_reports_physics() -> None:
    forward, energy_kev = PHYSICS["report"]
    nm = np.array([[[0.0]], [[100.0]]])
    found = local_search(forward.signal(nm, energy_kev), forward, energy_kev, NOISE)
    assert abs(found[1, 0, 0] - 100.0) > 20.0


@both
def test_non_local_means_and_posterior_find_nearly_all(
    forward: Forward, energy_kev: Floats
) -> None:
    nm = random_layers(Split.VALIDATION, 0, side_px=64)
    series = taken(forward.signal(nm, energy_kev), NOISE, np.random.default_rng(0))
    levels = dictionary(forward, energy_kev, NOISE, (1.0, 1.0))
    plain = posterior(without(levels.within(series)), levels)
    better = posterior(non_local_means(levels.within(series)), levels)
    truth = volume_of(nm, 16)
    assert agreement(better.volume, truth).iou > max(
        agreement(plain.volume, truth).iou - 0.005, 0.97
    )


def test_means_of_a_flat_field_are_worth_many_exposures() -> None:
    noise = np.random.default_rng(0).standard_normal((4, 40, 40))
    seen = non_local_means(noise)
    assert np.median(seen.exposures) > 50.0
    assert seen.points.std() < 0.2
    assert seen.points.shape == noise.shape


def test_means_do_not_cross_an_edge() -> None:
    step = np.zeros((4, 24, 24))
    step[:, :, 12:] = 20.0
    seen = non_local_means(step)
    assert seen.points == pytest.approx(step, abs=1e-3)


def test_non_local_means_treat_rows_and_columns_alike() -> None:
    points = np.random.default_rng(1).standard_normal((3, 15, 21))
    turned = non_local_means(points.swapaxes(1, 2))
    assert turned.points.swapaxes(1, 2) == pytest.approx(non_local_means(points).points, abs=1e-4)


def test_intervals_hold_what_they_promise() -> None:
    rng = np.random.default_rng(2)
    nm = np.stack([rng.uniform(2.0, 14.0, (40, 40)), rng.uniform(20.0, 130.0, (40, 40))])
    levels = dictionary(monte_carlo(), ENERGIES_KEV, NOISE, (0.1, 1.0))
    series = taken(monte_carlo().signal(nm, ENERGIES_KEV), NOISE, rng)
    found = posterior(without(levels.within(series)), levels, rounds=0)
    inside = ((found.low_nm <= nm) & (nm <= found.high_nm)).mean(axis=(1, 2))
    assert 0.60 < inside[0] < 0.76
    assert 0.60 < inside[1] < 0.76
    off = np.abs(found.mean_nm - nm).mean(axis=(1, 2))
    assert off[0] < 0.5
    assert off[1] < 5.0


def test_aluminium_on_bare_silicon_is_poorly_known_and_says_so(known: Dictionary) -> None:
    nm = np.array([[[0.0, 8.0]], [[80.0, 80.0]]])
    points = known.within(monte_carlo().signal(nm, ENERGIES_KEV))
    bare, over_gold = posterior(without(points), known, rounds=0).sd_nm[1, 0]
    assert bare > 3.0 * over_gold


def test_scales_of_a_known_pad_are_found() -> None:
    forward = monte_carlo()
    truth = Scaled(forward, (1.04, 0.97), energy=1.0, contrast=0.95)
    pad_nm = np.array([8.0, 60.0])
    pad = np.repeat(truth.signal(pad_nm, ENERGIES_KEV)[:, None], 400, axis=1)
    found = fit_scales(pad, pad_nm, forward, ENERGIES_KEV, NOISE)
    asked = np.array([8.0, 60.0])
    before = np.abs(forward.signal(asked, ENERGIES_KEV) - truth.signal(asked, ENERGIES_KEV)).max()
    after = np.abs(found.signal(asked, ENERGIES_KEV) - truth.signal(asked, ENERGIES_KEV)).max()
    assert before > 0.02
    assert after < 0.003


def test_stacks_of_three_layers_are_inverted_too() -> None:
    stack = Stack((Layer(COPPER, 20.0), Layer(ALUMINIUM, 60.0), Layer(COPPER, 10.0)))
    forward = AnalyticPhysics(stack)
    levels = dictionary(forward, ENERGIES_KEV, NOISE, (2.0, 4.0, 1.0))
    nm = np.array([[[10.0, 20.0]], [[20.0, 40.0]], [[3.0, 7.0]]])
    found = global_search(forward.signal(nm, ENERGIES_KEV), levels, tikhonov=0.0)
    assert (found == nm).all()


def test_one_layer_is_inverted_too() -> None:
    forward = AnalyticPhysics(Stack((Layer(COPPER, 40.0),)))
    levels = dictionary(forward, ENERGIES_KEV, NOISE, (1.0,))
    points = levels.within(forward.signal(np.array([[[25.0]]]), ENERGIES_KEV))
    assert posterior(without(points), levels).mean_nm[0, 0, 0] == pytest.approx(25.0, abs=1.0)


def test_energies_that_cannot_tell_the_layers_apart_are_refused() -> None:
    twins = Stack((Layer(ALUMINIUM, 50.0), Layer(ALUMINIUM, 50.0)))
    with pytest.raises(StackError, match="cannot tell how thick the Al is") as caught:
        dictionary(AnalyticPhysics(twins), ENERGIES_KEV, NOISE, (1.0, 1.0))
    assert "other energies" in caught.value.remedy


def test_one_energy_tells_no_two_layers() -> None:
    with pytest.raises(StackError, match="1 energies of 8 to 8 keV cannot tell"):
        dictionary(monte_carlo(), np.array([8.0]), NOISE, (1.0, 1.0))


def test_bounds_say_what_no_method_can() -> None:
    over_gold = best_sd_nm(monte_carlo(), np.array([8.0, 60.0]), ENERGIES_KEV, NOISE)
    on_silicon = best_sd_nm(monte_carlo(), np.array([0.0, 60.0]), ENERGIES_KEV, NOISE)
    assert over_gold[0] < 0.6
    assert over_gold[1] < 4.0 < on_silicon[1]


def test_too_many_stacks_are_refused() -> None:
    with pytest.raises(StackError, match="stacks to compare") as caught:
        dictionary(monte_carlo(), ENERGIES_KEV, NOISE, (0.01, 0.1))
    assert "coarser" in caught.value.remedy


@pytest.mark.parametrize("shape", [(30, 8, 8), (31, 8), (31, 8, 8, 1)])
def test_images_that_do_not_fit_the_energies_are_refused(
    shape: tuple[int, ...], known: Dictionary
) -> None:
    with pytest.raises(SeriesError, match="for 31 energies"):
        known.within(np.ones(shape))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_pixels_that_are_no_numbers_are_refused(bad: float, known: Dictionary) -> None:
    series = np.ones((31, 8, 8))
    series[4, 2, 2] = bad
    with pytest.raises(SeriesError, match="the image at 3 keV") as caught:
        known.within(series)
    assert "leave its energy out" in caught.value.remedy


def test_images_of_unequal_sizes_are_refused() -> None:
    with pytest.raises(SeriesError, match="8 x 8, 8 x 9"):
        stacked([np.ones((8, 8)), np.ones((8, 9))])
    with pytest.raises(SeriesError, match="there are none"):
        stacked([])
    assert stacked([np.ones((8, 8))] * 3).shape == (3, 8, 8)


@pytest.mark.parametrize("pad", [np.ones((31, 0)), np.ones((30, 5)), np.full((31, 5), np.nan)])
def test_a_pad_without_good_pixels_is_refused(pad: Floats) -> None:
    with pytest.raises(SeriesError, match="a pad"):
        fit_scales(pad, np.array([8.0, 60.0]), monte_carlo(), ENERGIES_KEV, NOISE)


def test_dead_pixels_are_no_failure(known: Dictionary) -> None:
    found = posterior(without(known.within(np.zeros((31, 2, 2)))), known)
    assert np.isfinite(found.mean_nm).all()
