"""What is fuzzed: every parser of bytes that others may choose. Anything but its typed errors is a finding.

A target takes bytes and returns, or raises something that it must not. Seeds are made here; inputs that once were
findings lie in `corpus/TARGET/`.
"""

import importlib.util
import json
import math
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
from pydantic import ValidationError

from afdaemon import config
from afdaemon.api import wire as api
from afdaemon.api.faults import RpcFault
from afdaemon.api.methods import METHODS
from afdaemon.api.vendor import protocol
from afdaemon.control.limits import Limits, Range
from afdaemon.control.procedures import PROFILES
from afdaemon.control.values import MoveWd, Started
from afdaemon.drivers.base import MAX_FRAME_SIDE_PX
from afdaemon.drivers.errors import DriverError, FrameInvalid, ProtocolError
from afdaemon.drivers.wire import aisem, labelled_files, metadata, quantity, tiff
from afdaemon.drivers.wire.image import decode_grey, image_size
from afdaemon.drivers.wire.jpeg import decode_jpeg
from afdaemon.drivers.wire.messages import (
    MAX_PAYLOAD_BYTES,
    Ack,
    Grab,
    Hello,
    Message,
    Move,
    State,
)
from afdaemon.drivers.wire.stream import Decoder, encode
from afdaemon.errors import AfdaemonError
from afdaemon.job import records

CORPUS = Path(__file__).parent / "corpus"
_BRIDGE = Path(__file__).parents[2] / "drivers/bridge/em30_bridge.py"
_MAX_DECODED_BYTES = 2 * 2**20
"""Larger pictures are allowed, but decoding them says nothing about the parser."""


@dataclass(frozen=True, slots=True)
class Target:
    """A parser; whole inputs to begin with, and words that it looks for."""

    take: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()


# --- the vendor's texts ---

_PARAMETERS = aisem.encode_parameters(
    aisem.Parameters(wd_um=12_400.0, magnification=2000, score=3, others={"SERIAL": "7"})
)
_TEXT_WORDS = (
    b"MAG=", b"WD=", b"SCORE=", b" um", b"mm", b"\xb5m", b"x", b"k", b",", b".", b"'", b"\r", b"\n",
    b"\xef\xbb\xbf", b"\xff\xfe", b"\xc2\xa0", b"\xe2\x80\xaf", b"e9", b"NG", b"OK", b"ERROR", b"\0",
)  # fmt: skip


def _parameters(data: bytes) -> None:
    with suppress(ProtocolError):
        told = aisem.decode_parameters(data)
        assert abs(told.wd_um) <= aisem.MAX_LENGTH_UM
        assert 1 <= told.magnification <= aisem.MAX_MAGNIFICATION
        assert told.score is None or 0 <= told.score <= 9


def _quantity(data: bytes) -> None:
    text = data.decode("utf-8", errors="replace")
    for read in (quantity.number, quantity.length_um, quantity.magnification):
        with suppress(ProtocolError):
            assert math.isfinite(read(text))


def _reply(data: bytes) -> None:
    aisem.may_go_on(data)
    aisem.report_may_go_on(data)
    is_refusal = aisem.is_refusal(data)
    with suppress(DriverError):
        aisem.require_acknowledged(aisem.decode_reply(data), command="it")
        assert not is_refusal, "a refusal was taken for a yes"


def _commands(data: bytes) -> None:
    decoder = aisem.CommandDecoder()
    for at in range(0, len(data), 7):
        with suppress(ProtocolError):
            decoder.feed(data[at : at + 7])
            while decoder.next_message() is not None:
                pass
    with suppress(ProtocolError):
        while decoder.next_message(silent=True) is not None:
            pass


def _labelled(data: bytes) -> None:
    with suppress(ProtocolError):
        assert 0.0 <= labelled_files.decode_labelled(data).score <= 9.0


def _metadata(data: bytes) -> None:
    told = None
    with suppress(ProtocolError):
        told = metadata.from_text(data, metadata.Size(640, 480))
    if told is not None:
        assert told.field_width_um is None or 0.0 < told.field_width_um < math.inf
        assert told.magnification is None or 0.0 < told.magnification < math.inf


_METADATA = (
    b"[SemImageFile]\r\nPixelSize=24.8\r\nDataSize=640x480\r\nMagnification=2000\r\n",
    b"$CM_MAG 2000\n$$SM_MICRON_BAR 100\n$$SM_MICRON_MARKER 10um\n$CM_FULL_SIZE 640 480\n",
    b"[MAIN]\nPixelSizeX=1.5e-9\nImageStripSize=60\nMagnification=50000\n",
    _PARAMETERS,
)


# --- pictures ---


@cache
def _picture(ending: str, *options: int) -> bytes:
    pixels = np.random.default_rng(1).normal(120.0, 20.0, (24, 40)).clip(0, 255).astype(np.uint8)
    return bytes(cv2.imencode(ending, pixels, list(options))[1].tobytes())


def _jpeg(data: bytes) -> None:
    with suppress(FrameInvalid):
        pixels = decode_jpeg(data) if _is_small(data) else np.zeros((1, 1), np.uint8)
        assert pixels.ndim == 2
        assert max(pixels.shape) <= MAX_FRAME_SIDE_PX


def _image(data: bytes) -> None:
    with suppress(FrameInvalid):
        if _is_small(data):
            assert decode_grey(data).ndim == 2


def _is_small(data: bytes) -> bool:
    """Raises `FrameInvalid`."""
    width, height = image_size(data)
    return width * height <= _MAX_DECODED_BYTES


def _tiff(data: bytes) -> None:
    if not tiff.is_tiff(data):
        return
    with suppress(FrameInvalid):
        for page in tiff.pages(data):
            with suppress(ProtocolError):
                metadata.from_page(page, data)
            tiff.only(data, page)


# --- the stream ---

_MESSAGES: tuple[Message, ...] = (
    Hello(name="a"), Grab(), Move(wd_um=12_000.0), State(answers=1, wd_um=12_000.0, magnification=500.0),
    Ack(answers=3, clock_us=7),
)  # fmt: skip
_STREAM = b"".join(encode(message, sequence=n) for n, message in enumerate(_MESSAGES))


def _stream(data: bytes) -> None:
    decoder = Decoder()
    for at in range(0, len(data), 11):
        decoder.feed(data[at : at + 11])
        while decoder.next_message() is not None:
            pass
    decoder.give_up()
    while decoder.next_message() is not None:
        pass
    assert len(decoder._buffer) <= MAX_PAYLOAD_BYTES


@cache
def _bridge() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzzed_bridge", _BRIDGE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _bridged(data: bytes) -> None:
    """The bridge's own copies: they must agree with ours."""
    bridge = _bridge()
    decoder = bridge.Decoder(frozenset(bridge.Kind))
    decoder.feed(data)
    while decoder.next_message() is not None:
        pass
    assert bool(bridge.refusal(data)) == aisem.is_refusal(data)
    theirs = None
    try:
        theirs = aisem.decode_parameters(data)
    except ProtocolError as error:
        if str(error).startswith("SCORE"):  # the bridge doesn't read it
            return
    assert bridge.may_go_on(data) == aisem.may_go_on(data)
    try:
        place = bridge.read_parameters(data)
    except ValueError:
        assert theirs is None
    else:
        assert theirs is not None
        assert (theirs.wd_um, theirs.magnification) == place


# --- the daemon ---

_WITH_TOKEN = b'{"jsonrpc":"2.0","id":1,"method":"server.ping","params":{"meta":{"token":"abc"}}}'
_REQUESTS = tuple(
    json.dumps({"jsonrpc": "2.0", "id": "a", "method": name, "params": params}).encode()
    for name, params in (
        ("server.ping", {}),
        ("focus.autofocus", {"magnification": 2000.0, "wd_range": {"lo_um": 1.0, "hi_um": 2.0}}),
        ("job.wait", {"job_id": "x", "timeout_s": 1.0}),
        ("focus.set", {"wd_um": 12000.0}),
    )
)


def _request(data: bytes) -> None:
    api.request_id_of(data)
    with suppress(AfdaemonError):
        api.decode_response(data)
    with suppress(RpcFault, ValidationError):
        request = api.decode_request(data)
        method = METHODS.get(request.method)
        if method is not None:
            method.params.of(request.params)


def _vendor(data: bytes) -> None:
    with suppress(RpcFault):
        protocol.command_of(data)
    with suppress(RpcFault):
        request = api.decode_request(data)
        if protocol.token_in(request) is not None:
            assert protocol.token_in(api.decode_request(protocol.without_token(request))) is None


def _config(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "afdaemon.toml"
        path.write_bytes(data)
        with suppress(AfdaemonError, DriverError):
            config.load(path, environ={})


_RECORDS = (
    records.encode(Started(wd_um=12_000.0, magnification=2000.0)),
    records.encode(MoveWd(wd_um=12_100.0)),
    records.encode_limits(Limits(hard=Range(lo_um=0.0, hi_um=5e4))),
    *(records.encode_profile(kind()) for kind in PROFILES.values()),
)


def _record(data: bytes) -> None:
    """What `Journal` names as an entry that cannot be read."""
    text = data.decode("utf-8", errors="replace")
    for read in (
        records.decode_event,
        records.decode_command,
        records.decode_limits,
        records.decode_profile,
    ):
        with suppress(ValueError, KeyError, TypeError, AfdaemonError):
            read(text)


_CONFIGS = (
    b'[microscope]\nlink = "aisem"\nfolder = "/tmp"\nwd_tolerance_um = 2.0\n[limits]\nwd_um = [8000, 2e4]\n',
    b"[fast]\nalpha_mrad = 5\ncalibrated = true\n[log]\nlevel = 'info'\n",
)
_TOML_WORDS = (
    b"[",
    b"]",
    b"=",
    b'"',
    b"nan",
    b"inf",
    b"\n",
    b"[microscope]\n",
    b"link = ",
    b"{}",
    b"0x1",
    b"''",
)
_JSON_WORDS = (
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b"null",
    b"NaN",
    b"1e999",
    b"-0",
    b"true",
    b"\\u0000",
    b"{}",
)

TARGETS = {
    "aisem-parameters": Target(_parameters, (_PARAMETERS, b"MAG=2,0kx\rWD=12.400,5 um\r"), _TEXT_WORDS),
    "aisem-reply": Target(_reply, (b"OK", b"NG no", b"ERROR 3", _PARAMETERS), _TEXT_WORDS),
    "aisem-commands": Target(_commands, (b"Connected.COMM.START.READYWDMAG,12.4,2000FINISH",), _TEXT_WORDS),
    "quantity": Target(_quantity, (b"12,400.5 um", b"x2000", b"2.0kx", "12 400,5 µm".encode()), _TEXT_WORDS),
    "labelled": Target(_labelled, (_PARAMETERS,), (*_TEXT_WORDS, b"FOCUS_SCORE=")),
    "metadata": Target(_metadata, _METADATA, (*_TEXT_WORDS, b"[SemImageFile]", b"$CM_MAG ", b"PixelSizeX=")),
    "jpeg": Target(
        _jpeg,
        (_picture(".jpg"), _picture(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
         _picture(".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 2)),
        (b"\xff\xd8", b"\xff\xd9", b"\xff\xda", b"\xff\xc0", b"\xff\xc2", b"\xff\xc4", b"\xff\xdd", b"\xff\xd0"),
    ),
    "image": Target(_image, tuple(map(_picture, (".png", ".tiff", ".jpg", ".bmp"))), (b"IHDR", b"IDAT")),
    "tiff": Target(_tiff, (_picture(".tiff"),), (b"II*\0", b"MM\0*", b"II+\0")),
    "stream": Target(_stream, (_STREAM, _STREAM[:40]), (b"AF30", b"AF30\x01")),
    "bridge": Target(_bridged, (_STREAM, _PARAMETERS, b"OK", b"NG"), _TEXT_WORDS),
    "request": Target(_request, _REQUESTS, _JSON_WORDS),
    "vendor": Target(_vendor, (b"TOKEN abc\r\n", b"AUTOFOCUS\n", _WITH_TOKEN), (*_JSON_WORDS, b"ABORT", b"STATUS")),
    "config": Target(_config, _CONFIGS, _TOML_WORDS),
    "records": Target(_record, tuple(record.encode() for record in _RECORDS), _JSON_WORDS),
}  # fmt: skip
