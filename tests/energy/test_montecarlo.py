"""The Monte Carlo against the formula for bulk, and against itself."""

import numpy as np
import pytest

from afdaemon.energy.physics.bulk import bulk_backscatter
from afdaemon.energy.physics.montecarlo import backscattered
from afdaemon.energy.physics.scattering import browning, loss_kev_per_nm, rutherford
from afdaemon.energy.specimens.materials import ALUMINIUM, GOLD, SILICON, Material
from afdaemon.energy.specimens.stacks import AU_AL_SI, Layer, Stack
from afdaemon.energy.table import monte_carlo


def bulk(material: Material, kev: float, electrons: int) -> float:
    nothing = np.zeros((0, 1))
    counted = backscattered(
        Stack((), material), nothing, np.array([kev]), electrons=electrons, seed=1
    )
    return float(counted[0])


@pytest.mark.parametrize("material", [ALUMINIUM, SILICON, GOLD], ids=["Al", "Si", "Au"])
@pytest.mark.parametrize(("kev", "electrons"), [(1.0, 60_000), (3.0, 30_000), (6.0, 20_000)])
def test_bulk_comes_within_8_percent(material: Material, kev: float, electrons: int) -> None:
    formula = float(bulk_backscatter(material, np.array([kev]))[0])
    assert bulk(material, kev, electrons) == pytest.approx(formula, rel=0.08)


@pytest.mark.slow
@pytest.mark.parametrize("material", [ALUMINIUM, SILICON, GOLD], ids=["Al", "Si", "Au"])
def test_bulk_comes_within_8_percent_at_30_kev(material: Material) -> None:
    formula = float(bulk_backscatter(material, np.array([30.0]))[0])
    assert bulk(material, 30.0, 10_000) == pytest.approx(formula, rel=0.08)


def test_interfaces_between_the_same_material_are_none() -> None:
    stack = Stack((Layer(SILICON, 50.0), Layer(SILICON, 50.0)))
    nm = np.array([[10.0, 0.0, 50.0], [10.0, 30.0, 50.0]])
    counted = backscattered(stack, nm, np.full(3, 3.0), electrons=20_000, seed=2)
    assert counted == pytest.approx(bulk(SILICON, 3.0, 60_000), abs=0.012)


def test_a_thick_layer_is_bulk() -> None:
    nm = np.array([[15.0], [150.0]])
    counted = backscattered(AU_AL_SI, nm, np.array([1.0]), electrons=40_000, seed=3)
    assert counted[0] == pytest.approx(bulk(ALUMINIUM, 1.0, 60_000), abs=0.01)


def test_the_same_seed_counts_the_same() -> None:
    nm, kev = np.array([[5.0], [20.0]]), np.array([2.0])
    once, again = (
        backscattered(AU_AL_SI, nm, kev, electrons=500, seed=4).tolist() for _ in range(2)
    )
    assert once == again


def test_both_kinds_of_scattering_agree_roughly() -> None:
    nm, kev = np.array([[10.0, 0.0], [0.0, 0.0]]), np.array([6.0, 6.0])
    gold, bare = backscattered(
        AU_AL_SI, nm, kev, electrons=10_000, seed=5, elastic=rutherford
    ).tolist()
    other, rest = backscattered(
        AU_AL_SI, nm, kev, electrons=10_000, seed=5, elastic=browning
    ).tolist()
    assert gold / bare > 1.2
    assert gold / bare == pytest.approx(other / rest, rel=0.5)


def test_rates_by_hand() -> None:
    """Silicon at 10 keV: 9 nm between collisions after Browning, 12 after Rutherford; 4 eV lost a nm."""
    kev = np.array([10.0])
    assert browning(SILICON, kev).path_nm[0] == pytest.approx(8.6, rel=0.05)
    assert rutherford(SILICON, kev).path_nm[0] == pytest.approx(12.2, rel=0.05)
    assert 1e3 * loss_kev_per_nm(SILICON, kev)[0] == pytest.approx(3.9, rel=0.1)


@pytest.mark.parametrize(
    ("au", "al", "kev"), [(7.0, 0.0, 4.0), (0.0, 25.0, 1.5), (12.0, 55.0, 5.0)]
)
def test_the_table_is_what_the_monte_carlo_counts(au: float, al: float, kev: float) -> None:
    nm = np.array([[au, 0.0], [al, 0.0]])
    layers, bare = backscattered(AU_AL_SI, nm, np.full(2, kev), electrons=30_000, seed=6).tolist()
    drawn = monte_carlo().signal(nm[:, :1], np.array([kev]))[0, 0]
    assert drawn == pytest.approx(layers / bare, rel=0.04)
