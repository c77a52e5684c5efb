"""The command `afdaemon`: what it prints, how it fails, and what it does not import."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from afdaemon import __version__
from afdaemon.cli.runner import exit_code, run_app, sentence
from afdaemon.drivers.errors import LinkLost, SettingsError
from afdaemon.errors import KNOWN_ERRORS, AfdaemonError, BusyError, ConfigError, Unreachable

AFDAEMON = Path(sys.executable).with_name("afdaemon")


def afdaemon(*args: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [AFDAEMON, *args], capture_output=True, text=True, env=environ, timeout=30, check=False
    )


def test_version_and_help() -> None:
    assert afdaemon("--version").stdout == f"afdaemon {__version__}\n"
    plain, asked = afdaemon(), afdaemon("--help")
    assert plain.returncode == asked.returncode == 0
    assert plain.stdout == asked.stdout
    assert "config" in asked.stdout


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['afdaemon', '--help']\n"
        "from afdaemon.cli.daemon import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'cv2', 'scipy', 'zmq', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(f'imports {heavy}' if heavy else 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


WRONG = {
    "unknown command": (["focuss"], {}, "No such command 'focuss'"),
    "unknown option": (["config", "show", "--nope"], {}, "No such option: --nope"),
    "no argument": (["config", "check"], {}, "Missing argument"),
    "no command": (["config"], {}, "Missing command"),
    "missing file": (["config", "check", "/absent.toml"], {}, "/absent.toml cannot be read"),
    "misspelt variable": (
        ["config", "show"],
        {"AFDAEMON_LOG__LEVLE": "info"},
        "AFDAEMON_LOG__LEVEL?",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_in_one_line_without_a_traceback(case: str) -> None:
    args, environ, expected = WRONG[case]
    result = afdaemon(*args, **environ)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("afdaemon: ")
    assert expected in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("no"), 2),
        (SettingsError("no"), 2),
        (Unreachable("no"), 3),
        (BusyError("no"), 4),
        (LinkLost("no"), 5),
    ],
)
def test_every_family_has_its_exit_code(error: AfdaemonError, code: int) -> None:
    assert exit_code(error) == code


@pytest.mark.parametrize("family", KNOWN_ERRORS)
def test_a_known_error_ends_a_command_with_a_sentence(
    family: type[Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    app = typer.Typer(add_completion=False)

    @app.command()
    def fail() -> None:
        raise family("it broke")

    code = run_app(app, program="prog", args=[])
    assert code == exit_code(family("it broke")) > 0
    assert capsys.readouterr().err.startswith("prog: it broke.")


def test_an_interrupt_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer(add_completion=False)

    @app.command()
    def interrupted() -> None:
        raise KeyboardInterrupt

    assert run_app(app, program="prog", args=[]) == 130
    assert capsys.readouterr() == ("", "")


def test_a_bug_keeps_its_traceback() -> None:
    app = typer.Typer(add_completion=False)

    @app.command()
    def bug() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_app(app, program="prog", args=[])


def test_the_code_of_an_early_exit_is_kept() -> None:
    app = typer.Typer(add_completion=False)

    @app.command()
    def leave() -> None:
        raise typer.Exit(7)

    assert run_app(app, program="prog", args=[]) == 7


@pytest.mark.parametrize(
    ("message", "remedy", "expected"),
    [
        ("a b", "do c", "a b. Do c."),
        ("a\n  b.", "", "a b."),
        ("did you mean x?", "", "did you mean x?"),
    ],
)
def test_a_sentence_is_one_line_with_full_stops(message: str, remedy: str, expected: str) -> None:
    assert sentence(message, remedy) == expected


def test_config_show_check_and_schema(tmp_path: Path) -> None:
    shown = afdaemon("config", "show", AFDAEMON_LOG__LEVEL="debug")
    path = tmp_path / "f.toml"
    path.write_text(shown.stdout)
    checked = afdaemon("config", "check", str(path))
    assert checked.returncode == 0, checked.stderr
    assert 'level = "debug"' in shown.stdout
    assert afdaemon("config", "schema").stdout.startswith("{")
