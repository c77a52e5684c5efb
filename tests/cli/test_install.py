"""`afdaemon install` into a folder: what is put there, what becomes of edited files, and what is left afterwards."""

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.cli.daemon import app
from afdaemon.cli.install import files
from afdaemon.cli.install.plan import NEW, Deed, digest, ours_after, to_install, to_remove
from afdaemon.cli.runner import run_app
from afdaemon.config import load

PYTHON = Path("/opt/afdaemon/bin/python")
CONFIG = "etc/afdaemon/afdaemon.toml"
UNIT = "etc/systemd/system/afdaemon.service"


def install(prefix: Path, *options: str, python: Path = PYTHON) -> int:
    arguments = ["install", f"--prefix={prefix}", f"--python={python}", *options]
    return run_app(app, program="afdaemon", args=arguments)


def tree(prefix: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(prefix)): path.read_bytes()
        for path in prefix.rglob("*")
        if path.is_file()
    }


def test_everything_is_put_in_place_and_taken_away_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert install(tmp_path) == 0
    assert set(tree(tmp_path)) == {
        UNIT,
        "etc/systemd/system/afdaemon@.service",
        "etc/sysusers.d/afdaemon.conf",
        "etc/tmpfiles.d/afdaemon.conf",
        "etc/udev/rules.d/60-afdaemon-em30.rules",
        CONFIG,
        "etc/afdaemon/.installed.json",
    }
    assert stat.S_IMODE((tmp_path / CONFIG).stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / UNIT).stat().st_mode) == 0o644
    told = capsys.readouterr().out
    assert "systemctl daemon-reload && systemctl enable --now afdaemon\n" in told
    assert install(tmp_path, "--uninstall") == 0
    assert tree(tmp_path) == {}
    assert not (tmp_path / "etc/afdaemon").exists()


def test_a_dry_run_says_it_and_does_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert install(tmp_path, "--dry-run") == 0
    assert "would write /etc/systemd/system/afdaemon.service" in capsys.readouterr().out
    assert tree(tmp_path) == {}
    install(tmp_path)
    before = tree(tmp_path)
    assert install(tmp_path, "--uninstall", "--dry-run") == 0
    assert tree(tmp_path) == before


def test_edited_settings_are_kept_and_the_new_ones_lie_beside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path)
    fresh = (tmp_path / CONFIG).read_bytes()
    (tmp_path / CONFIG).write_text("[limits]\n")
    (tmp_path / UNIT).unlink()
    (tmp_path / UNIT).symlink_to("/dev/null")  # masked by the administrator
    capsys.readouterr()
    assert install(tmp_path) == 0
    assert (tmp_path / CONFIG).read_text() == "[limits]\n"
    assert (tmp_path / (CONFIG + NEW)).read_bytes() == fresh
    assert (tmp_path / UNIT).is_symlink()
    told = capsys.readouterr().out
    assert "/etc/afdaemon/afdaemon.toml was edited and is kept" in told
    assert install(tmp_path, "--uninstall") == 0
    assert tree(tmp_path) == {CONFIG: b"[limits]\n"}
    assert "/etc/afdaemon/afdaemon.toml was edited and is left" in capsys.readouterr().out


def test_an_upgrade_replaces_what_nobody_edited_and_touches_nothing_else(tmp_path: Path) -> None:
    install(tmp_path)
    data = tmp_path / "var/lib/afdaemon"
    data.mkdir(parents=True)
    (data / "journal").write_bytes(b"rows")
    (data / "calibration.json").write_bytes(b"{}")
    assert install(tmp_path, python=Path("/opt/other/bin/python")) == 0
    assert b"ExecStart=/opt/other/bin/python -I -m afdaemon" in (tmp_path / UNIT).read_bytes()
    assert not list(tmp_path.rglob(f"*{NEW}"))
    install(tmp_path, "--uninstall")
    assert set(tree(tmp_path)) == {
        "var/lib/afdaemon/journal",
        "var/lib/afdaemon/calibration.json",
    }


def test_each_instance_has_settings_of_its_own_that_are_valid(tmp_path: Path) -> None:
    install(tmp_path)
    assert install(tmp_path, "--instance=em-2") == 0
    one = load(tmp_path / CONFIG, environ={}).settings
    other = load(tmp_path / "etc/afdaemon/em-2.toml", environ={}).settings
    assert str(one.api.runtime_dir) == "/run/afdaemon"
    assert str(other.api.runtime_dir) == "/run/afdaemon-em-2"
    assert str(other.journal.path) == "/var/lib/afdaemon-em-2/journal"
    assert install(tmp_path, "--uninstall", "--instance=em-2") == 0
    assert CONFIG in tree(tmp_path)
    assert "etc/afdaemon/em-2.toml" not in tree(tmp_path)


@pytest.mark.parametrize("name", ["", "../etc", "A", "a b", "-a", "a" * 32, "afdaemon", "a%i"])
def test_a_name_that_cannot_be_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert install(tmp_path, f"--instance={name}") == 2
    assert "cannot be a name" in capsys.readouterr().err
    assert tree(tmp_path) == {}


def test_what_cannot_be_written_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "etc").write_text("a file")
    assert install(tmp_path) == 2
    assert "cannot be changed" in capsys.readouterr().err


def test_a_record_that_is_damaged_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path)
    (tmp_path / "etc/afdaemon/.installed.json").write_text("[1]")
    assert install(tmp_path) == 2
    assert "does not say what was installed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("python", "closed", "pattern"),
    [
        ("/home/anna/venv/bin/python", "", "lies in /home"),
        ("/root/venv/bin/python", "", "lies in /root"),
        ("/srv/closed/bin/python", "/srv/closed", "/srv/closed is closed to other users"),
        ("/srv/open/bin/python", "", ""),
    ],
)
def test_an_interpreter_that_the_service_cannot_start_is_known(
    python: str, closed: str, pattern: str
) -> None:
    why = files.why_unreachable(Path(python), lambda path: 0o750 if str(path) == closed else 0o755)
    assert pattern in why
    assert bool(why) is bool(pattern)


@pytest.mark.parametrize(
    ("python", "word"),
    [
        ("/opt/a/bin/python3.11", "/opt/a/bin/python3.11"),
        ("/opt/with space/python", '"/opt/with space/python"'),
        ("/opt/50%/$x/python", "/opt/50%%/$$x/python"),
    ],
)
def test_a_path_becomes_a_word_of_a_unit(python: str, word: str) -> None:
    text = files.unit("ExecStart=/usr/bin/afdaemon serve\n", Path(python))
    assert text == f"ExecStart={word} -I -m afdaemon serve\n"


Files = st.dictionaries(st.sampled_from(["/a", "/b", "/c"]), st.sampled_from([b"1", b"2", b"3"]))


@given(wanted=Files, present=Files, put=Files)
def test_only_what_we_put_there_is_ever_overwritten_or_removed(
    wanted: dict[str, bytes], present: dict[str, bytes], put: dict[str, bytes]
) -> None:
    ours = {path: digest(content) for path, content in put.items()}
    steps = to_install(wanted, present, ours)
    for step in steps:
        if step.deed is Deed.WRITE and step.path in present:
            assert present[step.path] == put.get(step.path)
    after = ours_after(steps, ours)
    there = present | {step.path: step.content for step in steps if step.content}
    for step in to_remove(there, after):
        if step.deed is Deed.REMOVE:
            path = step.path
            written = any(each.path == path and each.content for each in steps)
            assert written or present[path] == put[path]
