"""The driver against a vendor program that does everything wrong that one can do."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import cv2
import numpy as np
import pytest

from afdaemon.drivers.em30.dropfolder import DropFolder, Pair, Partial
from afdaemon.drivers.em30.exchange import Exchange
from afdaemon.drivers.em30.microscope import Em30Microscope
from afdaemon.drivers.errors import (
    CommandRefused,
    DriverError,
    FrameInvalid,
    FrameStale,
    LinkLost,
    LinkTimeout,
    NotConnected,
    ProtocolError,
)
from afdaemon.drivers.wire.aisem import MAX_PARAMETER_BYTES, Parameters, SetWdMag, encode_parameters

Vendor = Any  # the class stands in conftest.py, which is not importable
Answer = Callable[[SetWdMag], bytes | None]
Until = Callable[[Callable[[], object]], Awaitable[None]]

WD_UM = 12_345.6
PARAMETERS = encode_parameters(Parameters(wd_um=12_000.0, magnification=2000))


def silent(_: SetWdMag) -> bytes | None:
    return None


def acknowledged_only(_: SetWdMag) -> bytes | None:
    return b"OK"


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What each look into the drop folder has found."""
    found: list[object] = []
    whole = DropFolder.take

    def take(folder: DropFolder, *, last_text: bytes) -> Pair | Partial | None:
        looked = whole(folder, last_text=last_text)
        found.append(looked)
        return looked

    monkeypatch.setattr(DropFolder, "take", take)
    return found


def writes(vendor: Vendor, image: bytes | None, text: bytes | None) -> Answer:
    def answer(_: SetWdMag) -> bytes:
        vendor.put(image, text)
        return b"OK"

    return answer


async def test_a_session_as_it_goes_over_the_wire(
    vendor: Vendor, microscope: Em30Microscope, until: Until
) -> None:
    state = await microscope.read_state()
    await microscope.move_wd(WD_UM)
    frame = await microscope.grab()
    await microscope.grab()
    await microscope.close()
    await until(lambda: vendor.heard[-1] == b"FINISH")
    assert vendor.heard == [
        b"Connected.",
        b"COMM.START.",
        b"READY",
        b"GET_INFOR",
        b"WDMAG,12.3456,2000",
        b"GET_INFOR",
        b"WDMAG,12.3456,2000",
        b"FINISH",
    ]
    assert (state.wd_um, state.magnification) == (12_000.0, 2000.0)
    assert frame.wd_um == pytest.approx(WD_UM, abs=0.01)
    assert frame.pixels.shape == (48, 64)
    assert list(vendor.folder.iterdir()) == []


async def test_one_more_frame_does_not_undo_what_somebody_has_turned(
    vendor: Vendor, microscope: Em30Microscope, text: Callable[..., bytes]
) -> None:
    await microscope.move_wd(WD_UM)
    await microscope.grab()
    before = len(vendor.orders)
    for wd_um, magnification in ((WD_UM + 500.0, 2000), (WD_UM, 5000)):
        vendor.info = text(wd_um, magnification)
        with pytest.raises(FrameStale, match="has been turned to"):
            await microscope.grab()
    assert len(vendor.orders) == before
    vendor.info = text(WD_UM, 2000)
    assert (await microscope.grab()).wd_um == pytest.approx(WD_UM, abs=0.01)


async def test_a_pair_from_before_the_command_is_removed_and_counted(
    vendor: Vendor,
    microscope: Em30Microscope,
    jpeg: Callable[..., bytes],
    text: Callable[..., bytes],
) -> None:
    vendor.put(jpeg(77), text(WD_UM))
    vendor.script = [acknowledged_only]
    await microscope.move_wd(WD_UM)
    assert list(vendor.folder.iterdir()) == []
    assert microscope.stats.dropped_stale == 1


async def test_half_written_files_are_waited_for(
    vendor: Vendor,
    microscope: Em30Microscope,
    jpeg: Callable[..., bytes],
    text: Callable[..., bytes],
    looks: list[object],
    until: Until,
) -> None:
    async def looked_at() -> None:
        before = len(looks)  # one more may have begun before what lies there was written
        await until(lambda: len(looks) >= before + 2)

    image, words = jpeg(1), text(WD_UM)
    vendor.script = [writes(vendor, image[:500], None)]
    await microscope.move_wd(WD_UM)
    grab = asyncio.create_task(microscope.grab())
    for partial in ((image[:-2], words[:100]), (image, words[:-5]), (image[:-1], words)):
        await looked_at()
        assert not grab.done()
        vendor.put(*partial)
    await looked_at()
    assert not grab.done()
    vendor.put(image, words)
    assert (await grab).wd_um == pytest.approx(WD_UM, abs=0.01)
    assert microscope.stats.dropped_invalid == 0
    assert len(vendor.orders) == 1


async def test_a_text_without_a_last_line_end_is_taken_once_it_stays(
    vendor: Vendor, microscope: Em30Microscope, jpeg: Callable[..., bytes]
) -> None:
    vendor.script = [writes(vendor, jpeg(1), b"MAG=2000\r\nWD=12345.6 um")]
    await microscope.move_wd(WD_UM)
    assert (await microscope.grab()).wd_um == pytest.approx(WD_UM)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (b"", b"MAG=2000\nWD=12345.6 um\n"),
        (b"not a picture", b"MAG=2000\nWD=12345.6 um\n"),
        (b"\xff\xd8 no header \xff\xd9", b"MAG=2000\nWD=12345.6 um\n"),
        (None, b"MAG=2000\n"),
        (None, b"\xff\xfe\x00\x01\n"),
        (None, b""),
    ],
)
async def test_a_pair_that_stays_unreadable_is_dropped_and_asked_again(
    vendor: Vendor,
    hasty: Em30Microscope,
    jpeg: Callable[..., bytes],
    image: bytes | None,
    words: bytes,
) -> None:
    vendor.script = [writes(vendor, jpeg(1) if image is None else image, words)]
    await hasty.move_wd(WD_UM)
    assert (await hasty.grab()).wd_um == pytest.approx(WD_UM, abs=0.01)
    assert hasty.stats.dropped_invalid == 1
    assert len(vendor.orders) == 2


async def test_only_unreadable_pairs_are_a_typed_error(
    vendor: Vendor, hasty: Em30Microscope
) -> None:
    vendor.script = [writes(vendor, b"x", b"y\n")] * 3
    await hasty.move_wd(WD_UM)
    with pytest.raises(FrameInvalid, match="3 frames in a row"):
        await hasty.grab()
    assert hasty.stats.dropped_invalid == 3


@pytest.mark.parametrize(("wd_um", "magnification"), [(12_350.0, 2000), (WD_UM, 5000)])
async def test_a_pair_out_of_step_is_dropped_and_asked_again(
    vendor: Vendor,
    microscope: Em30Microscope,
    jpeg: Callable[..., bytes],
    text: Callable[..., bytes],
    wd_um: float,
    magnification: int,
) -> None:
    vendor.script = [writes(vendor, jpeg(1), text(wd_um, magnification))]
    await microscope.move_wd(WD_UM)
    frame = await microscope.grab()
    assert frame.wd_um == pytest.approx(WD_UM, abs=0.01)
    assert microscope.stats.dropped_mismatch == 1
    assert len(vendor.orders) == 2


async def test_a_late_pair_of_the_command_before_is_not_taken_for_this_ones(
    vendor: Vendor,
    microscope: Em30Microscope,
    jpeg: Callable[..., bytes],
    text: Callable[..., bytes],
    until: Until,
) -> None:
    vendor.script = [acknowledged_only, writes(vendor, jpeg(1), text(12_000.0))]
    await microscope.move_wd(12_000.0)
    await microscope.move_wd(WD_UM)
    grab = asyncio.create_task(microscope.grab())
    await until(lambda: not any(vendor.folder.glob("ResponseImage.*")))
    vendor.put(jpeg(2), text(WD_UM))
    assert (await grab).wd_um == pytest.approx(WD_UM, abs=0.01)
    assert microscope.stats.dropped_mismatch == 1
    assert len(vendor.orders) == 2


async def test_frames_that_never_match_are_stale(
    vendor: Vendor,
    microscope: Em30Microscope,
    jpeg: Callable[..., bytes],
    text: Callable[..., bytes],
) -> None:
    vendor.script = [writes(vendor, jpeg(n), text(14_000.0)) for n in range(3)]
    await microscope.move_wd(WD_UM)
    with pytest.raises(FrameStale, match=r"14000\.0 um"):
        await microscope.grab()
    assert microscope.stats.dropped_mismatch == 3


async def test_a_frozen_picture_is_dropped_and_asked_again(
    vendor: Vendor,
    microscope: Em30Microscope,
    jpeg: Callable[..., bytes],
    text: Callable[..., bytes],
) -> None:
    vendor.script = [writes(vendor, jpeg(1), text(WD_UM))] * 2
    await microscope.move_wd(WD_UM)
    first = await microscope.grab()
    second = await microscope.grab()
    assert first.pixels.tobytes() != second.pixels.tobytes()
    assert microscope.stats.dropped_frozen == 1


async def test_a_frozen_picture_in_another_file_is_frozen_still(
    vendor: Vendor,
    microscope: Em30Microscope,
    jpeg: Callable[..., bytes],
    text: Callable[..., bytes],
) -> None:
    plain = jpeg(1)
    commented = [plain[:2] + b"\xff\xfe\x00\x03" + bytes([n]) + plain[2:] for n in range(5)]
    vendor.script = [writes(vendor, image, text(WD_UM)) for image in commented]
    await microscope.move_wd(WD_UM)
    await microscope.grab()
    with pytest.raises(FrameStale, match="identical"):
        await microscope.grab()


async def test_a_feed_that_stays_frozen_is_stale(
    vendor: Vendor,
    microscope: Em30Microscope,
    jpeg: Callable[..., bytes],
    text: Callable[..., bytes],
) -> None:
    vendor.script = [writes(vendor, jpeg(1), text(WD_UM))] * 4
    await microscope.move_wd(WD_UM)
    await microscope.grab()
    with pytest.raises(FrameStale, match="identical"):
        await microscope.grab()


async def test_a_frame_that_never_comes_is_asked_again_and_then_a_time_out(
    vendor: Vendor, hasty: Em30Microscope
) -> None:
    vendor.script = [acknowledged_only]
    await hasty.move_wd(WD_UM)
    assert (await hasty.grab()).wd_um == pytest.approx(WD_UM, abs=0.01)
    vendor.script = [acknowledged_only] * 10
    await hasty.move_wd(12_000.0)
    with pytest.raises(DriverError, match=r"no usable frame|none came"):
        await hasty.grab()
    vendor.script = []
    assert (await hasty.grab()).wd_um == pytest.approx(12_000.0, abs=0.01)


async def test_a_file_over_the_cap_is_refused_at_once_and_removed(
    vendor: Vendor, microscope: Em30Microscope, jpeg: Callable[..., bytes]
) -> None:
    vendor.script = [writes(vendor, jpeg(1), b"A=1\n" * MAX_PARAMETER_BYTES)]
    await microscope.move_wd(WD_UM)
    with pytest.raises(FrameInvalid, match="larger than"):
        await microscope.grab()
    assert list(vendor.folder.iterdir()) == []
    assert (await microscope.grab()).wd_um == pytest.approx(WD_UM, abs=0.01)


async def test_a_picture_that_claims_to_be_huge_is_not_decoded(
    vendor: Vendor,
    microscope: Em30Microscope,
    jpeg: Callable[..., bytes],
    text: Callable[..., bytes],
) -> None:
    image = bytearray(jpeg(1))
    size_at = image.index(b"\xff\xc0") + 5
    image[size_at : size_at + 4] = b"\xff\xff\xff\xff"
    vendor.script = [writes(vendor, bytes(image), text(WD_UM))]
    await microscope.move_wd(WD_UM)
    with pytest.raises(FrameInvalid, match="65535 x 65535"):
        await microscope.grab()


async def test_a_folder_in_place_of_a_file_is_refused(
    vendor: Vendor, microscope: Em30Microscope, text: Callable[..., bytes]
) -> None:
    vendor.script = [writes(vendor, None, text(WD_UM))]
    await microscope.move_wd(WD_UM)
    (vendor.folder / "ResponseImage.jpg").mkdir()
    with pytest.raises(FrameInvalid, match="ResponseImage"):
        await microscope.grab()


async def test_a_refusal_leaves_the_link_and_the_target(
    vendor: Vendor, microscope: Em30Microscope
) -> None:
    await microscope.move_wd(WD_UM)
    await microscope.grab()
    vendor.script = [lambda _: "NG 범위 밖".encode("euc_kr")]
    with pytest.raises(CommandRefused, match=r"WDMAG,20,2000: NG 범위 밖"):
        await microscope.move_wd(20_000.0)
    assert (await microscope.grab()).wd_um == pytest.approx(WD_UM, abs=0.01)
    assert microscope.stats.moves == 1


@pytest.mark.parametrize("answer", [b"x" * 1025, b"\xff\xff\xff", b"y" * 500_000])
async def test_an_answer_that_is_none_is_a_protocol_error(
    vendor: Vendor, microscope: Em30Microscope, answer: bytes
) -> None:
    vendor.script = [lambda _: answer]
    with pytest.raises(ProtocolError):
        await microscope.move_wd(WD_UM)
    await microscope.wait_connected(1.0)
    await microscope.move_wd(WD_UM)
    assert (await microscope.grab()).wd_um == pytest.approx(WD_UM, abs=0.01)


async def test_an_unanswered_move_times_out_and_the_link_is_made_anew(
    vendor: Vendor, hasty: Em30Microscope
) -> None:
    vendor.script = [silent]
    with pytest.raises(LinkTimeout, match=r"did not answer within 0\.2 s"):
        await hasty.move_wd(WD_UM)
    with pytest.raises(NotConnected, match="not answered in time"):
        await hasty.grab()
    await hasty.wait_connected(1.0)
    await hasty.move_wd(WD_UM)
    assert hasty.stats.connects == 2


async def test_the_answer_of_a_cancelled_move_is_not_taken_for_the_next_ones(
    vendor: Vendor, microscope: Em30Microscope, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    asking = asyncio.Event()
    whole = Exchange.ask

    async def ask(exchange: Exchange, data: bytes, *, timeout_s: float) -> bytes:
        asking.set()
        return await whole(exchange, data, timeout_s=timeout_s)

    await microscope.read_state()
    monkeypatch.setattr(Exchange, "ask", ask)
    vendor.script = [silent, lambda _: b"NG"]
    first = asyncio.create_task(microscope.move_wd(13_000.0))
    await until(lambda: len(vendor.orders) == 1)
    first.cancel()
    await asyncio.wait([first])
    asking.clear()
    second = asyncio.create_task(microscope.move_wd(WD_UM))
    await asking.wait()  # the second waits for the answer that is owed to the first
    vendor.writers[0].write(b"OK")
    with pytest.raises(CommandRefused):
        await second


@pytest.mark.parametrize("info", [None, b"OK", b"NG", b"MAG=2000\n"])
async def test_where_get_infor_says_nothing_the_last_frame_does(
    vendor: Vendor, hasty: Em30Microscope, info: bytes | None
) -> None:
    await hasty.read_state()
    await hasty.move_wd(WD_UM)
    vendor.info = info
    assert (await hasty.read_state()).wd_um == pytest.approx(WD_UM)
    assert hasty.connected


@pytest.mark.parametrize(
    ("info", "error"), [(None, LinkTimeout), (b"NG", CommandRefused), (b"OK", ProtocolError)]
)
async def test_with_nothing_known_that_is_an_error_and_nothing_moves(
    vendor: Vendor, hasty: Em30Microscope, info: bytes | None, error: type[DriverError]
) -> None:
    vendor.info = info
    for operation in (hasty.read_state(), hasty.grab(), hasty.move_wd(WD_UM)):
        with pytest.raises(error):
            await operation
    assert vendor.orders == []


@pytest.mark.parametrize("operation", ["reply", "frame"])
async def test_a_peer_that_dies_in_mid_operation_is_noticed_at_once(
    vendor: Vendor,
    microscope: Em30Microscope,
    operation: str,
    looks: list[object],
    until: Until,
) -> None:
    await microscope.read_state()
    vendor.script = [silent if operation == "reply" else acknowledged_only]
    if operation == "frame":
        await microscope.move_wd(WD_UM)
    work = microscope.grab() if operation == "frame" else microscope.move_wd(WD_UM)
    task = asyncio.create_task(work)
    await until(lambda: looks if operation == "frame" else vendor.orders)
    began_s = asyncio.get_running_loop().time()
    vendor.hang_up()
    with pytest.raises(LinkLost):
        await task
    assert asyncio.get_running_loop().time() - began_s < 2.0


async def test_an_answer_that_ends_with_the_link_acknowledges_nothing(
    vendor: Vendor, microscope: Em30Microscope
) -> None:
    def cut(_: SetWdMag) -> bytes:
        asyncio.get_running_loop().call_soon(vendor.writers[0].close)
        return b"N"  # of "NG ..."

    await microscope.read_state()
    vendor.script = [cut]
    with pytest.raises(LinkLost):
        await microscope.move_wd(WD_UM)
    assert microscope.stats.moves == 0


async def test_it_connects_again_and_starts_afresh(
    vendor: Vendor, microscope: Em30Microscope
) -> None:
    await microscope.move_wd(WD_UM)
    port = vendor.port
    await vendor.stop()
    with pytest.raises(NotConnected, match=r"127\.0\.0\.1"):
        await microscope.grab()
    with pytest.raises(LinkTimeout, match=r"nothing listens on 127"):
        await microscope.wait_connected(0.1)
    vendor.heard.clear()
    vendor.info = PARAMETERS
    await vendor.start(port)
    await microscope.wait_connected(5.0)
    frame = await microscope.grab()
    assert frame.wd_um == pytest.approx(12_000.0), "the new session asks where the instrument is"
    assert vendor.heard[-2:] == [b"GET_INFOR", b"WDMAG,12,2000"]
    assert microscope.stats.connects == 2


async def test_a_late_report_is_not_taken_for_the_answer_to_a_move(
    vendor: Vendor, hasty: Em30Microscope
) -> None:
    await hasty.read_state()
    vendor.info = None
    assert not (await hasty.read_state()).is_reported
    vendor.script = [lambda _: PARAMETERS]
    moving = asyncio.create_task(hasty.move_wd(WD_UM))
    await asyncio.sleep(0.05)
    vendor.writers[0].write(b"NG")
    with pytest.raises(CommandRefused):
        await moving


async def test_a_refusal_behind_a_yes_ends_the_link(
    vendor: Vendor, microscope: Em30Microscope, until: Until
) -> None:
    await microscope.move_wd(WD_UM)
    vendor.writers[0].write(b"NG")
    await until(lambda: microscope.stats.connects == 2)


@pytest.mark.parametrize("shown", ["x2000", "2,0 kx", "1 999.6", "2,012k"])
async def test_a_frame_may_tell_the_magnification_in_any_way(
    vendor: Vendor, microscope: Em30Microscope, jpeg: Callable[..., bytes], shown: str
) -> None:
    words = f"MAG={shown}\rWD=12,3456 mm\r".encode()
    vendor.script = [writes(vendor, jpeg(1), words)]
    await microscope.move_wd(12_345.6)
    assert (await microscope.grab()).wd_um == pytest.approx(12_345.6)
    assert microscope.stats.dropped_mismatch == 0


async def test_a_magnification_that_is_shown_rounded_is_not_commanded(
    vendor: Vendor, microscope: Em30Microscope, jpeg: Callable[..., bytes]
) -> None:
    vendor.script = [writes(vendor, jpeg(1), b"MAG=12.3kx\nWD=12 mm\n")]
    await microscope.move_wd(12_000.0, 12_345.0)
    await microscope.grab()
    await microscope.move_wd(WD_UM)
    assert vendor.orders[-1].endswith(b",12345")


async def test_a_text_that_may_mean_two_things_is_shown_with_its_cure(
    vendor: Vendor, hasty: Em30Microscope, jpeg: Callable[..., bytes]
) -> None:
    vendor.script = [writes(vendor, jpeg(n), b"MAG=2,000\nWD=12 mm\n") for n in range(3)]
    await hasty.move_wd(12_000.0)
    with pytest.raises(FrameInvalid, match=r"MAG .*'2,000'") as told:
        await hasty.grab()
    assert "thousands separators" in told.value.remedy


@pytest.mark.parametrize("damage", ["hole", "cut", "level"])
async def test_a_damaged_picture_is_dropped_and_asked_again(
    vendor: Vendor, hasty: Em30Microscope, text: Callable[..., bytes], damage: str
) -> None:
    vendor.script = [writes(vendor, damaged(damage), text(WD_UM))]
    await hasty.move_wd(WD_UM)
    assert (await hasty.grab()).pixels.shape == (48, 64)
    assert hasty.stats.dropped_invalid == 1


def damaged(how: str) -> bytes:
    """A noisy picture whose JPEG has an end, and is not what was taken."""
    pixels = np.random.default_rng(4).normal(120.0, 6.0, (240, 320))
    if how == "level":  # from one block on, as one changed bit does it
        blocks = pixels.reshape(30, 8, 40, 8)
        blocks[12, :, 17:] += 25.0
        blocks[13:] += 25.0
    data = cv2.imencode(".jpg", pixels.astype(np.uint8))[1].tobytes()
    half = len(data) // 2
    return {
        "hole": data[:half] + bytes(600) + data[half + 600 :],
        "cut": data[:half] + b"\xff\xd9",
        "level": data,
    }[how]
