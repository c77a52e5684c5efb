"""`afdaemon doctor`: what it makes of facts, and the facts that it finds on a real machine."""

import asyncio
import json
import os
import socket
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.api.fake import fake_daemon
from afdaemon.api.rundir import held
from afdaemon.api.server import open_doors
from afdaemon.api.vendor.access import VendorPlace
from afdaemon.cli.daemon import app
from afdaemon.cli.doctor import collect
from afdaemon.cli.doctor.checks import Finding, Level, findings, worst
from afdaemon.cli.doctor.command import told
from afdaemon.cli.doctor.facts import (
    ComputeFacts,
    ConfigFacts,
    DaemonFacts,
    Facts,
    JournalFacts,
    LinkFacts,
    MachineFacts,
    Node,
    RuntimeFacts,
    Trouble,
    User,
    VendorFacts,
    WeightFacts,
)
from afdaemon.cli.runner import run_app
from afdaemon.clock import ManualClock
from afdaemon.job.journal import Journal
from afdaemon.models.acnet.policy import DEFAULT_WEIGHTS
from afdaemon.models.checkpoint import card_path

NOW = datetime(2026, 11, 29, tzinfo=UTC)
USER = User(name="afdaemon", uid=990, gids=frozenset({990, 46}))
TROUBLE = Trouble(what="it is broken", remedy="mend it")
FOLDER = Node(mode=stat.S_IFDIR | 0o700, uid=990, gid=990)
FILE = Node(mode=stat.S_IFREG | 0o600, uid=990, gid=990)
WELL = Facts(
    version="1.0",
    user=USER,
    config=ConfigFacts(file="/etc/a.toml", given=3),
    machine=MachineFacts(
        soft_descriptors=1024,
        hard_descriptors=65536,
        now=NOW,
        installed=NOW - timedelta(days=9),
        free_bytes=2**36,
    ),
    compute=ComputeFacts(torch="2.13"),
    daemon=DaemonFacts(address="/run/afdaemon", version="1.0", state="ready"),
    link=LinkFacts(
        link="aisem", place="127.0.0.1:9025", folder="/drop", folder_node=FOLDER, tried=False
    ),
    runtime=RuntimeFacts(path="/run/afdaemon", exists=True),
    journal=JournalFacts(path="/var/lib/afdaemon/journal", file=FILE, folder=FOLDER, newest=NOW),
    weights=[WeightFacts(name="aenet", path="/a.safetensors", sha256="ab" * 32)],
)


def amiss(facts: Facts) -> list[Finding]:
    return [one for one in findings(facts) if one.level is not Level.OK]


def test_where_all_is_well_all_is_ok() -> None:
    assert amiss(WELL) == []
    assert worst(findings(WELL)) is Level.OK


def link(**changed: object) -> Facts:
    return replace(WELL, link=replace(WELL.link, **changed))  # type: ignore[type-var]


def journal(**changed: object) -> Facts:
    return replace(WELL, journal=replace(WELL.journal, **changed))  # type: ignore[type-var]


def machine(**changed: object) -> Facts:
    return replace(WELL, machine=replace(WELL.machine, **changed))  # type: ignore[arg-type]


def daemon(**facts: object) -> Facts:
    return replace(WELL, daemon=DaemonFacts(address="/run/afdaemon", **facts))  # type: ignore[arg-type]


def config(**facts: object) -> Facts:
    return replace(WELL, config=ConfigFacts(file="/etc/a.toml", **facts))  # type: ignore[arg-type]


FOREIGN = replace(FILE, uid=0)
CASES = {
    "bad settings": (config(trouble=TROUBLE), "failure", "it is broken"),
    "overridden": (
        config(overridden=[("journal.path", "the environment variable X")]),
        "warning",
        "journal.path in /etc/a.toml is overridden by the environment variable X",
    ),
    "old name": (config(renamed=[("a.b", "a.c")]), "warning", "a.b is now called a.c"),
    "service's file unread": (config(unused_file="/etc/x.toml"), "warning", "was not read"),
    "another version": (daemon(version="0.9", state="ready"), "warning", "this is 1.0"),
    "owed": (daemon(version="1.0", owed="job j ended away"), "warning", "job j ended away"),
    "silent": (daemon(holder=7), "failure", "process 7 holds"),
    "hidden": (daemon(may_be_hidden=True), "warning", "is closed to you"),
    "runtime": (
        replace(WELL, runtime=RuntimeFacts(path="/run/x", exists=True, trouble=TROUBLE)),
        "failure",
        "it is broken",
    ),
    "vendor door shut": (
        replace(WELL, vendor=VendorFacts(place="127.0.0.1:60655")),
        "failure",
        "the daemon does not listen",
    ),
    "vendor door in trouble": (
        replace(WELL, vendor=VendorFacts(place="127.0.0.1:60655", trouble=TROUBLE)),
        "failure",
        "it is broken",
    ),
    "vendor door without a token": (
        replace(
            daemon(version="1.0", vendor="127.0.0.1:60655"),
            vendor=VendorFacts(place="127.0.0.1:60655", has_token=False),
        ),
        "warning",
        "asks for no token",
    ),
    "nobody there": (link(tried=True, trouble=TROUBLE), "failure", "it is broken"),
    "no drop folder": (link(folder_node=None), "failure", "/drop does not exist"),
    "drop folder closed": (
        link(folder_node=replace(FOLDER, uid=0, gid=0)),
        "failure",
        "afdaemon may not read and remove files in /drop",
    ),
    "usb closed": (
        link(device_node=Node(mode=stat.S_IFCHR | 0o664, uid=0, gid=0)),
        "failure",
        "may not open the USB device",
    ),
    "no torch": (replace(WELL, compute=ComputeFacts(trouble=TROUBLE)), "failure", "broken"),
    "no gpu": (replace(WELL, compute=ComputeFacts(wanted="cuda")), "failure", "sees no GPU"),
    "weights": (
        replace(WELL, weights=[WeightFacts(name="aenet", path="/a", trouble=TROUBLE)]),
        "failure",
        "it is broken",
    ),
    "journal damaged": (journal(trouble=TROUBLE), "failure", "it is broken"),
    "journal of another": (journal(file=FOREIGN), "failure", "belongs to user 0"),
    "journal is a folder": (journal(file=FOLDER), "failure", "is not a file"),
    "journal's folder closed": (
        journal(folder=replace(FOLDER, mode=stat.S_IFDIR | 0o500)),
        "failure",
        "may not write in the folder",
    ),
    "journal open": (
        journal(file=replace(FILE, mode=stat.S_IFREG | 0o644)),
        "warning",
        "open to others (mode 0644)",
    ),
    "weights of one's own": (
        replace(
            WELL, weights=[WeightFacts(name="aenet", path="/mine.safetensors", is_shipped=False)]
        ),
        "warning",
        "not the file that came with this version",
    ),
    "disk full": (machine(free_bytes=2**20), "failure", "1 MiB are free"),
    "disk nearly full": (machine(free_bytes=2**28), "warning", "256 MiB are free"),
    "few descriptors": (machine(hard_descriptors=1024), "warning", "1024"),
    "no descriptors": (machine(hard_descriptors=100), "failure", "100"),
    "clock behind": (machine(now=NOW - timedelta(days=1)), "failure", "2026-11-28"),
}


@pytest.mark.parametrize("case", CASES)
def test_each_fault_is_one_finding_with_what_helps(case: str) -> None:
    facts, level, pattern = CASES[case]
    (one,) = amiss(facts)
    assert one.level == level
    assert pattern in one.text
    assert one.remedy


def test_a_usb_device_that_its_group_may_open_is_ok() -> None:
    node = Node(mode=stat.S_IFCHR | 0o660, uid=0, gid=46)
    assert amiss(link(device_node=node)) == []


@given(
    mode=st.integers(0, 0o777), uid=st.integers(0, 2), gid=st.integers(0, 2), want=st.integers(0, 7)
)
def test_permission_is_what_the_kernel_would_say(mode: int, uid: int, gid: int, want: int) -> None:
    user = User(name="u", uid=1, gids=frozenset({1}))
    bits = mode >> 6 if uid == 1 else mode >> 3 if gid == 1 else mode
    assert user.may(Node(mode=mode, uid=uid, gid=gid), want) is all(
        bits & bit for bit in (1, 2, 4) if want & bit
    )
    assert User(name="root", uid=0, gids=frozenset()).may(Node(mode=mode, uid=uid, gid=gid), want)


def test_the_remedy_stands_below_its_finding() -> None:
    lines = list(told(findings(CASES["disk full"][0])))
    at = next(number for number, line in enumerate(lines) if line.startswith("failure"))
    assert lines[at + 1].strip().startswith("-> make room")


# On this machine


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="afd-") as name:
        yield Path(name)


@pytest.fixture
def instrument(folder: Path) -> Iterator[socket.socket]:
    """Something that listens where the vendor's software would."""
    (folder / "drop").mkdir()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(0.0)
        yield listening


@pytest.fixture
def settings(folder: Path, instrument: socket.socket) -> Path:
    path = folder / "afdaemon.toml"
    path.write_text(
        f"[microscope]\nport = {instrument.getsockname()[1]}\nfolder = '{folder / 'drop'}'\n"
        f"[api]\nruntime_dir = '{folder / 'run'}'\n[journal]\npath = '{folder / 'journal'}'\n"
    )
    return path


def examined(
    settings: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[int, dict[str, tuple[str, str]]]:
    """Exit code, and level and text by what they are about."""
    code = run_app(app, program="afdaemon", args=["doctor", f"--config={settings}", "--json"])
    document = json.loads(capsys.readouterr().out)
    found = {one["about"]: (one["level"], one["text"]) for one in document["findings"]}
    assert (code == 1) is (document["worst"] == "failure")
    return code, found


def is_asked(instrument: socket.socket) -> bool:
    try:
        instrument.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def test_a_machine_on_which_all_is_well(
    settings: Path, instrument: socket.socket, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = examined(settings, capsys)
    assert code == 0, found
    assert {"configuration", "daemon", "runtime folder", "link aisem", "torch", "clock"} < set(
        found
    )
    assert {"weights aenet", "weights acnet", "weights defocus"} < set(found)
    assert is_asked(instrument)


async def test_the_link_of_a_running_daemon_is_left_alone(
    settings: Path, instrument: socket.socket, folder: Path
) -> None:
    with open_doors([str(folder / "run")], instance="i", clock=ManualClock()) as doors:
        async with fake_daemon(doors, instance="i"):
            facts = await asyncio.to_thread(collect.collect, settings)
    assert facts.daemon is not None
    assert facts.daemon.version
    assert facts.link is not None
    assert not facts.link.tried
    assert not is_asked(instrument)


def test_a_daemon_that_holds_its_folder_without_answering_is_told(
    settings: Path, instrument: socket.socket, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with held(folder / "run"):
        code, found = examined(settings, capsys)
    assert code == 1
    assert f"process {os.getpid()} holds" in found["daemon"][1]
    assert not is_asked(instrument)


async def test_the_vendor_door_of_a_running_daemon_listens(
    settings: Path, instrument: socket.socket, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with settings.open("a") as file:
        file.write(f"[vendor]\nenabled = true\ntoken_file = '{folder / 'token'}'\n")
    assert (
        "No such file" in (await asyncio.to_thread(examined, settings, capsys))[1]["vendor door"][1]
    )
    (folder / "token").write_text("0123456789abcdef")
    (folder / "token").chmod(0o600)
    vendor = VendorPlace(host="127.0.0.1", port=0, idle_s=9.0, token="0123456789abcdef")  # noqa: S106 - of a fake daemon
    run = str(folder / "run")
    with open_doors([run], instance="i", clock=ManualClock(), vendor=vendor) as doors:
        async with fake_daemon(doors, instance="i"):
            _, found = await asyncio.to_thread(examined, settings, capsys)
    assert found["vendor door"] == ("ok", f"listens at {doors.vendor}")


def test_who_listens_where_the_vendor_door_is_to_be_is_told(
    settings: Path, instrument: socket.socket, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert examined(settings, capsys)[1]["vendor door"] == ("ok", "not enabled")
    with socket.socket() as other, settings.open("a") as file:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        file.write(f"[vendor]\nenabled = true\nport = {port}\n")
        file.flush()
        found = collect.collect(settings)
        assert found.vendor is not None
        assert found.vendor.trouble is not None
        assert found.vendor.trouble.what == f"another program listens at 127.0.0.1:{port}"
    found = collect.collect(settings)
    assert found.vendor == VendorFacts(place=f"127.0.0.1:{port}", has_token=False)


def test_wrong_settings_are_the_first_finding(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "wrong.toml"
    path.write_text("[limits]\nhard_mn_um = 1\n")
    code, found = examined(path, capsys)
    assert code == 1
    assert "did you mean hard_min_um?" in found["configuration"][1]


def test_what_the_environment_overrides_is_told(
    settings: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AFDAEMON_MICROSCOPE__PORT", "1")
    _, found = examined(settings, capsys)
    assert found["configuration"][0] == "warning"
    assert "AFDAEMON_MICROSCOPE__PORT" in found["configuration"][1]
    assert found["link aisem"] == ("failure", "nobody answers at 127.0.0.1:1: Connection refused")


def test_a_damaged_journal_and_a_later_one_are_told(
    settings: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "journal"
    Journal(path).close()
    path.chmod(0o600)
    assert examined(settings, capsys)[1]["journal"][0] == "ok"
    with closing(sqlite3.connect(path)) as opened:
        opened.execute("PRAGMA user_version = 999")
    assert "later version (schema 999)" in examined(settings, capsys)[1]["journal"][1]
    path.write_bytes(b"no database" * 1000)
    assert "cannot be read" in examined(settings, capsys)[1]["journal"][1]
    assert path.read_bytes() == b"no database" * 1000


def test_weights_that_are_not_those_of_their_card_are_told(
    settings: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forged = folder / "acnet.safetensors"
    forged.write_bytes(DEFAULT_WEIGHTS.read_bytes() + b"x")
    card_path(forged).write_bytes(card_path(DEFAULT_WEIGHTS).read_bytes())
    with settings.open("a") as file:
        file.write(f"[models]\nacnet = '{forged}'\naenet = '{folder / 'none.safetensors'}'\n")
    _, found = examined(settings, capsys)
    assert "SHA-256 differs" in found["weights acnet"][1]
    assert found["weights aenet"][0] == "failure"
    assert found["weights defocus"][0] == "ok"
