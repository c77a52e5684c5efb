"""The units are well formed, as closed as promised, and the second is the first for one of several microscopes."""

import shutil
import subprocess
from pathlib import Path

import pytest

from afdaemon.service.watchdog import EXIT_STUCK, LOOP_DEADLINE_S

ROOT = Path(__file__).parents[2]
SYSTEMD = ROOT / "systemd"
UNITS = ("afdaemon.service", "afdaemon@.service")
MOST_EXPOSED = 1.5
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze here"
)


def settings_of(unit: str) -> list[tuple[str, str]]:
    lines = (SYSTEMD / unit).read_text().splitlines()
    return [
        (line.partition("=")[0], line.partition("=")[2])
        for line in lines
        if "=" in line and not line.startswith("#")
    ]


def test_the_unit_of_several_is_the_unit_of_one() -> None:
    one = [(key, value) for key, value in settings_of(UNITS[0]) if key != "Description"]
    several = [
        (key, value.replace("/etc/afdaemon/%i", "/etc/afdaemon/afdaemon").replace("-%i", ""))
        for key, value in settings_of(UNITS[1])
        if key != "Description"
    ]
    assert several == one


@pytest.mark.parametrize("unit", UNITS)
def test_what_the_daemon_relies_on(unit: str) -> None:
    told = dict(settings_of(unit))
    assert told["Type"] == "notify"
    assert float(told["WatchdogSec"]) > LOOP_DEADLINE_S
    assert told["Restart"] == "on-failure"
    assert str(EXIT_STUCK) not in told["RestartPreventExitStatus"].split()
    assert told["KillMode"] == "mixed", "the simulator of --sim must outlive the restore"


@needs_systemd
@pytest.mark.parametrize("unit", UNITS)
def test_they_are_as_closed_as_promised(unit: str, tmp_path: Path) -> None:
    copy = tmp_path / unit.replace("@", "@em1")
    shutil.copy(SYSTEMD / unit, copy)
    options = ["--offline=yes", "--no-pager", f"--threshold={round(10 * MOST_EXPOSED)}"]
    done = subprocess.run(
        ["systemd-analyze", "security", *options, copy],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_systemd
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_understands_every_line(unit: str, tmp_path: Path) -> None:
    text = (SYSTEMD / unit).read_text().replace("/usr/bin/afdaemon", "/bin/true")
    copy = tmp_path / unit.replace("@", "@em1")
    copy.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", copy],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="no systemd-sysusers here")
def test_the_user_is_made_with_its_group_and_that_of_the_usb_device(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for name in ("passwd", "group", "shadow", "gshadow"):
        (tmp_path / "etc" / name).touch()
    place = tmp_path / "etc/sysusers.d"
    place.mkdir()
    shutil.copy(SYSTEMD / "afdaemon.sysusers.conf", place / "afdaemon.conf")
    done = subprocess.run(
        ["systemd-sysusers", f"--root={tmp_path}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    groups = (tmp_path / "etc/group").read_text()
    assert "afdaemon:" in (tmp_path / "etc/passwd").read_text()
    assert "plugdev" in groups
    assert groups.count("afdaemon") == 2, "its own group, and its membership in plugdev"
