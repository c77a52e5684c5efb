"""What both programs do with an error: one sentence on stderr and an exit code, no traceback.

Exit codes: 0 done, 1 done but without success (not converged), 2 usage or settings, 3 the daemon
does not answer, 4 refused, 5 the instrument failed, 130 interrupted. A daemon of which a part was stuck ends with 6
(`afdaemon.service.watchdog`).
"""

import sys
from collections.abc import Sequence

import typer

from afdaemon.drivers.errors import DriverError, SettingsError
from afdaemon.errors import (
    KNOWN_ERRORS,
    AccessError,
    BusyError,
    LimitError,
    RequestRefused,
    Unreachable,
    VersionMismatch,
)

_USAGE = 2
_UNREACHABLE = 3
REFUSED = 4
DEVICE = 5
INTERRUPTED = 130


def exit_code(error: Exception) -> int:
    """The exit code that stands for a known error."""
    match error:
        case Unreachable():
            return _UNREACHABLE
        case RequestRefused(kind="device"):
            return DEVICE
        case RequestRefused(kind="invalid_params"):
            return _USAGE
        case RequestRefused() | AccessError() | BusyError() | LimitError() | VersionMismatch():
            return REFUSED
        case SettingsError():
            return _USAGE
        case DriverError():
            return DEVICE
        case _:
            return _USAGE


def sentence(message: str, remedy: str = "") -> str:
    """`message. Remedy.` on one line, each with a full stop."""
    clean = [" ".join(part.split()) for part in (message, remedy[:1].upper() + remedy[1:])]
    return " ".join(
        part if part.endswith((".", "?", "!")) else f"{part}." for part in clean if part
    )


def complain(program: str, error: Exception) -> None:
    """Write a known error as `program: message. Remedy.` to stderr."""
    remedy = str(getattr(error, "remedy", ""))
    sys.stderr.write(f"{program}: {sentence(str(error) or type(error).__name__, remedy)}\n")


def run_app(app: typer.Typer, *, program: str, args: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code. Commands end early with `typer.Exit(code)`."""
    try:
        result = app(args=args, prog_name=program, standalone_mode=False)
    except typer.TyperException as error:
        sys.stderr.write(
            f"{program}: {sentence(error.format_message(), f'see `{program} --help`')}\n"
        )
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except KNOWN_ERRORS as error:
        complain(program, error)
        return exit_code(error)
    return result if isinstance(result, int) else 0
