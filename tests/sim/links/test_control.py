"""The control socket, asked over a real connection and fed what it does not expect."""

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afdaemon.clock import ManualClock
from afdaemon.sim.chaos.plan import Chaos, Way
from afdaemon.sim.errors import ControlError, ServeError
from afdaemon.sim.instrument.instrument import Instrument
from afdaemon.sim.instrument.settings import FrameMode, InstrumentSettings
from afdaemon.sim.instrument.witness import truth_from
from afdaemon.sim.instrument.world import World
from afdaemon.sim.links import control
from afdaemon.sim.links.control import MAX_LINE_BYTES, Control, ControlServer, order_of
from afdaemon.sim.links.peer import found_in, owner_of

SETTINGS = InstrumentSettings(specimen="tem_grid", start_wd_um=12_000.0, focus_wd_um=11_500.0)


def an_instrument() -> Instrument:
    clock = ManualClock()
    return Instrument(World(SETTINGS, clock=clock), clock=clock)


@pytest.fixture
async def server() -> AsyncIterator[ControlServer]:
    async with ControlServer(an_instrument()) as server:
        yield server


async def tell(server: ControlServer, do: str, *words: str) -> dict[str, Any]:
    return await asyncio.to_thread(control.tell, server.address[1], order_of(do, words))


async def test_only_its_own_user_is_heard(
    server: ControlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tell(server, "fault", "frame-missing:0.2")
    ours = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: ours + 1)
    with pytest.raises(ControlError, match="orders from its own user only"):
        await tell(server, "clear")
    monkeypatch.undo()
    assert (await tell(server, "faults"))["rules"] == ["frame-missing:0.2"]


TABLE = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: {ours}:2384 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1
   1: {ours}:A001 {ours}:2384 01 00000000:00000000 00:00000000 00000000  1001        0 2
   2: {ours}:2384 {ours}:A001 01 00000000:00000000 00:00000000 00000000  1000        0 3
   3: {ours}:A002 {ours}:2384 05 00000000:00000000 00:00000000 00000000     0        0 0
"""


def test_the_kernels_table_tells_whose_a_connection_is() -> None:
    host = "0100007F" if sys.byteorder == "little" else "7F000001"
    table = TABLE.format(ours=host)
    here = ("127.0.0.1", 0x2384)
    assert found_in(table, ("127.0.0.1", 0xA001), here) == 1001
    assert found_in(table, ("127.0.0.1", 0xA002), here) is None, "its program may be gone"
    assert found_in(table, ("127.0.0.1", 0xA003), here) is None


def test_a_connection_of_our_own_is_found_to_be_ours() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as client,
    ):
        assert owner_of(client.getsockname(), listening.getsockname()) == os.geteuid()


async def test_faults_are_set_told_and_cleared(server: ControlServer) -> None:
    assert (await tell(server, "fault", "frame-missing:0.2"))["rules"] == ["frame-missing:0.2"]
    assert (await tell(server, "fault", "frame-missing:0.5"))["rules"] == ["frame-missing:0.5"]
    await tell(server, "fault", "reset,times=1")
    server.instrument.breaks_at(10)
    told = await tell(server, "faults")
    assert told["rules"] == ["frame-missing:0.5", "reset,times=1"]
    assert told["strikes"] == {"reset": 1}
    assert (await tell(server, "clear", "reset"))["rules"] == ["frame-missing:0.5"]
    assert (await tell(server, "clear"))["rules"] == []


async def test_the_truth_is_told_whole(server: ControlServer) -> None:
    server.instrument.command(11_700.0)
    told = (await tell(server, "truth"))["truth"]
    assert truth_from(told) == server.instrument.truth()


async def test_the_plug_is_pulled_and_put_back(server: ControlServer) -> None:
    instrument = server.instrument
    seen = []
    for words in (("unplug", "2.5"), ("replug",), ("unplug",)):
        await tell(server, *words)
        seen.append(instrument.unplugged)
    assert seen == [True, False, True]


async def test_the_frame_size_and_settings_are_changed(server: ControlServer) -> None:
    world = server.instrument.world
    await tell(server, "mode", "full")
    assert world.mode is FrameMode.FULL
    told = await tell(server, "set", "detector.brightness=0.8")
    assert told == {"detector.brightness": 0.8}
    assert world.settings.detector.brightness == 0.8
    await tell(server, "set", "settle_s=0.5")
    assert world.settings.settle_s == 0.5


REFUSED = {
    ("fault", "frame-mising"): "did you mean frame-missing",
    ("fault", "wd-late:2"): "lies in 0 to 1, not 2",
    ("clear", "rest"): "did you mean reset",
    ("unplug", "-1"): "0.001 to 3600, not -1",
    ("unplug", "nan"): "not nan",
    ("mode", "slow"): "fast or full",
    ("set", "detector.brightnes=1"): "did you mean detector.brightness",
    ("set", "detector.brightness=9"): "must be a number from",
    ("set", "seed=3"): "cannot be changed while it runs",
}


@pytest.mark.parametrize("words", REFUSED)
async def test_what_cannot_be_is_refused_and_changes_nothing(
    server: ControlServer, words: tuple[str, str]
) -> None:
    before = server.instrument.world.settings
    with pytest.raises(ControlError, match=REFUSED[words]):
        await tell(server, *words)
    assert server.instrument.plan.rules == ()
    assert server.instrument.world.settings == before
    assert not server.instrument.unplugged


@pytest.mark.parametrize(
    ("do", "words", "complaint"),
    [
        ("falt", [], "no order 'falt'; did you mean fault"),
        ("fault", [], "takes one word: rule"),
        ("truth", ["now"], "takes no words"),
        ("unplug", ["1", "2"], "at most one word: seconds"),
        ("unplug", ["soon"], "seconds is a number, not 'soon'"),
    ],
)
def test_a_wrong_command_line_is_refused(do: str, words: list[str], complaint: str) -> None:
    with pytest.raises(ControlError, match=complaint):
        order_of(do, words)


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["do", "rule", "fault", "seconds", "key", "value"]), inner),
    max_leaves=8,
).map(lambda order: json.dumps(order).encode()))  # fmt: skip
def test_whatever_is_sent_is_answered(line: bytes) -> None:
    told = json.loads(WITNESS.answer(line))
    assert told["ok"] is True or told["error"]


WITNESS = Control(an_instrument())


@pytest.mark.parametrize("do", control.ARGUMENTS)
@pytest.mark.parametrize("value", [None, 1, -1.5, True, "x", [], {}, "1e999"])
def test_an_order_with_any_value_is_answered(do: str, value: object) -> None:
    order = {"do": do, **dict.fromkeys(("rule", "fault", "seconds", "mode", "key", "value"), value)}
    assert "ok" in json.loads(WITNESS.answer(json.dumps(order).encode()))


async def test_bad_lines_are_answered_and_the_next_is_heard(server: ControlServer) -> None:
    reader, writer = await asyncio.open_connection(*server.address)
    for line in (b"", b"hello", b"[" * 4000, b"[1]", b'{"do": 5}', b'{"do": "dance"}', b"\xff\xfe"):
        writer.write(line + b"\n")
        assert json.loads(await reader.readline())["ok"] is False
    writer.write(b"x" * (3 * MAX_LINE_BYTES) + b"\n")
    assert json.loads(await reader.readline())["ok"] is False
    writer.write(b'\n{"do": "replug"}\n')
    async with asyncio.timeout(5.0):
        while not json.loads(await reader.readline())["ok"]:
            continue
    writer.close()
    await writer.wait_closed()


async def test_it_ends_with_a_client_connected(server: ControlServer) -> None:
    reader, writer = await asyncio.open_connection(*server.address)
    await server.__aexit__(None, None, None)
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


async def test_a_port_in_use_is_one_clear_error(server: ControlServer) -> None:
    with pytest.raises(ServeError, match="Address already in use"):
        await ControlServer(an_instrument(), port=server.address[1]).__aenter__()


def test_nobody_at_that_port_is_one_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ControlError, match=f"no simulator answers on 127.0.0.1:{port}"):
        control.tell(port, {"do": "truth"})
    with pytest.raises(ControlError, match="no simulator answers"):
        control.tell(70_000, {"do": "truth"})


@pytest.mark.parametrize("answer", [b"SSH-2.0-x\r\n", b"", b"[]\n", b"{}\n", b"\xff\n"])
async def test_a_stranger_at_that_port_is_one_clear_error(answer: bytes) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as stranger:
        port = stranger.sockets[0].getsockname()[1]
        with pytest.raises(ControlError, match="is not a simulator"):
            await asyncio.to_thread(control.tell, port, {"do": "truth"})


async def test_trouble_on_the_way_is_added_told_and_cleared() -> None:
    chaos = Chaos()
    async with ControlServer(an_instrument(), chaos=chaos) as server:
        assert (await tell(server, "chaos", "half,step=4"))["rules"] == ["half,step=4"]
        assert (await tell(server, "chaos", "drop,times=1"))["rules"] == [
            "half,step=4",
            "drop,times=1",
        ]
        assert chaos.talk().hear(b"OK", Way.ANSWERS) == ()
        assert (await tell(server, "faults"))["strikes"] == {"drop": 1}
        assert (await tell(server, "clear"))["rules"] == []
        with pytest.raises(ControlError, match="did you mean half"):
            await tell(server, "chaos", "hlaf")


async def test_trouble_on_the_way_needs_something_in_between(server: ControlServer) -> None:
    with pytest.raises(ControlError, match="nothing stands between"):
        await tell(server, "chaos", "drop")
