"""Step laws, stop rules and verdicts, one rule a test."""

from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.control import evidence
from afdaemon.control.limits import Limits, Range
from afdaemon.control.published.profile import AUTHORS_ONLINE, PUBLISHED, PublishedProfile
from afdaemon.control.published.servo import acnet_law, target_um
from afdaemon.control.published.stop import Stop, servo_stop
from afdaemon.control.values import Reading, ReadingCount, ReadingKind, Reason, TracePoint
from afdaemon.errors import ConfigError
from afdaemon.models.acnet.state import a_max_um
from afdaemon.models.frames.measures import Measures
from afdaemon.models.optics import dof_um

WIDE = Limits(hard=Range(lo_um=0.0, hi_um=50_000.0))


def point(
    score: float,
    wd_um: float = 10_000.0,
    *,
    kind: ReadingKind = ReadingKind.SERVO,
    variance: float = 0.3,
    saturated: float = 0.0,
    doubt: str = "",
) -> TracePoint:
    reading = Reading(
        wd_um=wd_um,
        magnification=500.0,
        frame=Measures(
            score=score, contrast=variance, entropy=7.0, saturated=saturated, doubt=doubt
        ),
    )
    return TracePoint(kind=kind, wd_um=wd_um, reading=reading)


def trace(*scores: float) -> list[TracePoint]:
    return [point(score, 10_000.0 + index) for index, score in enumerate(scores)]


def test_the_published_law_hands_the_readings_over_newest_first() -> None:
    seen: list[dict[str, object]] = []

    def propose(**histories: object) -> float:
        seen.append(histories)
        return -600.0

    readings = [point(4.0, 10_100.0).reading, point(3.0, 10_000.0).reading]
    assert acnet_law(propose)(readings) == -600.0
    assert seen[0]["wd_um"] == [10_100.0, 10_000.0]
    assert seen[0]["score"] == [4.0, 3.0]
    assert seen[0]["magnification"] == 500.0


@given(
    wd_um=st.floats(1_000.0, 49_000.0),
    step_um=st.floats(-1e9, 1e9),
    most_um=st.floats(1.0, 2_000.0),
)
def test_a_step_is_clipped_to_the_limit_and_ends_inside(
    wd_um: float, step_um: float, most_um: float
) -> None:
    target = target_um(wd_um, step_um, most_um, WIDE)
    assert WIDE.within(target)
    assert abs(target - wd_um) <= most_um * (1 + 1e-9)


@given(magnification=st.floats(50.0, 100_000.0), alpha_mrad=st.floats(1.0, 20.0))
def test_the_longest_step_is_the_published_one_unless_the_instrument_is_calibrated(
    magnification: float, alpha_mrad: float
) -> None:
    assert PUBLISHED.most_step_um(magnification) == a_max_um(magnification)
    known = replace(PUBLISHED, alpha_mrad=alpha_mrad, calibrated=True)
    assert known.most_step_um(magnification) == pytest.approx(
        known.most_step_dof * dof_um(magnification, 1e-3 * alpha_mrad)
    )


def test_a_step_beyond_the_limits_is_shortened() -> None:
    assert target_um(49_900.0, 500.0, 1_200.0, WIDE) == 50_000.0


def test_a_score_of_nine_stops_at_once() -> None:
    assert servo_stop(trace(3.0), trace(9.0), PUBLISHED) is Stop.TOP_SCORE
    assert servo_stop(trace(9.0), [], PUBLISHED) is Stop.TOP_SCORE
    assert servo_stop(trace(3.0), trace(8.99), PUBLISHED) is None


def test_five_readings_without_a_new_best_stop() -> None:
    best_then_worse = trace(6.0, 5.0, 5.5, 5.9, 1.0)
    assert servo_stop(trace(3.0), best_then_worse, PUBLISHED) is None
    assert servo_stop(trace(3.0), [*best_then_worse, point(6.0)], PUBLISHED) is Stop.NO_NEW_BEST
    assert servo_stop(trace(3.0), [*best_then_worse, point(6.1)], PUBLISHED) is None


def test_a_difference_within_chance_is_no_new_best() -> None:
    slightly = trace(6.0, 6.04, 6.03, 6.02, 6.01)
    assert servo_stop(trace(3.0), slightly, PUBLISHED) is None
    assert servo_stop(trace(3.0), [*slightly, point(6.05)], PUBLISHED) is Stop.NO_NEW_BEST
    assert servo_stop(trace(3.0), [*slightly, point(6.06)], PUBLISHED) is None
    as_published = replace(PUBLISHED, new_best_margin=0.0)
    assert servo_stop(trace(3.0), [*slightly, point(6.01)], as_published) is None
    creeping = trace(*(6.0 + 0.03 * index for index in range(10)))
    assert servo_stop(trace(3.0), creeping, PUBLISHED) is None


def test_the_best_of_the_search_counts_as_the_best_to_beat() -> None:
    assert servo_stop(trace(2.5, 2.1), trace(*[2.4] * 4), PUBLISHED) is None
    assert servo_stop(trace(2.5, 2.1), trace(*[2.4] * 5), PUBLISHED) is Stop.NO_NEW_BEST


def test_twenty_readings_stop_even_if_each_is_a_new_best() -> None:
    rising = [3.0 + 0.1 * index for index in range(20)]
    assert servo_stop(trace(2.5), trace(*rising[:19]), PUBLISHED) is None
    assert servo_stop(trace(2.5), trace(*rising), PUBLISHED) is Stop.READINGS_USED


def test_where_the_authors_code_differs_from_their_paper() -> None:
    """Read from their public client; the rest is as published."""
    paper, code = asdict(PUBLISHED), asdict(AUTHORS_ONLINE)
    assert {name: code[name] for name in code if code[name] != paper[name]} == {
        "search_score": 1.8,
        "min_search_readings": 4,
        "both_directions": False,
        "patience": 8,
        "searches": 1,
        "new_best_margin": 0.0,
    }


@pytest.mark.parametrize("converged", [True, False])
def test_only_the_last_reading_of_a_success_is_shown_as_verifying(*, converged: bool) -> None:
    readings = [point(5.0, wd_um) for wd_um in (1.0, 2.0, 3.0)]
    shown = evidence.as_shown(readings, converged=converged)
    last = ReadingKind.VERIFY if converged else ReadingKind.SERVO
    assert [one.kind for one in shown] == [ReadingKind.SERVO, ReadingKind.SERVO, last]
    assert [one.wd_um for one in shown] == [1.0, 2.0, 3.0]


def test_the_authors_code_is_more_patient() -> None:
    assert servo_stop(trace(5.0), trace(*[1.0] * 7), AUTHORS_ONLINE) is None
    assert servo_stop(trace(5.0), trace(*[1.0] * 8), AUTHORS_ONLINE) is Stop.NO_NEW_BEST


def test_the_newest_reading_of_a_working_distance_counts() -> None:
    freak = [point(4.0, 1.0), point(8.5, 2.0), point(5.0, 3.0), point(1.5, 2.0)]
    assert evidence.best_seen(freak[:3]).wd_um == 2.0
    assert evidence.best_seen(freak).wd_um == 3.0
    assert evidence.latest_at(freak, 2.0) == freak[3]
    assert evidence.latest_at(freak, 9.0) is None


def test_the_earliest_of_equals_is_the_best() -> None:
    assert evidence.best_seen([point(4.0, 1.0), point(4.0, 2.0)]).wd_um == 1.0


@pytest.mark.parametrize(
    ("variance", "saturated", "expected"),
    [
        (0.3, 0.0, Reason.NOT_FOUND),
        (0.001, 0.0, Reason.NO_CONTRAST),
        (0.3, 0.9, Reason.SATURATED),
        (0.001, 0.9, Reason.SATURATED),
    ],
)
def test_a_failure_gets_its_most_telling_reason(
    variance: float, saturated: float, expected: Reason
) -> None:
    points = [point(1.0, variance=variance, saturated=saturated)] * 3
    assert evidence.diagnose(points, PUBLISHED, Reason.NOT_FOUND) is expected
    assert evidence.diagnose([*points, point(1.0)], PUBLISHED, Reason.NOT_FOUND) is Reason.NOT_FOUND


def test_what_scored_highest_may_be_doubted() -> None:
    """That reason is told when nothing else was good enough to go on."""
    strange = point(8.0, doubt="unlike every frame of the training")
    points = [point(2.0, 1.0), strange]
    assert evidence.diagnose(points, PUBLISHED, Reason.NOT_FOUND) is Reason.DOUBTED
    assert evidence.diagnose([*points, point(8.5, 2.0)], PUBLISHED, Reason.NOT_CONVERGED) is (
        Reason.NOT_CONVERGED
    )
    assert evidence.flaws(points, PUBLISHED).endswith(
        "1 of 2 frames are doubted: unlike every frame of the training"
    )


def test_readings_are_counted_by_purpose() -> None:
    kinds = [ReadingKind.SEARCH] * 3 + [ReadingKind.SERVO] * 2 + [ReadingKind.VERIFY]
    counted = evidence.count([point(1.0, kind=kind) for kind in kinds])
    assert counted == ReadingCount(search=3, servo=2, verify=1)
    assert counted.total == 6
    assert ReadingCount().total == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [("patience", 0), ("stride_fraction", 0.0), ("search_score", float("nan")), ("retries", -1)],
)
def test_an_impossible_parameter_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        PublishedProfile(**{name: value})  # type: ignore[arg-type]  # a wrong value is the point
