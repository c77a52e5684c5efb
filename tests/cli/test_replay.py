"""`afdaemon replay`: a job is shown as it went, and nothing is shown that does not follow."""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from afdaemon.cli.daemon import app
from afdaemon.cli.replay import command_in_words, event_in_words
from afdaemon.cli.runner import run_app
from afdaemon.control.fast.profile import FAST
from afdaemon.control.limits import Limits, Range
from afdaemon.control.machine import step
from afdaemon.control.procedures import Laws, procedure_of
from afdaemon.control.state import new_job
from afdaemon.control.values import (
    Conclude,
    Event,
    Moved,
    MoveWd,
    Observed,
    Proposal,
    Reading,
    Refused,
    Started,
)
from afdaemon.job.journal import Journal
from afdaemon.job.records import JournalStep
from afdaemon.models.frames.measures import Measures

LIMITS = Limits(hard=Range(lo_um=5_000.0, hi_um=50_000.0))
BEST_UM = 12_700.0


def law(newest_first: Sequence[Reading]) -> Proposal:
    away_um = newest_first[0].wd_um - BEST_UM
    return Proposal(step_um=-0.9 * away_um, confidence=1.0 / (1.0 + abs(away_um) / 700.0))


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """With one job of the fast procedure."""
    path = tmp_path / "journal"
    with closing(Journal(path)) as opened:
        opened.open_job("job-1", request={}, limits=LIMITS, rules=FAST)
        state = new_job(procedure_of(FAST, Laws(step=lambda _: 0.0, focus=law)), LIMITS)
        event: Event = Started(wd_um=12_000.0, magnification=700.0)
        for number in range(100):
            state, (command,) = step(state, event)
            entry = JournalStep(event=event, command=command, proposal=state.proposal)
            opened.append("job-1", number, entry)
            match command:
                case Conclude():
                    return path
                case MoveWd():
                    event = Moved(wd_um=command.wd_um)
                case _:
                    score = 8.9 / (1.0 + ((state.wd_um - BEST_UM) / 640.0) ** 2)
                    event = Observed(
                        reading=Reading(
                            wd_um=state.wd_um,
                            magnification=700.0,
                            frame=Measures(score=score, contrast=0.2, entropy=7.0),
                        )
                    )
    raise AssertionError("the job does not end")


def replay(*arguments: str) -> int:
    return run_app(app, program="afdaemon", args=["replay", *arguments])


def test_a_job_is_told_step_by_step(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay("job-1", "--journal", str(journal)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "job-1" in lines[0]
    assert "fast" in lines[0]
    assert "focused" in lines[0]
    assert "started at 12000.0 um, 700x" in lines[2]
    assert "law: +630.0 um, in focus with p = 0.50; go to 12630.0 um" in lines[3]
    assert "focused (" in lines[-2]
    verified = [line for line in lines if line.endswith("read (verify)")]
    assert len(verified) == 1
    assert lines[-1] == f"Replay check passed: {len(lines) - 3} commands reproduced."


def test_another_magnification_is_told() -> None:
    assert command_in_words(MoveWd(wd_um=12_000.0, magnification=500.0)) == "go to 12000.0 um, 500x"
    assert (
        event_in_words(Moved(wd_um=12_000.0, magnification=500.0)) == "arrived at 12000.0 um, 500x"
    )
    assert event_in_words(Moved(wd_um=12_000.0)) == "arrived at 12000.0 um"
    assert event_in_words(Refused(detail="not that low")) == "refused: not that low"


def test_the_same_as_json(journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay("job-1", "--json", "--journal", str(journal)) == 0
    steps = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert steps[1]["proposal"] == {
        "step_um": 630.0,
        "confidence": 0.5,
        "out_of_capture": 0.0,
        "dof_scale": 1.0,
        "read_step_um": 0.0,
        "nothing": 0.0,
        "belief": None,
    }
    assert steps[-1]["command"]["outcome"]["converged"] is True


def test_without_a_job_the_last_ones_are_listed(
    journal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(Journal(journal)) as opened:
        opened.open_job("job-2", request={}, limits=LIMITS, rules=FAST)
    assert replay("--journal", str(journal)) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("job-2")
    assert first.endswith("not ended")
    assert second.startswith("job-1")


def test_a_journal_that_was_changed_is_found_out(
    journal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(sqlite3.connect(journal)) as connection, connection:
        connection.execute("UPDATE steps SET proposal = '[631.0, 0.0, 0.0]' WHERE number = 1")
    assert replay("job-1", "--journal", str(journal)) != 0
    assert "step 1 replays to MoveWd(wd_um=12631.0, " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["nine"], "no job nine in"), (["--journal", "/absent"], "no journal at")],
)
def test_what_is_not_there_is_said(
    journal: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay("--journal", str(journal), *arguments) != 0
    assert said in capsys.readouterr().err


def test_without_daemon_and_journal_both_places_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "afdaemon.toml"
    config.write_text(
        f"[api]\nruntime_dir = '{tmp_path / 'run'}'\n[journal]\npath = '{tmp_path / 'absent'}'\n"
    )
    assert replay("--config", str(config)) != 0
    said = capsys.readouterr().err
    assert f"no daemon answers at ipc://{tmp_path / 'run'}" in said
    assert f"there is no journal at {tmp_path / 'absent'}" in said
    assert "--journal" in said


def test_a_reader_keeps_no_daemon_out(journal: Path) -> None:
    with closing(Journal(journal)):
        assert replay("job-1", "--journal", str(journal)) == 0
