"""The command `afctl`: asks a running daemon. It needs neither torch nor numpy nor OpenCV.

Exit codes: 0 focused (or done), 1 not converged, 2 usage, 3 cannot reach the daemon, 4 refused,
5 the instrument failed, 130 interrupted.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel, JsonValue
from rich.console import Console

from afdaemon import __version__
from afdaemon.api.access.keys import KEY_VARIABLE
from afdaemon.api.client import Client, Events
from afdaemon.api.schemas import Job, Status
from afdaemon.api.wire import new_id
from afdaemon.calibration import with_another
from afdaemon.cli import keys
from afdaemon.cli.display import line_of, outcome_of, progress_shown
from afdaemon.cli.extras import needs
from afdaemon.cli.runner import DEVICE, INTERRUPTED, run_app
from afdaemon.errors import KNOWN_ERRORS

FOCUSED = 0
NOT_CONVERGED = 1
QUIET_S = 2.0
"""After this long without an event, `watch` asks whether the daemon is still there."""

EndpointOption = Annotated[
    str | None,
    typer.Option("--endpoint", envvar="AFCTL_ENDPOINT", help="ipc:///folder or tcp://host:port"),
]
KeyOption = Annotated[
    str | None,
    typer.Option("--key", envvar=KEY_VARIABLE, help="file of this client's key, for tcp"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="print JSON on stdout, nothing else")]

app = typer.Typer(
    help="Ask a running afdaemon.",
    no_args_is_help=False,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(keys.app, name="keys")


@dataclass(frozen=True, slots=True)
class Manner:
    """Which daemon to ask, with which key, and how to show its answers."""

    endpoint: str | None = None
    key: str | None = None
    as_json: bool = False


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"afctl {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    endpoint: EndpointOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Ask a running afdaemon."""
    context.obj = Manner(endpoint, key, as_json)


@app.command()
def focus(
    context: typer.Context,
    timeout: Annotated[
        float | None, typer.Option(help="end the job after this many seconds")
    ] = None,
    min_wd: Annotated[float | None, typer.Option(help="shortest WD of this job, um")] = None,
    max_wd: Annotated[float | None, typer.Option(help="longest WD of this job, um")] = None,
    profile: Annotated[
        str | None, typer.Option(help="procedure: paper or fast; absent: the daemon's setting")
    ] = None,
    roi: Annotated[
        str | None,
        typer.Option(
            help="X,Y,W,H as fractions of the frame, e.g. 0.5,0,0.5,0.5: judge only this part"
        ),
    ] = None,
    dose_limit: Annotated[
        float | None,
        typer.Option(help="end the job before its dose exceeds this, electrons per nm2"),
    ] = None,
    ladder: Annotated[
        bool | None,
        typer.Option(
            help="fast: search at lower magnifications if the focus is out of capture range;"
            " absent: the daemon's setting"
        ),
    ] = None,
    endpoint: EndpointOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Focus, and show the progress. Ctrl-C ends the job; start WD and magnification are then restored."""
    if (min_wd is None) != (max_wd is None):
        raise typer.BadParameter("--min-wd and --max-wd go together")
    session = None if min_wd is None or max_wd is None else (min_wd, max_wd)
    with _asking(context, endpoint, key, as_json) as (client, manner):
        wish = {
            "profile": profile,
            "timeout_s": timeout,
            "range_um": session,
            "region": None if roi is None else _shares(roi),
            "dose_limit_e_nm2": dose_limit,
            "ladder": ladder,
        }
        job, interrupted = _focused(client, manner, wish)
        if manner.as_json:
            _print_json(job.model_dump(mode="json"))
        typer.echo(outcome_of(job), err=manner.as_json or not job.converged)
        raise typer.Exit(INTERRUPTED if interrupted else _code_of(job))


@app.command()
def status(
    context: typer.Context,
    endpoint: EndpointOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the daemon, the instrument and the running job."""
    with _asking(context, endpoint, key, as_json) as (client, manner):
        now = client.status()
        _tell(manner, now, _status_lines(now))


@app.command()
def abort(
    context: typer.Context,
    job: Annotated[str | None, typer.Argument(help="its id; absent: the running one")] = None,
    endpoint: EndpointOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a job; the start WD is restored."""
    with _asking(context, endpoint, key, as_json) as (client, manner):
        ended = client.abort(job, by="afctl abort")
        none = "no job is running" if job is None else f"no job {job} is running"
        is_late = "was ending by itself already" if ended.too_late else "is being ended"
        _tell(manner, ended, none if ended.job is None else f"job {ended.job} {is_late}")


@app.command()
def recover(
    context: typer.Context,
    decline: Annotated[
        bool, typer.Option("--decline", help="leave the instrument where it is, and forget it")
    ] = False,
    endpoint: EndpointOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring the instrument back to where an interrupted or failed job began (see status)."""
    with _asking(context, endpoint, key, as_json) as (client, manner):
        done = client.recover(decline=decline)
        _tell(manner, done, done.detail)


@app.command()
def reset(
    context: typer.Context,
    endpoint: EndpointOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let jobs begin again after the instrument did not do what it was told, and you have looked after it."""
    with _asking(context, endpoint, key, as_json) as (client, manner):
        done = client.reset()
        told = (
            "nothing was wrong" if done.was is None else f"jobs may begin again; it was: {done.was}"
        )
        _tell(manner, done, told)


@app.command()
def watch(
    context: typer.Context,
    forever: Annotated[bool, typer.Option(help="go on after the job has ended")] = False,
    endpoint: EndpointOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the running job until it ends. With --json: one event per line."""
    with (
        _asking(context, endpoint, key, as_json) as (client, manner),
        client.events("job.", "state") as events,
    ):
        if client.status().job is None and not forever:
            _tell(manner, {}, "no job is running")
            return
        raise typer.Exit(_watched(client, events, manner, forever))


@app.command()
def wd(
    context: typer.Context,
    set_um: Annotated[float | None, typer.Argument(help="absolute WD to go to, um")] = None,
    endpoint: EndpointOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the working distance and its limits, or go to another one."""
    with _asking(context, endpoint, key, as_json) as (client, manner):
        if set_um is not None:
            moved = client.set_wd(set_um)
            note = f"\n{moved.detail}" if moved.detail else ""
            _tell(manner, moved, f"WD {moved.wd_um:.1f} um{note}")
            return
        now, limits = client.wd(), client.limits()
        scale = "" if now.magnification is None else f", magnification {now.magnification:g}"
        _tell(
            manner,
            {**now.model_dump(mode="json"), "limits": limits.model_dump(mode="json")},
            f"WD {now.wd_um:.1f} um{scale}, allowed {limits.min_um:.1f} to {limits.max_um:.1f} um",
        )


@app.command()
@needs("calibrate")
def calibrate(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="JSON file to write, or to add this magnification to")
    ],
    points: Annotated[
        int, typer.Option(min=7, max=101, help="readings of each of two sweeps")
    ] = 15,
    endpoint: EndpointOption = None,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure depth of focus, hysteresis, settling and fading at this magnification.

    Needs a specimen with fine detail. A plot is written next to FILE.
    """
    from afdaemon.cli.calibrate import measure as work
    from afdaemon.cli.calibrate.laws import with_laws
    from afdaemon.cli.calibrate.plot import plot
    from afdaemon.cli.output import check_place, write_all

    check_place(file, option="FILE")
    with _asking(context, endpoint, key, as_json) as (client, manner):
        told = _console(manner).print
        instrument = client.status().microscope.name
        earlier = work.earlier_in(file, instrument)
        measured = work.measure(client, points=points, told=told)
        found = with_laws(with_another(earlier, instrument, measured))
        write_all({file: found.model_dump_json(indent=2).encode() + b"\n"}, option="FILE")
        picture = file.with_suffix(".png")
        plot(found, picture)
        text = (
            f"{work.summary(found, measured)}\nwrote {file}, plot in {picture}\n"
            f'use it with `calibration.file = "{file}"`'
        )
        _tell(manner, measured, text)


@contextmanager
def _asking(
    context: typer.Context, endpoint: str | None, key: str | None, as_json: bool
) -> Iterator[tuple[Client, Manner]]:
    """A client; options may stand before the command's name or after it."""
    general = context.obj if isinstance(context.obj, Manner) else Manner()
    manner = Manner(
        endpoint=endpoint or general.endpoint,
        key=general.key if key is None else key,
        as_json=as_json or general.as_json,
    )
    try:
        with Client(manner.endpoint, key=manner.key) as client:
            yield client, manner
    except KNOWN_ERRORS as error:
        if manner.as_json:
            kind = getattr(error, "kind", "error")
            remedy = getattr(error, "remedy", "")
            _print_json({"error": {"kind": kind, "message": str(error), "remedy": remedy}})
        raise


def _shares(text: str) -> tuple[float, float, float, float]:
    try:
        x, y, width, height = map(float, text.split(","))
    except ValueError:
        raise typer.BadParameter(f"--roi {text!r} is not four numbers, X,Y,W,H") from None
    return x, y, width, height


def _focused(client: Client, manner: Manner, wish: dict[str, Any]) -> tuple[Job, bool]:
    """The job when it has ended, and whether Ctrl-C ended it."""
    job_id = new_id()
    try:
        with progress_shown(_console(manner)) as show:
            return client.autofocus(on_event=show, request_id=job_id, **wish), False
    except KeyboardInterrupt:
        client.abort(job_id, by="Ctrl-C")
        # The daemon may just be accepting the job: asking again with the same id starts no other.
        if client.start(request_id=job_id, dry_run=True, **wish).dry_run:
            raise
        client.abort(job_id, by="Ctrl-C")
        return client.follow(job_id), True


def _watched(client: Client, events: Events, manner: Manner, forever: bool) -> int:
    """Show events until a job ends, and return the exit code for its end."""
    console = _console(manner)
    with progress_shown(console) as show:
        while True:
            event = events.next(QUIET_S)
            if event is None:
                client.ping()
                continue
            show(event)
            if manner.as_json:
                _print_json(event.model_dump(mode="json"))
            if event.type == "result":
                job = Job.model_validate(event.data)
                console.print(outcome_of(job), highlight=False, markup=False, soft_wrap=True)
                if not forever:
                    return _code_of(job)


def _code_of(job: Job) -> int:
    if job.converged:
        return FOCUSED
    return DEVICE if job.reason == "device" else NOT_CONVERGED


def _status_lines(now: Status) -> str:
    microscope = now.microscope
    link = "connected" if microscope.connected else "not connected"
    place = "" if microscope.wd_um is None else f", WD {microscope.wd_um:.1f} um"
    scale = "" if microscope.magnification is None else f", {microscope.magnification:g}x"
    lines = [
        f"afdaemon {now.version}: {now.state}, up {now.uptime_s:.0f} s",
        f"microscope {microscope.name}: {link}{place}{scale}",
    ]
    if now.vendor is not None:
        lines.append(f"vendor door: {now.vendor}")
    if microscope.why_down:
        lines.append(f"no link: {microscope.why_down}; {microscope.remedy}")
    if now.job is not None:
        lines.append(f"job {now.job.job}: {line_of(now.job)}")
    if now.fault is not None:
        lines += [f"fault: {now.fault.detail}", now.fault.remedy]
    if now.owed is not None:
        lines += [now.owed.detail, now.owed.remedy]
    elif now.interrupted is not None:
        lines.append(f"job {now.interrupted} was interrupted; it owes nothing")
    if now.journal is not None and now.journal.kept:
        lines += [f"{now.journal.kept} entries wait: {now.journal.detail}", now.journal.remedy]
    return "\n".join(lines)


def _console(manner: Manner) -> Console:
    return Console(quiet=manner.as_json)


def _tell(manner: Manner, result: BaseModel | Mapping[str, JsonValue], text: str) -> None:
    if not manner.as_json:
        typer.echo(text)
    elif isinstance(result, BaseModel):
        _print_json(result.model_dump(mode="json"))
    else:
        _print_json(result)


def _print_json(document: Mapping[str, JsonValue]) -> None:
    typer.echo(json.dumps(document, allow_nan=False))


def main() -> None:
    """Entry point."""
    sys.exit(run_app(app, program="afctl"))
