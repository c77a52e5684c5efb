"""The bridge and those who connect to it: one daemon at a time, and whoever else comes."""

import asyncio
import hmac
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from afdaemon.clock import SystemClock
from afdaemon.drivers.em30.settings import StreamSettings
from afdaemon.drivers.em30.stream import stream_microscope
from afdaemon.drivers.errors import LinkTimeout
from afdaemon.drivers.registry import kept_up
from afdaemon.drivers.wire.messages import (
    Ack,
    Bye,
    Challenge,
    FrameData,
    GetState,
    Grab,
    Hello,
    Move,
    Ping,
    Pong,
    Proof,
    Refused,
    State,
    Welcome,
)
from afdaemon.drivers.wire.stream import encode

# The classes stand in conftest.py, which is not importable.
Bridge = Any
Daemon = Any
Kit = Any
Vendor = Any
Until = Callable[[Callable[[], object]], Awaitable[None]]

SHARED = "a token of many characters"
WD_UM = 12_345.6
FIRST = Move(wd_um=WD_UM)


def silent(wd_um: float, magnification: int) -> None:
    return None


async def frame(daemon: Daemon) -> FrameData:
    answer = await daemon.ask(Grab())
    assert isinstance(answer, FrameData), answer
    return answer


async def test_while_the_vendors_software_is_away_the_daemon_is_refused_at_once(
    vendor: Vendor, bridge: Bridge, daemon: Daemon, kit: Kit
) -> None:
    await vendor.stop()
    with pytest.raises(kit.hung_up):
        await daemon.hear()
    async with asyncio.timeout(1.0), kit.visit(bridge.port) as refused:
        answer = await refused.ask(Hello(name="a test"))
        assert isinstance(answer, Refused)
        assert f"127.0.0.1:{vendor.port} is not connected" in answer.reason
        with pytest.raises(kit.hung_up):
            await refused.hear()
    await vendor.start()
    await bridge.says("connected to the vendor", times=2)
    async with kit.connect(bridge.port) as again:
        assert isinstance(await again.ask(GetState()), State)
    assert vendor.orders == []


async def test_a_daemon_may_leave_and_come_back_and_the_vendors_session_stays(
    vendor: Vendor, bridge: Bridge, kit: Kit
) -> None:
    async with kit.connect(bridge.port) as first:
        assert isinstance(await first.ask(FIRST), Ack)
    async with kit.connect(bridge.port) as second:
        assert (await frame(second)).wd_um == WD_UM
        second.send(Bye())
        with pytest.raises(kit.hung_up):
            await second.hear()
    assert vendor.heard.count(b"READY") == 1
    assert len(vendor.orders) == 1


async def test_a_second_client_is_refused_and_the_first_is_not_disturbed(
    bridge: Bridge, daemon: Daemon, kit: Kit
) -> None:
    async with kit.visit(bridge.port) as second:
        answer = await second.ask(Hello(name="another"))
        assert isinstance(answer, Refused)
        assert "another client" in answer.reason
        with pytest.raises(kit.hung_up):
            await second.hear()
    assert isinstance(await daemon.ask(FIRST), Ack)


@pytest.mark.parametrize("constants", [{"SILENT_S": 0.0}])
async def test_a_silent_client_gives_way(bridge: Bridge, daemon: Daemon, kit: Kit) -> None:
    async with kit.connect(bridge.port) as second:
        assert isinstance(await second.ask(GetState()), State)
        with pytest.raises(kit.hung_up):
            await daemon.hear()


async def test_a_client_that_comes_back_gets_its_own_seat(bridge: Bridge, kit: Kit) -> None:
    async with kit.visit(bridge.port) as first, kit.visit(bridge.port) as again:
        assert isinstance(await first.ask(Hello(name="daemon 1")), Welcome)
        assert isinstance(await again.ask(Hello(name="daemon 1")), Welcome)
        with pytest.raises(kit.hung_up):
            await first.hear()
        assert isinstance(await again.ask(GetState()), State)


# A token


async def test_a_client_proves_that_it_knows_the_token(vendor: Vendor, kit: Kit) -> None:
    file = vendor.folder / "token"
    file.write_text(SHARED + "\n")
    async with kit.run(vendor.folder, vendor.port, options=("--token-file", str(file))) as bridge:
        await bridge.says("connected to the vendor")
        async with kit.visit(bridge.port) as daemon:
            challenge = await daemon.ask(Hello(name="a test"))
            assert isinstance(challenge, Challenge)
            assert isinstance(await daemon.ask(FIRST), Refused)
            proof = hmac.new(SHARED.encode(), challenge.nonce.encode(), "sha256").hexdigest()
            assert isinstance(await daemon.ask(Proof(proof=proof)), Welcome)
            assert isinstance(await daemon.ask(FIRST), Ack)
        async with kit.visit(bridge.port) as another:
            assert isinstance(await another.ask(Hello(name="another")), Challenge)
            answer = await another.ask(Proof(proof=proof))  # that of another nonce
            assert isinstance(answer, Refused)
            assert "token" in answer.reason
            with pytest.raises(kit.hung_up):
                await another.hear()
        async with kit.visit(bridge.port) as hasty:
            assert isinstance(await hasty.ask(Proof(proof=proof)), Refused)
    assert len(vendor.orders) == 1


async def test_the_driver_knows_the_token_or_says_what_is_missing(
    vendor: Vendor, kit: Kit, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(SHARED)
    wrong = tmp_path / "wrong"
    wrong.write_text("not that one, but as long")
    async with kit.run(vendor.folder, vendor.port, options=("--token-file", str(file))) as bridge:
        await bridge.says("connected to the vendor")
        for token_file, told in ((None, "token_file"), (wrong, "--token-file")):
            with pytest.raises(LinkTimeout) as refused:
                await wait_connected(bridge.port, token_file, 0.5)
            assert told in f"{refused.value} {refused.value.remedy}"
        await wait_connected(bridge.port, file, 5.0)


async def wait_connected(port: int, token_file: Path | None, timeout_s: float) -> None:
    """Connect to the bridge with the driver, and hang up."""
    settings = StreamSettings(port=port, token_file=token_file)
    microscope = stream_microscope(settings, clock=SystemClock())
    async with kept_up(microscope):
        await microscope.wait_connected(timeout_s)


async def test_the_bridge_has_limits_of_its_own(vendor: Vendor, kit: Kit) -> None:
    options = ("--min-wd-um", "8000", "--max-wd-um", "20000")
    async with kit.run(vendor.folder, vendor.port, options=options) as bridge:
        await bridge.says("connected to the vendor")
        async with kit.connect(bridge.port) as daemon:
            for wd_um in (7_999.0, 20_001.0):
                answer = await daemon.ask(Move(wd_um=wd_um))
                assert isinstance(answer, Refused)
                assert "outside 8000 to 20000 um" in answer.reason
            assert isinstance(await daemon.ask(FIRST), Ack)
    assert len(vendor.orders) == 1


async def test_hello_comes_first_and_speaks_a_version_that_is_known(
    vendor: Vendor, bridge: Bridge, kit: Kit
) -> None:
    async with kit.visit(bridge.port) as stranger:
        assert isinstance(await stranger.ask(FIRST), Refused)
        answer = await stranger.ask(Hello(lowest=7, highest=9))
        assert isinstance(answer, Refused)
        assert "version" in answer.reason
    assert vendor.orders == []
    async with kit.connect(bridge.port) as daemon:
        assert isinstance(await daemon.ask(Hello(lowest=0, highest=9)), Welcome)


@pytest.mark.parametrize("constants", [{"CUT_OFF_S": 0.05}])
async def test_garbage_is_passed_over_and_half_a_message_given_up(
    vendor: Vendor, bridge: Bridge, daemon: Daemon
) -> None:
    whole = encode(FIRST, sequence=77)
    daemon.writer.write(b"GET / HTTP/1.1\r\n\r\n" + whole[:-1] + bytes([whole[-1] ^ 1]))
    assert isinstance(await daemon.ask(Ping()), Pong)
    await bridge.says("no message")
    daemon.writer.write(whole[:-6])
    await bridge.says("no message", times=2)
    assert isinstance(await daemon.ask(Ping()), Pong)
    assert vendor.orders == []


@pytest.mark.parametrize("constants", [{"REPLY_TIMEOUT_S": 0.1, "RECONNECT_FIRST_S": 0.02}])
async def test_requests_of_a_client_that_has_gone_are_not_begun(
    vendor: Vendor, bridge: Bridge, kit: Kit, until: Until
) -> None:
    vendor.script = [silent]
    async with kit.connect(bridge.port) as daemon:
        for wd_um in (11_000.0, 12_000.0, 13_000.0):
            daemon.send(Move(wd_um=wd_um, magnification=2000.0))
        await until(lambda: len(vendor.orders) == 1)
    await until(lambda: vendor.heard.count(b"READY") == 2)
    assert vendor.orders == [b"WDMAG,11,2000"]


@pytest.mark.parametrize("constants", [{"REPLY_TIMEOUT_S": 0.2}])
async def test_more_requests_than_anybody_needs_are_refused(vendor: Vendor, daemon: Daemon) -> None:
    vendor.script = [silent]
    last = [daemon.send(FIRST) for _ in range(30)][-1]
    while True:
        answer = await daemon.hear()
        assert isinstance(answer, Refused)
        if answer.answers == last:
            break
    assert "already waiting" in answer.reason


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_told_to_end_it_says_finish(
    vendor: Vendor, bridge: Bridge, daemon: Daemon, number: signal.Signals, until: Until
) -> None:
    assert await bridge.end(number) == 0
    await until(lambda: vendor.heard[-1:] == [b"FINISH"])
    assert not any("Traceback" in line for line in bridge.lines)
