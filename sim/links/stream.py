"""The instrument side of the `stream` messages in front of an `Instrument`, and a TCP server that serves them.

`StreamInstrument` is one conversation over whatever carries bytes. Commands are answered while frames are being taken;
frames come in the order in which they were requested. Before HELLO everything else is refused. One client at a time: a
second one is refused with the reason and disconnected. While the instrument is unplugged, every connection is reset.
"""

import asyncio
import contextlib
from typing import Protocol

from afdaemon.drivers.wire.messages import (
    VERSION,
    Ack,
    Bye,
    Encoding,
    FrameData,
    GetState,
    Grab,
    Hello,
    Message,
    Move,
    MoveStage,
    Ping,
    Pong,
    Refused,
    State,
    Welcome,
)
from afdaemon.drivers.wire.stream import Decoder, encode
from afdaemon.sim.errors import OutOfReach
from afdaemon.sim.instrument.instrument import Instrument
from afdaemon.sim.instrument.world import RecordedFrame
from afdaemon.sim.links.listening import InstrumentServer
from afdaemon.sim.listening import reset

NAME = "EM-30 (simulated)"
SILENCE_S = 0.25
"""A client that pauses for this long within a message will not complete it."""
_GREETING_S = 2.0
"""How long to listen to a client that cannot be served, so that its HELLO can be answered."""
CLOSE_S = 1.0
"""Longest wait for a client to take what was sent last."""
MAX_FRAMES_DUE = 16
"""A GRAB is refused while this many frames are still to be delivered."""
READ_BYTES = 65_536


class Wire(Protocol):
    """What carries bytes to the client and back. It raises `OSError` once the client is gone."""

    async def receive(self) -> bytes:
        """What the client has sent, at least one byte; nothing when it has hung up. May be cancelled."""
        ...

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        ...

    def reset(self) -> None:
        """Break the connection now; what has been sent still arrives."""
        ...


class StreamInstrument:
    """One conversation with a client over `wire`: `serve` it until the client leaves.

    `busy` says why this client cannot be served, if so.
    """

    def __init__(self, instrument: Instrument, wire: Wire, *, busy: str = "") -> None:
        self._instrument = instrument
        self._wire = wire
        self._busy = busy
        self._decoder = Decoder()
        self._due: asyncio.Queue[int] = asyncio.Queue(MAX_FRAMES_DUE)
        self._sequence = 0
        self._sending = asyncio.Lock()
        self._greeted = False

    async def serve(self) -> None:
        """Answer until BYE, or until the client has gone."""
        camera = asyncio.create_task(self._deliver(), name="em30 camera")
        try:
            with contextlib.suppress(OSError):
                while await self._take_in():
                    while (received := self._decoder.next_message()) is not None:
                        if isinstance(received.message, Bye):
                            return
                        await self._answer(received.message, received.sequence)
                        if self._busy:
                            return
        finally:
            camera.cancel()
            await asyncio.wait([camera])

    async def _take_in(self) -> bool:
        """Receive from the client, or give up a message that it does not complete; False when it has hung up."""
        try:
            async with asyncio.timeout(SILENCE_S if self._decoder.pending else None):
                data = await self._wire.receive()
        except TimeoutError:
            self._decoder.give_up()
            return True
        self._decoder.feed(data)
        return bool(data)

    async def _answer(self, message: Message, sequence: int) -> None:
        answer = self._answer_to(message, sequence)
        if answer is not None:
            await self._send(answer)

    def _answer_to(self, message: Message, sequence: int) -> Message | None:
        match message:
            case _ if self._busy:
                return Refused(answers=sequence, reason=self._busy)
            case Hello(lowest=lowest, highest=highest) if not lowest <= VERSION <= highest:
                reason = (
                    f"version {lowest} to {highest} is not supported: this side speaks {VERSION}"
                )
                return Refused(answers=sequence, reason=reason)
            case Hello():
                self._greeted = True
                return Welcome(
                    answers=sequence,
                    version=VERSION,
                    name=f"{NAME} {self._instrument.world.settings.serial}",
                )
            case Ping():
                return Pong(answers=sequence)
            case GetState() | Move() | MoveStage() | Grab() if not self._greeted:
                return Refused(answers=sequence, reason="HELLO comes first")
            case GetState():
                state = self._instrument.read_state()
                return State(answers=sequence, wd_um=state.wd_um, magnification=state.magnification)
            case Move() | MoveStage():
                return self._go(message, sequence)
            case Grab():
                return self._note(sequence)
            case _:
                return None  # answers are not answered

    def _go(self, order: Move | MoveStage, sequence: int) -> Ack | Refused:
        now_us = (
            self._instrument.now_us()
        )  # read before the lens starts: it has settled by the time that the ACK states
        try:
            match order:
                case Move(wd_um=wd_um, magnification=magnification):
                    self._instrument.command(wd_um, magnification)
                case MoveStage(x_um=x_um, y_um=y_um):
                    self._instrument.move_stage(x_um, y_um)
        except OutOfReach as error:
            return Refused(answers=sequence, reason=str(error))
        return Ack(answers=sequence, clock_us=now_us, settle_us=self._instrument.settle_us())

    def _note(self, sequence: int) -> Refused | None:
        try:
            self._due.put_nowait(sequence)
        except asyncio.QueueFull:
            return Refused(answers=sequence, reason=f"{MAX_FRAMES_DUE} frames are still due")
        return None

    async def _deliver(self) -> None:
        """Take and send what is due, in order."""
        with contextlib.suppress(OSError):
            while True:
                sequence = await self._due.get()
                for shot in await self._instrument.frames():
                    await self._send(_frame_of(shot, sequence))

    async def _send(self, message: Message) -> None:
        self._sequence += 1
        data = encode(message, sequence=self._sequence)
        if isinstance(message, FrameData):
            data = self._instrument.on_wire(data)
        async with self._sending:
            end = self._instrument.breaks_at(len(data))
            await self._wire.send(data[:end])
            if end is not None:
                self._wire.reset()


def _frame_of(shot: RecordedFrame, sequence: int) -> FrameData:
    height, width = shot.pixels.shape
    return FrameData(
        answers=sequence,
        number=shot.number,
        width_px=width,
        height_px=height,
        bits=8,
        encoding=Encoding.RAW,
        magnification=float(shot.magnification),
        wd_um=shot.wd_um,
        pixel_nm=shot.pixel_nm,
        dwell_ns=shot.dwell_ns,
        kv=shot.kv,
        start_us=shot.start_us,
        end_us=shot.end_us,
        data=shot.pixels.tobytes(),
    )


class TcpWire:
    """A TCP connection as a `Wire`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        writer.transport.set_write_buffer_limits(high=0)  # when `send` returns, the kernel has it

    async def receive(self) -> bytes:
        """What has come; nothing at the end."""
        return await self._reader.read(READ_BYTES)

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        self._writer.write(data)
        await self._writer.drain()

    def reset(self) -> None:
        """Hang up without a goodbye."""
        reset(self._writer)

    async def close(self) -> None:
        """End it."""
        self._writer.close()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._writer.wait_closed()
        except TimeoutError:
            self._writer.transport.abort()
        except OSError:
            return  # the client is gone


class StreamServer(InstrumentServer):
    """Serves one instrument over TCP. `async with` starts and stops it."""

    async def visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One conversation; a second client is refused."""
        wire = TcpWire(reader, writer)
        try:
            if self._occupied:
                await self._turn_away(wire)
                return
            self._occupied = True
            try:
                await StreamInstrument(self._instrument, wire).serve()
            finally:
                self._occupied = False
        finally:
            await wire.close()

    async def _turn_away(self, wire: TcpWire) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GREETING_S):
                busy = "another client is connected"
                await StreamInstrument(self._instrument, wire, busy=busy).serve()
