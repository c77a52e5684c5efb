"""The report's formulas by hand, and what every physics owes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afdaemon.energy.physics.bulk import AnalyticPhysics, bulk_backscatter
from afdaemon.energy.physics.forward import ENERGIES_KEV, REPORT_ENERGIES_KEV, Forward
from afdaemon.energy.physics.report import ReportPhysics
from afdaemon.energy.specimens.errors import SeriesError, StackError
from afdaemon.energy.specimens.materials import ALUMINIUM, COPPER, GOLD, SILICON
from afdaemon.energy.specimens.stacks import AU_AL_SI, Layer, Stack
from afdaemon.energy.table import monte_carlo

REPORT = ReportPhysics()
ANALYTIC = AnalyticPhysics(AU_AL_SI)
EVERY = {"report": REPORT, "monte carlo": monte_carlo(), "analytic": ANALYTIC}
every = pytest.mark.parametrize("forward", EVERY.values(), ids=EVERY)


def one(forward: Forward, au: float, al: float, kev: float) -> float:
    return float(forward.signal(np.array([au, al]), np.array([kev]))[0])


@pytest.mark.parametrize(
    ("au", "al", "kev", "by_hand"),
    [(10.0, 0.0, 10.0, 1.43093), (0.0, 100.0, 10.0, 1.21354), (10.0, 100.0, 10.0, 1.45757)],
)
def test_the_report_by_hand(au: float, al: float, kev: float, by_hand: float) -> None:
    assert one(REPORT, au, al, kev) == pytest.approx(by_hand, rel=5e-4)


def test_the_report_draws_aluminium_on_silicon_bright_and_it_is_not() -> None:
    assert one(REPORT, 0.0, 150.0, 6.0) > 1.3
    assert 0.9 < one(monte_carlo(), 0.0, 150.0, 3.0) < 0.98


def test_the_report_jumps_where_the_last_gold_goes() -> None:
    assert abs(one(REPORT, 1e-6, 150.0, 10.0) - one(REPORT, 0.0, 150.0, 10.0)) > 0.2


@every
def test_no_layer_is_bare_silicon(forward: Forward) -> None:
    low, high = forward.range_kev
    bare = forward.signal(np.zeros((2, 3, 4)), np.linspace(low, high, 7))
    assert bare.shape == (7, 3, 4)
    assert bare == pytest.approx(1.0)


@every
@settings(max_examples=15)
@given(data=st.data())
def test_more_gold_is_brighter(forward: Forward, data: st.DataObject) -> None:
    """Where the beam passes it: 15 nm stop hardly an electron of 5 keV."""
    kev = data.draw(st.floats(6.0, 16.0))
    less = data.draw(st.floats(0.0, 13.0))
    more = data.draw(st.floats(less + 2.0, 15.0))
    assert one(forward, more, 0.0, kev) > one(forward, less, 0.0, kev)


@every
@settings(max_examples=15)
@given(au=st.floats(0.0, 15.0), al=st.floats(0.0, 150.0), kev=st.floats(5.0, 20.0))
def test_brightness_lies_between_silicon_and_gold(
    forward: Forward, au: float, al: float, kev: float
) -> None:
    brightest = 3.2 if forward is not REPORT else 0.9 / 0.49
    assert 0.85 < one(forward, au, al, kev) < brightest


@every
def test_slow_electrons_see_only_what_is_on_top(forward: Forward) -> None:
    if forward is REPORT:
        return  # its formulas begin at 5 keV
    assert one(forward, 15.0, 150.0, 1.0) == pytest.approx(one(forward, 0.0, 150.0, 1.0), abs=0.03)


@every
def test_maps_are_drawn_pixel_by_pixel(forward: Forward) -> None:
    nm = np.array([[[0.0, 5.0], [15.0, 5.0]], [[30.0, 0.0], [150.0, 60.0]]])
    series = forward.signal(nm, np.array([6.0, 9.0]))
    turned = forward.signal(nm.swapaxes(1, 2), np.array([6.0, 9.0]))
    assert turned == pytest.approx(series.swapaxes(1, 2))
    assert series[1, 1, 1] == pytest.approx(one(forward, 5.0, 60.0, 9.0))


@pytest.mark.parametrize("kev", [0.5, 60.0, float("nan")])
@every
def test_energies_out_of_range_are_refused(forward: Forward, kev: float) -> None:
    with pytest.raises(SeriesError, match="keV"):
        one(forward, 5.0, 50.0, kev)


@pytest.mark.parametrize(("au", "al"), [(-1.0, 0.0), (16.0, 0.0), (0.0, float("nan"))])
@every
def test_thicknesses_out_of_range_are_refused(forward: Forward, au: float, al: float) -> None:
    with pytest.raises(StackError, match="can be drawn"):
        one(forward, au, al, 10.0)


def test_a_wrong_number_of_layers_is_refused() -> None:
    with pytest.raises(StackError, match="3 thicknesses for a stack of 2"):
        REPORT.signal(np.zeros((3, 4)), REPORT_ENERGIES_KEV)


def test_where_the_reports_formula_has_no_value_it_says_so() -> None:
    thick = ReportPhysics(Stack((Layer(GOLD, 100.0), Layer(ALUMINIUM, 150.0))))
    with pytest.raises(StackError, match="has no value") as caught:
        thick.signal(np.array([100.0, 150.0]), np.array([5.0]))
    assert "higher energies" in caught.value.remedy


def test_analytic_physics_takes_any_stack() -> None:
    stack = Stack((Layer(COPPER, 20.0), Layer(ALUMINIUM, 50.0), Layer(GOLD, 5.0)))
    forward = AnalyticPhysics(stack)
    series = forward.signal(np.array([[20.0], [50.0], [0.0]]), ENERGIES_KEV)
    assert series.shape == (31, 1)
    assert series[0, 0] == pytest.approx(0.95, abs=0.05)  # aluminium hides all at 1 keV
    assert series[12, 0] > 1.02  # copper shows at 7 keV


def test_analytic_physics_is_close_to_the_table() -> None:
    nm = np.array([[5.0, 10.0, 15.0, 10.0, 0.0], [0.0, 0.0, 50.0, 150.0, 150.0]])
    energies = np.arange(2.0, 16.0)
    off = ANALYTIC.signal(nm, energies) - monte_carlo().signal(nm, energies)
    assert np.sqrt(np.mean(off**2)) < 0.15


def test_bulk_coefficients_are_those_of_the_literature() -> None:
    """Silicon and gold at 20 keV, about .17 and .49."""
    kev = np.array([20.0])
    assert bulk_backscatter(SILICON, kev)[0] == pytest.approx(0.165, abs=0.01)
    assert bulk_backscatter(GOLD, kev)[0] == pytest.approx(0.49, abs=0.02)
