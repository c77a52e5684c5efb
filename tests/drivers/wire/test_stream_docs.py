"""docs/links.md says what the codec does."""

import re
from pathlib import Path
from typing import Any

import pytest

from afdaemon.drivers.wire.messages import (
    FRAME_HEAD_BYTES,
    KINDS,
    MAX_TEXT_BYTES,
    Encoding,
    FrameData,
    Message,
    longest,
    payload_of,
)

TEXT = (Path(__file__).parents[3] / "docs" / "links.md").read_text(encoding="utf-8")
SIZES = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "f64": 8}
NAMES = {"STAGE": "MoveStage", "FRAME": "FrameData"}


def class_of(name: str) -> str:
    return NAMES.get(name, name.title().replace("_", ""))


def test_every_message_has_its_type() -> None:
    told = {
        class_of(name): int(kind)
        for kind, name in re.findall(r"(?m)^\| (\d+) \| ([A-Z_]+) \|", TEXT)
    }
    assert told == {kind.__name__: number for kind, number in KINDS.items()}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not FrameData])
def test_every_payload_has_its_size(kind: type[Message]) -> None:
    row = next(
        row
        for row in re.findall(r"(?m)^\| \d+ \| (.*)$", TEXT)
        if class_of(row.split(" | ")[0]) == kind.__name__
    )
    told = sum(SIZES[size] for size in re.findall(r"\b(u8|u16|u32|u64|f64)\b", row.split("|")[1]))
    fields: dict[str, Any] = {
        name: 1.0 if "um" in name or name == "magnification" else 1
        for name in kind.__dataclass_fields__
    }
    texts: dict[str, Any] = {
        name: "" for name in fields if name in ("name", "reason", "nonce", "proof")
    }
    assert len(payload_of(kind(**{**fields, **texts}))[1]) == told


def test_the_head_of_a_frame_is_as_told() -> None:
    rows = re.findall(
        r"(?m)^\| (\d+) \| ([^|]+), (u\d+|f64) \|", TEXT[TEXT.index("### The head of a FRAME") :]
    )
    at = 0
    for offset, _, size in rows:
        assert int(offset) == at
        at += SIZES[size]
    assert at == FRAME_HEAD_BYTES
    assert f"head of {at} bytes" in TEXT


def test_the_caps_are_as_told() -> None:
    assert f"more than {longest(1)} bytes" in TEXT
    assert f"at most {MAX_TEXT_BYTES} bytes" in TEXT
    assert longest(KINDS[FrameData]) == 128 * 2**20 + FRAME_HEAD_BYTES
    assert (Encoding.RAW, Encoding.JPEG) == (0, 1)
