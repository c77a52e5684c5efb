"""One client of the vendor door, from its first line to its last. Everything runs in the door's thread.

What may not wait (PING, ABORT) is answered before the next line is read. The rest becomes a task each, so that a line
never waits for the answer to the one before it.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass

from afdaemon.api import schemas as s
from afdaemon.api import wire
from afdaemon.api.allowance import Allowance, Pace
from afdaemon.api.caps import VENDOR_HELLO_S, VENDOR_LINES, VENDOR_UNSENT_BYTES
from afdaemon.api.dispatch import refusal
from afdaemon.api.faults import RpcFault, overloaded
from afdaemon.api.methods import ABORT_METHODS, METHODS
from afdaemon.api.vendor import protocol
from afdaemon.api.vendor.access import VendorPlace
from afdaemon.api.vendor.protocol import Command
from afdaemon.api.vendor.service import Service

_LINGER_S = 1.0
"""How long a client that is sent away may take to read why."""
Refuse = Callable[[RpcFault], None]


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """A request under way. `job_id` is that of the job which it may begin; `waits`: it may be given up at any time."""

    answer: Future[bytes]
    job_id: str | None
    waits: bool = False
    is_command: bool = False


class Connection:
    """`run` it once.

    `welcomed` is called when it has shown the token; it returns why it has to go all the same, or None. `complain` is
    told why it was sent away.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        client: str,
        place: VendorPlace,
        service: Service,
        requests: Allowance,
        welcomed: Callable[["Connection"], str | None],
        complain: Callable[[str, str], None],
    ) -> None:
        self.client = client
        self.is_known = False
        self._reader = reader
        self._writer = writer
        self._place = place
        self._service = service
        self._requests = requests
        self._welcomed = welcomed
        self._complain = complain
        self._loop = asyncio.get_running_loop()
        self._hello_by_s = self._loop.time() + VENDOR_HELLO_S
        self._pace = Pace(VENDOR_LINES)
        self._asked: set[_Asked] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._followed: dict[str, asyncio.Queue[s.Progress | s.Job]] = {}
        self._job: str | None = None
        """The job that it began and that may be under way."""
        self._last_ended = ""
        self._is_detached = False
        self._has_spoken = False

    async def run(self) -> None:
        """Answer until the client goes or is sent away; then end its job, unless it said DETACH."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                if self._place.token or self._is_welcome(self.refuse):
                    await self._converse()
            finally:
                self._leave()
        await self._hang_up()

    def close(self) -> None:
        """Say no more than what is on its way already."""
        self._writer.close()

    def say(self, text: str | bytes) -> None:
        """Send a line. A client that doesn't read is cut off: nothing waits for it."""
        transport = self._writer.transport
        if transport.get_write_buffer_size() > VENDOR_UNSENT_BYTES:
            transport.abort()
        elif not transport.is_closing():
            transport.write((text.encode("ascii") if isinstance(text, str) else text) + b"\r\n")

    def refuse(self, fault: RpcFault) -> None:
        """Send an error."""
        self.say(protocol.error(fault.error))

    def heard(self, job_id: str, told: s.Progress | s.Job) -> None:
        """A job goes on, or has ended."""
        if isinstance(told, s.Job):
            self._last_ended = job_id
            self._job = None if self._job == job_id else self._job
        if job_id in self._followed:
            self._followed[job_id].put_nowait(told)

    # From line to line

    async def _converse(self) -> None:
        while (line := await self._next()) is not None:
            if line.strip() and not self._take(line):
                return
            await asyncio.sleep(self._pace.delay_s("", self._loop.time()))

    async def _next(self) -> bytes | None:
        """The next line; None if the client has gone, or has to go."""
        while True:
            patience = asyncio.timeout_at(self._patient_until_s())
            try:
                async with patience:
                    return await self._reader.readuntil(b"\n")
            except asyncio.LimitOverrunError:
                self.refuse(protocol.too_long())
            except (asyncio.IncompleteReadError, OSError):
                if patience.expired() and self._is_busy:
                    continue
                if patience.expired():
                    self._say_idle()
            return None

    def _patient_until_s(self) -> float:
        return self._loop.time() + self._place.idle_s if self.is_known else self._hello_by_s

    @property
    def _is_busy(self) -> bool:
        return bool(self._asked or self._followed or self._job is not None)

    def _say_idle(self) -> None:
        if self.is_known:
            self.refuse(protocol.idle(self._place.idle_s))
        else:
            self.refuse(protocol.unauthorized(f"no token came within {VENDOR_HELLO_S:g} s"))

    def _take(self, line: bytes) -> bool:
        """Answer a line, or begin to; whether the connection goes on."""
        is_first, self._has_spoken = not self._has_spoken, True
        if protocol.is_request(line):
            return self._take_request(line.strip())
        try:
            command = protocol.command_of(line)
        except RpcFault as fault:
            self.refuse(fault)
            # A browser that was led here begins with POST; what follows could look like commands.
            return not is_first
        if command.name == "TOKEN":
            is_right = self._is_token(command.argument, self.refuse)
            if is_right:
                self.say(protocol.done(command.name))
            return is_right
        if not self.is_known:
            self.refuse(protocol.unauthorized("the token is missing"))
            return True
        self._carry_out(command)
        return True

    def _carry_out(self, command: Command) -> None:
        match command.name:
            case "AUTOFOCUS":
                self._begin(self._autofocus(command))
            case "STATUS":
                self._begin(self._status(command))
            case "DETACH":
                self._is_detached = True
                self.say(protocol.done(command.name))
            case "ABORT":
                self.say(self._abort(command))
            case _:
                request = protocol.request_of(command, wire.new_id())
                self.say(protocol.answer_to(command, self._service.at_once(request)))

    def _is_token(self, token: str, refuse: Refuse) -> bool:
        """Whether it is the token, and there is room."""
        if self._place.token and not self._place.knows(token):
            self._complain(self.client, "does not know the token")
            refuse(protocol.unauthorized("that is not the token"))
            return False
        return self._is_welcome(refuse)

    def _is_welcome(self, refuse: Refuse) -> bool:
        if self.is_known:
            return True
        self.is_known = True
        why_not = self._welcomed(self)
        if why_not is not None:
            self._complain(self.client, why_not)
            refuse(
                overloaded(f"{self.client}: {why_not}", remedy="close those that are not needed")
            )
        return why_not is None

    # Commands

    async def _status(self, command: Command) -> None:
        answer = await self._answer(protocol.request_of(command, wire.new_id()))
        if answer is not None:
            self.say(protocol.answer_to(command, answer))

    async def _autofocus(self, command: Command) -> None:
        """Begin a job, and tell how it goes until it has ended."""
        job_id = wire.new_id()
        events = self._followed[job_id] = asyncio.Queue()
        try:
            request = protocol.request_of(command, job_id)
            answer = await self._answer(request, job_id=job_id, is_command=True)
            if answer is None:
                self.say(protocol.end(protocol.CALLED_OFF))
                return
            self.say(protocol.answer_to(command, answer))
            is_over = not protocol.may_run_on(answer)
            while not is_over:
                told = await events.get()
                is_over = isinstance(told, s.Job)
                self.say(protocol.end(told) if isinstance(told, s.Job) else protocol.progress(told))
        finally:
            del self._followed[job_id]

    def _abort(self, command: Command) -> str:
        """End the running job, and let this client's next one not begin."""
        answer = self._service.at_once(protocol.request_of(command, wire.new_id()))
        for asked in self._asked:
            if asked.is_command and asked.job_id is not None:
                self._service.call_off(asked.answer, asked.job_id, protocol.BY)
                answer = protocol.called_off(asked.job_id)
        return protocol.answer_to(command, answer)

    # Requests

    def _take_request(self, line: bytes) -> bool:
        """Answer a JSON-RPC request, or begin to; whether the connection goes on."""

        def refuse(fault: RpcFault) -> None:
            self.say(refusal([line], fault))

        try:
            request = wire.decode_request(line)
        except RpcFault:
            request = None  # whoever answers says what is wrong with it
        token = None if request is None else protocol.token_in(request)
        if request is not None and token is not None:
            line = protocol.without_token(request)
            if not self._is_token(token, refuse):
                return False
        if not self.is_known:
            refuse(protocol.unauthorized("the token is missing"))
        elif request is not None and request.method in ABORT_METHODS:
            self.say(self._service.at_once(line))
        else:
            self._begin(self._answer_request(line, request))
        return True

    async def _answer_request(self, line: bytes, request: s.Request | None) -> None:
        method = None if request is None else METHODS.get(request.method)
        is_job = method is not None and method.starts
        answer = await self._answer(
            line,
            job_id=str(request.id) if request is not None and is_job else None,
            waits=method is not None and method.waits,
        )
        if answer is not None:
            self.say(answer)

    # What is under way

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(
        self,
        request: bytes,
        *,
        job_id: str | None = None,
        waits: bool = False,
        is_command: bool = False,
    ) -> bytes | None:
        """What the service answers; None if it was called off, or the service ends."""
        try:
            with self._requests.held(f"{id(self)}"):
                asked = _Asked(self._service.ask(request, self.client), job_id, waits, is_command)
                self._asked.add(asked)
                try:
                    # Not awaited: what is under way goes on when this task is cancelled, see `_leave`.
                    answered = asyncio.wrap_future(asked.answer)
                    await asyncio.wait([answered])
                finally:
                    self._asked.discard(asked)
        except RpcFault as fault:
            return refusal([request], fault)
        if answered.cancelled():
            return None
        answer = answered.result()
        if job_id is not None and protocol.may_run_on(answer) and self._last_ended != job_id:
            self._job = job_id
        return answer

    def _leave(self) -> None:
        """The client has gone. A move that it asked for is completed, a job is ended, a wait is given up."""
        by = "the vendor's connection broke"
        for asked in self._asked:
            if asked.job_id is not None and not self._is_detached:
                self._service.call_off(asked.answer, asked.job_id, by)
            elif asked.waits and asked.job_id is None:
                asked.answer.cancel()
        if self._job is not None and not self._is_detached:
            self._service.at_once(protocol.abort_request(self._job, by))
        for task in self._tasks:
            task.cancel()

    async def _hang_up(self) -> None:
        """Let the last line arrive: to close while the client still sends would make it unreadable."""
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(_LINGER_S):
                self._writer.write_eof()
                while await self._reader.read(protocol.MAX_LINE_BYTES):
                    pass
        self._writer.transport.abort()
