"""Labelled frames on disk: how the files are named, and the text with the score beside each picture. Pure.

A folder of them holds pairs `SCENE-NUMBER.jpg` and `SCENE-NUMBER.txt`, as the instrument writes its frames, in any
depth of folders. The text is its parameter text (`afdaemon.drivers.wire.aisem`) with a score: `SCORE` is the digit that
an expert gave, `FOCUS_SCORE`, where there is one, the same with decimals, and then it is what counts.

ASSUMED: the keys `SCORE`, `BRIGHTNESS` and `CONTRAST`. The last two may be missing, or not be numbers; then they are
taken as unknown.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from afdaemon.drivers.errors import ProtocolError
from afdaemon.drivers.wire import quantity
from afdaemon.drivers.wire.aisem import Parameters, decode_parameters, encode_parameters
from afdaemon.drivers.wire.text import shown

PICTURE_SUFFIXES = (".jpg", ".jpeg")
TEXT_SUFFIX = ".txt"
NOTE_NAME = "dataset.json"
"""The description of a written data set; `parts` names the part of each scene."""
LISTING_NAME = "SHA256SUMS"

FOCUS_SCORE = "FOCUS_SCORE"
SCORE_RANGE = (0.0, 9.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """How a frame was taken, and its score 0..9. `brightness` and `contrast` are None where the text has none."""

    magnification: float
    wd_um: float
    score: float
    brightness: float | None = None
    contrast: float | None = None


def encode_labelled(frame: Labelled, *, others: Mapping[str, str] | None = None) -> bytes:
    """The text of a labelled frame: the score as an expert's digit and with four decimals; `others` are further keys.

    Raises `ProtocolError` for a value that the text cannot carry.
    """
    _check_score(frame.score, f"{frame.score}", FOCUS_SCORE)
    controls = {"BRIGHTNESS": frame.brightness, "CONTRAST": frame.contrast}
    texts = {key: f"{value:.4f}" for key, value in controls.items() if value is not None}
    return encode_parameters(
        Parameters(
            magnification=frame.magnification,
            wd_um=frame.wd_um,
            score=math.floor(frame.score + 0.5),
            others={**(others or {}), **texts, FOCUS_SCORE: f"{frame.score:.4f}"},
        )
    )


def decode_labelled(data: bytes) -> Labelled:
    """Read the text of a labelled frame. Raises `ProtocolError`, naming key, value and range."""
    read = decode_parameters(data)
    return Labelled(
        magnification=read.magnification,
        wd_um=read.wd_um,
        score=_score(read),
        brightness=_number(read.others.get("BRIGHTNESS", "")),
        contrast=_number(read.others.get("CONTRAST", "")),
    )


def _score(read: Parameters) -> float:
    exact = read.others.get(FOCUS_SCORE)
    if exact is None:
        if read.score is None:
            raise ProtocolError(f"it has neither SCORE nor {FOCUS_SCORE}, a score from 0 to 9")
        return float(read.score)
    number = _number(exact)
    score = math.nan if number is None else number
    _check_score(score, exact, FOCUS_SCORE)
    return score


def _check_score(score: float, text: str, key: str) -> None:
    low, high = SCORE_RANGE
    if not low <= score <= high:  # rejects NaN too
        raise ProtocolError(f"{key} is a number from {low:g} to {high:g}, not {shown(text)}")


def _number(text: str) -> float | None:
    try:
        return quantity.number(text)
    except ProtocolError:
        return None
