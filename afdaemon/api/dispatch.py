"""From the bytes of a request to the bytes of its answer. No socket is touched here.

`Dispatcher` serves the control socket and awaits a `Backend`; `AbortDispatcher` serves the abort
socket from a thread of its own and never waits. Both answer whatever comes in, and never raise.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import structlog
from pydantic import ValidationError

from afdaemon import __version__
from afdaemon.api import faults, wire
from afdaemon.api import schemas as s
from afdaemon.api.access.roles import Caller
from afdaemon.api.allowance import Allowance
from afdaemon.api.caps import WAITS
from afdaemon.api.explain import explain, quoted
from afdaemon.api.faults import RpcFault, fault_of, invalid_params
from afdaemon.api.methods import ABORT_METHODS, METHODS
from afdaemon.api.openrpc import document
from afdaemon.errors import VersionMismatch
from afdaemon.spec import nearest

log = structlog.get_logger(__name__)

T = TypeVar("T")


class Backend(Protocol):
    """What the API asks of the service. Refusals are raised as `KNOWN_ERRORS`."""

    async def status(self) -> s.Status:
        """The daemon, the instrument, the running job. Must not wait for the instrument."""
        ...

    async def start(self, params: s.AutofocusParams, request_id: str, caller: Caller) -> s.Started:
        """Accept a job of `caller`; `request_id` becomes its id, and is kept with it in the journal.

        Returns when the job is recorded, not when it has ended. An id that is known already gets its job's answer and
        moves nothing, also after a restart; with other params (`meta` apart) it is refused with `IdReused`. If this
        raises, nothing has moved and nothing will. With `params.meta.dry_run` everything is checked and no job is made.
        """
        ...

    async def job(self, job_id: str) -> s.Job:
        """A job, running or past; `JobNotFound` if there is none with that id."""
        ...

    async def wait(self, job_id: str, timeout_s: float) -> s.Job:
        """A job when it has ended, or as it stands after `timeout_s`. Cancelling it is harmless."""
        ...

    def abort(self, job_id: str | None, by: str | None, caller: Caller) -> s.Aborted:
        """End that job, or the running one; returns at once. Called from any thread.

        It is refused with `ForbiddenError` where `caller` may not end the job (`Caller.require_abort_of`). `by` says,
        for people, who or what ends it. A job that has ended already is not an error: the answer names no job. One that
        is ending by itself is named `too_late`; any other ends as aborted.
        """
        ...

    async def list_jobs(self, params: s.JobListParams) -> s.JobList:
        """Jobs, newest first; `JobNotFound` if there is none that is named by `before`."""
        ...

    async def since(self, params: s.SinceParams) -> s.Missed:
        """Events after a number, as far as they are kept, and the status now."""
        ...

    async def recover(self, params: s.RecoverParams) -> s.Recovered:
        """Carry out the restore that a job owes, or decline it; `BusyError` during a job."""
        ...

    async def reset(self, params: s.NoParams) -> s.FaultReset:
        """Somebody has looked after the instrument: jobs may begin again."""
        ...

    async def focus(self) -> s.Focus:
        """Ask the instrument where it stands."""
        ...

    async def set_focus(self, params: s.FocusSetParams) -> s.Focus:
        """Command an absolute WD; `LimitError` outside the limits, `BusyError` during a job."""
        ...

    async def limits(self) -> s.Limits:
        """The range that may be commanded now."""
        ...

    async def score(self, image: bytes | None, magnification: float | None) -> s.Score:
        """Score an encoded image at its magnification; without an image, a frame taken now."""
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """A checked request: who asks, its id as a text, and its image if it has one."""

    caller: Caller
    request_id: str
    image: bytes | None


Handler = Callable[[Any, Call], Awaitable[s.Reply]]


class Dispatcher:
    """Answers every method. Requests may be answered concurrently; starts run one after another."""

    def __init__(self, backend: Backend, *, instance: str) -> None:
        self._backend = backend
        self._instance = instance
        self._start_lock = asyncio.Lock()
        self._waits = Allowance(WAITS, "calls that wait for a job")
        self._handlers: dict[str, Handler] = {
            "server.hello": self._hello,
            "server.ping": self._ping,
            "server.status": lambda _params, _call: backend.status(),
            "autofocus.start": self._start,
            "autofocus.run": self._run,
            "job.get": lambda params, _call: backend.job(params.job),
            "job.list": lambda params, _call: backend.list_jobs(params),
            "job.wait": lambda params, _call: backend.wait(params.job, params.timeout_s),
            "job.abort": self._abort,
            "job.recover": lambda params, _call: backend.recover(params),
            "fault.reset": lambda params, _call: backend.reset(params),
            "focus.get": lambda _params, _call: backend.focus(),
            "focus.set": lambda params, _call: backend.set_focus(params),
            "focus.limits": lambda _params, _call: backend.limits(),
            "frame.score": self._score,
            "events.since": lambda params, _call: backend.since(params),
            "rpc.discover": self._discover,
        }

    async def answer(self, frames: Sequence[bytes], caller: Caller, client: str = "") -> bytes:
        """The answer to a message: the request, then at most one image.

        `caller` is who asks, `client` whom the caps count it for.
        """
        raw = frames[0] if frames else b""
        try:
            request = wire.decode_request(raw)
            params, call = _checked(request, frames, caller)
            with ExitStack() as holding:
                if METHODS[request.method].waits:
                    holding.enter_context(self._waits.held(client))
                result = await self._carried_out(request.method, params, call)
            return wire.encode_result(request.id, result)
        except Exception as error:  # noqa: BLE001 - a client must get an answer, whatever happens
            return refusal(frames, error)

    async def _carried_out(self, method: str, params: s.Strict, call: Call) -> s.Reply:
        answer = self._handlers[method](params, call)
        if METHODS[method].moves:
            return await answer
        return await _in_time(answer, params)

    async def _hello(self, _params: s.NoParams, call: Call) -> s.Hello:
        status = await self._backend.status()
        return s.Hello(
            protocol=s.PROTOCOL,
            version=__version__,
            instance=self._instance,
            capabilities=list(METHODS),
            max_request_bytes=wire.MAX_REQUEST_BYTES,
            max_image_bytes=wire.MAX_IMAGE_BYTES,
            state=status.state,
            role=call.caller.role,
        )

    async def _ping(self, _params: s.NoParams, _call: Call) -> s.Pong:
        return s.Pong(instance=self._instance)

    async def _start(self, params: s.AutofocusParams, call: Call) -> s.Started:
        async with self._start_lock:
            return await self._backend.start(params, call.request_id, call.caller)

    async def _run(self, params: s.AutofocusParams, call: Call) -> s.Job:
        if params.meta.dry_run:
            raise invalid_params("meta.dry_run is for autofocus.start; a run waits for a real end")
        started = await self._start(params, call)
        return await _in_time(self._backend.wait(started.job, s.MAX_WAIT_S), params)

    async def _abort(self, params: s.AbortParams, call: Call) -> s.Aborted:
        return self._backend.abort(params.job, params.by, call.caller)

    async def _score(self, params: s.ScoreParams, call: Call) -> s.Score:
        if call.image is not None and params.magnification is None:
            raise invalid_params("magnification is missing: an image can't be scored without it")
        if call.image is None and params.magnification is not None:
            raise invalid_params("magnification is given, but no image came in a second frame")
        return await self._backend.score(call.image, params.magnification)

    async def _discover(self, _params: s.NoParams, _call: Call) -> s.OpenRpc:
        return document()


Abort = Callable[[str | None, str | None, Caller], s.Aborted]
"""`Backend.abort`."""


class AbortDispatcher:
    """Answers `ABORT_METHODS` at once, from any thread."""

    def __init__(self, abort: Abort, *, instance: str) -> None:
        self._abort = abort
        self._instance = instance

    def answer(self, frames: Sequence[bytes], caller: Caller) -> bytes:
        """The answer to a message of `caller`."""
        raw = frames[0] if frames else b""
        try:
            request = wire.decode_request(raw)
            params, _call = _checked(request, frames, caller, ABORT_METHODS)
            result: s.Reply = s.Pong(instance=self._instance)
            if isinstance(params, s.AbortParams):
                result = self._abort(params.job, params.by, caller)
            return wire.encode_result(request.id, result)
        except Exception as error:  # noqa: BLE001 - the thread that can abort must outlive any bug
            return refusal(frames, error)


def _checked(
    request: s.Request,
    frames: Sequence[bytes],
    caller: Caller,
    methods: Sequence[str] = tuple(METHODS),
) -> tuple[s.Strict, Call]:
    """The params of a request for one of `methods` that `caller` may use, and what came with them."""
    _check_protocol(request)
    if request.method not in methods:
        raise RpcFault(
            faults.METHOD_NOT_FOUND,
            f"there is no method {quoted(request.method)} here{nearest(request.method, methods)}",
            kind="method_not_found",
            remedy="`rpc.discover` lists every method with its params",
        )
    caller.require(METHODS[request.method].role, request.method)
    most = 2 if request.method == "frame.score" else 1
    if len(frames) > most:
        raise RpcFault(
            faults.INVALID_REQUEST,
            f"{request.method} came in {len(frames)} frames; it takes at most {most}",
            kind="invalid_request",
        )
    model = METHODS[request.method].params
    try:
        params = model.of(request.params)
    except ValidationError as error:
        raise invalid_params(explain(error, model)) from None
    image = frames[1] if len(frames) > 1 else None
    return params, Call(caller, str(request.id), image)


def _check_protocol(request: s.Request) -> None:
    """Checked before the params: another version's may differ."""
    meta = request.params.get("meta")
    spoken = meta.get("protocol") if isinstance(meta, dict) else None
    if not isinstance(spoken, str):
        return
    major = spoken.partition(".")[0]
    if major.isdecimal() and major != s.PROTOCOL.partition(".")[0]:
        raise VersionMismatch(
            f"the client speaks protocol {quoted(spoken)}, this daemon {s.PROTOCOL}"
        )


async def _in_time(answer: Awaitable[T], params: s.Strict) -> T:
    """The answer within the deadline that the client set, if it set one."""
    meta = getattr(params, "meta", s.Meta())
    deadline_s = None if meta.deadline_ms is None else meta.deadline_ms / 1000.0
    scope = asyncio.timeout(deadline_s)
    try:
        async with scope:
            return await answer
    except TimeoutError:
        if not scope.expired():
            raise
        message = f"no answer within the deadline of {meta.deadline_ms} ms"
        raise RpcFault(faults.DEADLINE, message, kind="deadline", retryable=True) from None


def refusal(frames: Sequence[bytes], error: Exception) -> bytes:
    """What answers a message with an error; an unexpected one is logged with its traceback."""
    raw = frames[0] if frames else b""
    fault = fault_of(error)
    if fault.error.code == faults.INTERNAL_ERROR:
        log.error("request_failed", request_id=wire.request_id_of(raw), exc_info=error)
    return wire.encode_error(wire.request_id_of(raw), fault.error)
