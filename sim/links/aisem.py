"""The instrument side of the `aisem` link: a TCP server and a drop folder in front of an `Instrument`.

Each WDMAG is answered at once and carried out; then, when the lens has settled, one frame is
exposed and written as a pair of files, as soon as the client has taken the previous pair. One client
at a time; a second one gets an error and is disconnected. While the instrument is unplugged, every
connection is reset.

ASSUMED: the handshake is not answered; commands before it are refused; replies are `OK` or `NG` and
a reason.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import cv2

from afdaemon.drivers.base import Clock
from afdaemon.drivers.errors import ProtocolError
from afdaemon.drivers.wire import aisem as wire
from afdaemon.sim.errors import ServeError, SimError
from afdaemon.sim.instrument.instrument import Instrument
from afdaemon.sim.instrument.witness import write_truth
from afdaemon.sim.instrument.world import RecordedFrame
from afdaemon.sim.links.listening import InstrumentServer
from afdaemon.sim.listening import reset

IMAGE_NAME = "ResponseImage.jpg"
TEXT_NAME = "ResponseImage.txt"
JPEG_QUALITY = 95
SILENCE_S = 0.005
"""A sender that pauses for this long has finished its message."""
LOOK_S = 0.01
"""Pause between two checks whether the client has taken the pair."""
MAX_FRAMES_DUE = 16
"""Commands are refused while this many frames are still to be delivered."""


Say = Callable[[asyncio.StreamWriter, str], Awaitable[None]]


class AisemServer(InstrumentServer):
    """Serves one instrument. `async with` starts and stops it."""

    def __init__(
        self,
        instrument: Instrument,
        *,
        folder: Path,
        clock: Clock,
        host: str = "127.0.0.1",
        port: int = 0,
        truth_file: Path | None = None,
        keep_frames: Path | None = None,
    ) -> None:
        super().__init__(instrument, host=host, port=port)
        self._folder = folder
        self._clock = clock
        self._truth_file = truth_file
        self._keep_frames = keep_frames

    async def start(self) -> None:
        """Listen.

        Raises `ServeError` when the port, the folder or the truth file cannot be used; then nothing is left behind.
        """
        await super().start()
        try:
            made = await asyncio.to_thread(_claim_folder, self._folder)
            try:
                await self._testify()
            except SimError:
                await asyncio.to_thread(_remove_folders, made)
                raise
        except SimError:
            await self.stop()
            raise

    async def visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Greeting, commands, frames; a second client gets an error."""
        try:
            if self._occupied:
                await self._say(writer, "ERROR another client is connected")
                return
            self._occupied = True
            try:
                await self._hold(reader, writer)
            finally:
                self._occupied = False
        except OSError:
            return  # the client is gone
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One conversation: commands are answered while frames are being taken."""
        due: asyncio.Queue[None] = asyncio.Queue(MAX_FRAMES_DUE)
        camera = asyncio.create_task(self._deliver(due, writer), name="em30 camera")
        try:
            await self._obey(_Listener(reader, writer, self._say), due, writer)
        finally:
            camera.cancel()
            await asyncio.wait([camera])

    async def _obey(
        self, listener: "_Listener", due: asyncio.Queue[None], writer: asyncio.StreamWriter
    ) -> None:
        greeting: list[wire.Word] = []
        while (message := await listener.next_message()) is not None:
            match message:
                case wire.Word.FINISH:
                    return
                case wire.Word.CONNECTED | wire.Word.COMM_START | wire.Word.READY:
                    greeting.append(message)
                case wire.SetPosition(x_um=x_um, y_um=y_um):
                    with contextlib.suppress(SimError):  # POSITION has no answer
                        self._instrument.move_stage(x_um, y_um)
                case _ if tuple(greeting) != wire.HANDSHAKE:
                    await self._say(writer, "NG the handshake comes first")
                case wire.Word.GET_INFOR:
                    await self._say(writer, self._parameters())
                case wire.SetWdMag():
                    await self._say(writer, await self._go(message, due))

    async def _go(self, order: wire.SetWdMag, due: asyncio.Queue[None]) -> str:
        if due.full():
            return f"NG {MAX_FRAMES_DUE} frames are waiting to be taken"
        try:
            self._instrument.command(order.wd_um, order.magnification)
            await self._testify()
        except SimError as error:
            return f"NG {error}"
        due.put_nowait(None)
        return "OK"

    async def _deliver(self, due: asyncio.Queue[None], writer: asyncio.StreamWriter) -> None:
        """Write one pair for each command, in order."""
        try:
            while True:
                await due.get()
                for shot in await self._instrument.frames():
                    await self._put_down(shot)
        except OSError:
            writer.transport.abort()  # without its folder the instrument is of no use to the client

    async def _put_down(self, shot: RecordedFrame) -> None:
        """Write one pair as soon as the previous one has been taken."""
        if self._keep_frames is not None:
            await asyncio.to_thread(_keep_frame, self._keep_frames, shot)
        while await asyncio.to_thread(_pair_waits, self._folder):
            await self._clock.sleep(LOOK_S)
        image, text = await asyncio.to_thread(_pair_of, shot, _identity(self._instrument))
        image, text = self._instrument.on_wires(image, text)
        await asyncio.to_thread(_write_pair, self._folder, image, text)

    def _parameters(self) -> str:
        state = self._instrument.read_state()
        present = wire.Parameters(
            wd_um=state.wd_um,
            magnification=round(state.magnification),
            others=_identity(self._instrument),
        )
        return wire.encode_parameters(present).decode(wire.ENCODING)

    async def _testify(self) -> None:
        if self._truth_file is not None:
            await asyncio.to_thread(write_truth, self._truth_file, self._instrument.truth())

    async def _say(self, writer: asyncio.StreamWriter, text: str) -> None:
        printable = text.encode(wire.ENCODING, errors="replace")[: wire.MAX_REPLY_BYTES]
        end = self._instrument.breaks_at(len(printable))
        writer.write(printable[:end])
        await writer.drain()
        if end is not None:
            reset(writer)


class _Listener:
    """Messages out of a stream. Whatever is not a command is answered with ERROR and skipped."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, say: Say
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._say = say
        self._decoder = wire.CommandDecoder()
        self._silent = False
        self._over = False

    async def next_message(self) -> wire.Message | None:
        """The next message, or None when the client has hung up."""
        while True:
            try:
                message = self._decoder.next_message(silent=self._silent)
                if message is not None:
                    return message
                if self._over:
                    return None
                await self._hear()
            except ProtocolError as error:
                await self._say(self._writer, f"ERROR {error}")

    async def _hear(self) -> None:
        """Wait for bytes, or notice that a sender in the middle of a message has fallen silent."""
        try:
            async with asyncio.timeout(SILENCE_S if self._decoder.pending else None):
                data = await self._reader.read(4096)
        except TimeoutError:
            self._silent = True
            return
        self._over = not data
        self._silent = self._over
        self._decoder.feed(data)


def _keep_frame(folder: Path, shot: RecordedFrame) -> None:
    """Keep a copy of a delivered frame, for reports. Blocks. Raises `OSError`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{shot.number:06d}.jpg").write_bytes(jpeg_of(shot))


def jpeg_of(shot: RecordedFrame) -> bytes:
    """The picture as the vendor's software writes it. Raises `OSError`."""
    done, image = cv2.imencode(".jpg", shot.pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise OSError("the frame cannot be encoded")
    return image.tobytes()


def _identity(instrument: Instrument) -> dict[str, str]:
    return {"MODEL": "EM-30 (simulated)", "SERIAL": instrument.world.settings.serial}


def _pair_of(shot: RecordedFrame, identity: Mapping[str, str]) -> tuple[bytes, bytes]:
    """The image file and the text file of a frame. Raises `OSError`."""
    height, width = shot.pixels.shape
    parameters = wire.Parameters(
        wd_um=shot.wd_um,
        magnification=shot.magnification,
        others={**identity, "WIDTH": str(width), "HEIGHT": str(height)},
    )
    return jpeg_of(shot), wire.encode_parameters(parameters)


def _write_pair(folder: Path, image: bytes, text: bytes) -> None:
    """Write image and text, each whole before it gets its name. Blocks. Raises `OSError`."""
    _put(folder / IMAGE_NAME, image)
    _put(folder / TEXT_NAME, text)


def _put(path: Path, data: bytes) -> None:
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    part.replace(path)


def _pair_waits(folder: Path) -> bool:
    return (folder / IMAGE_NAME).exists() or (folder / TEXT_NAME).exists()


def _claim_folder(folder: Path) -> list[Path]:
    """Make the folder and check that it is writable; returns the folders made for it, the innermost first."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    probe = folder / ".afdaemon-probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        _remove_folders(made)
        raise ServeError(f"the drop folder {folder} cannot be used: {error.strerror}") from error
    return made


def _remove_folders(folders: list[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()
