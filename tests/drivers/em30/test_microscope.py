"""When a link is tried again, and what is told of one that is missing, over sessions made of a script."""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from afdaemon.clock import ManualClock, SystemClock
from afdaemon.drivers.base import Frame, Microscope, MicroscopeState
from afdaemon.drivers.counters import Tally
from afdaemon.drivers.em30.link import Fate
from afdaemon.drivers.em30.microscope import Em30Microscope
from afdaemon.drivers.em30.settings import LinkSettings
from afdaemon.drivers.em30.tcp import TcpLink
from afdaemon.drivers.errors import DriverError, LinkTimeout, NotConnected
from afdaemon.drivers.registry import kept_up, open_microscope

Until = Callable[[Callable[[], object]], Awaitable[None]]

FIRST_S, CAP_S = 0.25, 3.0
ATTEMPTS = 12


class Link(Fate):
    """As much of a `ByteLink` as the microscope sees."""

    @property
    def why_lost(self) -> str:
        return self.why

    async def wait_lost(self) -> None:
        await self.wait()

    def abort(self, why: str) -> None:
        self.end(why)

    async def send(self, data: bytes, *, timeout_s: float) -> None:
        raise AssertionError

    async def receive(self) -> bytes:
        raise AssertionError

    async def close(self) -> None:
        self.end("closed from this side")


class Session:
    def __init__(self) -> None:
        self.link = Link()

    async def read_state(self) -> MicroscopeState:
        return MicroscopeState(wd_um=12_000.0, magnification=2000.0)

    async def move_wd(self, wd_um: float, magnification: float | None = None) -> None:
        raise AssertionError

    async def grab(self, sequence: int) -> Frame:
        raise AssertionError

    async def finish(self) -> None:
        await self.link.close()


class Instrument:
    """Refuses every attempt until `ATTEMPTS`; remembers when each came."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.attempts_s: list[float] = []
        self.at_attempt: Callable[[int], None] = lambda number: None
        self.session: Session | None = None
        settings = LinkSettings(reconnect_first_s=FIRST_S, reconnect_cap_s=CAP_S)
        self.microscope = Em30Microscope(
            "scripted", self._open, settings, clock=self.clock, tally=Tally()
        )

    async def _open(self) -> Session:
        self.attempts_s.append(self.clock.now_s())
        self.at_attempt(len(self.attempts_s))
        await asyncio.sleep(0)
        if len(self.attempts_s) < ATTEMPTS:
            raise NotConnected("nothing listens there", remedy="start it")
        self.session = Session()
        return self.session

    @property
    def pauses_s(self) -> list[float]:
        return [b - a for a, b in zip(self.attempts_s, self.attempts_s[1:], strict=False)]


async def until_connected(microscope: Microscope) -> None:
    """As `wait_connected`, without being noticed."""
    for _ in range(10_000):
        if microscope.connected:
            return
        await asyncio.sleep(0)
    raise AssertionError("it never was")


async def test_pauses_grow_while_nobody_waits() -> None:
    instrument = Instrument()
    async with kept_up(instrument.microscope):
        await until_connected(instrument.microscope)
    assert instrument.pauses_s[:5] == [0.25, 0.5, 1.0, 2.0, 3.0]
    assert instrument.pauses_s[-1] == CAP_S


async def test_while_somebody_waits_it_is_tried_again_soon() -> None:
    instrument = Instrument()
    waiting: list[asyncio.Task[None]] = []

    def at_attempt(number: int) -> None:
        if number == 6:
            waiting.append(asyncio.create_task(instrument.microscope.wait_connected(10.0)))

    instrument.at_attempt = at_attempt
    async with kept_up(instrument.microscope):
        await until_connected(instrument.microscope)
        await waiting[0]
    assert instrument.pauses_s[4] == CAP_S
    assert instrument.pauses_s[5:] == [FIRST_S] * 6


async def test_who_begins_to_wait_cuts_a_long_pause_short(until: Until) -> None:
    class Standing(ManualClock):
        """Sleeps until somebody lets it go on."""

        def __init__(self) -> None:
            super().__init__()
            self.slept_s: list[float] = []
            self.go_on = asyncio.Event()

        async def sleep(self, seconds: float) -> None:
            self.slept_s.append(seconds)
            if seconds > FIRST_S:
                await self.go_on.wait()
            await super().sleep(seconds)

    instrument = Instrument()
    clock = instrument.microscope._clock = Standing()
    async with kept_up(instrument.microscope):
        await until(lambda: clock.slept_s[-1:] == [0.5])
        await instrument.microscope.wait_connected(5.0)
    assert clock.slept_s == [0.25, 0.5, *[FIRST_S] * (ATTEMPTS - 2)]


async def test_why_it_is_down_is_told_until_it_is_up() -> None:
    instrument = Instrument()
    microscope = instrument.microscope
    assert str(microscope.why_down) == "it has not been opened yet"
    seen: set[str] = set()
    instrument.at_attempt = lambda number: seen.add(str(microscope.why_down))
    async with kept_up(microscope):
        await until_connected(microscope)
        assert microscope.why_down is None
        assert seen == {"it has not been opened yet", "nothing listens there"}
        assert instrument.session is not None
        instrument.session.link.end("the instrument closed it")
        assert str(microscope.why_down) == "the instrument closed it"
        with pytest.raises(NotConnected, match="is down: the instrument closed it"):
            await microscope.read_state()
    assert str(microscope.why_down) == "it was closed"


async def test_who_waits_in_vain_is_told_the_cause_and_its_remedy() -> None:
    instrument = Instrument()
    with pytest.raises(LinkTimeout, match=r"within 0\.01 s: it has not been opened yet"):
        await instrument.microscope.wait_connected(0.01)


# --- causes, on real links ---


def a_closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


async def cause_of(microscope: Microscope) -> DriverError:
    """What is told within a second."""
    async with kept_up(microscope):
        with pytest.raises(LinkTimeout):
            await microscope.wait_connected(0.3)
        cause = microscope.why_down
        assert cause is not None
        with pytest.raises(NotConnected) as told:
            await microscope.read_state()
    assert str(cause) in str(told.value)
    assert told.value.remedy == cause.remedy
    return cause


async def test_a_missing_folder_and_a_closed_port_are_told_apart(tmp_path: Path) -> None:
    def link(folder: Path) -> Microscope:
        settings = {"folder": folder, "port": a_closed_port()}
        return open_microscope("aisem", settings, clock=SystemClock())

    missing = await cause_of(link(tmp_path / "no"))
    assert "does not exist" in str(missing)
    assert "`folder`" in missing.remedy
    (tmp_path / "file").write_bytes(b"")
    assert "does not exist" in str(await cause_of(link(tmp_path / "file" / "below")))
    closed = await cause_of(link(tmp_path))
    assert "nothing listens on 127.0.0.1" in str(closed)
    assert "start the program there" in closed.remedy


async def test_a_share_that_has_gone_is_told_and_does_not_end_the_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = Path.stat

    def gone(path: Path, **more: bool) -> object:
        if path == tmp_path:
            raise OSError(errno.ESTALE, "Stale file handle")
        return stat(path, **more)

    monkeypatch.setattr(Path, "stat", gone)
    settings = {"folder": tmp_path, "port": a_closed_port()}
    cause = await cause_of(open_microscope("aisem", settings, clock=SystemClock()))
    assert "cannot be reached: Stale file handle" in str(cause)


async def test_an_unknown_host_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio, "open_connection", unknown)
    cause = await cause_of(open_microscope("stream", {"host": "em-30"}, clock=SystemClock()))
    assert "the host em-30 is not found: Name or service not known" in str(cause)
    assert "`host`" in cause.remedy


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENETUNREACH, "?"), "Network is unreachable"),
        (OSError("Multiple exceptions: a, b"), "Multiple exceptions"),
    ],
)
async def test_other_causes_are_told_in_the_systems_words(
    error: OSError, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(asyncio, "open_connection", failing)
    with pytest.raises(NotConnected, match=words):
        await TcpLink.open("em-30", 9025, timeout_s=1.0)


async def test_a_program_that_answers_otherwise_is_told() -> None:
    async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(web, "127.0.0.1", 0)
    settings = {"port": server.sockets[0].getsockname()[1], "reply_timeout_s": 0.1}
    cause = await cause_of(open_microscope("stream", settings, clock=SystemClock()))
    assert "does not speak our version of `stream`" in str(cause)
    server.close()
    await server.wait_closed()


async def test_a_folder_that_goes_is_noticed_while_nothing_is_asked_for(
    tmp_path: Path, vendor: Any, until: Until
) -> None:
    folder = tmp_path / "share"
    folder.mkdir()
    settings = {"folder": folder, "port": vendor.port, "reconnect_first_s": 0.01}
    microscope = open_microscope("aisem", settings, clock=SystemClock())
    async with kept_up(microscope):
        await microscope.wait_connected(5.0)
        folder.rmdir()
        await until(lambda: not microscope.connected)
        assert "does not exist" in str(microscope.why_down)
        folder.mkdir()
        await microscope.wait_connected(5.0)
