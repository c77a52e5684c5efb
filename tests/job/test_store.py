"""The journal's file: each way in which a disk fails is told with its remedy, and loses nothing."""

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from afdaemon.control.limits import Limits, Range
from afdaemon.control.published.profile import PUBLISHED
from afdaemon.control.values import (
    Conclude,
    Failed,
    MoveWd,
    Outcome,
    ReadingCount,
    ReadingKind,
    Reason,
    Started,
    TakeReading,
)
from afdaemon.errors import BusyError, JournalError
from afdaemon.job import journal as journal_module
from afdaemon.job import store
from afdaemon.job.journal import Journal
from afdaemon.job.records import JournalStep
from afdaemon.job.schema import SCHEMA_VERSION

LIMITS = Limits(hard=Range(lo_um=5_000.0, hi_um=30_000.0))
START = JournalStep(
    event=Started(wd_um=12_000.0, magnification=2_000.0), command=MoveWd(wd_um=13_000.0)
)
LONG = JournalStep(
    event=Failed(reason=Reason.DEVICE, detail="x" * 20_000),
    command=TakeReading(kind=ReadingKind.SEARCH),
)
END = JournalStep(
    event=Failed(reason=Reason.DEVICE),
    command=Conclude(
        outcome=Outcome(
            converged=False,
            reason=Reason.DEVICE,
            detail="y" * 20_000,
            start_wd_um=12_000.0,
            wd_um=12_000.0,
            best_wd_um=None,
            score=None,
            readings=ReadingCount(),
            restored=True,
        )
    ),
)
MONDAY = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "of afdaemon?" / "journal.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    with closing(Journal(path)) as opened:
        yield opened


def begin(journal: Journal, job_id: str = "job-1") -> None:
    journal.open_job(job_id, request={}, limits=LIMITS, rules=PUBLISHED)


def fill(journal: Journal) -> None:
    """No page more, as on a full disk: SQLite's own error."""
    connection = journal._store.connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")


def empty(journal: Journal) -> None:
    journal._store.connection.execute("PRAGMA max_page_count = 1000000")


def refused(deed: Callable[[], object]) -> JournalError:
    with pytest.raises(JournalError) as caught:
        deed()
    return caught.value


# Each way to fail, with its remedy


def test_a_full_disk_asks_for_space_and_loses_nothing_before(journal: Journal) -> None:
    begin(journal)
    journal.append("job-1", 0, START)
    fill(journal)
    error = refused(lambda: journal.append("job-1", 1, LONG))
    assert "full" in str(error)
    assert "free space on the disk" in error.remedy
    assert "journal.path" in error.remedy
    assert journal.steps("job-1") == [START]


def test_a_fault_is_remembered_also_where_it_cannot_be_written(
    journal: Journal, path: Path
) -> None:
    assert journal.fault() is None
    begin(journal)
    fill(journal)
    journal.keep("job-1", 0, LONG)  # what is kept is written in order
    journal.distrust("it stands elsewhere")
    assert journal.fault() == "it stands elsewhere"
    journal.trust()
    assert journal.fault() is None
    journal.distrust("again")
    empty(journal)
    journal.close()
    with closing(Journal(path)) as later:
        assert later.fault() == "again"
        later.trust()
        assert later.fault() is None


def test_what_a_full_disk_refuses_is_kept_seen_and_written_later(
    journal: Journal, path: Path
) -> None:
    begin(journal)
    journal.append("job-1", 0, START)
    fill(journal)
    journal.keep("job-1", 1, LONG)
    journal.keep("job-1", 2, END)
    assert journal.kept == 3, "two steps, and the job's end"
    assert "full" in str(journal.problem)
    record = journal.find("job-1")
    assert record is not None
    assert Conclude(outcome=record.outcome) == END.command  # type: ignore[arg-type]
    assert journal.steps("job-1") == [START, LONG, END]
    assert journal.owed() is None
    with closing(Journal(path, read_only=True)) as reader:
        assert reader.steps("job-1") == [START]
    assert "full" in str(refused(lambda: begin(journal, "job-2"))), "first things first"
    empty(journal)
    begin(journal, "job-2")
    assert (journal.kept, journal.problem) == (0, None)
    with closing(Journal(path, read_only=True)) as reader:
        assert reader.steps("job-1") == [START, LONG, END]
        assert reader.find("job-1") == record


def test_what_is_settled_and_interrupted_is_kept_too(journal: Journal, path: Path) -> None:
    begin(journal)
    journal.append("job-1", 0, START)
    journal.close()
    again = Journal(path)
    locked = sqlite3.connect(path, isolation_level=None)
    locked.execute("BEGIN IMMEDIATE")
    again._store.connection.execute("PRAGMA busy_timeout = 1")
    assert [record.job_id for record in again.interrupted()] == ["job-1"]
    owed = again.owed()
    assert owed is not None
    assert owed.interrupted
    again.settle("job-1", "declined")
    assert again.owed() is None
    assert again.kept == 2
    locked.execute("ROLLBACK")
    locked.close()
    again.close()
    with closing(Journal(path)) as later:
        assert later.owed() is None
        assert later.interrupted() == []


FILE_LIMIT = """
import resource, sys
from pathlib import Path
from afdaemon.control.limits import Limits, Range
from afdaemon.control.published.profile import PUBLISHED
from afdaemon.errors import JournalError
from afdaemon.job.journal import Journal
journal = Journal(Path(sys.argv[1]))
limits = Limits(hard=Range(lo_um=5000.0, hi_um=30000.0))
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
written = 0
try:
    while True:
        journal.open_job(f"job-{written}", request={"x": "y" * 5000}, limits=limits, rules=PUBLISHED)
        written += 1
except JournalError as error:
    print(written, "|", error, "|", error.remedy)
journal.close()
"""


def test_a_file_that_may_grow_no_more_says_so_and_keeps_what_it_has(path: Path) -> None:
    """A real refusal of the operating system, in a process of its own."""
    child = subprocess.run(
        [sys.executable, "-c", FILE_LIMIT, str(path)], capture_output=True, text=True, check=True
    )
    written, said, remedy = child.stdout.split(" | ")
    assert int(written) > 5
    assert "disk" in said
    assert "ulimit -f" in remedy
    with closing(Journal(path, read_only=True)) as reader:
        assert len(reader.latest(1_000)) == int(written)


def test_a_locked_file_names_the_backup(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BUSY_TIMEOUT_S", 0.01)
    with closing(Journal(path)) as journal:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        error = refused(lambda: begin(journal))
        assert "locked" in str(error)
        assert "backup" in error.remedy
        other.execute("ROLLBACK")
        other.close()
        begin(journal)


def test_a_file_that_may_not_be_written_asks_for_access(journal: Journal) -> None:
    journal._store.connection.execute("PRAGMA query_only = ON")
    error = refused(lambda: begin(journal))
    assert "readonly" in str(error)
    assert "let the daemon's user write" in error.remedy


def test_a_folder_in_which_no_file_can_be_made_asks_for_access() -> None:
    error = refused(lambda: Journal(Path("/proc/self/journal")))  # not even by root
    assert "let the daemon's user write" in error.remedy


def test_a_folder_that_cannot_be_made_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    error = refused(lambda: Journal(tmp_path / "file" / "journal.sqlite"))
    assert "journal.path" in error.remedy


def test_a_file_that_is_no_journal_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    path.write_bytes(b"this is no database" * 1_000)
    error = refused(lambda: Journal(path))
    assert "not a database" in str(error)
    assert "move it away with its -wal and -shm files" in error.remedy
    assert path.read_bytes() == b"this is no database" * 1_000
    other = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(other)) as connection, connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
    assert "another program" in str(refused(lambda: Journal(other)))
    with closing(sqlite3.connect(other)) as connection:
        assert [name for (name,) in connection.execute("SELECT name FROM sqlite_master")] == [
            "bookmarks"
        ]


def test_a_damaged_file_says_what_is_lost_with_it(journal: Journal, path: Path) -> None:
    for number in range(20):
        begin(journal, f"job-{number}")
        journal.append(f"job-{number}", 0, LONG)
    journal.close()
    data = bytearray(path.read_bytes())
    data[4096:-4096] = os.urandom(len(data) - 8192)
    path.write_bytes(bytes(data))

    def use() -> None:
        with closing(Journal(path)) as damaged:
            damaged.interrupted()
            damaged.owed()
            damaged.latest(20)

    error = refused(use)
    assert "malformed" in str(error)
    assert "look where the microscope stands" in error.remedy


def test_a_journal_of_a_later_version_is_refused_and_left_alone(
    journal: Journal, path: Path
) -> None:
    journal._store.connection.execute("PRAGMA user_version = 99")
    journal.close()
    before = path.read_bytes()
    for read_only in (False, True):
        error = refused(lambda read_only=read_only: Journal(path, read_only=read_only))  # type: ignore[misc]
        assert "schema 99" in str(error)
        assert "run the version that wrote it" in error.remedy
    assert path.read_bytes() == before


def test_a_file_that_is_taken_away_is_noticed(journal: Journal, path: Path) -> None:
    begin(journal)
    path.rename(path.with_name("elsewhere"))
    error = refused(lambda: begin(journal, "job-2"))
    assert "moved or removed" in str(error)
    path.with_name("elsewhere").rename(path)
    begin(journal, "job-2")


def test_a_closed_journal_is_an_error_and_may_be_closed_again(journal: Journal) -> None:
    journal.close()
    journal.close()
    assert "closed" in str(refused(lambda: journal.find("job-1")))


# Durable, private, and one daemon's


def test_every_entry_is_synchronised_with_the_disk(journal: Journal) -> None:
    connection = journal._store.connection
    assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2
    assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION


def test_nobody_else_can_read_it(path: Path) -> None:
    old_mask = os.umask(0)
    try:
        with closing(Journal(path)) as journal:
            begin(journal)
            files = sorted(path.parent.iterdir())
            modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in files}
    finally:
        os.umask(old_mask)
    assert modes == {f"journal.sqlite{end}": 0o600 for end in ("", "-shm", "-wal", ".lock")}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_mode_that_is_too_open_is_mended(journal: Journal, path: Path) -> None:
    journal.close()
    path.chmod(0o664)
    with closing(Journal(path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_of_somebody_else_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Journal(path)):
        pass
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    error = refused(lambda: Journal(path))
    assert "does not belong to the daemon's user" in str(error)


@pytest.mark.parametrize("companion", ["-wal", "-shm", "-journal"])
def test_a_link_in_the_place_of_a_companion_is_refused(
    path: Path, tmp_path: Path, companion: str
) -> None:
    path.parent.mkdir(parents=True)
    (tmp_path / "precious").write_text("x")
    path.with_name(path.name + companion).symlink_to(tmp_path / "precious")
    assert "no plain file" in str(refused(lambda: Journal(path)))
    assert (tmp_path / "precious").read_text() == "x"


def test_a_second_daemon_is_refused_also_by_another_name(
    journal: Journal, path: Path, tmp_path: Path
) -> None:
    begin(journal)
    (tmp_path / "link").symlink_to(path)
    for name in (path, tmp_path / "link"):
        with pytest.raises(BusyError, match=f"process {os.getpid()}") as caught:
            Journal(name)
        assert "journal.path" in caught.value.remedy
    with closing(Journal(path, read_only=True)) as reader:
        assert reader.find("job-1") is not None
    journal.close()
    with closing(Journal(path)) as next_one:
        assert next_one.find("job-1") is not None


def test_a_reader_changes_nothing(journal: Journal, path: Path) -> None:
    begin(journal)
    with closing(Journal(path, read_only=True)) as reader:
        assert "readonly" in str(refused(lambda: begin(reader, "job-2")))
    absent = refused(lambda: Journal(path.with_name("absent"), read_only=True))
    assert "unable to open" in str(absent)
    assert not path.with_name("absent").exists()


# In the order of their start, and not for ever


JUMPS = [0, 10, -300_000, 11, 600_000, 12]
"""Hours after Monday at which jobs begin, as a clock says that runs down and is set again."""


def entered(path: Path, hours: list[int]) -> Journal:
    """A journal with a job at each of these times, in this order; it is then as late as the last one."""
    moments = [MONDAY + timedelta(hours=hour) for hour in hours]
    journal = Journal(path, utc=lambda: moments[0])
    for number in range(len(hours)):
        begin(journal, f"job-{number}")
        if len(moments) > 1:
            moments.pop(0)
    return journal


def names(journal: Journal) -> list[str]:
    return [record.job_id for record in journal.latest(1_000)]


def test_a_clock_that_jumps_hides_no_job(path: Path) -> None:
    with closing(entered(path, JUMPS)) as journal:
        journal.append("job-2", 0, START)
        assert names(journal) == [f"job-{number}" for number in reversed(range(len(JUMPS)))]
        interrupted = [record.job_id for record in journal.interrupted()]
        assert interrupted == [f"job-{number}" for number in range(len(JUMPS))]
        owed = journal.owed()
        assert owed is not None
        assert owed.job_id == "job-2"


MUCH = 1 << 40


def all_pruned(journal: Journal, *, keep_days: float = 1e6, most_bytes: int = MUCH) -> list[int]:
    """How many jobs each call removed."""
    removed = []
    while gone := journal.prune(keep_days=keep_days, most_bytes=most_bytes):
        removed.append(gone)
    return removed


def test_old_jobs_go_in_small_steps_and_the_last_ones_stay(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "LEAST_KEPT", 5)
    with closing(entered(path, [*range(40), 3_000])) as journal:
        assert all_pruned(journal, keep_days=200.0) == []
        assert all_pruned(journal, keep_days=100.0) == [16, 16, 4]
        assert names(journal) == [f"job-{number}" for number in (40, 39, 38, 37, 36)]


def test_a_clock_that_jumps_ahead_does_not_empty_the_journal(path: Path) -> None:
    with closing(entered(path, [*range(60), 9_000_000])) as journal:
        assert all_pruned(journal, keep_days=1.0) == []


def test_a_large_journal_loses_its_oldest_jobs_and_gives_their_space_back(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "LEAST_KEPT", 5)
    with closing(entered(path, [0] * 60)) as journal:
        for number in range(60):
            journal.append(f"job-{number}", 0, LONG)
        journal._store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        before = path.stat().st_size
        assert sum(all_pruned(journal, most_bytes=before // 2)) in range(25, 50)
        journal._store.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert path.stat().st_size <= before // 2
        assert journal.steps("job-59") == [LONG]
        assert journal.steps("job-0") == []


def test_what_is_owed_is_never_removed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "LEAST_KEPT", 1)
    with closing(entered(path, [0] * 20)) as journal:
        journal.append("job-3", 0, START)
        journal.interrupted()
        assert sum(all_pruned(journal, most_bytes=1)) == 18
        assert names(journal) == ["job-19", "job-3"]
        owed = journal.owed()
        assert owed is not None
        assert owed.start.wd_um == 12_000.0
        assert owed.job_id == "job-3"
