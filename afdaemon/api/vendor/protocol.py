"""The lines of the vendor door: from bytes to commands, from answers and events to lines. Pure.

A command is a word, in capitals or not. A line that begins with a brace is a JSON-RPC request, and is answered as one.
An answer is a word to branch on, then `name=value`, then after a colon and a space a sentence for people:

    OK autofocus job=5a0c...
    PROGRESS reading 3 of at most 16, score 6.4, WD 12345.6 um
    FOCUSED wd_um=12345.6 score=8.70
    FAILED reason=aborted restored=yes wd_um=12000.0: by the vendor's software
    ERROR busy: job 5a0c... holds the microscope; wait for it, or end it
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic_core import to_json

from afdaemon.api import faults, wire
from afdaemon.api import schemas as s
from afdaemon.api.explain import quoted
from afdaemon.api.faults import RpcFault
from afdaemon.spec import nearest

COMMANDS = ("TOKEN", "PING", "STATUS", "AUTOFOCUS", "ABORT", "DETACH")
BY = "by the vendor's software"
CALLED_OFF = s.Job(
    job="",
    state=s.JobState.ABORTED,
    reason="aborted",
    restored=True,
    detail=f"called off {BY} before it began",
)
"""What became of a job that was aborted while it was being asked for."""
MAX_LINE_BYTES = wire.MAX_REQUEST_BYTES
_MOST_CHARACTERS = 400
"""Of an answer to a command: a status bar shows fewer."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command, and the token if it is TOKEN."""

    name: str
    argument: str = ""


def is_request(line: bytes) -> bool:
    """Whether a line is JSON, or means to be."""
    return line.lstrip()[:1] in (b"{", b"[")


def command_of(line: bytes) -> Command:
    """The command in a line.

    Raises:
        RpcFault: there is no such command, or it came with something that it doesn't take.
    """
    name, _, argument = line.decode("ascii", "replace").strip().partition(" ")
    command = Command(name.upper(), argument.strip())
    if command.name not in COMMANDS:
        raise _invalid(f"there is no command {quoted(name)}{nearest(command.name, COMMANDS)}")
    if bool(command.argument) is not (command.name == "TOKEN"):
        what = "the token" if command.name == "TOKEN" else "nothing else"
        raise _invalid(f"a line with {command.name} holds that word and {what}")
    return command


def request_of(command: Command, request_id: str) -> bytes:
    """What a command asks of the API."""
    match command.name:
        case "AUTOFOCUS":
            return wire.encode_request("autofocus.start", s.AutofocusParams(), request_id)
        case "ABORT":
            return abort_request(None, BY)
        case "STATUS":
            return wire.encode_request("server.status", s.NoParams(), request_id)
        case _:
            return wire.encode_request("server.ping", s.NoParams(), request_id)


def abort_request(job_id: str | None, by: str) -> bytes:
    """End that job, or the running one."""
    return wire.encode_request("job.abort", s.AbortParams(job=job_id, by=by), wire.new_id())


def called_off(job_id: str) -> bytes:
    """The API's answer to an abort of that job."""
    return wire.encode_result(None, s.Aborted(job=job_id))


def answer_to(command: Command, answer: bytes) -> str:
    """The line for what the API answered."""
    response = wire.decode_response(answer)
    if response.error is not None:
        return error(response.error)
    match command.name:
        case "AUTOFOCUS":
            return done(command.name, _fields(job=wire.result_of(response, s.Started).job))
        case "ABORT":
            aborted = wire.result_of(response, s.Aborted)
            late = aborted.too_late or None
            return done(command.name, _fields(job=aborted.job or "none", too_late=late))
        case "STATUS":
            now = wire.result_of(response, s.Status)
            return done(command.name, _status(now), "; ".join(_wrong(now)))
        case _:
            return done(command.name)


def done(command: str, fields: str = "", text: str = "") -> str:
    """The line for a command that was carried out."""
    return _line(" ".join(part for part in ("OK", command.lower(), fields) if part), text)


def error(told: s.RpcError) -> str:
    """The line for an error."""
    return _line(
        f"ERROR {told.data.kind}", "; ".join(filter(None, (told.message, told.data.remedy)))
    )


def progress(now: s.Progress) -> str:
    """The line for a job that is under way."""
    most = f" of at most {now.readings_max}" if now.readings_max is not None else ""
    parts = [f"PROGRESS reading {now.reading}{most}"]
    if now.score is not None:
        parts.append(f"score {now.score:.1f}")
    if now.wd_um is not None:
        parts.append(f"WD {now.wd_um:.1f} um")
    return _line(", ".join(parts))


def end(job: s.Job) -> str:
    """The line for a job that has ended."""
    if job.converged:
        return _line(f"FOCUSED {_fields(wd_um=job.best_wd_um, score=job.score)}")
    where = _fields(restored=job.restored, wd_um=job.wd_um)
    return _line(f"FAILED reason={job.reason or job.state.value} {where}", job.detail)


def may_run_on(answer: bytes) -> bool:
    """Whether the job that a request was to begin may be under way after this answer."""
    response = wire.decode_response(answer)
    if response.error is not None:
        return response.error.code == faults.DEADLINE
    told = response.result if isinstance(response.result, dict) else {}
    return not told.get("dry_run", False) and not s.JobState(str(told["state"])).final


def token_in(request: s.Request) -> str | None:
    """The token in a request's meta."""
    meta = request.params.get("meta")
    token = meta.get("token") if isinstance(meta, dict) else None
    return None if token is None else str(token)


def without_token(request: s.Request) -> bytes:
    """The request as the API knows it, which has no tokens."""
    meta = {key: value for key, value in request.params["meta"].items() if key != "token"}
    return to_json({**request.model_dump(), "params": {**request.params, "meta": meta}})


def unauthorized(message: str) -> RpcFault:
    """Whoever has not shown the token gets nothing but this."""
    return RpcFault(
        faults.UNAUTHORIZED,
        message,
        kind="token",
        remedy="the first line is TOKEN and the content of vendor.token_file, or a request has it in params.meta.token",
    )


def too_long() -> RpcFault:
    """For a line without an end."""
    return _invalid(f"the line is longer than {MAX_LINE_BYTES} bytes")


def idle(seconds: float) -> RpcFault:
    """For a client that has said nothing for so long."""
    remedy = (
        "connect again; a PING now and then keeps a connection, and so does a greater vendor.idle_s"
    )
    return RpcFault(
        faults.INVALID_REQUEST, f"no line came for {seconds:g} s", kind="idle", remedy=remedy
    )


def stranger(client: str) -> RpcFault:
    """For a client at an address that may not connect."""
    return RpcFault(
        faults.UNAUTHORIZED,
        f"{client} may not connect",
        kind="address",
        remedy="add it to vendor.allow",
    )


def _invalid(message: str) -> RpcFault:
    remedy = f"write {', '.join(COMMANDS)}, or a JSON-RPC request in one line"
    return RpcFault(faults.INVALID_REQUEST, message, kind="invalid_request", remedy=remedy)


def _status(now: s.Status) -> str:
    return _fields(
        state=now.state,
        microscope="connected" if now.microscope.connected else "not_connected",
        wd_um=now.microscope.wd_um,
        magnification=now.microscope.magnification,
        job=None if now.job is None else now.job.job,
        owed=True if now.owed is not None else None,
    )


def _wrong(now: s.Status) -> Iterator[str]:
    """What is wrong, and what to do."""
    lens = now.microscope
    if lens.why_down:
        yield from filter(None, (lens.why_down, lens.remedy))
    for trouble in (now.fault, now.owed):
        if trouble is not None:
            yield from filter(None, (trouble.detail, trouble.remedy))


def _fields(**values: float | bool | str | None) -> str:
    """`name=value` of what is known."""
    return " ".join(
        f"{name}={_shown(value, name)}" for name, value in values.items() if value is not None
    )


def _shown(value: float | bool | str, name: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    return f"{value:g}" if name == "magnification" else f"{value:.{2 if name == 'score' else 1}f}"


def _line(head: str, text: str = "") -> str:
    """One short line of plain ASCII, whatever the text holds."""
    whole = f"{head}: {' '.join(text.split())}" if text else head
    plain = whole.encode("ascii", "replace").decode("ascii")
    plain = "".join(letter if letter.isprintable() else "?" for letter in plain)
    return plain if len(plain) <= _MOST_CHARACTERS else f"{plain[: _MOST_CHARACTERS - 3]}..."
