"""Calibration: the curve through scores, and a file that is believed only where it may be."""

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.calibration import (
    Calibration,
    CalibrationError,
    Measured,
    SeenFrame,
    curve,
    fading,
    load,
    settled,
    with_another,
)
from afdaemon.control.published.profile import PublishedProfile
from afdaemon.models.optics import dof_um
from afdaemon.service.compose import calibration_of, rules_of, with_angle
from afdaemon.settings import CalibrationSettings, Settings

NOW = datetime(2026, 3, 4, tzinfo=UTC)


def points(
    best_um: float, half_um: float, *, floor: float = 0.0, off: float = 0.0, count: int = 15
) -> list[tuple[float, float]]:
    """Readings over two half widths to either side of a place `off` half widths beside the best."""
    places = [best_um + half_um * (off + 4.0 * k / (count - 1) - 2.0) for k in range(count)]
    return [(wd, 9.0 / (1.0 + floor + ((wd - best_um) / half_um) ** 2)) for wd in places]


def measured(magnification: float, dof: float, *, utc: datetime = NOW) -> Measured:
    return Measured(
        utc=utc,
        magnification=magnification,
        best_wd_um=12_000.0,
        half_um=2.0 * dof,
        hysteresis_um=0.5,
        points=[(12_000.0, 8.9)],
    )


@given(
    best_um=st.floats(5_000.0, 50_000.0),
    half_um=st.floats(5.0, 2_000.0),
    floor=st.floats(0.0, 0.5),
    off=st.floats(-1.0, 1.0),
)
def test_the_curve_that_made_the_scores_is_found(
    best_um: float, half_um: float, floor: float, off: float
) -> None:
    found = curve(points(best_um, half_um, floor=floor, off=off))
    assert found.best_um == pytest.approx(best_um, abs=1e-2 * half_um)
    assert found.half_um == pytest.approx(half_um, rel=1e-2)
    assert found.explained > 0.99


@given(errors=st.lists(st.floats(-0.3, 0.3), min_size=15, max_size=15))
def test_small_errors_of_scores_change_it_little(errors: list[float]) -> None:
    seen = [(wd, s + e) for (wd, s), e in zip(points(12_000.0, 100.0), errors, strict=True)]
    found = curve(seen)
    assert found.half_um == pytest.approx(100.0, rel=0.2)
    assert found.best_um == pytest.approx(12_000.0, abs=15.0)


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ([(wd, 0.5) for wd in range(9)], "only 0 of 9 readings score 1 or more"),
        ([(wd, 2.0 + 0.7 * wd) for wd in range(9)], "no peak between"),
        ([(float(wd % 2), 5.0) for wd in range(9)], "too few WDs"),
        ([(wd, (5.0, 8.0)[wd % 2]) for wd in range(9)], "no peak|explains"),
    ],
)
def test_what_is_no_curve_is_refused(seen: list[tuple[float, float]], said: str) -> None:
    with pytest.raises(CalibrationError, match=said):
        curve(seen)


def test_the_angle_follows_from_the_depths_of_focus() -> None:
    alpha_rad = 7e-3
    known = [measured(m, dof_um(m, alpha_rad)) for m in (500.0, 5_000.0)]
    found = Calibration(instrument="x", measured=known)
    assert found.alpha_rad(lambda m: dof_um(m, 1.0)) == pytest.approx(alpha_rad)


def test_a_magnification_is_measured_anew_others_stay() -> None:
    first = with_another(None, "x", measured(500.0, 100.0))
    both = with_another(first, "x", measured(5_000.0, 10.0))
    again = with_another(both, "x", measured(500.0, 120.0))
    assert [(m.magnification, m.dof_um) for m in again.measured] == [
        (5_000.0, 10.0),
        (500.0, 120.0),
    ]


def written(folder: Path, *, utc: datetime = NOW, instrument: str = "em30") -> Path:
    file = folder / "calibration.json"
    known = Calibration(instrument=instrument, measured=[measured(2_000.0, 50.0, utc=utc)])
    file.write_text(known.model_dump_json())
    return file


def settings_with(file: Path) -> Settings:
    return Settings(calibration=CalibrationSettings(file=file, most_days=30.0))


def test_the_service_takes_the_angle_from_the_file(tmp_path: Path) -> None:
    settings = settings_with(written(tmp_path))
    known = calibration_of(settings)
    assert known is not None
    rules = rules_of(with_angle(settings, known))
    for profile in rules.profiles.values():
        assert profile.calibrated
        assert profile.alpha_mrad == pytest.approx(1e3 * dof_um(2_000.0, 1.0) / 50.0)
    published = rules.profiles["paper"]
    assert isinstance(published, PublishedProfile)
    assert published.most_step_um(4_000.0) == pytest.approx(published.most_step_dof * 25.0)


def test_without_a_file_the_published_limit_holds() -> None:
    assert calibration_of(Settings()) is None
    assert Settings().published.most_step_um(500.0) == pytest.approx(1_200.0, abs=0.1)


def test_one_of_another_instrument_or_too_old_is_refused(tmp_path: Path) -> None:
    known = load(written(tmp_path))
    known.check(instrument="em30", now=NOW + timedelta(days=29), most_days=30.0)
    with pytest.raises(CalibrationError, match="of 'em30', but the instrument is 'other'"):
        known.check(instrument="other", now=NOW, most_days=30.0)
    with pytest.raises(
        CalibrationError, match=r"31 days old; at most 30 are allowed \(calibration.most"
    ):
        known.check(instrument="em30", now=NOW + timedelta(days=31), most_days=30.0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("nonsense", "is not a calibration"),
        ('{"instrument": "x", "measured": []}', "measured: List should have at least 1 item"),
        ('{"instrument": "x"}', "measured: Field required"),
    ],
)
def test_a_file_that_is_no_calibration_is_refused(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "c.json"
    file.write_text(content)
    with pytest.raises(CalibrationError, match=said):
        load(file)
    with pytest.raises(CalibrationError, match="cannot be read"):
        load(tmp_path / "absent.json")


def frames(*offsets_um: float, first_s: float = 0.4, every_s: float = 0.2) -> list[SeenFrame]:
    """The first one is not judged; the score falls by 1 for each um off."""
    return [
        SeenFrame(first_s + every_s * n, 12_000.0 + off, None if n == 0 else 5.0 - off)
        for n, off in enumerate(offsets_um)
    ]


def test_a_picture_that_is_at_rest_at_once_tells_how_long_the_first_frame_takes() -> None:
    found = settled(frames(*[0.0] * 9), 300.0)
    assert found.changed == 0
    assert found.seconds == pytest.approx(0.4)
    assert found.frame_s == pytest.approx(0.2)
    assert found.step_um == 300.0


@given(
    tau_s=st.floats(0.05, 0.5),
    noise=st.lists(st.floats(-0.05, 0.05), min_size=24, max_size=24),
)
def test_a_lens_on_its_way_is_seen_to_arrive(tau_s: float, noise: list[float]) -> None:
    """A step of 100 um dies away exponentially: it has, when a fifth of a um or a score is left."""
    off = [100.0 * math.exp(-(0.4 + 0.2 * n) / tau_s) + e for n, e in enumerate(noise)]
    found = settled(frames(*off), 100.0)
    arrived_s = tau_s * math.log(100.0 / 0.2)
    assert arrived_s - 0.4 <= found.seconds <= max(0.4, arrived_s + 0.4)


def test_a_score_that_changes_where_the_wd_does_not_is_a_change() -> None:
    seen = [SeenFrame(0.1 * n, 12_000.0, 3.0 if n < 4 else 6.0) for n in range(1, 13)]
    assert settled(seen, 10.0).changed == 3


def test_what_never_comes_to_rest_has_no_settling_time() -> None:
    with pytest.raises(CalibrationError, match="still changing"):
        settled(frames(*[float(n) for n in range(12)]), 100.0)
    with pytest.raises(CalibrationError, match="3 frames"):
        settled(frames(0.0, 0.0, 0.0), 100.0)


@given(fall_um=st.floats(1.0, 500.0), floor=st.floats(-9.0, -3.0))
def test_fading_is_found_above_the_noise(fall_um: float, floor: float) -> None:
    """Of three bands: one that fades by the square of the distance down to noise, one thrice as slowly, one never."""
    distances = [fall_um * (0.25 * k - 3.0) for k in range(25)]
    seen = [
        (d, [(f, max(-((d / far) ** 2), floor)) for f, far in bands_of(fall_um)]) for d in distances
    ]
    found = {band.cycles_px: band.fall_um for band in fading(seen)}
    assert found[0.3] == pytest.approx(fall_um, rel=0.15)
    assert 0.01 not in found
    assert list(found) == sorted(found)


def bands_of(fall_um: float) -> list[tuple[float, float]]:
    return [(0.01, 1e9), (0.1, 3.0 * fall_um), (0.3, fall_um)]


def test_of_nothing_no_fading_is_told() -> None:
    assert fading([]) == []
    assert fading([(1.0, []), (2.0, [])]) == []
    assert fading([(1.0, [(0.1, -float(k))]) for k in range(9)]) == []
