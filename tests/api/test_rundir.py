"""The folder of the sockets: whose it is, who may enter, what is removed, and what happens when it goes away."""

import asyncio
import os
import shutil
import socket
import stat
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from afdaemon.api import abort, gate, server
from afdaemon.api.client import AsyncClient
from afdaemon.api.fake import FakeBackend
from afdaemon.api.rundir import held, holder_of, problem_of
from afdaemon.api.server import Doors, open_doors
from afdaemon.clock import ManualClock
from afdaemon.errors import BusyError, ConfigError

Until = Callable[[Callable[[], object]], Awaitable[None]]
OURS = 1000
SOCKETS = ("control.sock", "abort.sock", "events.sock")


def status(mode: int, uid: int = OURS) -> os.stat_result:
    return os.stat_result((mode, 1, 1, 1, uid, uid, 0, 0, 0, 0))


@pytest.mark.parametrize("mode", [0o700, 0o710, 0o750, 0o2750])
def test_a_folder_of_ours_that_only_we_can_write_to_is_accepted(mode: int) -> None:
    assert problem_of(Path("/run/it"), status(stat.S_IFDIR | mode), OURS) is None


@pytest.mark.parametrize(
    ("mode", "uid", "pattern", "remedy"),
    [
        (stat.S_IFDIR | 0o770, OURS, "open to others", "chmod 700"),
        (stat.S_IFDIR | 0o755, OURS, "open to others", "chmod 700"),
        (stat.S_IFDIR | 0o1777, OURS, "open to others", "chmod 700"),
        (stat.S_IFDIR | 0o700, 1001, "belongs to user 1001", "api.runtime_dir"),
        (stat.S_IFDIR | 0o700, 0, "belongs to user 0", "api.runtime_dir"),
        (stat.S_IFLNK | 0o777, OURS, "symbolic link", "the folder itself"),
        (stat.S_IFREG | 0o600, OURS, "not a folder", "api.runtime_dir"),
    ],
)
def test_any_other_is_refused_with_what_helps(
    mode: int, uid: int, pattern: str, remedy: str
) -> None:
    problem = problem_of(Path("/run/it"), status(mode, uid), OURS)
    assert problem is not None
    assert pattern in str(problem)
    assert remedy in problem.remedy


@given(mode=st.integers(0, 0o7777), uid=st.integers(0, 3))
def test_nobody_else_can_put_anything_into_what_is_accepted(mode: int, uid: int) -> None:
    if problem_of(Path("/run/it"), status(stat.S_IFDIR | mode, uid), 1) is None:
        assert uid == 1
        assert mode & 0o022 == 0


def test_a_link_to_a_good_folder_is_refused_and_nothing_is_made_there(folder: Path) -> None:
    (folder / "real").mkdir(mode=0o700)
    (folder / "run").symlink_to("real")
    with pytest.raises(ConfigError, match="symbolic link"), held(folder / "run"):
        pass
    assert list((folder / "real").iterdir()) == []


def test_a_folder_of_somebody_else_is_refused(folder: Path) -> None:
    (folder / "run").mkdir(mode=0o700)
    try:
        os.chown(folder / "run", 12345, 12345)
    except PermissionError:
        pytest.skip("only root can give a folder away")
    with pytest.raises(ConfigError, match="belongs to user 12345"), held(folder / "run"):
        pass


def test_a_new_folder_is_for_its_owner_alone(folder: Path) -> None:
    with held(folder / "a" / "run"):
        assert stat.S_IMODE((folder / "a" / "run").stat().st_mode) == 0o700


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def opened(stack: ExitStack, folder: Path) -> Doors:
    return stack.enter_context(open_doors([str(folder)], instance="i-2", clock=ManualClock()))


async def test_what_is_not_a_socket_is_never_removed(folder: Path) -> None:
    (folder / "events.sock").write_text("mine")
    with (
        pytest.raises(ConfigError, match="not a socket, and afdaemon removes nothing else"),
        ExitStack() as stack,
    ):
        opened(stack, folder)
    assert (folder / "events.sock").read_text() == "mine"


async def test_a_socket_on_which_another_program_listens_is_left_to_it(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(folder / "abort.sock"))
        other.listen()
        with (
            pytest.raises(BusyError, match="another program already listens"),
            ExitStack() as stack,
        ):
            opened(stack, folder)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(folder / "abort.sock"))


async def test_at_its_end_a_daemon_removes_its_own_sockets_only(folder: Path) -> None:
    with ExitStack() as stack:
        opened(stack, folder)
        (folder / "control.sock").unlink()
        (folder / "control.sock").write_text("somebody else's")
        (folder / "beside.sock").touch()
    assert names_in(folder) == {"daemon.lock", "control.sock", "beside.sock"}


def test_who_holds_a_folder_can_be_found_out_without_disturbing(folder: Path) -> None:
    assert holder_of(folder) is None
    with held(folder):
        assert holder_of(folder) == os.getpid()
    assert holder_of(folder) is None


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks often."""
    monkeypatch.setattr(server, "MEND_S", 0.01)
    monkeypatch.setattr(gate, "MEND_S", 0.01)
    monkeypatch.setattr(abort, "_TURN_MS", 10)


@pytest.mark.parametrize("gone", [*SOCKETS, "daemon.lock", "all"])
async def test_what_is_removed_while_it_runs_is_made_again(
    quick: None, doors: Doors, backend: FakeBackend, folder: Path, gone: str, until: Until
) -> None:
    def is_whole() -> bool:
        return all((folder / name).exists() for name in (*SOCKETS, "daemon.lock"))

    async with AsyncClient(str(folder)) as before:
        await before.ping()
        if gone == "all":
            shutil.rmtree(folder)
        else:
            (folder / gone).unlink()
        await until(is_whole)
        await until(lambda: not doors.troubles)
        assert (await before.ping()).pong, "who was connected stays so"
    async with AsyncClient(str(folder)) as client:
        await client.ping()
        assert (await client.abort()).job is None
        assert (await client.autofocus()).converged
    with pytest.raises(BusyError), held(folder):
        pass
    assert mode_of(folder) == 0o700


async def test_a_folder_that_another_daemon_has_taken_is_left_to_it(
    quick: None, doors: Doors, backend: FakeBackend, folder: Path, until: Until
) -> None:
    with capture_logs() as lines:
        shutil.rmtree(folder)
        with held(folder) as other:
            other.listen("control.sock", 1)
            await until(lambda: doors.troubles)
            assert "already serves" in doors.troubles[0]
            await asyncio.sleep(0.05)
            assert names_in(folder) == {"daemon.lock", "control.sock"}
        await until(lambda: not doors.troubles)
    told = [line for line in lines if line["event"] == "runtime_folder"]
    assert len(told) == 1, "said once, not at every look"
    async with AsyncClient(str(folder)) as client:
        await client.ping()


async def test_a_folder_that_is_opened_to_others_is_told(
    quick: None, doors: Doors, backend: FakeBackend, folder: Path, until: Until
) -> None:
    os.chmod(folder, 0o777)  # noqa: PTH101, S103
    await until(lambda: doors.troubles)
    assert "open to others (mode 0777)" in doors.troubles[0]
    os.chmod(folder, 0o700)  # noqa: PTH101
    await until(lambda: not doors.troubles)


async def test_a_file_in_the_place_of_a_socket_is_told_and_left(
    quick: None, doors: Doors, backend: FakeBackend, folder: Path, until: Until
) -> None:
    (folder / "abort.sock").unlink()
    (folder / "abort.sock").write_text("mine")
    await until(lambda: doors.troubles)
    assert "it is not a socket" in doors.troubles[0]
    assert (folder / "abort.sock").read_text() == "mine"
