"""`afdaemon replay [JOB]`: a job from the journal, step by step, with every command computed again."""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from afdaemon.cli.extras import needs
from afdaemon.errors import JobNotFound, Unreachable, UsageError
from afdaemon.words import ending, probability

if TYPE_CHECKING:
    from afdaemon.control.values import Command, Event, Proposal
    from afdaemon.job.records import JobRecord, JournalStep

_LISTED = 20


@needs("daemon")
def replay(
    job: Annotated[
        str | None, typer.Argument(help="the job's id; without it, the last jobs")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with the settings")] = None,
    journal: Annotated[
        Path | None,
        typer.Option(help="the journal, if it is neither the running daemon's nor in the settings"),
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(envvar="AFCTL_ENDPOINT", help="the daemon, as for afctl")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object per step")] = False,
) -> None:
    """Show a job step by step: what was seen, what the law said, what was done; recompute and check each command."""
    from afdaemon.job.journal import Journal

    path = _found(journal, config, endpoint)
    with closing(Journal(path, read_only=True)) as opened:
        if job is None:
            lines = [_listed(record) for record in opened.latest(_LISTED)]
            typer.echo("\n".join(lines) or "no job is in the journal yet")
            return
        record = opened.find(job)
        if record is None:
            raise JobNotFound(
                f"there is no job {job} in {path}", remedy="`afdaemon replay` lists them"
            )
        steps = opened.replay(job)
    typer.echo("\n".join(map(_as_json, steps) if as_json else told(record, steps)))


def _found(journal: Path | None, config: Path | None, endpoint: str | None) -> Path:
    """The file that was named, or that of the daemon that runs, or that of the settings."""
    from afdaemon.config import load

    if journal is not None:
        return _existing(journal, f"there is no journal at {journal}")
    settings = load(config).settings
    address = endpoint or f"ipc://{settings.api.runtime_dir}"
    asked = _of_daemon(address)
    if asked is not None:
        return _existing(
            asked, f"the daemon at {address} has its journal in {asked}, on its own machine"
        )
    here = settings.journal.path
    return _existing(here, f"no daemon answers at {address}, and there is no journal at {here}")


def _of_daemon(address: str) -> Path | None:
    """Where the daemon at `address` has its journal; None if there is none, or an older one."""
    from afdaemon.api.client import Client

    try:
        with Client(address) as client:
            told = client.status().journal
    except Unreachable:
        return None
    return None if told is None else Path(told.path)


def _existing(path: Path, otherwise: str) -> Path:
    if not path.is_file():
        raise UsageError(otherwise, remedy="name it with --journal, --config or --endpoint")
    return path


def told(record: "JobRecord", steps: Sequence["JournalStep"]) -> Iterator[str]:
    """A job in lines."""
    yield _listed(record)
    yield f"limits {record.limits}"
    verified = _verifying(steps)
    for number, step in enumerate(steps):
        done = "read (verify)" if number == verified else command_in_words(step.command)
        yield f"  {event_in_words(step.event):<62} {_answer(step.proposal)}{done}"
    yield f"Replay check passed: {len(steps)} commands reproduced."


def _verifying(steps: Sequence["JournalStep"]) -> int | None:
    """The step that commanded the reading on which a success rests: the last one."""
    from afdaemon.control.values import Conclude, TakeReading

    match steps[-1].command if steps else None:
        case Conclude(outcome=end) if end.converged:
            readings = [n for n, one in enumerate(steps) if isinstance(one.command, TakeReading)]
            return readings[-1]
        case _:
            return None


def event_in_words(event: "Event") -> str:
    """What happened."""
    from afdaemon.control.values import Failed, Moved, Observed, Refused, Started

    match event:
        case Started():
            return f"started at {event.wd_um:.1f} um, {event.magnification:g}x"
        case Moved():
            return f"arrived at {event.wd_um:.1f} um{_at(event.magnification)}"
        case Refused():
            return f"refused: {event.detail}"
        case Observed(reading=seen):
            frame = seen.frame
            score = f"score {frame.score:.2f} +- {frame.expected_error:.2f}"
            said = ", ".join([score, *frame.remarks])
            return f"read {seen.wd_um:.1f} um: {said}"
        case Failed():
            return f"failed: {event.reason.value} {event.detail}".rstrip()


def command_in_words(command: "Command") -> str:
    """What was to be done next."""
    from afdaemon.control.values import Conclude, MoveWd, TakeReading

    match command:
        case MoveWd():
            return f"go to {command.wd_um:.1f} um{_at(command.magnification)}"
        case TakeReading():
            return f"read ({command.kind.value})"
        case Conclude(outcome=end):
            left = "unknown" if end.wd_um is None else f"{end.wd_um:.1f} um"
            return f"end at {left}: {ending(end.reason.value, end.detail)}"


def _at(magnification: float | None) -> str:
    return "" if magnification is None else f", {magnification:g}x"


def _answer(proposal: "Proposal | None") -> str:
    if proposal is None:
        return ""
    chance = probability(proposal.confidence)
    return f"law: {proposal.step_um:+.1f} um, in focus with {chance}; "


def _listed(record: "JobRecord") -> str:
    if record.outcome is not None:
        end = record.outcome.reason.value
    else:
        end = "interrupted" if record.interrupted else "not ended"
    return f"{record.job_id}  {record.opened_utc:%Y-%m-%d %H:%M:%S}Z  {record.rules.name}  {end}"


def _as_json(step: "JournalStep") -> str:
    from dataclasses import asdict

    from afdaemon.job import records

    body = {
        "event": json.loads(records.encode(step.event)),
        "proposal": None if step.proposal is None else asdict(step.proposal),
        "command": json.loads(records.encode(step.command)),
    }
    return json.dumps(body)
