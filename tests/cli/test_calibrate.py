"""`afctl calibrate`: what it measures of an instrument whose truth is known, and how it fails."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from afdaemon.api import schemas as s
from afdaemon.calibration import Calibration, CalibrationError, Measured, load, with_another
from afdaemon.cli.calibrate import measure as calibrate
from afdaemon.cli.calibrate.laws import with_laws
from afdaemon.cli.calibrate.plot import plot
from afdaemon.clock import ManualClock
from afdaemon.models.acnet.state import a_max_um

if TYPE_CHECKING:
    from afdaemon.api.client import Client

BEST_UM, HALF_UM, LAG_UM, HOME_UM = 12_345.0, 80.0, 6.0, 12_000.0
FIRST_S, EVERY_S = 0.5, 0.25
CYCLES_PX = (0.09, 0.13, 0.18, 0.25)
DOF_UM = 0.5 * HALF_UM


@dataclass
class Instrument:
    """Speaks as a client; its lens lags behind after a way down. Autofocus ends `off_um` beside the truth."""

    off_um: float = 0.0
    top: float = 1.0
    smooth: float = 1.0
    fades: bool = True
    converges: bool = True
    broken_at: int = 10**9
    magnification: float = 2_000.0
    tau_s: float = 1e-6
    wd_um: float = HOME_UM
    is_down: bool = False
    moves: list[float] = field(default_factory=list)
    clock: ManualClock = field(default_factory=ManualClock)
    left_um: float = HOME_UM
    left_s: float = 0.0

    @property
    def dof_um(self) -> float:
        return DOF_UM * 2_000.0 / self.magnification

    @property
    def half_um(self) -> float:
        """The score of a smooth specimen falls too late."""
        return 2.0 * self.smooth * self.dof_um

    def wd(self) -> s.Focus:
        return s.Focus(wd_um=self.wd_um, magnification=self.magnification)

    def lens_um(self) -> float:
        """On its way to the WD that was commanded, and short of it after a way down."""
        to_go = math.exp(-(self.clock.now_s() - self.left_s) / self.tau_s)
        lag_um = LAG_UM if self.is_down else 0.0
        return self.wd_um + lag_um + (self.left_um - self.wd_um) * to_go

    def set_wd(self, wd_um: float) -> s.Focus:
        self.moves.append(wd_um)
        if len(self.moves) == self.broken_at:
            raise KeyboardInterrupt
        if wd_um != self.wd_um:
            self.left_um, self.left_s = self.lens_um(), self.clock.now_s()
            self.is_down = wd_um < self.wd_um
        self.wd_um = wd_um
        self.clock.advance(FIRST_S)
        return self.wd()

    def autofocus(self) -> s.Job:
        if not self.converges:
            return s.Job(job="j", state=s.JobState.FAILED, converged=False, reason="no_contrast")
        best_um = BEST_UM + self.off_um
        self.set_wd(best_um)
        return s.Job(
            job="j",
            state=s.JobState.SUCCEEDED,
            converged=True,
            reason="focused",
            best_wd_um=best_um,
        )

    def limits(self) -> s.Limits:
        return s.Limits(
            min_um=5_000.0, max_um=50_000.0, hard=s.Range(min_um=5_000.0, max_um=50_000.0)
        )

    def score_image(self) -> s.Score:
        """Detail of f cycles per pixel has faded to 1 / e at 1 / (2 pi f) depths of focus."""
        self.clock.advance(EVERY_S)
        away_um = self.lens_um() - BEST_UM
        return s.Score(
            score=9.0 * self.top / (1.0 + (away_um / self.half_um) ** 2),
            contrast=0.2,
            variance=0.2,
            entropy=7.0,
            magnification=self.magnification,
            width_px=320,
            height_px=240,
            wd_um=self.wd_um,
            bands=[(f, max(-12.0, self._power(f, away_um))) for f in CYCLES_PX],
        )

    def _power(self, cycles_px: float, away_um: float) -> float:
        faded = 2.0 * math.pi * cycles_px * away_um / self.dof_um
        return -(faded**2) if self.fades else 0.0


def measure(instrument: Instrument, points: int = 21) -> Measured:
    return calibrate.measure(
        cast("Client", instrument), points=points, told=lambda _: None, clock=instrument.clock
    )


@pytest.mark.parametrize("off_um", [0.0, 120.0, -120.0])
def test_depth_of_focus_and_hysteresis_are_found(off_um: float) -> None:
    """Also where autofocus had ended beside the focus."""
    instrument = Instrument(off_um=off_um)
    found = measure(instrument)
    assert found.dof_um == pytest.approx(0.5 * HALF_UM, rel=0.05)
    assert found.hysteresis_um == pytest.approx(LAG_UM, abs=1.5)
    assert found.magnification == 2_000.0
    assert abs(instrument.wd_um - BEST_UM) < LAG_UM


def test_without_focus_it_goes_home() -> None:
    for broken, said in (
        (Instrument(converges=False), "did not converge: no_contrast"),
        (Instrument(top=0.05), "only 0 of"),
    ):
        with pytest.raises(CalibrationError, match=said):
            measure(broken)
        assert broken.wd_um == HOME_UM


@pytest.mark.parametrize("smooth", [0.7, 1.6])
def test_a_specimen_that_is_misjudged_is_refused_and_both_numbers_are_named(smooth: float) -> None:
    """AENet measures the blur against detail that is not there: the curve is too wide."""
    instrument = Instrument(smooth=smooth)
    with pytest.raises(CalibrationError) as refused:
        measure(instrument)
    assert f"{DOF_UM:.0f}"[:1] in str(refused.value)
    assert "by the fading of detail" in str(refused.value)
    assert "by the score" in str(refused.value)
    assert "another specimen" in refused.value.remedy
    assert instrument.wd_um == HOME_UM


def test_the_fading_of_detail_counts_not_the_score() -> None:
    found = measure(Instrument(smooth=1.15))
    assert found.dof_um == pytest.approx(DOF_UM, rel=0.05)
    assert found.dof_by_score_um == pytest.approx(1.15 * DOF_UM, rel=0.05)


def test_where_no_detail_fades_nothing_checks_the_score() -> None:
    with pytest.raises(CalibrationError, match="0 bands of detail fade"):
        measure(Instrument(fades=False))


def test_interrupted_it_goes_home() -> None:
    instrument = Instrument(broken_at=12)
    with pytest.raises(KeyboardInterrupt):
        measure(instrument)
    assert instrument.wd_um == HOME_UM


def test_a_file_of_another_instrument_is_not_added_to(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    assert calibrate.earlier_in(file, "em30") is None
    known = with_another(None, "em30", measure(Instrument()))
    file.write_text(known.model_dump_json())
    assert calibrate.earlier_in(file, "em30") == known == load(file)
    with pytest.raises(CalibrationError, match="of 'em30', but the instrument is 'other'"):
        calibrate.earlier_in(file, "other")


def test_a_plot_is_drawn(tmp_path: Path) -> None:
    several = [measure(Instrument(magnification=m)) for m in (1_000.0, 2_000.0, 5_000.0)]
    known = with_laws(Calibration(instrument="em30", measured=several))
    plot(known, tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_a_lens_that_has_settled_before_the_first_frame_tells_how_long_that_takes() -> None:
    settling = measure(Instrument()).settling
    assert settling is not None
    assert settling.changed == 0
    assert settling.seconds == pytest.approx(FIRST_S)
    assert settling.frame_s == pytest.approx(EVERY_S)


def test_a_slow_lens_is_seen_to_settle() -> None:
    """In 4 time constants 330 um have shrunk to 6, which the score shows; in 6 to less than one."""
    settling = measure(Instrument(tau_s=0.2, off_um=5.0)).settling
    assert settling is not None
    assert settling.changed >= 1
    assert 4.0 * 0.2 <= settling.seconds <= 6.0 * 0.2 + EVERY_S


def test_how_detail_fades_is_told() -> None:
    found = measure(Instrument())
    assert [band.cycles_px for band in found.fading] == list(CYCLES_PX)
    assert [band.fall_um for band in found.fading] == pytest.approx(
        [DOF_UM / (2.0 * math.pi * f) for f in CYCLES_PX], rel=0.1
    )


@pytest.mark.parametrize("count", [2, 3, 4, 6])
def test_both_laws_are_fitted_and_that_of_the_optics_holds(count: int) -> None:
    """Half widths go with 1 / m: 4 DoF say so, the published form cannot."""
    several = [measure(Instrument(magnification=500.0 * 2.0**k)) for k in range(count)]
    laws = with_laws(Calibration(instrument="em30", measured=several)).laws
    assert laws is not None
    assert laws.dof.dof_um_at_1x == pytest.approx(0.5 * HALF_UM * 2_000.0, rel=0.05)
    assert max(map(abs, laws.dof.residuals)) < 0.05
    assert len(laws.tanh.free) == min(count - 1, 4)
    assert len(laws.tanh.residuals) == count
    assert sum(r * r for r in laws.tanh.residuals) > sum(r * r for r in laws.dof.residuals)


def test_what_follows_the_published_law_is_told_by_it() -> None:
    several = [
        measure(Instrument()).model_copy(
            update={"magnification": m, "half_um": 0.5 * 0.1 * a_max_um(m)}
        )
        for m in (500.0, 6_000.0, 8_500.0, 9_300.0, 10_000.0, 20_000.0)
    ]
    laws = with_laws(Calibration(instrument="em30", measured=several)).laws
    assert laws is not None
    assert laws.tanh.a_um == pytest.approx(120.0, rel=0.01)
    assert (laws.tanh.b, laws.tanh.c) == pytest.approx((0.485, 0.515), abs=0.01)
    assert (laws.tanh.m0, laws.tanh.w) == pytest.approx((9_000.0, 1_000.0), rel=0.05)
    assert max(map(abs, laws.tanh.residuals)) < 0.01
    assert [laws.tanh.width_um(m) for m in (500.0, 2e4)] == pytest.approx([120.0, 3.6], rel=0.02)


def test_of_one_magnification_there_is_no_law() -> None:
    assert with_laws(Calibration(instrument="em30", measured=[measure(Instrument())])).laws is None


def test_all_that_was_measured_is_said_and_kept() -> None:
    several = [measure(Instrument(magnification=m)) for m in (1_000.0, 2_000.0)]
    found = with_laws(Calibration(instrument="em30", measured=several))
    assert Calibration.model_validate_json(found.model_dump_json()) == found
    text = calibrate.summary(found, several[0])
    for said in (
        "1000x: depth of focus",
        "settles within 0.50 s",
        "0.180 cycles/px",
        "fitted a_um",
    ):
        assert said in text
    assert "DoF = " in text
