"""The journal keeps what it was given, refuses to lose anything, and replays bit for bit."""

import math
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.control.fast.law import FocusLaw
from afdaemon.control.fast.profile import FAST, FastProfile
from afdaemon.control.limits import Limits, Range
from afdaemon.control.machine import step
from afdaemon.control.procedures import Laws, procedure_of
from afdaemon.control.published.profile import PUBLISHED, PublishedProfile
from afdaemon.control.state import new_job
from afdaemon.control.values import (
    Command,
    Conclude,
    Event,
    Failed,
    Moved,
    MoveWd,
    Observed,
    Outcome,
    Place,
    Proposal,
    Reading,
    ReadingCount,
    ReadingKind,
    Reason,
    Refused,
    Started,
    TakeReading,
)
from afdaemon.errors import JournalError
from afdaemon.job import records
from afdaemon.job.journal import Journal
from afdaemon.job.records import JournalStep
from afdaemon.models.frames.measures import Measures


def told(reading: Reading, **measures: Any) -> Reading:
    """The reading of a frame that told otherwise."""
    return replace(reading, frame=replace(reading.frame, **measures))


LIMITS = Limits(hard=Range(lo_um=5_000.0, hi_um=30_000.0), site=Range(lo_um=6_000.0, hi_um=2e4))
START_UM = 12_000.1
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "of afdaemon" / "journal.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    opened = Journal(path, utc=lambda: NOW)
    yield opened
    opened.close()


def write_job(
    journal: Journal,
    job_id: str = "job-1",
    *,
    until: int = 1_000,
    law: Callable[[object], float] = lambda _readings: 1 / 3,
) -> list[JournalStep]:
    """A whole conversation, or its first `until` steps, entered as the loop would."""
    journal.open_job(job_id, request={"client": "test"}, limits=LIMITS, rules=PUBLISHED)
    state, wd_um = new_job(procedure_of(PUBLISHED, Laws(step=law)), LIMITS), START_UM
    event: Event = Started(wd_um=wd_um, magnification=700.0)
    written: list[JournalStep] = []
    for number in range(until):
        state, (command,) = step(state, event)
        entry = JournalStep(event=event, command=command, proposal=state.proposal)
        journal.append(job_id, number, entry)
        written.append(entry)
        if isinstance(command, Conclude):
            break
        if isinstance(command, MoveWd):
            wd_um = command.wd_um
            event = Moved(wd_um=wd_um)
        else:
            event = Observed(reading=reading(wd_um))
    return written


def write_fast_job(journal: Journal, law: FocusLaw) -> list[JournalStep]:
    """The same by the fast procedure."""
    journal.open_job("job-1", request={}, limits=LIMITS, rules=FAST)
    state = new_job(procedure_of(FAST, Laws(step=lambda _readings: math.nan, focus=law)), LIMITS)
    wd_um = START_UM
    event: Event = Started(wd_um=wd_um, magnification=700.0)
    written: list[JournalStep] = []
    while not (written and isinstance(written[-1].command, Conclude)):
        state, (command,) = step(state, event)
        entry = JournalStep(
            event=event,
            command=command,
            proposal=state.proposal,
        )
        journal.append("job-1", len(written), entry)
        written.append(entry)
        wd_um = command.wd_um if isinstance(command, MoveWd) else wd_um
        bands = tuple(1.0 / (k + 3.0) for k in range(18))
        is_move = isinstance(command, MoveWd)
        seen = Observed(reading=told(reading(wd_um), bands=bands, expected_error=1 / 7))
        event = Moved(wd_um=wd_um) if is_move else seen
    return written


def test_a_fast_job_replays_with_its_beliefs(journal: Journal) -> None:
    def law(newest_first: Sequence[Reading]) -> Proposal:
        step_um = 12_700.0 - newest_first[0].wd_um
        return Proposal(step_um=step_um / 3.0, confidence=1.0 / (1.0 + abs(step_um)))

    written = write_fast_job(journal, law)
    assert sum(entry.proposal is not None for entry in written) > 3
    assert journal.replay("job-1") == journal.steps("job-1") == written
    record = journal.find("job-1")
    assert record is not None
    assert record.rules == FAST


def reading(wd_um: float) -> Reading:
    score = 8.9 / (1 + ((wd_um - 12_700.0) / 640.0) ** 2)
    return Reading(
        wd_um=wd_um, magnification=700.0, frame=Measures(score=score, contrast=0.1, entropy=7 / 3)
    )


def test_a_finished_job_is_found_with_everything(journal: Journal) -> None:
    written = write_job(journal)
    record = journal.find("job-1")
    assert record is not None
    assert record.request == {"client": "test"}
    assert (record.limits, record.rules) == (LIMITS, PUBLISHED)
    assert record.start_wd_um == START_UM
    assert record.opened_utc == NOW
    assert record.outcome is not None
    assert Conclude(outcome=record.outcome) == written[-1].command
    assert not record.interrupted
    assert journal.steps("job-1") == written


def left_away(journal: Journal, job_id: str, reason: Reason | None, **told: Any) -> None:
    """A job that moved, and ended so; without a reason it did not end."""
    journal.open_job(job_id, request={}, limits=LIMITS, rules=PUBLISHED, instrument="em30 (test)")
    started = Started(wd_um=START_UM, magnification=2_000.0)
    journal.append(job_id, 0, JournalStep(event=started, command=MoveWd(wd_um=13_000.0)))
    if reason is not None:
        outcome = Outcome(
            converged=False,
            reason=reason,
            detail="",
            start_wd_um=START_UM,
            best_wd_um=None,
            score=None,
            readings=ReadingCount(),
            **{"wd_um": None, "restored": False, **told},
        )
        failed = Failed(reason=reason)
        journal.append(job_id, 1, JournalStep(event=failed, command=Conclude(outcome=outcome)))


def test_a_job_that_ended_away_from_its_start_owes_the_way_back(journal: Journal) -> None:
    left_away(journal, "job-1", Reason.DEVICE, wd_um=13_333.0, magnification=500.0)
    owed = journal.owed()
    assert owed is not None
    assert (owed.job_id, owed.interrupted) == ("job-1", False)
    assert owed.start == Place(wd_um=START_UM, magnification=2_000.0)
    assert owed.left == (
        owed.start,
        Place(wd_um=13_000.0, magnification=2_000.0),
        Place(wd_um=13_333.0, magnification=500.0),
    )
    assert owed.last == (Place(wd_um=13_333.0, magnification=500.0),), "where it was read back"


def test_a_job_that_a_crash_ended_owes_the_way_back(journal: Journal) -> None:
    left_away(journal, "job-1", None)
    assert journal.owed() is None, "it runs"
    journal.interrupted()
    owed = journal.owed()
    assert owed is not None
    assert owed.interrupted
    assert owed.last == (owed.start, Place(wd_um=13_000.0, magnification=2_000.0), owed.start)
    assert owed.instrument == "em30 (test)"


@pytest.mark.parametrize(
    ("reason", "told"), [(Reason.TAKEN_OVER, {}), (Reason.ABORTED, {"restored": True})]
)
def test_a_job_that_is_home_or_was_taken_over_owes_nothing(
    journal: Journal, reason: Reason, told: dict[str, Any]
) -> None:
    left_away(journal, "job-1", reason, **told)
    assert journal.owed() is None


def test_what_is_owed_is_owed_until_it_is_settled(journal: Journal, path: Path) -> None:
    left_away(journal, "job-1", Reason.DEVICE)
    journal.open_job("job-2", request={}, limits=LIMITS, rules=PUBLISHED)  # it moves nothing
    reader = Journal(path, read_only=True)
    assert reader.owed() == journal.owed() is not None
    journal.settle("job-1", "brought back")
    journal.settle("job-1", "once is enough")
    assert reader.owed() is None
    reader.close()
    left_away(journal, "job-3", Reason.DEVICE)
    owed = journal.owed()
    assert owed is not None
    assert owed.job_id == "job-3"


def test_an_unknown_job_is_none(journal: Journal) -> None:
    assert journal.find("nobody") is None
    assert journal.steps("nobody") == []
    with pytest.raises(JournalError, match="nobody"):
        journal.replay("nobody")


def test_everything_is_there_after_a_crash(journal: Journal, path: Path) -> None:
    written = write_job(journal, until=3)
    survivor = Journal(path, read_only=True)  # the first one was never closed
    assert survivor.steps("job-1") == written
    survivor.close()


def test_no_job_is_entered_twice(journal: Journal) -> None:
    write_job(journal)
    with pytest.raises(JournalError, match="job-1 is in the journal already"):
        journal.open_job("job-1", request={}, limits=LIMITS, rules=PUBLISHED)


def test_a_job_without_outcome_is_reported_once_as_interrupted(
    journal: Journal, path: Path
) -> None:
    write_job(journal, "done")
    write_job(journal, "crashed", until=4)
    write_job(journal, "crashed at once", until=0)
    journal.close()
    restarted = Journal(path)
    crashed, at_once = restarted.interrupted()
    assert (crashed.job_id, crashed.start_wd_um, crashed.interrupted) == ("crashed", START_UM, True)
    assert crashed.outcome is None
    assert (at_once.job_id, at_once.start_wd_um) == ("crashed at once", None)
    assert restarted.interrupted() == []
    found = restarted.find("crashed")
    assert found is not None
    assert found.interrupted
    restarted.close()


@pytest.mark.parametrize("proposal_um", [1 / 3, -77.7, math.nan, math.inf])
def test_a_job_replays_to_the_same_commands_without_its_law(
    journal: Journal, proposal_um: float
) -> None:
    written = write_job(journal, law=lambda _readings: proposal_um)
    assert repr(journal.replay("job-1")) == repr(written)
    assert any(entry.proposal is not None for entry in written)


@pytest.mark.parametrize(
    ("column", "number", "value"),
    [
        ("command", 1, records.encode(MoveWd(wd_um=12_000.2))),
        ("event", 1, records.encode(Moved(wd_um=12_000.2))),
        ("event", 0, records.encode(Started(wd_um=START_UM + 1.0, magnification=700.0))),
        ("command", 1, '{"type": "Nonsense"}'),
        ("event", 1, '{"type": "Nonsense"}'),
        ("event", 1, "not JSON"),
        ("proposal", 1, None),
    ],
)
def test_a_journal_that_was_tampered_with_is_noticed(
    journal: Journal, path: Path, column: str, number: int, value: str | None
) -> None:
    write_job(journal)
    with sqlite3.connect(path) as connection:
        sql = f"UPDATE steps SET {column} = ? WHERE number = ?"  # noqa: S608  # column is ours
        connection.execute(sql, (value, number))
    connection.close()
    with pytest.raises(JournalError, match="job-1"):
        journal.replay("job-1")


# Records

finite = st.floats(allow_nan=False, allow_infinity=False)
frames = st.builds(
    Measures,
    score=finite,
    contrast=finite,
    entropy=finite,
    bands=st.lists(finite, max_size=18).map(tuple),
    doubt=st.text(),
)
readings = st.builds(Reading, wd_um=finite, magnification=finite, frame=frames)
events = st.one_of(
    st.builds(Started, wd_um=finite, magnification=finite),
    st.builds(Moved, wd_um=finite, magnification=st.none() | finite),
    st.builds(Refused, detail=st.text()),
    st.builds(Observed, reading=readings),
    st.builds(Failed, reason=st.sampled_from(Reason), detail=st.text()),
)
commands = st.one_of(
    st.builds(MoveWd, wd_um=finite, magnification=st.none() | finite),
    st.builds(TakeReading, kind=st.sampled_from(ReadingKind)),
    st.builds(
        Conclude,
        outcome=st.builds(
            Outcome, reason=st.sampled_from(Reason), readings=st.builds(ReadingCount), wd_um=finite
        ),
    ),
)


@given(events)
def test_events_survive_to_the_last_bit(event: Event) -> None:
    assert records.decode_event(records.encode(event)) == event


@given(commands)
def test_commands_survive_to_the_last_bit(command: Command) -> None:
    assert repr(records.decode_command(records.encode(command))) == repr(command)


def test_moves_of_an_older_journal_leave_the_magnification_alone() -> None:
    moved = records.decode_event('{"type": "Moved", "wd_um": 12.5}')
    assert (moved, records.decode_command('{"type": "MoveWd", "wd_um": 12.5}')) == (
        Moved(wd_um=12.5),
        MoveWd(wd_um=12.5),
    )


def test_settings_survive() -> None:
    for rules in (PublishedProfile(patience=8, stride_fraction=0.1), FastProfile(confidence=0.95)):
        assert records.decode_profile(records.encode_profile(rules)) == rules
    assert records.decode_limits(records.encode_limits(LIMITS)) == LIMITS
