"""`afctl calibrate`: what it measures of an instrument whose truth is known, and how it fails."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from afdaemon.api import schemas as s
from afdaemon.calibration import Calibration, CalibrationError, Measured, load, with_another
from afdaemon.cli import calibrate

if TYPE_CHECKING:
    from afdaemon.api.client import Client

BEST_UM, HALF_UM, LAG_UM, HOME_UM = 12_345.0, 80.0, 6.0, 12_000.0


@dataclass
class Instrument:
    """Speaks as a client; its lens lags behind after a way down. Autofocus ends `off_um` beside the truth."""

    off_um: float = 0.0
    top: float = 1.0
    converges: bool = True
    broken_at: int = 10**9
    wd_um: float = HOME_UM
    is_down: bool = False
    moves: list[float] = field(default_factory=list)

    def wd(self) -> s.Focus:
        return s.Focus(wd_um=self.wd_um, magnification=2_000.0)

    def set_wd(self, wd_um: float) -> s.Focus:
        self.moves.append(wd_um)
        if len(self.moves) == self.broken_at:
            raise KeyboardInterrupt
        if wd_um != self.wd_um:
            self.is_down = wd_um < self.wd_um
        self.wd_um = wd_um
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
        lens_um = self.wd_um + (LAG_UM if self.is_down else 0.0)
        score = 9.0 * self.top / (1.0 + ((lens_um - BEST_UM) / HALF_UM) ** 2)
        return s.Score(
            score=score, variance=0.2, entropy=7.0, magnification=2e3, width_px=320, height_px=240
        )


def measure(instrument: Instrument, points: int = 21) -> Measured:
    return calibrate.measure(cast("Client", instrument), points=points, told=lambda _: None)


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
    with pytest.raises(CalibrationError, match="calibrates 'em30', but this is 'other'"):
        calibrate.earlier_in(file, "other")


def test_a_plot_is_drawn(tmp_path: Path) -> None:
    known = Calibration(instrument="em30", measured=[measure(Instrument())])
    assert calibrate.plot(known, tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
