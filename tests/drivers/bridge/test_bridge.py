"""The bridge against a vendor program that does everything wrong that one can do."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from afdaemon.drivers.wire.messages import (
    Ack,
    Encoding,
    FrameData,
    GetState,
    Grab,
    Move,
    MoveStage,
    Ping,
    Pong,
    Refused,
    State,
)

# The classes stand in conftest.py, which is not importable.
Bridge = Any
Daemon = Any
Kit = Any
Vendor = Any
Reply = Callable[[float, int], bytes | None]
Until = Callable[[Callable[[], object]], Awaitable[None]]

WD_UM = 12_345.6
FIRST = Move(wd_um=WD_UM)


def acknowledged_only(wd_um: float, magnification: int) -> bytes:
    return b"OK"


def silent(wd_um: float, magnification: int) -> None:
    return None


def writes(vendor: Vendor, image: bytes | None, text: bytes | None) -> Reply:
    def reply(wd_um: float, magnification: int) -> bytes:
        vendor.put(image, text)
        return b"OK"

    return reply


async def frame(daemon: Daemon) -> FrameData:
    answer = await daemon.ask(Grab())
    assert isinstance(answer, FrameData), answer
    return answer


# --- what goes right ---


async def test_a_session_as_it_goes_over_both_wires(
    vendor: Vendor, bridge: Bridge, daemon: Daemon, until: Until
) -> None:
    assert await daemon.ask(GetState()) == State(answers=2, wd_um=12_000.0, magnification=2000.0)
    ack = await daemon.ask(FIRST)
    assert isinstance(ack, Ack)
    assert ack.settle_us == 0
    first, second = await frame(daemon), await frame(daemon)
    assert await bridge.end() == 0
    await until(lambda: vendor.heard[-1] == b"FINISH")
    assert vendor.heard == [
        *(b"Connected.", b"COMM.START.", b"READY", b"GET_INFOR"),
        *(b"WDMAG,12.3456,2000", b"WDMAG,12.3456,2000", b"FINISH"),
    ]
    assert first.start_us == ack.clock_us
    assert second.start_us > first.end_us > first.start_us
    assert second.number > first.number


async def test_a_frame_is_the_vendors_jpeg_as_it_is(
    vendor: Vendor, daemon: Daemon, kit: Kit
) -> None:
    image = kit.jpeg(7, width=320, height=240)
    vendor.script = [writes(vendor, image, kit.text(WD_UM, 5000))]
    await daemon.ask(Move(wd_um=WD_UM, magnification=5000.0))
    got = await frame(daemon)
    assert (got.encoding, got.data, got.bits) == (Encoding.JPEG, image, 8)
    assert (got.width_px, got.height_px) == (320, 240)
    assert (got.wd_um, got.magnification) == (WD_UM, 5000.0)
    assert got.pixel_nm == pytest.approx(127e6 / 5000 / 320)


async def test_without_a_move_a_frame_is_taken_where_the_instrument_stands(
    vendor: Vendor, daemon: Daemon
) -> None:
    assert (await frame(daemon)).wd_um == 12_000.0
    assert vendor.orders == [b"WDMAG,12,2000"]


async def test_a_ping_is_answered_while_a_frame_is_waited_for(
    vendor: Vendor, daemon: Daemon
) -> None:
    vendor.script = [acknowledged_only]
    await daemon.ask(FIRST)
    daemon.send(Grab())
    assert isinstance(await daemon.ask(Ping()), Pong)


async def test_one_frame_answers_a_grab_that_was_repeated(
    vendor: Vendor, daemon: Daemon, kit: Kit
) -> None:
    vendor.script = [acknowledged_only]
    await daemon.ask(FIRST)
    daemon.send(Grab())
    await daemon.ask(Ping())
    last = daemon.send(Grab())
    await daemon.ask(Ping())
    vendor.put(kit.jpeg(1), kit.text(WD_UM))
    answer = await daemon.hear()
    assert isinstance(answer, FrameData)
    assert answer.answers == last
    assert isinstance(await daemon.ask(GetState()), State)
    assert len(vendor.orders) == 1


async def test_a_move_ends_the_wait_for_an_older_frame(
    vendor: Vendor, daemon: Daemon, kit: Kit
) -> None:
    vendor.script = [acknowledged_only]
    await daemon.ask(FIRST)
    daemon.send(Grab())
    await daemon.ask(Ping())
    async with asyncio.timeout(1.0):
        assert isinstance(await daemon.ask(Move(wd_um=13_000.0)), Ack)
    assert (await frame(daemon)).wd_um == 13_000.0


@pytest.mark.parametrize("constants", [{"STAGE_TIME_US": 200000}])
async def test_the_stage_moves_and_frames_wait_until_it_stands(
    vendor: Vendor, daemon: Daemon, until: Until
) -> None:
    ack = await daemon.ask(MoveStage(x_um=19_000.0, y_um=-250.0))
    assert isinstance(ack, Ack)
    assert ack.settle_us == 200_000
    await until(lambda: b"POSITION,19,-0.25" in vendor.heard)
    got = await frame(daemon)
    assert got.start_us >= ack.clock_us + ack.settle_us


async def test_frames_come_one_after_the_other_as_fast_as_they_are_asked_for(
    daemon: Daemon,
) -> None:
    numbers = [(await frame(daemon)).number for _ in range(60)]
    assert numbers == list(range(1, 61))


# --- refusals ---


@pytest.mark.parametrize("reply", [b"NG out of range", b"ERROR busy"])
async def test_the_vendors_reason_is_told(vendor: Vendor, daemon: Daemon, reply: bytes) -> None:
    vendor.script = [lambda *_: reply]
    answer = await daemon.ask(FIRST)
    assert isinstance(answer, Refused)
    assert reply.decode() in answer.reason
    assert isinstance(await daemon.ask(FIRST), Ack)


@pytest.mark.parametrize(
    "move",
    [Move(wd_um=1e9), Move(wd_um=1e4, magnification=0.2), Move(wd_um=1e4, magnification=1e9)],
)
async def test_what_the_vendors_link_cannot_carry_is_refused(
    vendor: Vendor, daemon: Daemon, move: Move
) -> None:
    assert isinstance(await daemon.ask(move), Refused)
    assert vendor.orders == []


@pytest.mark.parametrize("constants", [{"REPLY_TIMEOUT_S": 0.1, "RECONNECT_FIRST_S": 0.02}])
async def test_a_move_that_is_not_answered_is_not_acknowledged_and_not_repeated(
    vendor: Vendor, bridge: Bridge, daemon: Daemon, kit: Kit
) -> None:
    vendor.script = [silent]
    with pytest.raises(kit.hung_up):
        await daemon.ask(FIRST)
    await bridge.says("connected to the vendor", times=2)
    async with kit.connect(bridge.port) as again:
        assert isinstance(await again.ask(GetState()), State)
    assert len(vendor.orders) == 1


async def test_a_move_whose_link_breaks_is_not_acknowledged_and_not_repeated(
    vendor: Vendor, bridge: Bridge, daemon: Daemon, kit: Kit, until: Until
) -> None:
    def breaks(wd_um: float, magnification: int) -> None:
        vendor.hang_up()

    vendor.script = [breaks]
    with pytest.raises(kit.hung_up):
        await daemon.ask(FIRST)
    await until(lambda: vendor.heard.count(b"READY") == 2)
    assert len(vendor.orders) == 1


async def test_a_move_without_end_of_reply_is_not_acknowledged(
    vendor: Vendor, daemon: Daemon, kit: Kit
) -> None:
    vendor.script = [lambda *_: b"x" * 100_000]
    with pytest.raises(kit.hung_up):
        await daemon.ask(FIRST)


@pytest.mark.parametrize("constants", [{"INFOR_TIMEOUT_S": 0.05}])
async def test_get_infor_may_go_unanswered_once_a_frame_has_told(
    vendor: Vendor, daemon: Daemon
) -> None:
    vendor.info = None
    answer = await daemon.ask(GetState())
    assert isinstance(answer, Refused)
    assert "GET_INFOR" in answer.reason
    assert isinstance(await daemon.ask(Move(wd_um=WD_UM, magnification=3000.0)), Ack)
    assert isinstance(await daemon.ask(GetState()), Refused), "a command is no report"
    await frame(daemon)
    state = await daemon.ask(GetState())
    assert isinstance(state, State)
    assert (state.wd_um, state.magnification) == (WD_UM, 3000.0)
    assert vendor.heard.count(b"GET_INFOR") == 1


@pytest.mark.parametrize("constants", [{"INFOR_TIMEOUT_S": 0.05, "REPLY_TIMEOUT_S": 0.1}])
async def test_a_late_answer_to_get_infor_is_no_acknowledgement(
    vendor: Vendor, daemon: Daemon, kit: Kit
) -> None:
    vendor.info = None
    assert isinstance(await daemon.ask(GetState()), Refused)
    vendor.script = [lambda wd_um, magnification: kit.text(12_000.0)]
    with pytest.raises(kit.hung_up):
        await daemon.ask(Move(wd_um=WD_UM, magnification=3000.0))


# --- frames that are no evidence ---


async def test_what_lay_in_the_folder_before_a_command_is_never_delivered(
    vendor: Vendor, daemon: Daemon, kit: Kit
) -> None:
    old = kit.jpeg(99)
    vendor.put(old, kit.text(WD_UM))
    await daemon.ask(FIRST)
    assert (await frame(daemon)).data != old
    vendor.put(old, kit.text(WD_UM))
    assert (await frame(daemon)).data != old


async def test_the_pair_of_an_older_command_is_passed_over(
    vendor: Vendor, daemon: Daemon, kit: Kit, until: Until
) -> None:
    vendor.script = [acknowledged_only, writes(vendor, kit.jpeg(1), kit.text(11_000.0))]
    await daemon.ask(Move(wd_um=11_000.0))
    await daemon.ask(FIRST)
    grab = daemon.send(Grab())
    await until(lambda: not list(vendor.folder.iterdir()))
    vendor.put(kit.jpeg(2), kit.text(WD_UM))
    answer = await daemon.hear()
    assert isinstance(answer, FrameData)
    assert (answer.answers, answer.wd_um, answer.data) == (grab, WD_UM, kit.jpeg(2))
    assert len(vendor.orders) == 2


async def test_a_late_pair_of_a_session_before_is_passed_over(
    vendor: Vendor, bridge: Bridge, daemon: Daemon, kit: Kit
) -> None:
    vendor.script = [acknowledged_only, acknowledged_only]
    await daemon.ask(Move(wd_um=11_000.0))
    vendor.hang_up()
    await bridge.says("connected to the vendor", times=2)
    async with kit.connect(bridge.port) as again:
        await again.ask(FIRST)
        vendor.put(kit.jpeg(1), kit.text(11_000.0))
        assert (await frame(again)).wd_um == WD_UM


async def test_a_pair_of_no_command_is_for_the_daemon_to_judge(
    vendor: Vendor, daemon: Daemon, kit: Kit
) -> None:
    for place in ((9_000.0, 2000), (WD_UM, 3000)):
        vendor.script = [writes(vendor, kit.jpeg(1), kit.text(*place))]
        await daemon.ask(FIRST)
        got = await frame(daemon)
        assert (got.wd_um, got.magnification) == place


@pytest.mark.parametrize("constants", [{"HALF_WRITTEN_S": 30.0}])
async def test_a_pair_is_taken_when_it_is_whole(
    vendor: Vendor, bridge: Bridge, daemon: Daemon, kit: Kit
) -> None:
    image, text = kit.jpeg(1), kit.text(WD_UM)
    vendor.script = [writes(vendor, image[: len(image) // 2], text[:40])]
    await daemon.ask(FIRST)
    grab = daemon.send(Grab())
    await bridge.says("a pair with 40 bytes")
    vendor.put(image, text[:-30])
    await bridge.says(f"a pair with {len(text) - 30} bytes")
    vendor.put(None, text)
    answer = await daemon.hear()
    assert isinstance(answer, FrameData)
    assert (answer.answers, answer.data) == (grab, image)
    assert len(vendor.orders) == 1


@pytest.mark.parametrize("constants", [{"HALF_WRITTEN_S": 0.1}])
async def test_a_pair_that_stays_half_written_is_replaced(
    vendor: Vendor, daemon: Daemon, kit: Kit
) -> None:
    image = kit.jpeg(50)
    vendor.script = [writes(vendor, image[: len(image) // 2], kit.text(WD_UM))]
    await daemon.ask(FIRST)
    assert (await frame(daemon)).data != image
    assert len(vendor.orders) == 2


async def test_names_are_found_in_any_case(vendor: Vendor, daemon: Daemon, kit: Kit) -> None:
    vendor.script = [acknowledged_only]
    await daemon.ask(FIRST)
    (vendor.folder / "responseimage.JPG").write_bytes(kit.jpeg(1))
    (vendor.folder / "RESPONSEIMAGE.TXT").write_bytes(kit.text(WD_UM))
    assert (await frame(daemon)).data == kit.jpeg(1)
    assert list(vendor.folder.iterdir()) == []


@pytest.mark.parametrize("constants", [{"ASK_AGAIN_S": 0.1}])
async def test_a_command_whose_pair_never_comes_is_repeated_where_it_stands(
    vendor: Vendor, daemon: Daemon
) -> None:
    vendor.script = [acknowledged_only]
    await daemon.ask(FIRST)
    assert (await frame(daemon)).wd_um == WD_UM
    assert vendor.orders == [b"WDMAG,12.3456,2000"] * 2


@pytest.mark.parametrize("constants", [{"ASK_AGAIN_S": 0.02}])
async def test_no_frame_at_all_is_refused_with_the_reason(vendor: Vendor, daemon: Daemon) -> None:
    vendor.script = [acknowledged_only] * 9
    await daemon.ask(FIRST)
    answer = await daemon.ask(Grab())
    assert isinstance(answer, Refused)
    assert "5 frames in a row were not evidence: none came" in answer.reason


async def test_an_image_too_large_to_decode_is_never_handed_on(
    vendor: Vendor, daemon: Daemon, kit: Kit
) -> None:
    image = bytearray(kit.jpeg(1))
    size_at = image.index(b"\xff\xc0") + 5
    image[size_at : size_at + 4] = b"\xff\xff\xff\xff"
    vendor.script = [writes(vendor, bytes(image), kit.text(WD_UM))]
    await daemon.ask(FIRST)
    assert (await frame(daemon)).data != bytes(image)
