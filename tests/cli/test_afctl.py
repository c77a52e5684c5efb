import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from afdaemon.api import lines
from afdaemon.api.access.roles import Caller, Role
from afdaemon.api.fake import FOCUS_UM, FakeBackend, fake_daemon
from afdaemon.api.schemas import AutofocusParams, Event, Job, JobState, Owed, Status
from afdaemon.api.server import open_doors
from afdaemon.cli.afctl import app
from afdaemon.cli.runner import run_app
from afdaemon.clock import ManualClock
from afdaemon.drivers.errors import LinkTimeout
from afdaemon.errors import BusyError

ME = Caller(name="user 0", role=Role.ADMIN)
AFCTL = str(Path(sys.executable).with_name("afctl"))


@dataclass(frozen=True, slots=True)
class Said:
    code: int
    out: str
    err: str


Afctl = Callable[..., Coroutine[Any, Any, Said]]
Until = Callable[[Callable[[], object]], Awaitable[None]]


@pytest.fixture
async def daemon() -> AsyncIterator[tuple[FakeBackend, str]]:
    with (
        tempfile.TemporaryDirectory(prefix="af-") as folder,
        open_doors([folder], instance="i-1", clock=ManualClock()) as doors,
    ):
        async with fake_daemon(doors, instance="i-1") as backend:
            yield backend, f"ipc://{folder}"


@pytest.fixture
def backend(daemon: tuple[FakeBackend, str]) -> FakeBackend:
    return daemon[0]


@pytest.fixture
def afctl(daemon: tuple[FakeBackend, str], capsys: pytest.CaptureFixture[str]) -> Afctl:
    async def run(*args: str) -> Said:
        args = (*args, "--endpoint", daemon[1])
        code = await asyncio.to_thread(run_app, app, program="afctl", args=args)
        captured = capsys.readouterr()
        return Said(code, captured.out, captured.err)

    return run


async def test_focus_shows_lines_and_the_outcome(
    afctl: Afctl, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.release.clear()
    loop = asyncio.get_running_loop()
    whole = lines.event

    def heard(message: Sequence[bytes]) -> Event:
        event = whole(message)
        if event.data.get("reading") == backend.steps:
            loop.call_soon_threadsafe(backend.release.set)
        return event

    monkeypatch.setattr(lines, "event", heard)
    said = await afctl("focus")
    assert said.code == 0
    assert said.err == ""
    *progress, outcome = said.out.splitlines()
    assert progress[-1] == (
        "servo    reading 3/3  WD 12345.0 um  score 9.00  best 9.00 at 12345.0 um"
    )
    assert len(progress) == 3
    assert outcome.startswith("focused at WD 12345.0 um, score 8.50")


async def test_focus_as_json_is_one_object(afctl: Afctl) -> None:
    said = await afctl("focus", "--json")
    assert said.code == 0
    job = Job.model_validate_json(said.out)
    assert job.best_wd_um == FOCUS_UM
    assert said.out.count("\n") == 1


ENDS = [
    (JobState.NOT_CONVERGED, "not_found", 1),
    (JobState.NOT_CONVERGED, "no_contrast", 1),
    (JobState.ABORTED, "aborted", 1),
    (JobState.FAILED, "timeout", 1),
    (JobState.FAILED, "device", 5),
    (JobState.INTERRUPTED, None, 1),
]


@pytest.mark.parametrize(("state", "reason", "code"), ENDS)
async def test_how_a_job_ends_is_the_exit_code(
    afctl: Afctl, backend: FakeBackend, state: JobState, reason: str | None, code: int
) -> None:
    backend.end = Job(job="", state=state, reason=reason, restored=True)
    said = await afctl("focus")
    assert said.code == code
    assert said.err.startswith(f"not focused, {reason or state} (the start WD is restored)")


@pytest.mark.parametrize(
    ("words", "wanted"), [((), None), (("--ladder",), True), (("--no-ladder",), False)]
)
async def test_the_ladder_is_asked_for_or_not(
    afctl: Afctl, backend: FakeBackend, words: tuple[str, ...], wanted: bool | None
) -> None:
    assert (await afctl("focus", "--profile", "fast", *words)).code == 0
    assert backend.wishes[-1].ladder is wanted


async def test_where_a_job_was_left_names_a_magnification_that_is_not_the_starts(
    afctl: Afctl, backend: FakeBackend
) -> None:
    backend.end = Job(
        job="",
        state=JobState.FAILED,
        reason="device",
        start_magnification=20_000.0,
        magnification=500.0,
    )
    assert "(left at WD 12345.0 um, 500x)" in (await afctl("focus")).err


async def test_wd_tells_and_sets(afctl: Afctl, backend: FakeBackend) -> None:
    said = await afctl("wd")
    assert said == Said(0, "WD 12000.0 um, magnification 2000, allowed 5000.0 to 50000.0 um\n", "")
    assert (await afctl("wd", "12500.5")).out == "WD 12500.5 um\n"
    assert backend.moves == [12_500.5]
    document = json.loads((await afctl("wd", "--json")).out)
    assert document["wd_um"] == 12_500.5
    assert document["limits"]["max_um"] == 50_000.0


async def test_status_tells_the_microscope_and_the_job(afctl: Afctl, backend: FakeBackend) -> None:
    said = await afctl("status")
    assert said.code == 0
    assert "microscope fake: connected, WD 12000.0 um, 2000x" in said.out
    assert json.loads((await afctl("--json", "status")).out)["instance"] == "i-1"


async def test_status_tells_why_there_is_no_link(afctl: Afctl, backend: FakeBackend) -> None:
    backend.why_down = "the cable is out"
    said = await afctl("status")
    assert "microscope fake: not connected, WD 12000.0 um" in said.out
    assert "\nno link: the cable is out; plug it in\n" in said.out


async def test_status_tells_where_the_vendor_door_listens(
    afctl: Afctl, backend: FakeBackend
) -> None:
    assert "vendor door" not in (await afctl("status")).out
    backend.vendor = "127.0.0.1:60655"
    assert "\nvendor door: 127.0.0.1:60655\n" in (await afctl("status")).out


async def test_status_tells_what_is_owed_and_recover_does_it(
    afctl: Afctl, backend: FakeBackend
) -> None:
    assert (await afctl("recover")).out == "nothing is owed\n"
    backend.owed = Owed(
        job="job-1", since_utc="2026-01-01T00:00:00+00:00", detail="job-1 is away", remedy="do so"
    )
    said = await afctl("status")
    assert said.out.endswith("\njob-1 is away\ndo so\n")
    assert (await afctl("recover", "--decline")).out == "declined\n"
    backend.owed = Owed(job="job-2", since_utc="2026-01-01T00:00:00+00:00")
    assert json.loads((await afctl("recover", "--json")).out)["restored"]


async def test_abort_and_watch(afctl: Afctl, backend: FakeBackend, until: Until) -> None:
    assert (await afctl("abort")).out == "no job is running\n"
    assert (await afctl("watch")).out == "no job is running\n"
    backend.release.clear()
    watching = asyncio.create_task(afctl("focus"))
    await until(lambda: backend.moves or watching.done())
    assert not watching.done()
    backend.abort(None, None, ME)
    assert (await watching).code == 1


async def test_watch_ends_with_the_job(
    afctl: Afctl, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.steps = 20
    whole = backend.status

    async def status() -> Status:
        if not backend.jobs:
            await backend.start(AutofocusParams(), "one", ME)
        return await whole()

    monkeypatch.setattr(backend, "status", status)
    said = await afctl("watch", "--json")
    assert said.code == 0
    events = [json.loads(line) for line in said.out.splitlines()]
    assert [event["type"] for event in events] == ["progress"] * 20 + ["result"]
    assert {event["topic"] for event in events} == {"job.one"}


WRONG = [
    (["wd", "60000"], None, 4, "wd_um = 60000 is outside 5000 to 50000 um"),
    (["wd", "nan"], None, 2, "wd_um = NaN is not allowed: it must be a number from 0"),
    (["focus", "--profile", "slow"], None, 2, "profile = slow is not allowed: it must be one of"),
    (["focus", "--timeout", "0"], None, 2, "timeout_s = 0.0 is not allowed: it must be a number"),
    (["focus", "--min-wd", "3"], None, 2, "--min-wd and --max-wd go together"),
    (["focus", "--min-wd", "3", "--max-wd", "2"], None, 2, "min_um (3) must be below max_um (2)"),
    (["abort", "../x"], None, 2, 'job = "../x" is not allowed'),
    (["focus"], BusyError("job nine holds the microscope"), 4, "job nine holds the microscope"),
    (["wd"], LinkTimeout("no answer in 2 s"), 5, "no answer in 2 s"),
    (["wd"], ZeroDivisionError("bug"), 4, "the daemon failed while answering"),
]


@pytest.mark.parametrize(("args", "error", "code", "sentence"), WRONG)
async def test_errors_are_one_sentence_and_a_code(
    afctl: Afctl,
    backend: FakeBackend,
    args: list[str],
    error: Exception | None,
    code: int,
    sentence: str,
) -> None:
    backend.error = error
    said = await afctl(*args)
    assert said.code == code
    assert sentence in said.err
    assert said.err.startswith("afctl: ")
    assert said.err.count("\n") == 1
    assert "Traceback" not in said.err


async def test_an_error_as_json_is_one_object_too(afctl: Afctl) -> None:
    said = await afctl("wd", "60000", "--json")
    assert said.code == 4
    assert json.loads(said.out)["error"]["kind"] == "limit"


def test_no_daemon_is_code_three(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["status", "--endpoint", f"ipc://{tmp_path}"]
    assert run_app(app, program="afctl", args=args) == 3
    assert "no daemon answers at" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["udp://x", "tcp://", "ipc://", "ipc:///" + "x" * 120])
def test_a_wrong_address_is_code_two(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(app, program="afctl", args=["status", "--endpoint", address]) == 2
    assert capsys.readouterr().err.count("\n") == 1


async def test_ctrl_c_aborts_the_job(daemon: tuple[FakeBackend, str], until: Until) -> None:
    backend, address = daemon
    backend.release.clear()
    process = await asyncio.create_subprocess_exec(
        AFCTL, "focus", "--json", "--endpoint", address,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    await until(lambda: len(backend.moves) == backend.steps or process.returncode is not None)
    assert len(backend.moves) == backend.steps
    process.send_signal(signal.SIGINT)
    out, err = await process.communicate()
    assert process.returncode == 130, err
    assert json.loads(out)["state"] == "aborted"
    assert b"Traceback" not in err


async def test_it_needs_neither_torch_nor_numpy_nor_opencv(
    daemon: tuple[FakeBackend, str],
) -> None:
    script = (
        "import sys\n"
        "sys.modules.update(torch=None, numpy=None, cv2=None, scipy=None)\n"
        "from afdaemon.cli.afctl import main\n"
        f"sys.argv = ['afctl', 'focus', '--endpoint', '{daemon[1]}']\n"
        "main()\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert b"focused at WD" in out
