"""A million damaged bytes through each codec: what does it raise, how long does it take, what does it let through?

A stream of messages is damaged in places, as a wire would do it; a file is damaged as a whole. The million counts the
bytes of damaged inputs.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from afdaemon.drivers.em30.dropfolder import IMAGE_NAME, TEXT_NAME, DropFolder, Pair
from afdaemon.drivers.em30.link import ByteLink
from afdaemon.drivers.em30.settings import UsbSettings
from afdaemon.drivers.em30.tcp import TcpLink
from afdaemon.drivers.em30.usb import UsbLink
from afdaemon.drivers.errors import DriverError, ProtocolError
from afdaemon.drivers.wire import aisem, messages
from afdaemon.drivers.wire.image import decode_grey
from afdaemon.drivers.wire.jpeg import decode_jpeg
from afdaemon.drivers.wire.stream import Decoder, encode
from afdaemon.sim.links.usb import SimulatedUsb
from afdaemon.sim.links.usb_device import Attachment, SimulatedUsbDevice

Rng = np.random.Generator


@dataclass
class Endured:
    """What a codec did with damaged input. `forged`: messages that nobody had sent, where they are `framed`."""

    codec: str
    inputs: int = 0
    mutated_bytes: int = 0
    decoded: int = 0
    refused: int = 0
    forged: int = 0
    lost_last: int = 0
    longest_s: float = 0.0
    framed: bool = False
    untyped: list[str] = field(default_factory=list)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Note how long the block takes and whether it raises what no codec may."""
        began_s = time.perf_counter()
        try:
            yield
        except DriverError:
            self.refused += 1
        except Exception as error:  # noqa: BLE001 - this is what is looked for
            self.untyped.append(repr(error))
        self.longest_s = max(self.longest_s, time.perf_counter() - began_s)


def mutate(data: bytes, rng: Rng) -> bytes:
    """`data` with one to four faults: flipped bits, noise, a piece cut out, doubled, put in, or the end cut off."""
    damaged = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        at, end = sorted(int(n) for n in rng.integers(0, len(damaged) + 1, 2))
        end = min(end, at + int(rng.integers(1, 200)))
        match int(rng.integers(6)):
            case 0 if damaged:
                damaged[min(at, len(damaged) - 1)] ^= 1 << int(rng.integers(8))
            case 1:
                damaged[at:end] = rng.bytes(end - at)
            case 2:
                del damaged[at:end]
            case 3:
                damaged[at:at] = damaged[at:end]
            case 4:
                damaged[at:at] = rng.bytes(int(rng.integers(1, 60)))
            case _:
                del damaged[len(damaged) - (end - at) :]
    return bytes(damaged)


# --- one input, one answer ---


def _micrograph(width_px: int = 48, height_px: int = 36) -> np.ndarray:
    rng = np.random.default_rng(1)
    noise = rng.normal(110.0, 30.0, (height_px, width_px)).astype(np.float32)
    return np.clip(cv2.GaussianBlur(noise, (0, 0), 1.2), 0, 255).astype(np.uint8)


def _encoded(suffix: str) -> bytes:
    return bytes(cv2.imencode(suffix, _micrograph())[1])


def _parameters() -> bytes:
    return aisem.encode_parameters(
        aisem.Parameters(wd_um=12_345.6, magnification=2000, score=7, others={"HV": "15.0 kV"})
    )


def _commands(data: bytes) -> bool:
    """Whether all of `data` was commands."""
    decoder = aisem.CommandDecoder()
    clean = True
    for piece in (data[at : at + 7] for at in range(0, len(data), 7)):
        try:
            decoder.feed(piece)
            while decoder.next_message() is not None:
                pass
        except ProtocolError:
            clean = False
    return clean


def _command_bytes() -> bytes:
    moves = (aisem.SetWdMag(wd_um=9000.0 + 37.5 * k, magnification=500 + k) for k in range(20))
    stage = aisem.SetPosition(x_um=19_000.0, y_um=20_000.0)
    orders: tuple[aisem.Message, ...] = (*aisem.HANDSHAKE, *moves, stage)
    return b"".join(aisem.encode(order) for order in orders)


def _reply_bytes() -> bytes:
    return aisem.encode_reply("OK " + "가나다 WDMAG 12.4 " * 8)


CODECS: dict[str, tuple[Callable[[], bytes], Callable[[bytes], object]]] = {
    "aisem commands": (_command_bytes, _commands),
    "aisem replies": (_reply_bytes, aisem.decode_reply),
    "aisem parameters": (_parameters, aisem.decode_parameters),
    "JPEG": (lambda: _encoded(".jpg"), decode_jpeg),
    "image file: JPEG": (lambda: _encoded(".jpg"), decode_grey),
    "image file: PNG": (lambda: _encoded(".png"), decode_grey),
    "image file: TIFF": (lambda: _encoded(".tiff"), decode_grey),
}


def endure(codec: str, seed: int, size: int) -> Endured:
    """Feed `size` bytes of damaged inputs to one of `CODECS`."""
    make, decode = CODECS[codec]
    whole, rng = make(), np.random.default_rng(seed)
    decode(whole)
    result = Endured(codec)
    while result.mutated_bytes < size:
        damaged = mutate(whole, rng)
        if damaged == whole:
            continue
        _try(result, len(damaged), decode, damaged)
    return result


def endure_drop_folder(seed: int, size: int) -> Endured:
    """The same for pairs of files as the vendor's software leaves them."""
    image, text, rng = _encoded(".jpg"), _parameters(), np.random.default_rng(seed)
    result = Endured("drop folder")
    with TemporaryDirectory() as name:
        path = Path(name)
        folder = DropFolder(path)
        while result.mutated_bytes < size:
            pair = mutate(image, rng), mutate(text, rng) if rng.random() < 0.5 else text
            (path / IMAGE_NAME).write_bytes(pair[0])
            (path / TEXT_NAME).write_bytes(pair[1])
            _try(result, sum(map(len, pair)), lambda text: _is_whole(folder, text), pair[1])
            folder.remove()
    return result


def _is_whole(folder: DropFolder, last_text: bytes) -> bool:
    return isinstance(folder.take(last_text=last_text), Pair)


def _try(result: Endured, size: int, decode: Callable[[bytes], object], data: bytes) -> None:
    result.inputs += 1
    result.mutated_bytes += size
    with result.watched():
        if decode(data) is False:
            raise ProtocolError("not all of it")
        result.decoded += 1


# --- a stream of messages, over real framing ---


def _frame(number: int, rng: Rng) -> messages.FrameData:
    width, height = int(rng.integers(16, 80)), int(rng.integers(16, 60))
    return messages.FrameData(
        answers=number,
        number=number,
        width_px=width,
        height_px=height,
        bits=8,
        encoding=messages.Encoding.RAW,
        magnification=2000.0,
        wd_um=12_000.0 + number,
        pixel_nm=198.4,
        dwell_ns=400.0,
        kv=15.0,
        start_us=1000 * number,
        end_us=1000 * number + 500,
        data=rng.bytes(width * height),
    )


@dataclass
class Transcript:
    """What was sent, and the damaged bytes that arrive; a whole message of its own kind ends them."""

    sent: set[messages.Message]
    wire: bytes
    changed_bytes: int
    last: messages.Message


def transcript(seed: int, size: int) -> Transcript:
    """Messages of which about half are damaged, until the damaged ones add up to `size` bytes."""
    rng = np.random.default_rng(seed)
    sent: set[messages.Message] = set()
    parts: list[bytes] = []
    changed = 0
    for number in itertools.count(1):
        message: messages.Message = _frame(number, rng)
        if number % 3 == 0:
            message = messages.Ack(answers=number, clock_us=17 * number, settle_us=150_000)
        whole = encode(message, sequence=number)
        part = mutate(whole, rng) if rng.random() < 0.5 else whole
        changed += len(part) if part != whole else 0
        sent.add(message)
        parts.append(part)
        if changed >= size:
            break
    last = messages.Refused(answers=0, reason="the end")
    wire = b"".join(parts) + encode(last, sequence=0)
    return Transcript(sent=sent, wire=wire, changed_bytes=changed, last=last)


async def endure_stream(over: str, seed: int, size: int) -> Endured:
    """A damaged stream over `over` (TCP or USB), in pieces of any size, into the stream's decoder."""
    script = transcript(seed, size)
    result = Endured(f"stream over {over}", mutated_bytes=script.changed_bytes, framed=True)
    decoder = Decoder()
    heard: list[messages.Message] = []
    carry = _over_tcp if over == "TCP" else _over_usb
    async with carry(_pieces(script.wire, seed)) as link:
        left = len(script.wire)
        while left:
            data = await link.receive()
            left -= len(data)
            heard += _timed(result, decoder, data)
    while decoder.pending and script.last not in heard:
        decoder.give_up()
        heard += _timed(result, decoder, b"")
    result.inputs = len(script.sent)
    result.decoded = len(heard) - heard.count(script.last)
    result.refused = decoder.losses.messages
    result.forged = sum(m not in script.sent and m != script.last for m in heard)
    result.lost_last = int(script.last not in heard)
    return result


def _timed(result: Endured, decoder: Decoder, data: bytes) -> list[messages.Message]:
    heard = []
    with result.watched():
        decoder.feed(data)
        while (received := decoder.next_message()) is not None:
            heard.append(received.message)
    return heard


def _pieces(wire: bytes, seed: int) -> Iterator[bytes]:
    rng = np.random.default_rng(seed)
    at = 0
    while at < len(wire):
        size = int(rng.integers(1, 5000))
        yield wire[at : at + size]
        at += size


@asynccontextmanager
async def _over_tcp(pieces: Iterator[bytes]) -> AsyncIterator[ByteLink]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    link = await TcpLink.open("127.0.0.1", server.sockets[0].getsockname()[1], timeout_s=5.0)
    try:
        yield link
    finally:
        await link.close()
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def _over_usb(pieces: Iterator[bytes]) -> AsyncIterator[ByteLink]:
    async def serve(wire: Attachment) -> None:
        await wire.receive()
        for piece in pieces:
            await wire.send(piece)
        await asyncio.get_running_loop().create_future()

    settings = UsbSettings()
    device = SimulatedUsbDevice(serve, vendor_id=settings.vendor_id, product_id=settings.product_id)
    async with device:
        link = await UsbLink.open(settings, backend=SimulatedUsb(device))
        await link.send(b"go", timeout_s=5.0)
        try:
            yield link
        finally:
            await link.close()
